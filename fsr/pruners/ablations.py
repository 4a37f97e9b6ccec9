"""FSR with stages switched off. A parameter of a stage that is off is pinned: a class variable, no field."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch

from fsr.pruners.base import highest_first, keep, rank_of
from fsr.pruners.fsr import Focus, FocusScanRefine
from fsr.pruners.plan import NestedPlan, Plan
from fsr.tokens import Role, Selection, VisualTokens


@dataclass(frozen=True)
class FocusOnly(FocusScanRefine):
    """Stage 1 alone: the K tokens with the highest priority (Eq. 3). No context is sampled, nothing is merged."""

    name: ClassVar[str] = "fsr-focus"
    label: ClassVar[str] = "FSR, Focus only"
    counts_priority: ClassVar[bool] = False

    rho: ClassVar[float] = 1.0  # type: ignore[misc]
    kappa: ClassVar[float] = 0.0  # type: ignore[misc]
    focus_cap: ClassVar[float] = 1.0  # type: ignore[misc]
    similarity: ClassVar[str] = "projected"  # type: ignore[misc]

    def focus(self, tokens: VisualTokens) -> Focus:
        """Every token belongs to the focus, also those without priority."""
        return dataclasses.replace(super().focus(tokens), k_focus=len(tokens))

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        focus, to = self.focus(tokens), tokens.embeddings.device
        scores = {name: score.to(to) for name, score in focus.scores.items()}
        facts = {"k_focus": focus.k_focus, "focus_cap": focus.cap, "n_focus": budget, "k_scan": 0}
        kept = keep(self.name, tokens, focus.order[:budget], scores)
        roles = kept.roles.masked_fill(kept.roles == int(Role.KEPT), int(Role.FOCUS))
        return dataclasses.replace(kept, roles=roles, facts=facts)

    def _plan(self, tokens: VisualTokens) -> Plan:
        focus, none = self.focus(tokens), torch.full((len(tokens),), -1)
        phi, similarities = focus.scores["priority"], tokens.similarities("projected")
        return NestedPlan(rank_of(focus.order), focus.k_focus, none, 0.0, phi, similarities)


@dataclass(frozen=True)
class ScanOnly(FocusScanRefine):
    """Stages 2 and 3: farthest-point sampling from the most salient token, then merging.

    The first centre is what F falls back to where nothing has priority, F = {argmax saliency}. The question has no say
    in what is kept; it enters the merge weights alone (phi, as in FSR).
    """

    name: ClassVar[str] = "fsr-scan"
    label: ClassVar[str] = "FSR, Scan only"
    counts_priority: ClassVar[bool] = False

    rho: ClassVar[float] = 1.0  # type: ignore[misc]
    focus_cap: ClassVar[float] = 1.0  # type: ignore[misc]

    def focus(self, tokens: VisualTokens) -> Focus:
        """One token, the most salient one."""
        focus = super().focus(tokens)
        return dataclasses.replace(focus, order=highest_first(focus.scores["saliency"]), k_focus=1)


@dataclass(frozen=True)
class NoRefine(FocusScanRefine):
    """Stages 1 and 2: nothing is merged (kappa = 0), so dropped tokens are lost."""

    name: ClassVar[str] = "fsr-no-refine"
    label: ClassVar[str] = "FSR, no Refine"

    kappa: ClassVar[float] = 0.0  # type: ignore[misc]
