from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsr.host import fetch, hand
from fsr.pruners.base import GreedyPruner, Picks, number, numbers
from fsr.pruners.forced import NOTHING, Forced
from fsr.pruners.plan import Plan, RankPlan
from fsr.similarity import STEPS, exact_products, firsts
from fsr.tokens import VisualTokens, unit_rows

SCALE = 2.0**48  # all that the question asks to be covered, in whole numbers: with the picture's part below 2^53
ROWS = 512  # of the weights looked at together


@dataclass(frozen=True)
class MMTok(GreedyPruner):
    """Tokens that cover the question and the picture: Dong et al., MMTok, ICLR 2026, arXiv 2508.18264.

    A kept token covers each token of the question, and each token of the picture, as far as it is like it; of several
    the best counts: f(S) = 1/T sum_t max_(j in S) P_tj + alpha/N sum_i max_(j in S) Q_ij. Rows of P are softmax over
    the picture's tokens of cos(question token t, j) / tau_text, rows of Q that of cos(i, j) / tau_picture. Tokens are
    picked one by one, each the one that adds most to f, which is at least 1 - 1/e of the best there is (f is
    submodular). So one order serves every budget.

    As in the release (Apache-2.0; written from the formulas): P compares input embeddings of the language model with
    projected tokens, Q the tokens before the projector; alpha 0.5, tau 0.02 and 0.2.

    Ours: every token of the question counts, where the release leaves out words like "the" and "what"; no second
    model rewrites the question, as the paper's optional agent does; all tokens are one picture, where it goes tile by
    tile (`per_group` does that). Cosines are in steps of 2^-22 and weights whole numbers, so sums are exact, equal
    tokens tie, and ties go to the lower index.

    facts: question_covered, picture_covered: what of the first and the second sum is reached, of all tokens' 1.
    """

    name: ClassVar[str] = "mmtok"
    label: ClassVar[str] = "MMTok"
    paper: ClassVar[str] = "https://arxiv.org/abs/2508.18264"
    requires: ClassVar[frozenset[str]] = frozenset({"question", "features"})

    alpha: float = number(0.5, 0, 16, "weight of covering the picture against covering the question")
    tau_text: float = number(0.02, 0, 10, "temperature of how question and picture are alike", above=True)
    tau_picture: float = number(0.2, 0, 10, "temperature of how the picture's tokens are alike", above=True)

    def picks(self, tokens: VisualTokens, count: int) -> Picks:
        return self._picks(tokens, count, NOTHING)

    def order_around(self, tokens: VisualTokens, count: int, forced: Forced) -> tuple[Tensor, dict[str, Tensor]]:
        return self._picks(tokens, max(count, len(forced.inside)), forced)[:2]

    def _picks(self, tokens: VisualTokens, count: int, forced: Forced) -> Picks:
        weights, asked = self.weights(tokens)
        order, best = most_covering(weights, *forced.tensors(weights.device), count)
        most = weights.amax(dim=1)
        sums = fetch(torch.stack([x.double().sum() for part in (best, most) for x in (part[:asked], part[asked:])]))[0]
        reached, picture, all_asked, all_picture = sums.tolist()
        facts = {"question_covered": _share(reached, all_asked), "picture_covered": _share(picture, all_picture)}
        return order, {}, facts

    def weights(self, tokens: VisualTokens) -> tuple[Tensor, int]:
        """(T + N, N) float32, whole numbers: how far each token covers the question's T tokens, then all N. And T."""
        assert tokens.question is not None
        similar = tokens.gram("encoder").matrix()
        with exact_products():
            asked = unit_rows(tokens.question).to(similar.device) @ tokens.space("projected").T
        first = tokens.once("first projected", lambda: firsts(tokens.embeddings))
        asked = (asked * STEPS).round_()[:, first]  # equal tokens cover alike
        parts = [_covers(asked, self.tau_text, SCALE / len(asked))]
        parts += [_covers(rows, self.tau_picture, self.alpha * SCALE / len(tokens)) for rows in similar.split(ROWS)]
        return torch.cat(parts), len(asked)

    def why(self, tokens: VisualTokens, plan: Plan) -> dict[str, Any]:
        """score: the share of all there is to cover that a token adds when it is picked. relevance: how much of that
        is the question's."""
        assert isinstance(plan, RankPlan)
        weights, asked = self.weights(tokens)
        order = hand(plan.rank.cpu().argsort(), weights.device)
        question, picture = fetch(added(weights[:asked], order), added(weights[asked:], order))
        both = question + picture
        relevance = torch.where(both > 0, question / both, 0.0)
        return {"every": {"score": numbers(both / both.sum()), "relevance": numbers(relevance)}}


def _share(reached: float, most: float) -> float:
    return reached / most if most else 1.0


def _covers(steps: Tensor, tau: float, scale: float) -> Tensor:
    """(r, N) cosines in steps -> (r, N) float32, whole numbers: their softmax over each row, times `scale`."""
    return ((steps.double() / (STEPS * tau)).softmax(dim=1) * scale).round_().float()


def most_covering(weights: Tensor, first: Tensor, closed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(count,) int64: `first`, then always the token that adds most to sum_i max_(j kept) w_ij; ties to the lower
    index. And (R,) float32, that maximum of every row.

    weights: (R, N) float32, whole numbers of which all sums are below 2^53. first: (f,) int64, f <= count. closed: (c,)
    int64, tokens that are never picked.
    """
    best = weights.new_zeros(len(weights))
    if len(first):
        best = weights.index_select(1, first).amax(dim=1)
    gain = _total(weights) - _total(weights.minimum(best[:, None]))
    gain.index_fill_(0, torch.cat([first, closed]), -torch.inf)
    order = [first]
    for _ in range(count - len(first)):
        pick = gain.argmax(dim=0, keepdim=True)
        gain.index_fill_(0, pick, -torch.inf)
        order.append(pick)
        after = best.maximum(weights.index_select(1, pick)[:, 0])
        rows, low, high = weights, best, after
        if weights.device.type == "cpu":  # where nothing waits, only the rows that are covered better
            better = (after > best).nonzero()[:, 0]
            rows, low, high = weights[better], best[better], after[better]
        gain -= _total(rows.clamp(low[:, None], high[:, None])) - low.sum(dtype=torch.float64)
        best = after
    return torch.cat(order)[:count], best


def _total(rows: Tensor) -> Tensor:
    return rows.sum(dim=0, dtype=torch.float64)


def added(weights: Tensor, order: Tensor) -> Tensor:
    """(N,) float64: what each token adds to the sum of `most_covering`, picked in this order (N,), all of them."""
    gains = torch.zeros(len(order), dtype=torch.float64, device=weights.device)
    for rows in weights.split(ROWS):
        best = rows[:, order].cummax(dim=1).values
        gains += _total(best.diff(dim=1, prepend=torch.zeros_like(best[:, :1])))
    return torch.zeros_like(gains).index_copy_(0, order, gains)
