"""Stage 3, Refine: dropped tokens are averaged into scan tokens (Tong et al., arXiv 2602.05809, Eq. 8-9)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fsr.focus import SLACK
from fsr.similarity import Similarities

TOGETHER = 1024  # tokens that are averaged at a time


def nearest_anchor(similarities: Similarities, scan: Tensor) -> tuple[Tensor, Tensor]:
    """j*(i) = argmax over the scan tokens j of cos(v_i, v_j) (Eq. 8), ties to the lower index.

    scan: (|S|,) int64, at least one token. Returns (N,) int64 token indices and (N,) float32 similarities in steps.
    """
    scan = scan.sort().values.to(similarities.unit.device)
    best, before = None, 0
    for rows in similarities.blocks(scan.tolist()):
        nearest, at = rows.max(dim=0)
        if best is None:
            best, place = nearest, at
        else:
            closer = nearest > best
            best, place = torch.where(closer, nearest, best), torch.where(closer, at + before, place)
        before += len(rows)
    assert best is not None
    return scan[place], best


def merge_count(kappa: float, n_scan: int, n_dropped: int) -> int:
    """M = floor(kappa |S|), at most the number of dropped tokens."""
    return min(math.floor(kappa * n_scan + SLACK), n_dropped)


def merged_tokens(similarity: Tensor, dropped: Tensor, count: int) -> Tensor:
    """(M,) int64, ascending: the `count` dropped tokens closest to their anchor, ties to the lower index."""
    order = similarity[dropped].sort(descending=True, stable=True).indices
    return dropped[order[:count]].sort().values


def group_weights(phi: Tensor, merged: Tensor, anchor: Tensor) -> Tensor:
    """(N,) float32: the share phi_i / (phi_j + sum phi_i) with which a token enters its group; shares sum to 1.

    0 outside every group. Where all phi of a group are 0 the anchor keeps everything (Eq. 9 in closed form).
    """
    total = torch.zeros_like(phi)
    anchors = anchor[merged].unique()
    total[anchors] = phi[anchors]
    total.index_add_(0, anchor[merged], phi[merged])
    weight = torch.zeros_like(phi)
    some = torch.where(total > 0, total, torch.ones_like(total))
    weight[merged] = phi[merged] / some[anchor[merged]]
    weight[anchors] = torch.where(total[anchors] > 0, phi[anchors] / some[anchors], torch.ones_like(phi[anchors]))
    return weight


def merge(embeddings: Tensor, kept: Tensor, merged: Tensor, anchor: Tensor, weight: Tensor) -> Tensor:
    """(K, D), in the order of `kept` (ascending): v_j <- sum of weight_i v_i over the group of anchor j (Eq. 9).

    embeddings: (N, D). Sums are taken in float32, in ascending order of i; other kept tokens are returned as they were.
    """
    out = embeddings[kept]
    if not len(merged):
        return out
    anchors, group = anchor[merged].unique(return_inverse=True)
    mean = weight[anchors, None] * embeddings[anchors].float()
    for some, theirs in zip(merged.split(TOGETHER), group.split(TOGETHER), strict=True):
        parts = weight[some, None] * embeddings[some].float()
        if embeddings.device.type == "cpu":
            mean.index_add_(0, theirs, parts)
        else:  # the same sums without atomics, whose order changes from run to run
            mean += torch.nn.functional.one_hot(theirs, len(anchors)).T.float() @ parts
    out[torch.searchsorted(kept, anchors)] = mean.to(out.dtype)
    return out
