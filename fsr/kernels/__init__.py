"""Greedy loops over tokens that never wait for the device: the one place where Triton or PyTorch is chosen.

On the CPU nothing waits, and the loops of `fsr.scan` and `fsr.pruners.cdpruner` are faster there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from fsr.kernels import loops
from fsr.kernels.loops import NONE

log = logging.getLogger(__name__)
__all__ = ["NONE", "farthest", "panel"]


def farthest(rows: Tensor, nearest: Tensor, counts: Sequence[int]) -> Tensor:
    """Farthest points first, in G groups of the same N tokens (Eq. 5 of FSR; the greedy of DivPrune).

    rows: (N, N) float32, similarities in steps. nearest: (G, N) float32, of every token the similarity to its nearest
    kept one, TAKEN for tokens that are kept; it is brought up to date. counts: picks of every group, at least one of
    them above 0. Returns (G, max(counts)) int64, the picks in order, ties to the lower index, then `NONE`.
    """
    order: Tensor = _chosen(rows.device).farthest(rows, nearest, counts)
    return order


def panel(residual: Tensor, first: Tensor, weight: Tensor, u: Tensor, factor: Tensor, noise: float) -> Tensor:
    """The next picks of the greedy MAP of a determinantal point process, see `fsr.pruners.cdpruner.most_diverse`.

    residual: (N, N) float32, S - C^T C of the panels before. first: (N,) int64, the lowest index of the same token.
    weight, u: (N,) float32, both brought up to date. factor: (P, N) float32, zeros; filled with the next rows of C.
    noise: what u must be above. Returns (P,) int64, the picks in order, ties to the lower index, then `NONE`.
    """
    order: Tensor = _chosen(residual.device).panel(residual, first, weight, u, factor, noise)
    return order


def _chosen(device: torch.device) -> ModuleType:
    return _compiled() if device.type == "cuda" and torch.cuda.is_available() else loops


@cache
def _compiled() -> ModuleType:
    """The Triton kernels, where they can be compiled: that takes a C compiler as well."""
    try:
        from fsr.kernels import compiled

        compiled.farthest(torch.eye(2, device="cuda"), torch.zeros(1, 2, device="cuda"), [1])
    except Exception as error:  # whatever Triton and the compiler raise
        log.warning("Triton cannot be used here, so that pruning takes longer: %s", error)
        return loops
    return compiled
