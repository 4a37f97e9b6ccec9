from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fsr.pruners.base import Pruner
from fsr.pruners.plan import Plan, TablePlan
from fsr.refine import TOGETHER, merge
from fsr.tokens import Layout, Role, Selection, VisualTokens


@dataclass(frozen=True)
class Pool2x2(Pruner):
    """The mean of every 2 x 2 block of each frame's grid: about N / 4 tokens, whatever the budget.

    A baseline that looks at nothing: uniform average pooling. The first token of a block stands for it; the others are
    merged into it with equal weights. The last row or column of an odd grid makes smaller blocks. Tokens outside the
    grid (newline, CLS) are kept as they are. facts: n_merged tokens are merged into n_anchors.
    """

    name: ClassVar[str] = "pool2x2"
    label: ClassVar[str] = "2x2 pooling"
    paper: ClassVar[str] = ""
    exact_count: ClassVar[bool] = False

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        first = first_of_block(tokens.layout).to(tokens.embeddings.device)
        size = torch.bincount(first, minlength=len(tokens))
        is_first = size > 0
        kept, merged = is_first.nonzero()[:, 0], (~is_first).nonzero()[:, 0]
        weight = 1 / size[first].float()
        anchor = first.masked_fill(is_first, -1)
        unit = tokens.space("projected")
        similarity = torch.full_like(weight, torch.nan)
        for some in merged.split(TOGETHER):
            similarity[some] = (unit[some] * unit[first[some]]).sum(dim=1).clamp_(-1, 1)
        return Selection(
            method=self.name,
            budget=len(kept),
            kept=kept,
            roles=_roles(first),
            embeddings=merge(tokens.embeddings, kept, merged, anchor, weight),
            anchor=anchor,
            similarity=similarity,
            weight=weight,
            facts={"n_merged": len(merged), "n_anchors": int((size > 1).sum())},
        )

    def _plan(self, tokens: VisualTokens) -> Plan:
        roles = _roles(first_of_block(tokens.layout).cpu())
        return TablePlan(len(tokens), (int((roles == int(Role.KEPT)).sum()),), lambda budget: roles)


def first_of_block(layout: Layout) -> Tensor:
    """(N,) int64: the lowest index in the 2 x 2 block of every token; its own for a token outside the grid."""
    own, outside = torch.arange(len(layout), device=layout.row.device), layout.row < 0
    cell = torch.stack([layout.frame, layout.row // 2, layout.col // 2, own.where(outside, own.new_tensor(-1))], dim=1)
    _, block = cell.unique(dim=0, return_inverse=True)
    return torch.full_like(own, len(own)).scatter_reduce_(0, block, own, "amin")[block]


def _roles(first: Tensor) -> Tensor:
    own = torch.arange(len(first), device=first.device)
    return torch.where(first == own, int(Role.KEPT), int(Role.MERGED)).to(torch.uint8)
