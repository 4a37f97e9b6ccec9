"""Figures of what the compare view shows, as bytes in PNG, SVG or PDF. Everything in a request comes from a visitor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from PIL import Image

from app.compare import MAX_RUNS
from fsr.bench.chart import FORMATS
from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY
from fsr.trace import Trace
from fsr.trace.page import picture_of, to_html, to_json

NAMES = {
    "picture": "picture",
    "page": "page",
    "record": "view",
    "sheet": "contact-sheet",
    "map": "token-map",
    "overlap": "overlap",
    "curves": "fidelity",
}
VIEWS = {"page": "html", "record": "json"}  # saved views, each in a format of its own
MAX_POINTS = 64


def file_name(kind: Any, fmt: Any) -> str:
    """What the download is called. Raises InvalidInput for another figure or format."""
    if kind not in NAMES or fmt not in ((VIEWS[kind],) if kind in VIEWS else FORMATS):
        figures = ", ".join(name for name in NAMES if name not in VIEWS)
        raise InvalidInput(
            f"a figure is one of {figures} as {', '.join(FORMATS)}, the page as html, the record as json."
        )
    return f"fsr-{NAMES[kind]}.{fmt}"


def figure(
    kind: str, fmt: str, sent: dict[str, Any], pictures: Callable[[dict[str, Any]], Sequence[Image.Image]]
) -> bytes:
    """The bytes. Each kind needs: picture: `trace` as JSON text, one run, [method, budget], `layer`, `frame`, `tile`
    and `link`. page, record: `trace` and one run, see `fsr.trace.page`. sheet, map: `trace`, `runs` and `frame`.
    overlap: `runs` and `values`, their matrix. curves: `points` with method, budget, kl and probability, the `order` of
    the methods, and the `question`.

    pictures: gives one for every frame of a trace. Raises InvalidInput.
    """
    from app import figures  # matplotlib takes a second, and few visitors save figures
    from app.picture_figure import picture_figure

    file_name(kind, fmt)
    if kind == "curves":
        return figures.fidelity_curves(_curves(sent.get("points"), sent.get("order")), fmt, _labels(), _question(sent))
    runs = _runs(sent.get("runs"))
    if kind == "overlap":
        return figures.iou_matrix(_names(runs), _matrix(sent.get("values"), len(runs)), fmt, _question(sent))
    record = sent.get("trace")
    if not isinstance(record, str):
        raise InvalidInput("there is nothing to draw yet; ask first.")
    trace = Trace.from_json(record).to_dict()
    frame = sent.get("frame", 0)
    if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < len(trace["frames"]):
        raise InvalidInput(f"the frame of a figure is a whole number from 0 to {len(trace['frames']) - 1}.")
    shown = pictures(trace)
    if len(shown) != len(trace["frames"]):
        raise InvalidInput("the frames on the page are no longer those of its trace; ask again.")
    if kind in VIEWS:
        return view_of(kind, trace, shown, *runs[0], scene=sent.get("scene", ""))
    if kind == "picture":
        layer, tile, link = str(sent.get("layer", "roles"))[:40], sent.get("tile", -1), str(sent.get("link", ""))[:2000]
        tile = tile if isinstance(tile, int) and not isinstance(tile, bool) else -1
        return picture_figure(shown[frame], trace, *runs[0], fmt, frame, layer, tile, link)
    if kind == "map":
        budgets = {budget for _, budget in runs}
        if len(budgets) > 1:
            raise InvalidInput("the map of how many keep a token needs several methods at one budget.")
        return figures.token_map(shown[frame], trace, [name for name, _ in runs], budgets.pop(), fmt, frame)
    overlays = [figures.Overlay(f"All {trace['tokens']['n']} tokens", None, _text(trace, "full"))]
    overlays += [figures.Overlay.of(trace, name, budget) for name, budget in runs]
    return figures.contact_sheet(shown[frame], trace, overlays, fmt, frame)


def view_of(
    kind: str, trace: dict[str, Any], shown: Sequence[Image.Image], method: str, budget: int, scene: str = ""
) -> bytes:
    """A saved view. shown: one picture for every frame of the trace; the parts of one picture share it. scene: of which
    it was drawn."""
    of = dict(zip(picture_of(trace["frames"]), shown, strict=True))
    written = to_html if kind == "page" else to_json
    today = date.today().isoformat()
    return written(Trace.from_json(trace), [of[i] for i in sorted(of)], method, budget, today, scene).encode()


def _runs(value: Any) -> list[tuple[str, int]]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_RUNS:
        raise InvalidInput(f"a figure shows 1 to {MAX_RUNS} methods.")
    runs = []
    for run in value:
        known = isinstance(run, list) and len(run) == 2 and isinstance(run[0], str) and run[0] in REGISTRY
        if not known or isinstance(run[1], bool) or not isinstance(run[1], int):
            raise InvalidInput("every run of a figure is a method and a whole number of tokens.")
        runs.append((run[0], run[1]))
    return runs


def _names(runs: list[tuple[str, int]]) -> list[str]:
    one = len({name for name, _ in runs}) == 1
    return [f"{REGISTRY[name].label} {budget}" if one else REGISTRY[name].label for name, budget in runs]


def _matrix(value: Any, n: int) -> list[list[float]]:
    rows = value if isinstance(value, list) else []
    if len(rows) != n or any(not isinstance(row, list) or len(row) != n for row in rows):
        raise InvalidInput(f"the overlap of {n} methods is {n} rows of {n} numbers.")
    return [[_number(x, 0, 1) for x in row] for row in rows]


def _curves(value: Any, order: Any = None) -> dict[str, dict[str, dict[str, float]]]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_POINTS:
        raise InvalidInput(f"there are no curves to save yet; draw them first (at most {MAX_POINTS} points).")
    named = [name for name in order if isinstance(name, str) and name in REGISTRY] if isinstance(order, list) else []
    methods: dict[str, dict[str, dict[str, float]]] = {name: {} for name in named}
    for point in value:
        if not isinstance(point, dict) or point.get("method") not in REGISTRY:
            raise InvalidInput("every point of a curve names a method.")
        at = str(int(_number(point.get("budget"), 1, 1e6)))
        measures = {"kl": _number(point.get("kl"), 0, 1e6), "probability": _number(point.get("probability"), 0, 1.001)}
        methods.setdefault(str(point["method"]), {})[at] = measures
    return methods


def _number(value: Any, low: float, high: float) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        raise InvalidInput(f"a number of a figure must be from {low:g} to {high:g}, not {str(value)[:40]!r}.")
    return float(value)


def _labels() -> dict[str, str]:
    return {name: kind.label for name, kind in REGISTRY.items()}


def _question(sent: dict[str, Any]) -> str:
    return str(sent.get("question") or "")[:300]


def _text(trace: dict[str, Any], key: str) -> str:
    return trace["answers"][key]["text"] if key in trace["answers"] else ""
