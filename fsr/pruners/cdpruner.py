from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsr.focus import min_max
from fsr.host import fetch
from fsr.kernels import NONE, panel
from fsr.pruners.base import GreedyPruner, Picks, choice, highest_first, numbers
from fsr.pruners.forced import Forced
from fsr.pruners.plan import Plan, RankPlan
from fsr.similarity import STEPS, AllSimilarities, Similarities, exact_products
from fsr.tokens import VisualTokens

PANEL = 64  # tokens whose residual rows are computed together
PICKS = 32  # between two computations of all residual rows, on a device
NOISE = STEPS / 2**13  # a residual (squared length in steps) below this is rounding: the token adds nothing new


@dataclass(frozen=True)
class CDPruner(GreedyPruner):
    """Conditional diversity: greedy MAP of the determinantal point process L = diag(r) S diag(r).

    r: relevance in [0, 1], S: cosines of the projected features. Each pick makes det L of the kept tokens as large as
    one token can. Where the rank of S is used up, the most relevant tokens left fill the budget (`n_filled` of them).
    A model without a text tower has no relevance: there r = 1, a plain DPP, which knows nothing of the question
    (`relevance_used` is 0); the paper's results with such models come from code that was not released.
    """

    name: ClassVar[str] = "cdpruner"
    label: ClassVar[str] = "CDPruner"
    paper: ClassVar[str] = "https://arxiv.org/abs/2506.10967"
    requires: ClassVar[frozenset[str]] = frozenset({"relevance"})
    optional: ClassVar[frozenset[str]] = frozenset({"relevance"})

    relevance_sign: int | None = choice(None, (None, -1, 1), "sign of the relevance; by default the model's own")

    def picks(self, tokens: VisualTokens, count: int) -> Picks:
        r, scores = self.quality_of(tokens)
        similarities = tokens.similarities("projected")
        order = most_diverse(similarities, r, count)
        n_filled = fetch((order == NONE).sum())[0]
        facts: dict[str, float] = {"relevance_used": int(bool(scores)), "n_filled": int(n_filled)}
        facts["rows_computed"] = similarities.computed  # of the N rows of the Gram matrix
        return filled(order, r), scores, facts

    def order_around(self, tokens: VisualTokens, count: int, forced: Forced) -> tuple[Tensor, dict[str, Tensor]]:
        """Greedy MAP of L given I; then the most relevant of the rest."""
        (r, scores), gram = self.quality_of(tokens), tokens.gram("projected")
        first, closed = forced.tensors(r.device)
        weight = r.square().index_fill_(0, torch.cat([first, closed]), 0.0)
        u, residual = torch.full_like(r, float(STEPS)), gram.matrix().clone()
        for token in forced.inside:
            left = torch.where(u[token] > NOISE, u[token], math.inf)  # a token that the others span adds nothing
            row = residual[gram.first[token]] / left.sqrt()
            u, residual = (u - row * row)[gram.first], (residual - row[:, None] * row)[:, gram.first]
        picks, r, first, closed = fetch(picked(residual, gram.first, weight, u, len(tokens)), r, first, closed)
        picks, others = picks[picks != NONE], highest_first(r)
        return torch.cat([first, picks, others[~torch.isin(others, torch.cat([first, closed, picks]))]]), scores

    def quality_of(self, tokens: VisualTokens) -> tuple[Tensor, dict[str, Tensor]]:
        """(N,) float32, r of L, and the relevance it is made of, where there is one."""
        r = torch.ones(len(tokens), device=tokens.embeddings.device)
        if tokens.relevance is None:
            return r, {}
        sign = tokens.relevance_sign if self.relevance_sign is None else self.relevance_sign
        signed = sign * tokens.relevance.to(r)
        return quality(signed), {"relevance": min_max(signed)}

    def why(self, tokens: VisualTokens, plan: Plan) -> dict[str, Any]:
        """relevance: r. residual: u when a token is picked, the share of its squared length outside the span of those
        picked before; 0 for the most relevant ones that fill the budget once nothing is new."""
        assert isinstance(plan, RankPlan)
        order = plan.rank.cpu().argsort()
        r, _ = self.quality_of(tokens)
        left = residuals(tokens.gram("projected").matrix().cpu(), order)
        return {"every": {"relevance": numbers(r), "residual": numbers(left)}}


def residuals(steps: Tensor, order: Tensor) -> Tensor:
    """(N,) float64: for every token the squared length of its unit feature outside the span of those before it in
    `order` (N,), 0 from where that is rounding. steps: (N, N), cosines in steps.

    The squared pivots of the Cholesky factor of S, in that order; a factor of its own, whatever picked the order.
    """
    cosines = (steps.double() / STEPS)[order][:, order]
    factor, failed = torch.linalg.cholesky_ex(cosines)
    if int(failed):
        factor = torch.linalg.cholesky_ex(cosines[: int(failed) - 1, : int(failed) - 1]).L
    u = factor.diagonal().square()
    u = u[: int((u <= NOISE / STEPS).double().cumsum(0).eq(0).sum())]
    return torch.zeros(len(order), dtype=torch.float64).index_copy_(0, order[: len(u)], u)


def quality(relevance: Tensor) -> Tensor:
    """(N,) -> (N,) float32: r = (q - min q + 1e-6) / (max q - min q), as released; a constant q becomes all ones."""
    low, high = relevance.min(), relevance.max()
    return torch.where(low == high, 1.0, (relevance - low + 1e-6) / (high - low))


def filled(order: Tensor, r: Tensor) -> Tensor:
    """The order with the most relevant of all other tokens in the places of NONE, which are its last."""
    n, place, picked = len(r), torch.arange(len(order), device=order.device), (order != NONE).sum()
    taken = torch.zeros(n + 1, dtype=torch.bool, device=order.device)
    taken.index_fill_(0, torch.where(order == NONE, n, order), True)
    others = highest_first(r.masked_fill(taken[:n], -1.0))
    return torch.where(order == NONE, others[(place - picked).clamp(min=0)], order)


def most_diverse(similarities: Similarities, r: Tensor, count: int) -> Tensor:
    """(count,) int64, tokens in the order of greedy MAP inference for L = diag(r) S diag(r), then NONE where S has no
    more.

    r: (N,) float32, positive. Incremental Cholesky (Chen, Zhang, Zhou, NeurIPS 2018): the gain of token i is
    r_i^2 u_i, u_i the squared length of its feature outside the span of those picked. r does not enter the factor C of
    S. Rows of S - C^T C are computed for the `PANEL` tokens with the highest gain, most of which are picked next; so
    all but the last few rows of C enter by matrix products. What is computed never depends on `count`.
    """
    if isinstance(similarities, AllSimilarities):
        return _in_panels(similarities, r, count)
    n, device = len(similarities), r.device
    weight = r.square()  # 0 once a token is picked or adds nothing
    factor = torch.empty(count, n, device=device)  # C, in square roots of steps
    u = torch.full((n,), float(STEPS), device=device)
    gain = weight * u
    cells = gain.numpy() if device.type == "cpu" else gain  # the same memory, with cheaper access
    first = similarities.first
    repeated = bool((first != torch.arange(n, device=device)).any())
    order: list[int] = []
    panel: dict[int, Tensor] = {}
    since = 0  # the rows of C that the panel has already
    while len(order) < count:
        j, t = int(cells.argmax()), len(order)
        if not float(cells[j]) > 0:
            break
        length = float(u[j])
        if length > NOISE:
            if j not in panel:
                panel, since = _residuals(similarities, factor[:t], gain), t
            row = torch.addmv(panel[j], factor[since:t].T, factor[since:t, j], alpha=-1, out=factor[t])
            row /= math.sqrt(length)
            u.addcmul_(row, row, value=-1)
            u = u[first] if repeated else u  # equal tokens tie, whatever rounding did
            order.append(j)
        weight[j] = 0
        torch.mul(weight, u, out=gain)
    return torch.tensor(order + [NONE] * (count - len(order)), device=device)


def _in_panels(similarities: AllSimilarities, r: Tensor, count: int) -> Tensor:
    """`most_diverse` where all rows are there and nothing may be asked."""
    u = torch.full((len(similarities),), float(STEPS), device=r.device)
    return picked(similarities.matrix(), similarities.first, r.square(), u, count)


def picked(residual: Tensor, first: Tensor, weight: Tensor, u: Tensor, count: int) -> Tensor:
    """(count,) int64: greedy MAP inference from any point on, NONE where nothing is left.

    residual: (N, N), S - C^T C so far, made anew after every `PICKS` picks. first: (N,), the first of equal tokens.
    weight: (N,), r^2, 0 for those that must not be picked. u: (N,), the diagonal of the residual. Both are written to.
    """
    orders = []
    for start in range(0, count, PICKS):
        factor = torch.zeros(min(PICKS, count - start), len(first), device=weight.device)
        orders.append(panel(residual, first, weight, u, factor, NOISE))
        if start + PICKS < count:
            with exact_products():
                residual = torch.addmm(residual, factor.T, factor, alpha=-1)
            residual = residual.index_select(1, first)  # equal tokens tie, whatever rounding did
    return torch.cat(orders)


def _residuals(similarities: Similarities, factor: Tensor, gain: Tensor) -> dict[int, Tensor]:
    """The rows (N,) of S - C^T C of the tokens with the highest gain, by token. factor: (t, N), C so far."""
    wanted = highest_first(gain)[:PANEL]
    wanted = wanted[gain[wanted] > 0]
    rows = similarities.rows(wanted.tolist())
    if len(factor):
        rows.addmm_(factor[:, wanted].T, factor, alpha=-1)
    return dict(zip(wanted.tolist(), rows.unbind(0), strict=True))
