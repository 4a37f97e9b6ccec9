"""One picture with its tokens or a heat layer for slides and papers: tokens, scale, legend and words are vectors and
text, the picture alone is pixels. As static/save/picture.js draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from app.cells import DROPPED, Cells, legend
from app.figures import read
from app.look import veil_for
from app.overlay import counts
from app.vectors import paint, paint_heat, show, sign
from fsr.bench.chart import Drawing, checked_format, wrapped
from fsr.bench.look import MUTED, SCALES, TEXT, Scale, heat
from fsr.errors import InvalidInput

LAYERS = {"saliency": "Saliency s", "relevance": "Relevance r", "priority": "Priority φ"}
WIDTH = 6.6  # inches
LARGEST_SIDE = 1400  # pixels of the picture inside


def picture_figure(
    picture: Image.Image,
    trace: Mapping[str, Any],
    method: str,
    budget: int,
    fmt: str = "svg",
    frame: int = 0,
    layer: str = "roles",
    tile: int = -1,
    link: str = "",
) -> bytes:
    """The bytes of the figure. trace: `Trace.to_dict()`. layer: "roles", or a score of the trace. tile: of a mosaic
    the one that is shown, -1 for all. link: an address that the file says it is from.

    Raises InvalidInput for another format, layer, method or budget than there are.
    """
    checked_format(fmt)
    if layer != "roles" and (layer not in LAYERS or layer not in trace["scores"]):
        known = ", ".join(["roles", *(name for name in LAYERS if name in trace["scores"])])
        raise InvalidInput(f"the layer must be one of {known}, not {str(layer)[:40]!r}.")
    reading = read(trace, method, budget)
    grid, window = _window(Cells.of(trace, frame), trace, tile)
    words = _words(trace, method, reading)
    scale = Scale.of(trace["scores"][layer], SCALES[layer]) if layer != "roles" else None
    lines = [(wrapped(text, WIDTH - 0.3, 8.5, 3), ink) for text, ink in words]
    veil = veil_for(picture)
    x0, y0, x1, y1 = window
    tall = (WIDTH - 0.24) * (y1 - y0) / (x1 - x0)
    above, each = 0.12, 0.165
    below = (0.34 if scale else 0.0) + 0.34 + sum(each * (1 + text.count("\n")) + 0.05 for text, _ in lines) + 0.1
    height = above + tall + below
    drawing = Drawing(WIDTH, height, fmt, text=True, words=settings_of(trace, method, reading.budget, layer, link))
    with drawing as figure:
        axis = figure.add_axes((0.12 / WIDTH, below / height, 1 - 0.24 / WIDTH, tall / height))
        show(axis, picture, grid, LARGEST_SIDE)
        axis.set(xlim=(x0, x1), ylim=(y1, y0))
        if scale:
            paint_heat(axis, grid, trace["scores"][layer], scale)
        points = (WIDTH - 0.24) * 72 / (x1 - x0)
        paint(axis, grid, reading, points, veil, veiled=scale is None)
        y = below - 0.1
        if scale:
            _scale(figure, scale, layer, y, height)
            y -= 0.34
        names = [name for name in legend([reading]) if not (scale and name == DROPPED)]
        signs = [sign(name, veil) for name in names]
        at = (0.12 / WIDTH, y / height)
        box = figure.legend(
            signs,
            names,
            loc="upper left",
            bbox_to_anchor=at,
            ncols=6,
            frameon=False,
            handlelength=1.2,
            handleheight=1.2,
        )
        box.set_gid("legend")
        y -= 0.34
        for text, ink in lines:
            figure.text(0.16 / WIDTH, y / height, text, ha="left", va="top", fontsize=8.5, **ink)
            y -= each * (1 + text.count("\n")) + 0.05
    return drawing.bytes


def settings_of(
    trace: Mapping[str, Any], method: str, budget: int, layer: str = "roles", link: str = ""
) -> dict[str, str]:
    """What a file says of itself: question, model, method, parameters, budget, layer, address. All in a few words."""
    found = {
        "Software": "FSR Explorer",
        "Question": trace["question"],
        "Model": trace["model"]["title"],
        "Method": trace["methods"][method]["label"],
        "Parameters": parameters_of(trace, method),
        "Budget": f"{budget} of {trace['tokens']['n']} visual tokens",
        "Layer": LAYERS.get(layer, ""),
        "Source": link,
    }
    return {name: " ".join(str(text).split())[:600] for name, text in found.items() if text}


def parameters_of(trace: Mapping[str, Any], method: str) -> str:
    """ "alpha 3, beta 1" of a method; what is unset is left out."""
    known = trace["methods"][method].get("parameters", {})
    said = {name: f"{v:.3g}" if isinstance(v, float) else str(v) for name, v in known.items() if v is not None}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in said.items())


def _words(trace: Mapping[str, Any], method: str, reading: Any) -> list[tuple[str, dict[str, Any]]]:
    """The lines below the picture, with how each is written."""
    n, plain = trace["tokens"]["n"], {"color": TEXT}
    found = counts(reading, range(n))
    split = ", ".join(f"{many} {role.name.lower()}" for role, many in sorted(found.items(), reverse=True) if many)
    lines = [(f"“{trace['question']}”", {"weight": "bold"})]
    lines += [(f"{trace['methods'][method]['label']}, {reading.budget} of {n} visual tokens: {split}", plain)]
    for key, name in (("full", f"All {n}"), (f"{method}@{reading.budget}", f"{reading.budget} tokens")):
        if key in trace["answers"]:
            lines.append((f"{name}: {trace['answers'][key]['text']}", plain))
    about = " · ".join(filter(None, (trace["model"]["title"], parameters_of(trace, method))))
    return [*lines, (about, {"color": MUTED})]


def _scale(figure: Any, scale: Scale, layer: str, y: float, height: float) -> None:
    """The layer's name and its colours, with the values at both ends."""
    axis = figure.add_axes((2.9 / WIDTH, (y - 0.2) / height, 2.4 / WIDTH, 0.12 / height))
    axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
    axis.spines[:].set_visible(False)
    for i in range(64):
        axis.axvspan(i / 64, min(1, (i + 1.5) / 64), color=heat((i + 0.5) / 64), linewidth=0)
    kind = "logarithmic" if scale.kind == "log" else "linear"
    middle = {"va": "center", "fontsize": 8.5}
    figure.text(0.16 / WIDTH, (y - 0.14) / height, f"{LAYERS[layer]}, {kind}", ha="left", **middle)
    low = f"{'≤ ' if scale.below else ''}{scale.low:.3g}"
    figure.text(2.84 / WIDTH, (y - 0.14) / height, low, ha="right", color=MUTED, **middle)
    figure.text(5.36 / WIDTH, (y - 0.14) / height, f"{scale.high:.3g}", ha="left", color=MUTED, **middle)


def _window(grid: Cells, trace: Mapping[str, Any], tile: int) -> tuple[Cells, tuple[float, float, float, float]]:
    """The tokens of a tile and what they cover of the picture; all of both where there is no such tile."""
    tiles = trace["tokens"].get("tile")
    own = {i: box for i, box in grid.boxes.items() if tiles and tile >= 0 and tiles[i] == tile}
    if not own:
        return grid, (0, 0, grid.width, grid.height)
    left, top, right, bottom = zip(*own.values(), strict=True)
    window = max(0, min(left)), max(0, min(top)), min(grid.width, max(right)), min(grid.height, max(bottom))
    return replace(grid, boxes=own, at={where: i for where, i in grid.at.items() if i in own}), window
