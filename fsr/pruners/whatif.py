"""Any method that prunes before the language model, with tokens forced in or out: one rule for each kind of method.

I: forced in, O: forced out, K: the budget, |I| <= K <= N - |O|. With nothing forced the method itself is returned.

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
from fsr.kernels import NONE
from fsr.pruners.base import GreedyPruner, Pruner, RankPruner, highest_first, keep
from fsr.pruners.cdpruner import NOISE, CDPruner, picked
from fsr.pruners.divprune import DivPrune
from fsr.pruners.forced import Forced
from fsr.pruners.frames import PRUNER, PerGroup, split
from fsr.pruners.fsr import FocusScanRefine
from fsr.pruners.mmtok import MMTok
from fsr.pruners.plan import EVERY_BUDGET_UP_TO, SLOW_UP_TO, TABLE_BUDGETS, Plan, TablePlan, table_budgets
from fsr.pruners.todre import ToDRE, least_alike, pivot
from fsr.scan import scan_order
from fsr.similarity import STEPS
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
        elif self._has_order:
            order, scores = self._order(tokens, budget)
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
        if self._has_order:
            rank = rank_of_some(fetch(self._order(tokens, n - len(self.forced.outside))[0])[0], n)
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

    # -- methods that are one order

    @property
    def _has_order(self) -> bool:
        return isinstance(self.pruner, RankPruner | GreedyPruner)

    def _order(self, tokens: VisualTokens, count: int) -> tuple[Tensor, dict[str, Tensor]]:
        """At least `count` tokens in the order in which they are kept, I first; O never. And the method's scores."""
        inside, outside = self.forced.masks(len(tokens))
        if isinstance(self.pruner, CDPruner):
            return conditioned(self.pruner, tokens, self.forced)
        if isinstance(self.pruner, DivPrune):
            return farthest_first(tokens, self.forced, count), {}
        if isinstance(self.pruner, ToDRE):
            return least_alike_first(tokens, self.forced, count), {}
        if isinstance(self.pruner, MMTok):
            to = tokens.embeddings.device
            first, closed = (
                hand(torch.tensor(x, dtype=torch.int64), to) for x in (self.forced.inside, self.forced.outside)
            )
            return self.pruner.picks_around(tokens, max(count, len(first)), first, closed)[:2]
        if isinstance(self.pruner, GreedyPruner):
            order, scores, _ = self.pruner.picks(tokens, len(tokens))
        else:
            assert isinstance(self.pruner, RankPruner)
            order, scores = self.pruner.order(tokens)
        order = fetch(order)[0]
        free = order[~(inside | outside)[order]]
        return torch.cat([torch.tensor(self.forced.inside, dtype=torch.int64), free]), scores

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


def farthest_first(tokens: VisualTokens, forced: Forced, count: int) -> Tensor:
    """(count,) int64: DivPrune's order around the forced tokens."""
    gram, (_, outside) = tokens.gram("projected"), forced.masks(len(tokens))
    to = tokens.embeddings.device
    first = hand(torch.tensor(forced.inside, dtype=torch.int64), to)
    if not len(first):
        out = hand(outside, to)
        nearest = gram.matrix().clone().fill_diagonal_(-math.inf).masked_fill(out, -math.inf).amax(dim=1)
        first = nearest.masked_fill(out, math.inf).argmin(dim=0, keepdim=True)
    closed = hand(torch.tensor(forced.outside, dtype=torch.int64), to)
    order, _ = scan_order(gram, first, max(0, count - len(first)), closed)
    return torch.cat([first, order])


def least_alike_first(tokens: VisualTokens, forced: Forced, count: int) -> Tensor:
    """(count,) int64: ToDRE's order around the forced tokens."""
    assert tokens.saliency is not None
    to, (_, outside) = tokens.embeddings.device, forced.masks(len(tokens))
    first = hand(torch.tensor(forced.inside, dtype=torch.int64), to)
    if not len(first):
        first = pivot(tokens.saliency, tokens.layout, hand(outside, to))
    closed = hand(torch.tensor(forced.outside, dtype=torch.int64), to)
    return least_alike(tokens.gram("projected"), first, max(count, len(first)), closed)


def conditioned(pruner: CDPruner, tokens: VisualTokens, forced: Forced) -> tuple[Tensor, dict[str, Tensor]]:
    """CDPruner's order of all tokens but O, I first: greedy MAP of L given I; then the most relevant of the rest."""
    (r, scores), gram = pruner.quality_of(tokens), tokens.gram("projected")
    inside, outside = (hand(mask, r.device) for mask in forced.masks(len(tokens)))
    weight = r.square().masked_fill(inside | outside, 0.0)
    u, residual = torch.full_like(r, float(STEPS)), gram.matrix().clone()
    for token in forced.inside:
        left = torch.where(u[token] > NOISE, u[token], math.inf)  # a token that the others span adds nothing
        row = residual[gram.first[token]] / left.sqrt()
        u, residual = (u - row * row)[gram.first], (residual - row[:, None] * row)[:, gram.first]
    order = picked(residual, gram.first, weight, u, len(tokens))
    picks, r, inside, outside = fetch(order, r, inside, outside)
    picks = picks[picks != NONE]
    others = highest_first(r)
    done = (inside | outside).index_fill(0, picks, True)
    return torch.cat([torch.tensor(forced.inside, dtype=torch.int64), picks, others[~done[others]]]), scores
