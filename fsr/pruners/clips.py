"""What follows what in a clip: the token at the same place in the frame before."""

from __future__ import annotations

import torch
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.tokens import Layout


def check_frames(label: str, layout: Layout) -> None:
    """Raises InvalidInput where no frame follows another."""
    if not bool((before(layout) >= 0).any()):
        raise InvalidInput(f"{label} compares each frame of a clip with the one before it, and a picture has none.")


def before(layout: Layout) -> Tensor:
    """(N,) int64 on the CPU: the token at the same place in the frame before, -1 where there is none of that grid."""
    frame, grids = layout.frame.cpu(), layout.grids
    row, col, found = layout.row.cpu(), layout.col.cpu(), torch.full((len(layout),), -1)
    last: Tensor | None = None
    for f, grid in enumerate(grids):
        own = (frame == f).nonzero()[:, 0]
        apart = bool(grid.part or grids[f - 1].part)
        if last is not None and not apart and _equal(row[own], row[last]) and _equal(col[own], col[last]):
            found[own] = last
        last = own
    return found


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a == b).all())
