"""Figures for papers: fidelity curves, overlap of methods, contact sheet and token map, as PNG, SVG or PDF bytes.

Colours and scales are the page's, see `fsr.bench.look`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from app.cells import Cells, legend
from app.look import veil_for
from app.vectors import paint, paint_heat, show, sign
from fsr.bench.chart import Drawing, checked_format, fidelity_curves, wrapped
from fsr.bench.look import LINE, MUTED, TEXT, Scale, heat, mixed
from fsr.errors import InvalidInput
from fsr.pruners.reading import Reading, read_plan

__all__ = ["contact_sheet", "fidelity_curves", "iou_matrix", "token_map"]
SUNKEN = "#ebebe8"  # where two methods share no token; with all, they have the colour of text


@dataclass(frozen=True)
class Overlay:
    """One cell of a contact sheet. reading: None shows the bare picture. caption: e.g. budget and answer."""

    title: str
    reading: Reading | None
    caption: str = ""

    @staticmethod
    def of(trace: Mapping[str, Any], method: str, budget: int) -> Overlay:
        """A method of a trace at a budget, with its answer where the trace has one. Raises InvalidInput."""
        n = trace["tokens"]["n"]
        reading = read(trace, method, budget)
        answer = trace.get("answers", {}).get(f"{method}@{budget}")
        caption = f"{len(reading.kept)} of {n} tokens" + (f": {answer['text']}" if answer else "")
        return Overlay(trace["methods"][method]["label"], reading, caption)


def iou_matrix(labels: Sequence[str], values: Sequence[Sequence[float]], fmt: str = "png", title: str = "") -> bytes:
    """Intersection over union of what methods keep, in [0, 1], as a matrix with numbers in its cells.

    values[i][j] belongs to labels[i] and labels[j]. Raises InvalidInput for another format or a matrix of another size.
    """
    from matplotlib.colors import ListedColormap

    checked_format(fmt)
    count, matrix = len(labels), np.asarray(values, dtype=float)
    if count == 0 or matrix.shape != (count, count):
        raise InvalidInput(f"a matrix of {count} methods needs {count} rows of {count} numbers.")
    cell = 0.62 if count <= 8 else 0.44
    names = [wrapped(label, 1.1, lines=3) for label in labels]
    longest = max(len(part) for name in names for part in name.split("\n")) * 0.067
    lines = max(name.count("\n") + 1 for name in names)
    slanted = longest > cell
    left = longest + 0.25
    below = 0.71 * (longest + 0.13 * lines) + 0.2 if slanted else 0.14 * lines + 0.18
    width, side = left + count * cell + 0.95, count * cell
    heading = wrapped(title, width - 0.3, 9) if title else ""
    above = 0.17 * (heading.count("\n") + 1) + 0.2 if heading else 0.12
    height = below + side + above
    drawing = Drawing(width, height, fmt)
    with drawing as figure:
        axis = figure.add_axes((left / width, below / height, side / width, side / height))
        shades = ListedColormap([mixed(TEXT, k / 255, SUNKEN) for k in range(256)])
        image = axis.imshow(matrix, cmap=shades, vmin=0, vmax=1, aspect="equal")
        for i in range(count):
            for j in range(count):
                value = matrix[i, j]
                ink, text = ("white" if value > 0.55 else TEXT), "–" if math.isnan(value) else f"{value:.2f}"
                axis.text(j, i, text, ha="center", va="center", fontsize=8 if count <= 8 else 6.5, color=ink)
        rotation: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        axis.set_xticks(range(count), names, **rotation)
        axis.set_yticks(range(count), names)
        axis.tick_params(length=0, pad=4)
        axis.set_xticks(np.arange(0.5, count - 1), minor=True)
        axis.set_yticks(np.arange(0.5, count - 1), minor=True)
        axis.grid(which="minor", color="white", linewidth=1.5)
        axis.tick_params(which="minor", length=0)
        axis.spines[:].set_visible(False)
        bar = figure.colorbar(
            image, cax=figure.add_axes(((left + side + 0.15) / width, below / height, 0.11 / width, side / height))
        )
        bar.set_label("intersection over union")
        bar.outline.set_visible(False)
        if heading:
            figure.text(0.5, 1 - 0.08 / height, heading, ha="center", va="top", fontsize=9)
    return drawing.bytes


def contact_sheet(
    picture: Image.Image,
    trace: Mapping[str, Any],
    overlays: Sequence[Overlay],
    fmt: str = "png",
    frame: int = 0,
    title: str | None = None,
) -> bytes:
    """The picture once for every overlay, with its tokens by role and a caption below; at most four a row.

    trace: `Trace.to_dict()`, whose layout is used. title: default the question. Raises InvalidInput for another format,
    a frame that does not exist, or nothing to show.
    """
    checked_format(fmt)
    if not overlays:
        raise InvalidInput("a contact sheet needs at least one overlay.")
    grid, veil = Cells.of(trace, frame), veil_for(picture)
    columns = len(overlays) if len(overlays) <= 4 else math.ceil(len(overlays) / 2) if len(overlays) <= 8 else 4
    rows = math.ceil(len(overlays) / columns)
    pane = 6.6 / max(columns, 2)
    tall = pane * grid.height / grid.width
    heads = [wrapped(o.title, pane - 0.05, 8.5, 2) for o in overlays]
    captions = [wrapped(o.caption, pane - 0.05, 7.5, 4) for o in overlays]
    head = 0.16 * max(h.count("\n") + 1 for h in heads) + 0.06
    foot = 0.145 * max(c.count("\n") + 1 for c in captions) + 0.12
    width = columns * pane + (columns + 1) * 0.12
    heading = wrapped(trace["question"] if title is None else title, width - 0.4, 9)
    top = 0.17 * (heading.count("\n") + 1) + 0.14 if heading else 0.06
    height = top + rows * (head + tall + foot) + 0.28
    drawing = Drawing(width, height, fmt)
    with drawing as figure:
        if heading:
            figure.text(0.5, 1 - 0.08 / height, heading, ha="center", va="top", fontsize=9)
        for i, overlay in enumerate(overlays):
            left = 0.12 + (i % columns) * (pane + 0.12)
            y = height - top - (i // columns) * (head + tall + foot) - head - tall
            axis = figure.add_axes((left / width, y / height, pane / width, tall / height))
            show(axis, picture, grid)
            if overlay.reading is not None:
                paint(axis, grid, overlay.reading, pane * 72 / grid.width, veil)
            middle = (left + pane / 2) / width
            figure.text(middle, (y + tall + 0.05) / height, heads[i], ha="center", va="bottom", fontsize=8.5)
            figure.text(middle, (y - 0.05) / height, captions[i], ha="center", va="top", fontsize=7.5, color=MUTED)
        _legend(figure, overlays, veil)
    return drawing.bytes


def token_map(
    picture: Image.Image,
    trace: Mapping[str, Any],
    methods: Sequence[str],
    budget: int,
    fmt: str = "png",
    frame: int = 0,
    title: str | None = None,
) -> bytes:
    """By how many of these methods every token is kept at this budget, with a scale of whole numbers.

    Raises InvalidInput for another format, no or unknown methods, a budget outside 1..N or a frame that does not exist.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    checked_format(fmt)
    if not methods:
        raise InvalidInput("a token map needs at least one method.")
    grid = Cells.of(trace, frame)
    keeps = [read(trace, name, budget).kept for name in methods]
    times = [sum(i in kept for kept in keeps) for i in range(trace["tokens"]["n"])]
    side = 3.6
    tall = side * grid.height / grid.width
    names = ", ".join(trace["methods"][name]["label"] for name in methods)
    heading = wrapped(trace["question"] if title is None else title, side + 0.7, 9)
    below = wrapped(f"{budget} of {trace['tokens']['n']} tokens each: {names}", side + 0.7, 7.5, 5)
    top, foot = 0.17 * (heading.count("\n") + 1) + 0.16, 0.145 * (below.count("\n") + 1) + 0.16
    width, height = side + 1.0, top + tall + foot
    drawing = Drawing(width, height, fmt)
    with drawing as figure:
        count = len(methods)
        axis = figure.add_axes((0.12 / width, foot / height, side / width, tall / height))
        show(axis, picture, grid)
        paint_heat(axis, grid, times, Scale("linear", 0, count))
        shades = ListedColormap([heat(k / count) for k in range(count + 1)])
        bar = figure.colorbar(
            ScalarMappable(BoundaryNorm(np.arange(-0.5, count + 1), count + 1), shades),
            cax=figure.add_axes(((side + 0.24) / width, foot / height, 0.12 / width, tall / height)),
            ticks=range(0, count + 1, max(1, math.ceil(count / 10))),
        )
        bar.set_label("methods that keep the token")
        bar.minorticks_off()
        bar.ax.tick_params(length=0)
        bar.outline.set_edgecolor(LINE)
        figure.text(0.5, 1 - 0.08 / height, heading, ha="center", va="top", fontsize=9)
        figure.text(0.5, (foot - 0.08) / height, below, ha="center", va="top", fontsize=7.5, color=MUTED)
    return drawing.bytes


# -- one frame


def read(trace: Mapping[str, Any], method: str, budget: int) -> Reading:
    """A method of a trace at a budget. Raises InvalidInput for one that it has not."""
    if method not in trace["methods"]:
        raise InvalidInput(f"this trace has no method {method!r}; it has {', '.join(trace['methods'])}.")
    of = trace["methods"][method]
    reading = read_plan(of["plan"], trace["tokens"]["n"], budget)
    return replace(reading, never_encoded=of.get("facts", {}).get("n_not_encoded", 0) > 0)


def _legend(figure: Any, overlays: Sequence[Overlay], veil: str) -> None:
    names = legend([o.reading for o in overlays if o.reading is not None])
    if names:
        signs = [sign(name, veil) for name in names]
        figure.legend(
            signs, names, loc="lower center", ncols=len(names), frameon=False, handlelength=1.2, handleheight=1.2
        )
