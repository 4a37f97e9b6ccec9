"""Stage 3, Refine: dropped tokens are averaged into scan tokens (Tong et al., arXiv 2602.05809, Eq. 8-9)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fsr.focus import SLACK
from fsr.host import hand
from fsr.similarity import Similarities, exact_products

TOGETHER = 1024  # tokens that are averaged at a time


def nearest_anchor(similarities: Similarities, scan: Tensor) -> tuple[Tensor, Tensor]:
    """j*(i) = argmax over the scan tokens j of cos(v_i, v_j) (Eq. 8), ties to the lower index.

    scan: (|S|,) int64, at least one token. Returns (N,) int64 token indices and (N,) float32 similarities in steps.
    """
    scan = hand(scan, similarities.unit.device).sort().values
    best, before = None, 0
    for rows in similarities.blocks(scan):
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


def merged_tokens(similarity: Tensor, kept: Tensor, count: int) -> Tensor:
    """(M,) int64, ascending: the `count` dropped tokens closest to their anchor, ties to the lower index.

    similarity: (N,) float32. kept: (K,) int64, the tokens that are not dropped; count is at most N - K.
    """
    order = similarity.index_fill(0, kept, -math.inf).sort(descending=True, stable=True).indices
    return order[:count].sort().values


def group_weights(phi: Tensor, merged: Tensor, anchor: Tensor) -> Tensor:
    """(N,) float32: the share phi_i / (phi_j + sum phi_i) with which a token enters its group; shares sum to 1.

    phi: (N,) float32. merged: (M,) int64, anchor: (N,) int64. 0 outside every group. Where all phi of a group are 0 the
    anchor keeps everything (Eq. 9 in closed form). Sums are taken in float64.
    """
    to, n = anchor[merged], len(phi)
    is_anchor = torch.zeros(n, dtype=torch.bool, device=phi.device).index_fill_(0, to, True)
    own = torch.where(is_anchor, phi, 0).double()
    total = own.index_add(0, to, phi[merged].double())
    share = torch.where(is_anchor, torch.where(total > 0, own / total, 1.0), 0.0)
    of_group = total[to]
    share.index_put_((merged,), torch.where(of_group > 0, phi[merged] / of_group, 0.0))
    return share.float()


def merge(embeddings: Tensor, kept: Tensor, merged: Tensor, anchor: Tensor, weight: Tensor) -> Tensor:
    """(K, D), in the order of `kept` (ascending): v_j <- sum of weight_i v_i over the group of anchor j (Eq. 9).

    embeddings: (N, D). Sums are taken in float32; other kept tokens are returned as they were.
    """
    out = embeddings[kept]
    if not len(merged):
        return out
    if embeddings.device.type != "cpu":
        return _merged_at_once(embeddings, out, kept, merged, anchor, weight)
    anchors, group = anchor[merged].unique(return_inverse=True)
    mean = weight[anchors, None] * embeddings[anchors].float()
    for some, theirs in zip(merged.split(TOGETHER), group.split(TOGETHER), strict=True):
        mean.index_add_(0, theirs, weight[some, None] * embeddings[some].float())
    out[torch.searchsorted(kept, anchors)] = mean.to(out.dtype)
    return out


def _merged_at_once(
    embeddings: Tensor, out: Tensor, kept: Tensor, merged: Tensor, anchor: Tensor, weight: Tensor
) -> Tensor:
    """`merge` as products: no question of how many anchors there are, and no atomics, whose order changes."""
    place = torch.searchsorted(kept, anchor[merged])
    mean = weight[kept, None] * out.float()
    with exact_products():
        for some, theirs in zip(merged.split(TOGETHER), place.split(TOGETHER), strict=True):
            share = weight.new_zeros(len(kept), len(some))
            share[theirs, torch.arange(len(some), device=share.device)] = weight[some]
            mean += share @ embeddings[some].float()
    is_anchor = torch.zeros(len(kept), dtype=torch.bool, device=out.device).index_fill_(0, place, True)
    return torch.where(is_anchor[:, None], mean.to(out.dtype), out)
