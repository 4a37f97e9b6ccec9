"""Stage 2, Scan: conditional context sampling (Tong et al., arXiv 2602.05809, Eq. 5-7).

Farthest-point sampling in d = 1 - cos with the focus set F as fixed centres. Greedy needs the similarity rows of the
tokens it picks and no others, so on the CPU rows are computed in batches for the tokens that are farthest away just
now: most of those are picked soon. What is computed never depends on how many tokens are wanted: so the numbers behind
a small budget are those behind a large one, to the last bit, and its order is the beginning of the other. Where all
rows are there, on a GPU, the loop is a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fsr.host import hand
from fsr.kernels import farthest
from fsr.similarity import STEPS, TAKEN, AllSimilarities, Similarities, round_up

FIRST_BATCH, LARGEST_BATCH = 32, 64


def scan_order(
    similarities: Similarities, focus: Tensor | Sequence[int], count: int, closed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The `count` tokens that Scan adds to `focus`, in the order in which it adds them (Eq. 5).

    Ties go to the lower index; with no focus token the first pick is token 0. Returns (count,) int64 and, as a tensor
    of one number on the same device, the similarity in steps of the token that is then farthest from all that are kept:
    `chord` makes the covering radius of it, max_v min_u d(v, u), which is at most twice the best possible one given F
    (Eq. 6-7; the bound needs a metric, which the chord sqrt(2 (1 - cos)) is and 1 - cos is not).
    closed: tokens that are neither centres nor picked, nor covered.
    """
    nearest = _nearest(similarities, focus)
    if closed is not None:
        nearest.index_fill_(0, hand(closed, nearest.device), TAKEN)
    if isinstance(similarities, AllSimilarities):
        order = farthest(similarities.matrix(), nearest[None], [count])[0] if count else nearest.new_empty(0).long()
        return order, nearest.min()
    return _on_demand(similarities, nearest, count), nearest.min()


def scan_orders(
    similarities: Similarities, focus: Tensor | Sequence[int], sizes: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """`scan_order` for several (focus tokens, count): each starts with the first so many tokens of `focus`."""
    if not isinstance(similarities, AllSimilarities) or not any(count for _, count in sizes):
        return [scan_order(similarities, focus[:size], count)[0] for size, count in sizes]
    nearest = torch.stack([_nearest(similarities, focus[:size]) for size, _ in sizes])
    order = farthest(similarities.matrix(), nearest, [count for _, count in sizes])
    return [one[:count] for one, (_, count) in zip(order, sizes, strict=True)]


def _nearest(similarities: Similarities, focus: Tensor | Sequence[int]) -> Tensor:
    """(N,) float32: of every token the similarity to the nearest focus token, TAKEN for those themselves."""
    nearest = torch.full((len(similarities),), -TAKEN, device=similarities.unit.device)
    if len(focus):
        for rows in similarities.blocks(focus):
            nearest = torch.maximum(nearest, rows.amax(dim=0))
        nearest.index_fill_(0, hand(torch.as_tensor(focus), nearest.device), TAKEN)
    return nearest


def _on_demand(similarities: Similarities, nearest: Tensor, count: int) -> Tensor:
    """The loop of `scan_order` that computes what it needs; `nearest` is brought up to date."""
    cells = nearest.numpy() if nearest.device.type == "cpu" else nearest  # the same memory, with cheaper access
    order: list[int] = []
    for _ in range(count):
        i = int(cells.argmin())
        row = similarities.get(i)
        if row is None:
            similarities.compute(_farthest(nearest, similarities, i))
            row = similarities.get(i)
        torch.maximum(nearest, row, out=nearest)  # type: ignore[arg-type]
        cells[i] = TAKEN
        order.append(i)
    return torch.tensor(order, dtype=torch.int64, device=nearest.device)


def chord(steps: float) -> float:
    """The chord sqrt(2 (1 - cos)) of a similarity in steps; 0 where there is nothing left to cover."""
    return math.sqrt(max(0.0, 2 * (1 - steps / STEPS)))


def _farthest(nearest: Tensor, similarities: Similarities, now: int) -> list[int]:
    """The token needed now and those next in distance whose rows are not computed yet."""
    size = min(LARGEST_BATCH, max(FIRST_BATCH, round_up(similarities.computed // 4)))
    open_ = nearest.masked_fill(similarities.settled, TAKEN)
    open_[similarities.first[now]] = -2 * TAKEN
    size = min(size, int((open_ < TAKEN).sum()))
    return open_.topk(size, largest=False).indices.tolist()
