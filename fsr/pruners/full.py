from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fsr.pruners.base import Pruner, keep
from fsr.pruners.plan import Plan, RankPlan
from fsr.tokens import Selection, VisualTokens


@dataclass(frozen=True)
class Full(Pruner):
    """Every visual token, whatever the budget: the unpruned model."""

    name: ClassVar[str] = "full"
    label: ClassVar[str] = "All tokens"
    paper: ClassVar[str] = ""
    exact_count: ClassVar[bool] = False

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        return keep(self.name, tokens, torch.arange(len(tokens)))

    def _plan(self, tokens: VisualTokens) -> Plan:
        return RankPlan(torch.zeros(len(tokens), dtype=torch.int64))
