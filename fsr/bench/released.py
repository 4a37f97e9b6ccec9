"""The greedy loops as most releases have them: the program asks the device for every pick (`.item()`), and waits.

What `bench gpu` compares the kernels with. The picks are the same, up to rounding in `panel`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fsr import kernels
from fsr.kernels import NONE
from fsr.similarity import TAKEN


def farthest(rows: Tensor, nearest: Tensor, counts: Sequence[int]) -> Tensor:
    """See `fsr.kernels.farthest`."""
    orders: list[list[int]] = []
    for near, count in zip(nearest, counts, strict=True):
        picks: list[int] = []
        for _ in range(count):
            pick = int(near.argmin())
            torch.maximum(near, rows[pick], out=near)
            near[pick] = TAKEN
            picks.append(pick)
        orders.append(picks + [NONE] * (max(counts) - count))
    return torch.tensor(orders, device=nearest.device)


def panel(residual: Tensor, first: Tensor, weight: Tensor, u: Tensor, factor: Tensor, noise: float) -> Tensor:
    """See `fsr.kernels.panel`."""
    picks: list[int] = []
    for t in range(len(factor)):
        gain = torch.where(u > noise, weight * u, 0)
        j = int(gain.argmax())
        if not float(gain[j]) > 0:
            break
        row = torch.addmv(residual[first[j]], factor[:t].T, factor[:t, j], alpha=-1) / u[j].sqrt()
        factor[t] = row
        u -= row * row
        weight[j] = 0
        picks.append(j)
    return torch.tensor(picks + [NONE] * (len(factor) - len(picks)), device=residual.device)


@contextmanager
def looping(way: Any) -> Iterator[None]:
    """Selection on a device loops this way inside the block. way: what has a `farthest` and a `panel`."""
    before = kernels._chosen
    kernels._chosen = lambda device: way
    try:
        yield
    finally:
        kernels._chosen = before
