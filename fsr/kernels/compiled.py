"""The greedy loops as Triton kernels: all picks of one order in one launch, a group of tokens a program.

The numbers of a program's tokens stay in its registers; of the rows only those that are picked are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fsr.kernels.loops import NONE
from fsr.similarity import TAKEN

PER_THREAD = 8  # tokens of one thread, as far as there are threads


def farthest(rows: Tensor, nearest: Tensor, counts: Sequence[int]) -> Tensor:
    """See `fsr.kernels.farthest`."""
    count = torch.tensor(counts).to(nearest.device, non_blocking=True)
    order = torch.full((len(counts), max(counts)), NONE, device=nearest.device)
    width = nearest.shape[1]
    _farthest[(len(counts),)](rows, nearest, count, order, width, max(counts), TAKEN, **_shape(width))
    return order


@triton.jit  # type: ignore[untyped-decorator]
def _farthest(rows, nearest, counts, order, width, most, TAKEN: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    group = tl.program_id(0)
    i = tl.arange(0, WIDTH)
    inside = i < width
    near = tl.load(nearest + group * width + i, mask=inside, other=4 * TAKEN)
    for t in range(tl.load(counts + group)):
        pick = tl.argmin(near, axis=0, tie_break_left=True)
        row = tl.load(rows + pick * width + i, mask=inside, other=0.0)
        near = tl.where(i == pick, TAKEN, tl.maximum(near, row))
        near = tl.where(inside, near, 4 * TAKEN)
        tl.store(order + group * most + t, pick)
    tl.store(nearest + group * width + i, near, mask=inside)


def panel(residual: Tensor, first: Tensor, weight: Tensor, u: Tensor, factor: Tensor, noise: float) -> Tensor:
    """See `fsr.kernels.panel`."""
    order = torch.full((len(factor),), NONE, device=residual.device)
    width = len(u)
    _panel[(1,)](residual, first, weight, u, factor, order, width, len(factor), noise, **_shape(width))
    return order


@triton.jit  # type: ignore[untyped-decorator]
def _panel(residual, first, weight, u, factor, order, width, count, noise, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    i = tl.arange(0, WIDTH)
    inside = i < width
    quality = tl.load(weight + i, mask=inside, other=0.0)
    length = tl.load(u + i, mask=inside, other=0.0)
    for t in range(count):
        gain = tl.where(length > noise, quality * length, 0.0)
        best = tl.max(gain, axis=0)
        if best > 0:
            j = tl.argmax(gain, axis=0, tie_break_left=True)
            row = tl.load(residual + tl.load(first + j) * width + i, mask=inside, other=0.0)
            for s in range(t):
                at = factor + s * width
                row -= tl.load(at + j) * tl.load(at + i, mask=inside, other=0.0)
            row /= tl.sqrt(tl.sum(tl.where(i == j, length, 0.0), axis=0))
            tl.store(factor + t * width + i, row, mask=inside)
            length -= row * row
            quality = tl.where(i == j, 0.0, quality)
            tl.store(order + t, j)
            tl.debug_barrier()  # every thread reads of the next pick what the others have written
    tl.store(weight + i, quality, mask=inside)
    tl.store(u + i, length, mask=inside)


def _shape(width: int) -> dict[str, Any]:
    """As many threads as keep the tokens of a program in registers."""
    wide = max(32, triton.next_power_of_2(width))
    return {"WIDTH": wide, "num_warps": min(32, max(1, wide // (32 * PER_THREAD)))}
