"""The greedy loops in plain PyTorch, with picks as tensors: a device is given its work and never waited for.

They are what the Triton kernels are compared with, and what runs on a device without Triton.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fsr.similarity import TAKEN

NONE = -1  # in the place of a pick, where there is none


def farthest(rows: Tensor, nearest: Tensor, counts: Sequence[int]) -> Tensor:
    """See `fsr.kernels.farthest`."""
    count = torch.tensor(counts).to(nearest.device, non_blocking=True)
    order = torch.full((len(counts), max(counts)), NONE, device=nearest.device)
    for t in range(max(counts)):
        pick = nearest.argmin(dim=1)
        after = torch.maximum(nearest, rows[pick]).scatter_(1, pick[:, None], TAKEN)
        picks = count > t
        nearest.copy_(torch.where(picks[:, None], after, nearest))
        order[:, t] = torch.where(picks, pick, NONE)
    return order


def panel(residual: Tensor, first: Tensor, weight: Tensor, u: Tensor, factor: Tensor, noise: float) -> Tensor:
    """See `fsr.kernels.panel`."""
    order = torch.full((len(factor),), NONE, device=residual.device)
    for t in range(len(factor)):
        gain = torch.where(u > noise, weight * u, 0)
        j = gain.argmax(dim=0, keepdim=True)
        new = gain[j] > 0
        row = residual[first[j]][0]
        for s in range(t):  # row by row, so that equal columns stay equal to the last bit
            row = row - factor[s, j] * factor[s]
        row = torch.where(new, row / u[j].clamp(min=noise).sqrt(), 0)
        factor[t] = row
        u -= row * row
        weight[j] = torch.where(new, 0, weight[j])
        order[t] = torch.where(new, j, NONE)[0]
    return order
