from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsr.focus import SLACK, min_max
from fsr.pruners.base import Pruner, choice, highest_first, keep, number, numbers
from fsr.pruners.plan import SLOW_UP_TO, Plan, TablePlan, table_budgets, usual_budgets
from fsr.similarity import STEPS
from fsr.tokens import Role, Selection, VisualTokens

REMOVED_A_ROUND = 8
NEIGHBOURS = 9  # looked at before all others; each token is one of its own
SHRUNK = 0.7  # neighbours are looked up anew once this share of the tokens is left
COPIED_UP_TO = 4096  # tokens; of more, no second matrix is made
ROWS = 512  # looked through at a time
NONE = -float(2**23)  # below every similarity


@dataclass(frozen=True)
class VisPruner(Pruner):
    """Important tokens and what is left of the others without duplicates: Zhang et al., VisPruner, ICCV 2025.

    The floor(rho K) tokens with the highest saliency are important and kept. The others, most salient first, lose
    their duplicates until K - floor(rho K) are left: in each round every token at an even place of the list is compared
    with those at odd places, the r with the nearest counterpart (cosine of the encoder's features) are removed, and the
    survivors, nearest counterpart first, are put before the tokens of odd places. rho is 0.5, similarity "encoder".
    Every token of the sequence takes part, newline tokens as well.

    The choice is sensitive: every round halves the list by place, and the order of nearly equal cosines decides which
    half a token falls into. Two correct programs that round differently share between 36 % and 100 % of the kept tokens
    (measured on random features), so a single token kept or dropped here says little.

    The release removes 8 a round and fails for a list of odd length; here r = min(8, even places, tokens too many), so
    that any list goes through. Ties break to the lower index, where the release leaves them open.

    scores: saliency; important, 1 for those tokens; redundancy, the cosine for which a token was removed, else 0.
    """

    name: ClassVar[str] = "vispruner"
    label: ClassVar[str] = "VisPruner"
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.01818"
    caution: ClassVar[str] = (
        "Sensitive: two correct programs that round differently share 36 % to 100 % of the kept tokens "
        "(measured on random features)."
    )
    requires: ClassVar[frozenset[str]] = frozenset({"saliency", "features"})

    rho: float = number(0.5, 0, 1, "share of the budget for the most salient tokens")
    similarity: str = choice(
        "encoder", ("encoder", "projected"), "features that duplicates are found by: before or after the projector"
    )

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        assert tokens.saliency is not None
        order = highest_first(tokens.saliency)
        n_important = self._n_important(budget)
        important, rest = order[:n_important], order[n_important:]
        diverse, redundancy = distinct(self._nearest(tokens), rest, budget - n_important)
        scores = {
            "saliency": min_max(tokens.saliency),
            "important": torch.zeros_like(redundancy).index_fill_(0, important, 1.0),
            "redundancy": redundancy,
        }
        facts: dict[str, float] = {"n_important": n_important, "n_diverse": len(diverse)}
        return replace(keep(self.name, tokens, torch.cat([important, diverse]), scores), facts=facts)

    def _plan(self, tokens: VisualTokens) -> Plan:
        assert tokens.saliency is not None
        order, nearest = highest_first(tokens.saliency), self._nearest(tokens)

        def at(budget: int) -> Tensor:
            n_important = self._n_important(budget)
            diverse, _ = distinct(nearest, order[n_important:], budget - n_important)
            kept = torch.cat([order[:n_important], diverse])
            return torch.zeros(len(tokens), dtype=torch.uint8, device=kept.device).index_fill_(0, kept, int(Role.KEPT))

        return TablePlan(len(tokens), table_budgets(len(tokens), SLOW_UP_TO), at)

    def why(self, tokens: VisualTokens, plan: Plan) -> dict[str, Any]:
        """of: the token that a removed one is a duplicate of, of those it was compared with when it went; cosine."""
        assert tokens.saliency is not None
        order, nearest = highest_first(tokens.saliency), self._nearest(tokens)
        cosines, budgets = nearest.cosines, usual_budgets(len(tokens))
        at: dict[str, list[Any]] = {"of": [], "cosine": []}
        for budget in budgets:
            of, cosine = torch.full_like(order, -1), torch.zeros(len(order), device=order.device)

            def note(gone: Tensor, others: Tensor, of: Tensor = of, cosine: Tensor = cosine) -> None:
                others = others.sort().values
                closest, which = cosines[gone][:, others].max(dim=1)
                of[gone], cosine[gone] = others[which], closest / STEPS

            n_important = self._n_important(budget)
            distinct(nearest, order[n_important:], budget - n_important, note)
            at["of"].append(of.tolist())
            at["cosine"].append(numbers(cosine))
        return {"budgets": budgets, "at": at}

    def _n_important(self, budget: int) -> int:
        return math.floor(self.rho * budget + SLACK)

    def _nearest(self, tokens: VisualTokens) -> Nearest:
        return Nearest(tokens.gram(self.similarity).matrix())


class Nearest:
    """Who is most similar to whom among m tokens, mostly looked up: no cosine is computed here.

    cosines: (m, m) float32 in steps, of m of the N tokens. place: (N,) int64, the row of a token; None: all N in order.
    """

    def __init__(self, cosines: Tensor, place: Tensor | None = None) -> None:
        self.cosines = cosines
        self.place = torch.arange(len(cosines), device=cosines.device) if place is None else place
        self.similarity, self.neighbour = cosines.topk(min(NEIGHBOURS, len(cosines)), dim=1)

    def __len__(self) -> int:
        return len(self.cosines)

    def narrowed(self, members: Tensor) -> Nearest:
        """The same for some of the tokens."""
        at, place = self.place[members], torch.full_like(self.place, -1)
        place[members] = torch.arange(len(members), device=place.device)
        return Nearest(self.cosines.index_select(0, at).index_select(1, at), place)

    def among(self, these: Tensor, those: Tensor) -> Tensor:
        """(k,) float32, for each of `these` k tokens the largest similarity to one of `those`, which are others."""
        at = self.place[these]
        outside = torch.ones(len(self), dtype=torch.bool, device=at.device)
        outside[self.place[those]] = False
        if at.device.type != "cpu":  # a device looks at all sooner than it says which are left
            return torch.cat([self.cosines[some].masked_fill_(outside, NONE).amax(dim=1) for some in at.split(ROWS)])
        largest = self.similarity[at].masked_fill_(outside[self.neighbour[at]], NONE).amax(dim=1)
        open_ = (largest == NONE).nonzero()[:, 0]
        for some in open_.split(ROWS):
            largest[some] = self.cosines[at[some]].masked_fill_(outside, NONE).amax(dim=1)
        return largest


def distinct(
    nearest: Nearest, order: Tensor, count: int, note: Callable[[Tensor, Tensor], None] | None = None
) -> tuple[Tensor, Tensor]:
    """The `count` tokens of `order` that are left when duplicates are removed round by round, see `VisPruner`.

    nearest: of all N tokens. order: (m,) int64, most salient first. Returns (count,) int64, and (N,) float32, the
    cosine for which each token was removed, 0 for all others. note: told in every round which tokens went, and which
    they were compared with.
    """
    left = order
    redundancy = torch.zeros(len(nearest), device=order.device)
    while len(left) > count > 0:
        if len(left) < SHRUNK * len(nearest) and len(nearest) <= COPIED_UP_TO:
            nearest = nearest.narrowed(left)
        even, odd = left[0::2].sort().values, left[1::2]
        removed = min(REMOVED_A_ROUND, len(even), len(left) - count)
        closest, by_closest = nearest.among(even, odd).sort(descending=True, stable=True)
        even = even[by_closest]
        redundancy[even[:removed]] = closest[:removed] / STEPS
        if note is not None:
            note(even[:removed], odd)
        left = torch.cat([even[removed:], odd])
    return left[:count], redundancy
