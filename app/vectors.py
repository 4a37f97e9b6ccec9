"""One frame with its tokens as vectors on an axis of matplotlib, as the page's canvas draws it (static/paint.js): the
same veil, outlines, corners, rings and heat. Each part is a group with the name of its role in an SVG.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from app.cells import ANCHOR, BY_NAME, COLORS, DROPPED, MERGED, NAMES, UNENCODED, Box, Cells
from fsr.bench.look import CROSSED, HALO, HEAT_OPACITY, LINE, VEILED, Scale, heat, mixed
from fsr.pruners.reading import Reading
from fsr.tokens import Role

LARGEST_SIDE = 800  # pixels of a picture inside a figure
SCAN = COLORS[Role.SCAN]


def show(axis: Any, picture: Image.Image, grid: Cells, largest: int = LARGEST_SIDE) -> None:
    """The picture in the coordinates of the grid. largest: pixels of its longer side."""
    small = picture.convert("RGB")
    small.thumbnail((largest, largest))
    axis.imshow(small, extent=(0, grid.width, grid.height, 0), interpolation="lanczos", aspect="auto")
    axis.set(xlim=(0, grid.width), ylim=(grid.height, 0), xticks=[], yticks=[])
    axis.spines[:].set_color(LINE)


def paint(axis: Any, grid: Cells, reading: Reading, points: float, veil: str, veiled: bool = True) -> None:
    """Veil, outlines of kept tokens, dots of merged ones, rings of anchors. points: per pixel. veil: its colour.

    veiled: False over a heat layer, which takes the place of the veil. Nothing lies over a kept token but its outline.
    """
    of = partial(grid.of_role, reading)
    cell = grid.size * points
    if veiled:
        kept = [grid.boxes[i] for i in grid.boxes if reading.roles[i] != Role.DROPPED]
        _fill(axis, [grid.seen], veil, VEILED["dropped"], "dropped", holes=kept)
        _fill(axis, [grid.boxes[i] for i in of(Role.MERGED)], veil, VEILED["merged"], "merged")
    if reading.never_encoded:
        _crosses(axis, grid, of(Role.DROPPED), max(0.3, 0.04 * cell))
    _fill(axis, [(0, 0, grid.width, grid.height)], veil, VEILED["unseen"], "unseen", holes=[grid.seen])
    for role, color in COLORS.items():
        _outline(axis, grid, reading, role, color, points)
    radius = max(1.0, 0.09 * cell)
    dots = [grid.middle(i) for i in of(Role.MERGED)]
    if dots:
        size = (2 * radius) ** 2
        axis.scatter(
            *zip(*dots, strict=True), s=size, color=SCAN, edgecolors=HALO, linewidths=0.3 * radius, gid="merged"
        )
    rings = {i: many for i, many in reading.absorbed.items() if i in grid.boxes}
    if rings:
        widths = np.minimum(0.2, 0.035 + 0.035 * np.array(list(rings.values()))) * cell
        middles = zip(*map(grid.middle, rings), strict=True)
        x, y = map(list, middles)
        axis.scatter(x, y, s=(0.48 * cell + widths) ** 2, color=SCAN, linewidths=0, gid="anchors")
        axis.scatter(x, y, s=(0.48 * cell) ** 2, facecolors=SCAN, edgecolors=HALO, linewidths=widths, gid="anchors")


def paint_heat(axis: Any, grid: Cells, values: Sequence[float], scale: Scale) -> None:
    """A colour for every token's value. values: one a token of the trace."""
    shades: dict[str, list[Box]] = {}
    for i, box in grid.boxes.items():
        shades.setdefault(heat(scale.at(values[i])), []).append(box)
    for color, boxes in shades.items():
        _fill(axis, boxes, color, HEAT_OPACITY, "heat")


def _crosses(axis: Any, grid: Cells, tokens: Sequence[int], thick: float) -> None:
    """What never entered the vision tower, crossed out. thick: points."""
    from matplotlib.collections import LineCollection

    lines = [line for i in tokens for line in grid.cross(i)]
    axis.add_collection(LineCollection(lines, colors=CROSSED, linewidths=thick, gid=UNENCODED))


def _outline(axis: Any, grid: Cells, reading: Reading, role: Role, color: str, points: float) -> None:
    """A thick line around a group of one role, a thin one inside it, on white; Focus has solid corners as well."""
    own = grid.of_role(reading, role)
    cell, hair = grid.size, 0.5 / points
    thick = max(1.0 / points, cell * (0.1 if role == Role.FOCUS else 0.065))
    name = NAMES[role].lower()
    for width, inside, ink in ((thick + hair, 0.0, HALO), (thick, hair, color)):
        bars = [bar for i in own for bar in _bars(grid.boxes[i], grid.borders(reading, i), width, inside)]
        _fill(axis, bars, ink, 1, name)
    if role == Role.FOCUS and own:
        from matplotlib.collections import PolyCollection

        size = 0.36 * cell
        corners = [[(x, y), (x + size, y), (x, y + size)] for x, y, _, _ in (grid.boxes[i] for i in own)]
        axis.add_collection(PolyCollection(corners, facecolors=color, linewidths=0, gid=name))


def _bars(box: Box, borders: Iterable[bool], width: float, inside: float) -> list[Box]:
    """The sides of a token as boxes within it: `width` towards other roles, `inside` towards its own, 0 for none."""
    x0, y0, x1, y1 = box
    left, above, right, below = (width if side else inside for side in borders)
    sides = [(x0, y0, x0 + left, y1), (x0, y0, x1, y0 + above), (x1 - right, y0, x1, y1), (x0, y1 - below, x1, y1)]
    return [side for side, wide in zip(sides, (left, above, right, below), strict=True) if wide]


def _fill(axis: Any, boxes: Sequence[Box], color: str, opacity: float, name: str, holes: Sequence[Box] = ()) -> None:
    """Boxes as one path, so that no seams show between neighbours; holes are left out of it."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not boxes:
        return
    rounds = [corners(box) for box in boxes] + [corners(hole)[::-1] for hole in holes]
    vertices = [point for ring in rounds for point in (*ring, ring[0])]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(rounds)
    path = Path(np.array(vertices), codes)
    axis.add_patch(PathPatch(path, facecolor=color, alpha=opacity, linewidth=0, gid=name))


def corners(box: Box) -> list[tuple[float, float]]:
    x0, y0, x1, y1 = box
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def sign(name: str, veil: str) -> Any:
    """What stands before a name of `app.cells.legend`, for matplotlib's legend. veil: its colour on this picture."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dot = partial(Line2D, [], [], linestyle="none", marker="o")
    if name == ANCHOR:
        frame = Patch(facecolor="none", edgecolor=SCAN, linewidth=1.2)
        return frame, dot(color=SCAN, markeredgecolor=HALO, markeredgewidth=1.2, markersize=5)
    if name == MERGED:
        ground = Patch(facecolor=mixed(veil, VEILED["merged"]), edgecolor=LINE, linewidth=0.6)
        return ground, dot(color=SCAN, markeredgecolor=HALO, markeredgewidth=0.5, markersize=4)
    if name in (DROPPED, UNENCODED):
        ground = Patch(facecolor=mixed(veil, VEILED["dropped"]), edgecolor=LINE, linewidth=0.6)
        return ground if name == DROPPED else (ground, dot(color=CROSSED, marker="x", markersize=6))
    frame = Patch(facecolor="none", edgecolor=BY_NAME[name], linewidth=1.4)
    if name != NAMES[Role.FOCUS]:
        return frame
    return frame, Line2D(
        [], [], linestyle="none", marker=[(-5, 5), (1, 5), (-5, -1)], color=BY_NAME[name], markersize=6
    )
