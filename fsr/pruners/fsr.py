from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from fsr.focus import capped_count, focus_count, focus_order, min_max, priority
from fsr.pruners.base import Pruner, choice, number, optional_number, rank_of
from fsr.pruners.plan import NestedPlan, Plan, TablePlan, table_budgets
from fsr.refine import group_weights, merge, merge_count, merged_tokens, nearest_anchor
from fsr.scan import scan_order
from fsr.similarity import STEPS, Similarities
from fsr.tokens import Role, Selection, VisualTokens


@dataclass(frozen=True, eq=False)
class Focus:
    """Stage 1, on the CPU.

    scores: saliency and relevance, normalised and signed, and priority, (N,) float32 each. order: (N,) int64, pi.
    k_focus: K_F, before the cap of a budget. cap: the focus_cap in force.
    """

    scores: dict[str, Tensor]
    order: Tensor
    k_focus: int
    cap: float


@dataclass(frozen=True, eq=False)
class _Choice:
    """All three stages at one budget, on the CPU. Fields as in `Selection`; merged: (M,) int64."""

    roles: Tensor
    merged: Tensor
    anchor: Tensor
    similarity: Tensor
    facts: dict[str, float]


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
        chosen = self._choose(tokens.similarities(self.similarity), focus, budget)
        kept = (chosen.roles >= int(Role.KEPT)).nonzero()[:, 0]
        weight = group_weights(focus.scores["priority"], chosen.merged, chosen.anchor)
        weight[kept[~torch.isin(kept, chosen.anchor[chosen.merged])]] = 1.0
        to = tokens.embeddings.device
        kept, merged, anchor, weight = (x.to(to) for x in (kept, chosen.merged, chosen.anchor, weight))
        return Selection(
            method=self.name,
            budget=budget,
            kept=kept,
            roles=chosen.roles.to(to),
            embeddings=merge(tokens.embeddings, kept, merged, anchor, weight),
            anchor=anchor,
            similarity=chosen.similarity.to(to),
            weight=weight,
            scores={name: score.to(to) for name, score in focus.scores.items()},
            facts=chosen.facts,
        )

    def _plan(self, tokens: VisualTokens) -> Plan:
        n, focus, similarities = len(tokens), self.focus(tokens), tokens.similarities(self.similarity)
        if focus.cap < 1:
            chosen = lru_cache(maxsize=1)(lambda budget: self._choose(similarities, focus, budget))
            budgets, phi = table_budgets(n), focus.scores["priority"]
            return TablePlan(n, budgets, lambda k: chosen(k).roles, lambda k: chosen(k).anchor, phi)
        order, _ = scan_order(similarities, focus.order[: focus.k_focus].tolist(), n - focus.k_focus)
        scan_rank = torch.full((n,), -1)
        scan_rank[order] = torch.arange(len(order))
        phi = focus.scores["priority"]
        return NestedPlan(rank_of(focus.order), focus.k_focus, scan_rank, self.kappa, phi, similarities)

    def focus(self, tokens: VisualTokens) -> Focus:
        """Stage 1 for these tokens; the same for every budget but for the cap."""
        assert tokens.saliency is not None
        saliency, relevance = min_max(tokens.saliency.cpu()), None
        scores = {"saliency": saliency}
        if tokens.relevance is not None:
            sign = tokens.relevance_sign if self.relevance_sign is None else self.relevance_sign
            relevance = scores["relevance"] = min_max(sign * tokens.relevance.cpu())
        phi = scores["priority"] = priority(saliency, relevance, self.alpha, self.beta)
        cap = self.focus_cap
        if cap is None:
            cap = 1.0 if relevance is not None and self.alpha > 0 else 0.5
        return Focus(scores, focus_order(phi, saliency), focus_count(phi, self.rho), cap)

    def _choose(self, similarities: Similarities, focus: Focus, budget: int) -> _Choice:
        n, n_focus = len(similarities), capped_count(focus.k_focus, focus.cap, budget)
        facts = {"k_focus": focus.k_focus, "focus_cap": focus.cap, "n_focus": n_focus, "k_scan": budget - n_focus}
        roles = torch.full((n,), int(Role.DROPPED), dtype=torch.uint8)
        roles[focus.order[:n_focus]] = int(Role.FOCUS)
        anchor, similarity = torch.full((n,), -1), torch.full((n,), math.nan)
        merged = torch.zeros(0, dtype=torch.int64)
        if n_focus < budget:
            order, facts["covering_radius"] = scan_order(similarities, focus.order[:n_focus].tolist(), budget - n_focus)
            roles[order] = int(Role.SCAN)
            dropped = (roles == int(Role.DROPPED)).nonzero()[:, 0]
            nearest, steps = (x.cpu() for x in nearest_anchor(similarities, torch.tensor(order)))
            merged = merged_tokens(steps, dropped, merge_count(self.kappa, len(order), len(dropped)))
            anchor[dropped], similarity[dropped] = nearest[dropped], steps[dropped] / STEPS
            roles[merged] = int(Role.MERGED)
        facts |= {"n_merged": len(merged), "n_anchors": len(anchor[merged].unique())}
        facts["rows_computed"] = similarities.computed  # of the N rows of the Gram matrix
        return _Choice(roles, merged, anchor, similarity, facts)
