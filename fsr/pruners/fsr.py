from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from fsr.focus import capped_count, focus_count, focus_order, min_max, priority
from fsr.host import fetch, hand
from fsr.pruners.base import Pruner, choice, number, optional_number, rank_of
from fsr.pruners.forced import NOTHING, Forced
from fsr.pruners.plan import TABLE_BUDGETS, NestedPlan, Plan, TablePlan, table_budgets
from fsr.refine import group_weights, merge, merge_count, merged_tokens, nearest_anchor
from fsr.scan import chord, scan_order, scan_orders
from fsr.similarity import STEPS, Similarities
from fsr.tokens import Role, Selection, VisualTokens

Table = Callable[[int], Tensor]  # budget -> (N,), a number for every token


@dataclass(frozen=True, eq=False)
class Focus:
    """Stage 1, on the CPU: it sorts N numbers.

    scores: saliency and relevance, normalised and signed, and priority, (N,) float32 each. order: (N,) int64, pi.
    k_focus: K_F, before the cap of a budget. cap: the focus_cap in force.
    """

    scores: dict[str, Tensor]
    order: Tensor
    k_focus: int
    cap: float

    def within(self, budget: int, forced: Forced) -> tuple[int, Tensor]:
        """How many of `order` are focus tokens at this budget, and (m,) int64, what is forced in besides them.

        Of `order` as many as there is room for beside all that is forced in.
        """
        count = capped_count(self.k_focus, self.cap, budget)
        if not forced.inside:
            return count, self.order[:0]
        inside = torch.tensor(forced.inside)
        own = (~torch.isin(self.order[:count], inside)).cumsum(0)  # places of the budget that are not forced anyway
        count = int((own <= budget - len(inside)).sum())
        return count, inside[~torch.isin(inside, self.order[:count])]


@dataclass(frozen=True, eq=False)
class _Choice:
    """All three stages at one budget, on the device of the similarities. Fields as in `Selection`.

    merged: (M,) int64. farthest: () float32, see `scan_order`; None where nothing was scanned.
    """

    kept: Tensor
    roles: Tensor
    merged: Tensor
    anchor: Tensor
    similarity: Tensor
    farthest: Tensor | None
    facts: dict[str, float]

    def measured(self) -> dict[str, float]:
        """The facts that only the device knows; it is waited for."""
        anchors = torch.zeros_like(self.roles).index_fill_(0, self.anchor[self.merged], 1).sum()
        found = fetch(*(x for x in (anchors, self.farthest) if x is not None))
        facts: dict[str, float] = {"n_anchors": int(found[0])}
        return facts if len(found) == 1 else facts | {"covering_radius": chord(float(found[1]))}


@dataclass(frozen=True)
class FocusScanRefine(Pruner):
    """Focus on the evidence, scan for context, refine the context: Tong et al., Focus-Scan-Refine.

    Without a relevance term (none captured, or alpha = 0) priority is saliency alone, most of whose mass usually takes
    more tokens than the budget; there Focus may by default take only half of it (our choice, not the paper's).
    """

    name: ClassVar[str] = "fsr"
    label: ClassVar[str] = "FSR"
    paper: ClassVar[str] = "https://arxiv.org/abs/2602.05809"
    requires: ClassVar[frozenset[str]] = frozenset({"saliency", "relevance"})
    optional: ClassVar[frozenset[str]] = frozenset({"relevance"})
    counts_priority: ClassVar[bool] = True  # whether k_focus comes from Eq. 4

    alpha: float = number(3.0, 0, None, "exponent of relevance in the priority, Eq. 3")
    beta: float = number(1.0, 0, None, "exponent of saliency in the priority, Eq. 3")
    rho: float = number(0.9, 0, 1, "share of the total priority that Focus covers, Eq. 4", above=True)
    kappa: float = number(1.0, 0, None, "tokens merged for every scan token, Eq. 9")
    focus_cap: float | None = optional_number(
        0, 1, "largest share of the budget for Focus; by default 1, or 0.5 where there is no relevance term", above=True
    )
    relevance_sign: int | None = choice(None, (None, -1, 1), "sign of the relevance; by default the model's own")
    similarity: str = choice(
        "projected", ("projected", "encoder"), "features that distances are measured on: after or before the projector"
    )

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        focus = self.focus(tokens)
        return self._selection(tokens, focus, self._choose(tokens.similarities(self.similarity), focus, budget), budget)

    def _selection(self, tokens: VisualTokens, focus: Focus, chosen: _Choice, budget: int) -> Selection:
        to = tokens.embeddings.device
        scores = {name: hand(score, to) for name, score in focus.scores.items()}
        absorbing = chosen.anchor[chosen.merged]
        weight = torch.zeros(len(tokens), device=to).index_fill_(0, chosen.kept, 1.0)
        grouped = torch.zeros_like(weight, dtype=torch.bool).index_fill_(0, chosen.merged, True)
        grouped.index_fill_(0, absorbing, True)
        weight = torch.where(grouped, group_weights(scores["priority"], chosen.merged, chosen.anchor), weight)
        return Selection(
            method=self.name,
            budget=budget,
            kept=chosen.kept,
            roles=chosen.roles,
            embeddings=merge(tokens.embeddings, chosen.kept, chosen.merged, chosen.anchor, weight),
            anchor=chosen.anchor,
            similarity=chosen.similarity,
            weight=weight,
            scores=scores,
            facts=chosen.facts | chosen.measured(),
        )

    def _plan(self, tokens: VisualTokens) -> Plan:
        n, focus, similarities = len(tokens), self.focus(tokens), tokens.similarities(self.similarity)
        if focus.cap < 1:
            return self._table(similarities, focus)
        order, _ = scan_order(similarities, focus.order[: focus.k_focus], n - focus.k_focus)
        scan_rank = torch.full((n,), -1)
        scan_rank[fetch(order)[0]] = torch.arange(len(order))
        phi = focus.scores["priority"]
        return NestedPlan(rank_of(focus.order), focus.k_focus, scan_rank, self.kappa, phi, similarities)

    def _table(self, similarities: Similarities, focus: Focus) -> TablePlan:
        """Where the cap depends on the budget no order of Scan begins another: some budgets, each by itself."""
        n, budgets = len(similarities), table_budgets(len(similarities), TABLE_BUDGETS)
        sizes = [(count := capped_count(focus.k_focus, focus.cap, k), k - count) for k in budgets]

        @cache
        def scans() -> dict[int, Tensor]:
            return dict(zip(budgets, scan_orders(similarities, focus.order, sizes), strict=True))

        @cache
        def chosen(budget: int) -> _Choice:
            return self._choose(similarities, focus, budget, scans().get(budget) if budget in budgets else None)

        phi = focus.scores["priority"]
        return TablePlan(n, budgets, lambda k: chosen(k).roles, lambda k: chosen(k).anchor, phi)

    def focus(self, tokens: VisualTokens) -> Focus:
        """Stage 1 for these tokens; the same for every budget but for the cap."""
        assert tokens.saliency is not None
        captured = fetch(*(x for x in (tokens.saliency, tokens.relevance) if x is not None))
        saliency, relevance = min_max(captured[0]), None
        scores = {"saliency": saliency}
        if tokens.relevance is not None:
            sign = tokens.relevance_sign if self.relevance_sign is None else self.relevance_sign
            relevance = scores["relevance"] = min_max(sign * captured[1])
        phi = scores["priority"] = priority(saliency, relevance, self.alpha, self.beta)
        cap = self.focus_cap
        if cap is None:
            cap = 1.0 if relevance is not None and self.alpha > 0 else 0.5
        return Focus(scores, focus_order(phi, saliency), focus_count(phi, self.rho), cap)

    # -- around forced tokens, see `fsr.pruners.whatif`

    def select_around(self, tokens: VisualTokens, budget: int, forced: Forced) -> Selection:
        """`_select` with tokens forced in or out."""
        focus = self._focus_around(tokens, forced)
        chosen = self._choose(tokens.similarities(self.similarity), focus, budget, None, forced)
        return self._selection(tokens, focus, chosen, budget)

    def plan_around(self, tokens: VisualTokens, forced: Forced) -> tuple[Table, Table, Tensor]:
        """What a `TablePlan` takes: roles and anchors at a budget, and phi."""
        focus, similarities = self._focus_around(tokens, forced), tokens.similarities(self.similarity)

        @cache
        def chosen(budget: int) -> _Choice:
            return self._choose(similarities, focus, budget, None, forced)

        return lambda k: chosen(k).roles, lambda k: chosen(k).anchor, focus.scores["priority"]

    def _focus_around(self, tokens: VisualTokens, forced: Forced) -> Focus:
        """Stage 1 where tokens are forced out: they have no priority and no place in the order."""
        focus, (_, outside) = self.focus(tokens), forced.masks(len(tokens))
        order = focus.order[~outside[focus.order]]
        k_focus = min(focus.k_focus, len(order))
        if self.counts_priority:
            phi = focus.scores["priority"].masked_fill(outside, 0.0)
            order = focus_order(phi, focus.scores["saliency"])
            order, k_focus = order[~outside[order]], min(focus_count(phi, self.rho), len(order) - len(forced.outside))
        return replace(focus, order=order, k_focus=k_focus)

    def _choose(
        self,
        similarities: Similarities,
        focus: Focus,
        budget: int,
        scan: Tensor | None = None,
        forced: Forced = NOTHING,
    ) -> _Choice:
        """scan: what Scan adds, where that is known already. forced: see `fsr.pruners.whatif`."""
        n, to = len(similarities), similarities.unit.device
        n_focus, besides = focus.within(budget, forced)
        kept = hand(focus.order[:n_focus], to)
        roles = torch.full((n,), int(Role.DROPPED), dtype=torch.uint8, device=to).index_fill_(0, kept, int(Role.FOCUS))
        outside = None if not forced.outside else hand(torch.tensor(forced.outside), to)
        if len(besides):
            kept = torch.cat([kept, hand(besides, to)])
            roles.index_fill_(0, kept[n_focus:], int(Role.KEPT))
        anchor, similarity = torch.full((n,), -1, device=to), torch.full((n,), math.nan, device=to)
        merged, farthest = kept[:0], None
        n_scan = budget - len(kept)
        if n_scan > 0:
            if scan is None:
                centres = torch.cat([focus.order[:n_focus], besides]) if len(besides) else focus.order[:n_focus]
                scan, farthest = scan_order(similarities, centres, n_scan, outside)
            roles.index_fill_(0, scan, int(Role.SCAN))
            kept, dropped = torch.cat([kept, scan]), roles == int(Role.DROPPED)
            closed = kept
            if outside is not None:
                dropped, closed = dropped.index_fill(0, outside, False), torch.cat([kept, outside])
            nearest, steps = nearest_anchor(similarities, scan)
            anchor, similarity = torch.where(dropped, nearest, -1), torch.where(dropped, steps / STEPS, math.nan)
            merged = merged_tokens(steps, closed, merge_count(self.kappa, len(scan), n - len(closed)))
            roles.index_fill_(0, merged, int(Role.MERGED))
        facts = {"k_focus": focus.k_focus, "focus_cap": focus.cap, "n_focus": n_focus, "k_scan": n_scan}
        facts |= {"n_merged": len(merged), "rows_computed": similarities.computed}  # of the N rows of the Gram matrix
        return _Choice(kept.sort().values, roles, merged, anchor, similarity, farthest, facts)
