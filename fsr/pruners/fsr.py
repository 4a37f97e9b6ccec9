from __future__ import annotations

import math
from dataclasses import dataclass
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
    """What Focus found, on the CPU. order: (N,) int64, by priority. k_focus: K_F before the cap of a budget."""

    scores: dict[str, Tensor]
    order: Tensor
    k_focus: int
    cap: float

    def count(self, budget: int) -> int:
        return capped_count(self.k_focus, self.cap, budget)


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
        0, 1, "largest share of the budget for Focus; None: 1, or 0.5 where there is no relevance term", above=True
    )
    relevance_sign: int | None = choice(None, (None, -1, 1), "sign of the relevance; None: the model's own")
    similarity: str = choice(
        "projected", ("projected", "encoder"), "features that distances are measured on: after or before the projector"
    )

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        focus = self.focus(tokens)
        similarities = tokens.similarities(self.similarity)
        n_focus = focus.count(budget)
        focused = focus.order[:n_focus]
        scan, facts = torch.zeros(0, dtype=torch.int64), {}
        if n_focus < budget:
            order, radius = scan_order(similarities, focused.tolist(), budget - n_focus)
            scan, facts = torch.tensor(order), {"covering_radius": radius}
        facts |= {"k_focus": focus.k_focus, "n_focus": n_focus, "k_scan": len(scan), "focus_cap": focus.cap}
        return self._refined(tokens, similarities, focus, focused, scan, facts)

    def _refined(
        self,
        tokens: VisualTokens,
        similarities: Similarities,
        focus: Focus,
        focused: Tensor,
        scan: Tensor,
        facts: dict[str, float],
    ) -> Selection:
        roles = stage_roles(len(tokens), focused, scan)
        kept, phi = roles.nonzero()[:, 0], focus.scores["priority"]
        anchor, similarity = torch.full((len(tokens),), -1), torch.full((len(tokens),), math.nan)
        merged = torch.zeros(0, dtype=torch.int64)
        dropped = (roles == int(Role.DROPPED)).nonzero()[:, 0]
        if len(scan) and len(dropped):
            nearest, steps = (x.cpu() for x in nearest_anchor(similarities, scan))
            merged = merged_tokens(steps, dropped, merge_count(self.kappa, len(scan), len(dropped)))
            anchor[dropped], similarity[dropped] = nearest[dropped], steps[dropped] / STEPS
        roles[merged] = int(Role.MERGED)
        weight = group_weights(phi, merged, anchor)
        weight[kept] = torch.where(torch.isin(kept, anchor[merged]), weight[kept], 1.0)
        device = tokens.embeddings.device
        on = [x.to(device) for x in (kept, merged, anchor, weight)]
        facts |= {"n_merged": len(merged), "n_anchors": len(anchor[merged].unique())}
        return Selection(
            method=self.name,
            budget=len(kept),
            kept=on[0],
            roles=roles.to(device),
            embeddings=merge(tokens.embeddings, *on),
            anchor=on[2],
            similarity=similarity.to(device),
            weight=on[3],
            scores={name: score.to(device) for name, score in focus.scores.items()},
            facts=facts,
        )

    def _plan(self, tokens: VisualTokens) -> Plan:
        n, focus = len(tokens), self.focus(tokens)
        if focus.cap < 1:
            return TablePlan(n, table_budgets(n), lambda budget: self(tokens, budget).roles.cpu())
        similarities = tokens.similarities(self.similarity)
        similarities.compute_all()
        order, _ = scan_order(similarities, focus.order[: focus.k_focus].tolist(), n - focus.k_focus)
        scan_rank = torch.full((n,), -1)
        scan_rank[order] = torch.arange(len(order))
        phi = focus.scores["priority"]
        return NestedPlan(rank_of(focus.order), focus.k_focus, scan_rank, self.kappa, phi, similarities)

    def focus(self, tokens: VisualTokens) -> Focus:
        """Stage 1 on these tokens: normalised scores, priority, its order and K_F."""
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


def stage_roles(n: int, focused: Tensor, scan: Tensor) -> Tensor:
    """(N,) uint8 of `Role`, from the tokens of the two stages that keep tokens."""
    roles = torch.full((n,), int(Role.DROPPED), dtype=torch.uint8)
    roles[focused] = int(Role.FOCUS)
    roles[scan] = int(Role.SCAN)
    return roles
