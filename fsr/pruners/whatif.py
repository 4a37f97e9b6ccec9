"""Any method that prunes before the language model, with tokens forced in or out: one rule for each kind of method.

I: forced in, O: forced out, K: the budget, |I| <= K <= N - |O|. With nothing forced the method itself is returned.

The first five are each method's own (`OrderedPruner.order_around`).

- One order of all tokens (random, saliency, relevance, AgilePruner, EVS): I, then the order without I and O.
- DivPrune: I are the first centres; each next token is the one farthest from all that are kept, O left out. Without I
  it starts at the token most isolated among those that are not in O.
- ToDRE: I are the first kept; each next token is the one with the smallest sum of cosines to all that are kept, O left
  out. Without I it starts at the most salient token that is not in O.
- MMTok: I are the first kept; each next token is the one that covers most beside them, O left out.
- CDPruner: the determinantal point process conditioned on I (the Schur complement of S on I), O never picked.
- FSR: see `FocusScanRefine._choose`. Scores stay as they are; Eq. 4 counts no priority of O. Focus takes its first
  tokens as far as K leaves room for I; those of I that are not among them count as no stage's. Scan starts with all of
  them as centres and so goes far from I. Only scan tokens are anchors; O is never merged.
- Every other method, and every method with its budget shared per group: it chooses K - |I| of the tokens that are
  neither in I nor O, as if they were all there are; I is added as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.host import fetch, hand
from fsr.pruners.base import OrderedPruner, Pruner, keep
from fsr.pruners.forced import Forced
from fsr.pruners.frames import PRUNER, PerGroup, split
from fsr.pruners.fsr import FocusScanRefine
from fsr.pruners.plan import EVERY_BUDGET_UP_TO, SLOW_UP_TO, TABLE_BUDGETS, Plan, TablePlan, table_budgets
from fsr.tokens import Role, Selection, VisualTokens


def with_forced(pruner: Pruner, forced: Forced) -> Pruner:
    """The method with these tokens forced; itself where nothing is.

    Raises InvalidInput for a method inside the language model.
    """
    if not forced:
        return pruner
    if pruner.stage != "before":
        raise InvalidInput(
            f"{pruner.label} prunes inside the language model; tokens can be forced for methods that prune before it."
        )
    return WithForced(pruner, forced)


@dataclass(frozen=True)
class WithForced(Pruner):
    """`pruner` around the forced tokens, by the rule for its kind. facts: n_forced_in and n_forced_out besides."""

    pruner: Pruner
    forced: Forced

    def __post_init__(self) -> None:
        for name in PRUNER:
            object.__setattr__(self, name, getattr(self.pruner, name))

    @property
    def takes_budget(self) -> bool:
        return self.pruner.takes_budget

    @property
    def relevance_sign(self) -> int | None:
        return getattr(self.pruner, "relevance_sign", None)

    @property
    def least(self) -> int:
        """The smallest budget there is room at."""
        return max(1, len(self.forced.inside))

    def parameters(self) -> dict[str, Any]:
        return self.pruner.parameters()

    def tuned(self) -> dict[str, Any]:
        return self.pruner.tuned()

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        self.forced.check(len(tokens))
        if self.takes_budget:
            self.forced.check_budget(budget, len(tokens))
        if isinstance(self.pruner, FocusScanRefine):
            selection = self.pruner.select_around(tokens, budget, self.forced)
        elif isinstance(self.pruner, OrderedPruner):
            order, scores = self.pruner.order_around(tokens, budget, self.forced)
            selection = keep(self.name, tokens, order[:budget], scores)
        else:
            selection = self._among_the_rest(tokens, budget)
        counts = {"n_forced_in": len(self.forced.inside), "n_forced_out": len(self.forced.outside)}
        return replace(selection, facts=selection.facts | counts)

    def _finished(self, tokens: VisualTokens, selection: Selection) -> Selection:
        return self.pruner._finished(tokens, selection)

    def _plan(self, tokens: VisualTokens) -> Plan:
        self.forced.check(len(tokens))
        n = len(tokens)
        if not self.takes_budget:
            roles = fetch(self._select(tokens, n).roles)[0]
            return TablePlan(n, (max(1, int((roles >= int(Role.KEPT)).sum())),), lambda budget: roles)
        if isinstance(self.pruner, FocusScanRefine):
            at, anchors, phi = self.pruner.plan_around(tokens, self.forced)
            return TablePlan(n, self._budgets(n, TABLE_BUDGETS, usual_up_to(n)), at, anchors, phi)
        if isinstance(self.pruner, OrderedPruner):
            order, _ = self.pruner.order_around(tokens, n - len(self.forced.outside), self.forced)
            rank = rank_of_some(fetch(order)[0], n)
            return TablePlan(
                n, self._budgets(n, EVERY_BUDGET_UP_TO), lambda budget: (rank < budget).byte() * int(Role.KEPT)
            )
        chosen = cache(lambda budget: fetch(self._select(tokens, budget).roles)[0])
        return TablePlan(n, self._budgets(n, SLOW_UP_TO), chosen)

    def _budgets(self, n: int, every_up_to: int, dense: int = 0) -> tuple[int, ...]:
        """Those of a table that there is room for, the smallest and the largest among them, and all below `dense`."""
        most = n - len(self.forced.outside)
        budgets = {*table_budgets(n, every_up_to), *range(1, dense), self.least, most}
        return tuple(sorted(k for k in budgets if self.least <= k <= most))

    # -- every other method

    def _among_the_rest(self, tokens: VisualTokens, budget: int) -> Selection:
        """K - |I| of the tokens that are not forced, and I as they are."""
        inside, outside = self.forced.masks(len(tokens))
        rest = (~(inside | outside)).nonzero()[:, 0]
        count = budget - len(self.forced.inside)
        forced = keep(self.name, tokens, torch.tensor(self.forced.inside, dtype=torch.int64))
        if not len(rest):
            return forced
        chosen = self._rest_pruner(rest)(rest_of(tokens, rest), min(len(rest), max(1, count)))
        return joined(tokens, forced, hand(rest, tokens.embeddings.device), chosen, count > 0 or not self.takes_budget)

    def _rest_pruner(self, rest: Tensor) -> Pruner:
        if isinstance(self.pruner, PerGroup) and self.pruner.group is not None:
            return PerGroup(self.pruner.pruner, self.pruner.group.cpu()[rest])
        return self.pruner


def usual_up_to(n: int) -> int:
    """Up to here every budget is in a table: two ninths of the tokens; none besides where there are too many."""
    return 2 * n // 9 + 1 if n <= EVERY_BUDGET_UP_TO else TABLE_BUDGETS


def rank_of_some(order: Tensor, n: int) -> Tensor:
    """(N,) int64: the place of every token in an order of some; n for all others."""
    rank = torch.full((n,), n)
    rank[order] = torch.arange(len(order))
    return rank


def rest_of(tokens: VisualTokens, rest: Tensor) -> VisualTokens:
    """Some of the tokens as if they were all there are. rest: (n,) int64, ascending, on the CPU."""
    group = torch.ones(len(tokens), dtype=torch.int64)
    group[rest] = 0
    _, (part) = split(tokens, group)[0]
    return replace(part, summary=tokens.summary)


def joined(tokens: VisualTokens, forced: Selection, rest: Tensor, chosen: Selection, counts: bool) -> Selection:
    """One selection of all tokens: `chosen` of the tokens `rest`, and `forced`.

    counts: whether `chosen` keeps anything; else only its scores are taken.
    """
    n, to = len(tokens), tokens.embeddings.device
    scores = {}
    for name, score in chosen.scores.items():
        scores[name] = score.new_zeros(n).index_copy_(0, rest.to(score.device), score)
    if not counts:
        return replace(forced, scores=scores)
    anchor = torch.where(chosen.anchor < 0, -1, rest[chosen.anchor])
    kept, order = torch.cat([forced.kept, rest[chosen.kept]]).sort()
    return replace(
        chosen,
        budget=chosen.budget + len(forced.kept),
        kept=kept,
        roles=forced.roles.index_copy(0, rest, chosen.roles),
        embeddings=torch.cat([forced.embeddings, chosen.embeddings.to(forced.embeddings)])[order],
        anchor=torch.full((n,), -1, device=to).index_copy_(0, rest, anchor),
        similarity=torch.full((n,), math.nan, device=to).index_copy_(0, rest, chosen.similarity),
        weight=forced.weight.index_copy(0, rest, chosen.weight),
        scores=scores,
    )
