"""A figure of a question that was asked over HTTP: what the page's Save menu gives, without the page."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

from PIL import Image

from app.clips import Film
from app.compare import compare, overlap, requests_of
from app.curves import curves
from app.exporting import NAMES, VIEWS, figure, file_name
from app.pictures import Picture
from app.request import Request
from app.service import Service
from fsr.errors import InvalidInput
from fsr.trace import shown_frames


def fidelity(service: Service, asked: Request, methods: Any) -> dict[str, Any]:
    """Points of the methods' curves, see `app.curves.Step`, and why a method has none at a budget. Raises FsrError."""
    requests = requests_of(asked, methods, [1], least=1)
    points: list[dict[str, Any]] = []
    problems: dict[str, str] = {}
    for step in curves(service, requests, threading.Event()):
        if step.point is not None:
            points.append(step.point)
        if step.problem:
            problems[step.method] = step.problem
    return {"question": asked.question.strip(), "points": points, "problems": problems}


def drawn(
    service: Service,
    asked: Request,
    kind: Any,
    fmt: Any,
    methods: Any,
    budget: int,
    layer: str = "roles",
    frame: int = 0,
) -> tuple[str, bytes]:
    """The figure's file name and bytes. kind: as in `app.exporting.NAMES`. A "picture" shows the first method.

    Raises InvalidInput, or FsrError where a method cannot run.
    """
    name = file_name(kind, fmt)
    if kind == "curves":
        found = fidelity(service, asked, methods)
        return name, figure(kind, fmt, found | {"order": methods}, lambda _: [])
    if kind == "picture" and isinstance(methods, list):
        methods = methods[:1]
    requests = requests_of(asked, methods, [budget], least=1)
    trace: dict[str, Any] = {}
    kept: dict[str, Sequence[int]] = {}
    answers: dict[str, Any] = {}
    for event in compare(service, requests):
        if event.problem:
            raise InvalidInput(event.problem)
        if event.trace is not None:
            trace = event.trace
        if event.patch is not None:
            trace = trace | {part: trace[part] | event.patch[part] for part in ("methods", "scores")}
        if event.answer is not None:
            answers[event.key] = event.answer
            if event.kept is not None:
                kept[event.key] = event.kept
    sent: dict[str, Any] = {"question": trace["question"], "layer": layer, "frame": frame}
    sent |= {"runs": [[r.method, budget] for r in requests], "trace": json.dumps(trace | {"answers": answers})}
    names = [f"{r.method}@{budget}" for r in requests]
    sent["values"] = [[overlap(kept.get(a, ()), kept.get(b, ())) for b in names] for a in names]
    shown = service.opened(asked)
    return name, figure(kind, fmt, sent, lambda record: pictures_of(shown, record))


def pictures_of(shown: Picture | Film, trace: dict[str, Any]) -> list[Image.Image]:
    """One picture for every frame of the trace; none where it is about a clip and a picture is shown."""
    clip, grids = trace["clip"], len(trace["frames"])
    if not isinstance(shown, Film):
        return [] if clip else [shown.image] * grids
    return [shown.images[i] for i in shown_frames(len(shown.images), grids)]


KINDS = tuple(name for name in NAMES if name not in VIEWS)  # saved views are for people
