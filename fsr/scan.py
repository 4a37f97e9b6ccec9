"""Stage 2, Scan: conditional context sampling (Tong et al., arXiv 2602.05809, Eq. 5-7).

Farthest-point sampling in d = 1 - cos with the focus set F as fixed centres. Greedy needs the similarity rows of the
tokens it picks and no others, so rows are computed in batches for the tokens that are farthest away just now: most of
those are picked soon. What is computed never depends on how many tokens are wanted: so the numbers behind a small
budget are those behind a large one, to the last bit, and its order is the beginning of the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fsr.similarity import STEPS, Similarities, round_up

FIRST_BATCH, LARGEST_BATCH = 32, 128
TAKEN = float(2**23)  # above every similarity: a token that is kept is never the farthest


def scan_order(similarities: Similarities, focus: Sequence[int], count: int) -> tuple[list[int], float]:
    """The `count` tokens that Scan adds to `focus`, in the order in which it adds them (Eq. 5).

    Ties go to the lower index; with no focus token the first pick is token 0. Returns the tokens and the covering
    radius they leave, max_v min_u d(v, u) over all kept u, as a chord, sqrt(2 (1 - cos)): at most twice the best
    possible one given F (Eq. 6-7; the bound needs a metric, which the chord is and 1 - cos is not).
    """
    nearest = torch.full((len(similarities),), -TAKEN, device=similarities.unit.device)  # max over kept u of cos(v, u)
    if len(focus):
        for rows in similarities.blocks(focus):
            nearest = torch.maximum(nearest, rows.amax(dim=0))
        nearest[torch.as_tensor(focus, device=nearest.device)] = TAKEN
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
    return order, chord(float(cells.min()))


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
