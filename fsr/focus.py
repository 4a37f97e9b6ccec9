"""Stage 1, Focus: local evidence (Tong et al., arXiv 2602.05809, Eq. 1-4).

s: saliency, r: relevance, phi: priority, Z: the sum of phi, K_F: how many tokens hold the share rho of Z.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SLACK = 1e-9  # so that 0.9 of ten equal tokens is nine, however 0.9 is rounded


def min_max(score: Tensor) -> Tensor:
    """(N,) -> (N,) float32 in [0, 1]. A constant score says nothing and becomes all ones."""
    score = score.float()
    low, high = score.min(), score.max()
    return torch.where(low == high, 1.0, (score - low) / (high - low))


def priority(saliency: Tensor, relevance: Tensor | None, alpha: float, beta: float) -> Tensor:
    """phi = r^alpha * s^beta (Eq. 3). saliency, relevance: (N,), both from `min_max`; relevance None counts as ones."""
    phi = saliency**beta
    return phi if relevance is None else relevance**alpha * phi


def focus_order(phi: Tensor, saliency: Tensor) -> Tensor:
    """pi: (N,) int64, tokens by phi, highest first, ties to the lower index. Where phi is 0 everywhere, by saliency."""
    key = phi if bool((phi > 0).any()) else saliency
    return key.sort(descending=True, stable=True).indices


def focus_count(phi: Tensor, rho: float) -> int:
    """K_F = min{k : sum of the k highest phi >= rho Z} (Eq. 4), at least 1, in 1..N. Sums are taken in float64."""
    mass = phi.cpu().double().sort(descending=True).values.cumsum(0)
    return int((mass < rho * mass[-1] * (1 - SLACK)).sum()) + 1 if mass[-1] > 0 else 1


def capped_count(k_focus: int, focus_cap: float, budget: int) -> int:
    """|F| = min(K_F, ceil(focus_cap * K))."""
    return min(k_focus, math.ceil(focus_cap * budget - SLACK))
