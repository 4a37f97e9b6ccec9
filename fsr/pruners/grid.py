from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fsr.pruners.base import Pruner, keep
from fsr.pruners.plan import Plan, TablePlan, table_budgets
from fsr.tokens import Layout, Role, Selection, VisualTokens


@dataclass(frozen=True)
class UniformGrid(Pruner):
    """K tokens spread evenly over the picture: evenly spaced rows, each with evenly spaced columns.

    Frames share the budget evenly. Tokens outside the grid (newline, CLS) are kept only when all others are.
    """

    name: ClassVar[str] = "grid"
    label: ClassVar[str] = "Uniform grid"
    paper: ClassVar[str] = ""

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        return keep(self.name, tokens, spread(tokens.layout, budget))

    def _plan(self, tokens: VisualTokens) -> Plan:
        def at(budget: int) -> Tensor:
            roles = torch.zeros(len(tokens), dtype=torch.uint8)
            roles[spread(tokens.layout, budget)] = int(Role.KEPT)
            return roles

        return TablePlan(len(tokens), table_budgets(len(tokens)), at)


def spread(layout: Layout, budget: int) -> Tensor:
    """(K,) int64: K distinct tokens, spread evenly over the frames and over the rows and columns of each."""
    inside, frame = (layout.row >= 0).cpu(), layout.frame.cpu()
    on_grid = int(inside.sum())
    wanted = min(budget, on_grid)
    kept: list[Tensor] = [(~inside).nonzero()[: budget - wanted, 0]]
    before = 0
    for f in frame[inside].unique().tolist():
        token = ((frame == f) & inside).nonzero()[:, 0]
        after = before + len(token)
        share = after * wanted // on_grid - before * wanted // on_grid
        kept.append(token[_spread_frame(len(token), int(layout.col[token].max()) + 1, share)])
        before = after
    return torch.cat(kept)


def _spread_frame(n: int, cols: int, k: int) -> Tensor:
    """(k,) int64, places among n tokens in raster order; where they fill no rectangle, evenly along that order."""
    rows = n // cols
    if k == 0 or rows * cols != n:
        return _middles(k, n)
    used = min(rows, k, max(-(-k // cols), round((k * rows / cols) ** 0.5)))
    at = _middles(used, rows).tolist()
    counts = [(i + 1) * k // used - i * k // used for i in range(used)]
    return torch.cat([row * cols + _middles(c, cols) for row, c in zip(at, counts, strict=True)])


def _middles(k: int, n: int) -> Tensor:
    """(k,) int64: the middles of k equal stretches of 0..n-1, all distinct for k <= n."""
    return (2 * torch.arange(k) + 1) * n // max(1, 2 * k)
