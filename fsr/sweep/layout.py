"""Where the visual tokens of an item lie on its picture, as a text that a column of Parquet holds.

Layouts that are one grid in raster order, which most are, are written as the grid alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import torch

from fsr.errors import InvalidInput
from fsr.tokens import Grid, Layout

CLOSE = 0.01  # pixels that a rectangle may be off the plain cut of its grid
LONGEST = 20_000_000  # characters


def packed(layout: Layout) -> str:
    """JSON: grids, and the tokens (frame, row, col, rect) where they are not the grids cut into equal cells."""
    record: dict[str, Any] = {"grids": [asdict(grid) for grid in layout.grids]}
    plain = _cut(layout.grids)
    if not _same(layout, plain):
        record |= {"frame": layout.frame.tolist(), "row": layout.row.tolist(), "col": layout.col.tolist()}
        if len(plain) != len(layout) or not torch.allclose(plain.rect, layout.rect, atol=CLOSE, equal_nan=True):
            record["rect"] = [[round(x, 2) for x in r] if math.isfinite(r[0]) else None for r in layout.rect.tolist()]
    return json.dumps(record, separators=(",", ":"))


def unpacked(text: str) -> Layout:
    """The layout again, rectangles to a hundredth of a pixel. Raises InvalidInput for a text that is none."""
    if len(text) > LONGEST:
        raise InvalidInput("the layout of the tokens is too long.")
    try:
        record = json.loads(text)
        grids = tuple(Grid(**{**grid, "seen": tuple(grid["seen"])}) for grid in record["grids"])
        _check(grids)
        plain = _cut(grids)
        if "row" not in record:
            return plain
        rect = torch.tensor([r or [math.nan] * 4 for r in record["rect"]]) if "rect" in record else plain.rect
        frame, row, col = (torch.tensor(record[name], dtype=torch.int64) for name in ("frame", "row", "col"))
        if not all(one.shape == (len(rect),) for one in (frame, row, col)) or rect.ndim != 2 or rect.shape[1] != 4:
            raise ValueError("lengths differ")
        if len(frame) == 0 or int(frame.min()) < 0 or int(frame.max()) >= len(grids):
            raise ValueError("no such frame")
    except (ValueError, TypeError, KeyError, OverflowError, RuntimeError) as error:
        raise InvalidInput("the layout of the tokens cannot be read.") from error
    return Layout(frame, row, col, rect.float(), grids)


def _check(grids: tuple[Grid, ...]) -> None:
    """Raises ValueError for grids that no picture has."""
    if not 1 <= len(grids) <= 1000 or sum(grid.rows * grid.cols for grid in grids) > 1_000_000:
        raise ValueError("too many")
    for grid in grids:
        whole = (grid.rows, grid.cols, grid.width, grid.height)
        if not all(isinstance(x, int) and 1 <= x <= 1_000_000 for x in whole):
            raise ValueError("no size")
        if len(grid.seen) != 4 or not all(math.isfinite(x) for x in grid.seen):
            raise ValueError("no rectangle")


def _cut(grids: tuple[Grid, ...]) -> Layout:
    """What each grid saw, cut into rows x cols equal rectangles in raster order, one grid after another."""
    frames, rows, cols, rects = [], [], [], []
    for number, grid in enumerate(grids):
        x0, y0, x1, y1 = grid.seen
        row = torch.arange(grid.rows).repeat_interleave(grid.cols)
        col = torch.arange(grid.cols).repeat(grid.rows)
        w, h = (x1 - x0) / grid.cols, (y1 - y0) / grid.rows
        rects.append(torch.stack([x0 + col * w, y0 + row * h, x0 + (col + 1) * w, y0 + (row + 1) * h], dim=1))
        frames.append(torch.full_like(row, number))
        rows.append(row)
        cols.append(col)
    return Layout(torch.cat(frames), torch.cat(rows), torch.cat(cols), torch.cat(rects).float(), grids)


def _same(one: Layout, other: Layout) -> bool:
    """Whether all tokens lie at the same places, to `CLOSE`."""
    if len(one) != len(other):
        return False
    places = ((one.frame, other.frame), (one.row, other.row), (one.col, other.col))
    return all(torch.equal(a, b) for a, b in places) and torch.allclose(one.rect, other.rect, atol=CLOSE)
