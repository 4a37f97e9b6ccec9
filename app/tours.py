"""Guided tours: texts and views in JSON files that lie beside the examples, checked before a page reads them.

A tour is `tours/<name>.json` in the folder of the examples; docs/lecture.md says what one may hold. Text is text: the
page never reads it as markup, and what a stop may do to the view is a closed list of actions with closed values.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.examples import Examples
from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
MOST_BYTES, MOST_STOPS = 200_000, 60
TEXTS = {"title": 80, "text": 600, "notes": 2000}  # the most characters of each
# What a stop can point at. app/static/guide/tour.js knows where these are on the page.
PLACES: tuple[str, ...] = (
    "picture",
    "budget",
    "method",
    "layers",
    "legend",
    "card",
    "question",
    "answers",
    "costs",
    "gallery",
)
PLACES += ("tabs", "playback", "modes", "sheet", "model", "clip")
LAYERS = ("roles", "saliency", "relevance", "priority")
TABS = ("answer", "why", "words", "lecture")
STAGES: tuple[str, ...] = (
    "picture",
    "tokens",
    "saliency",
    "relevance",
    "priority",
    "focus",
    "scan",
    "keep",
    "layer",
    "refine",
)
STAGES += ("prompt", "answers")
MOST_BUDGET = 100_000
log = logging.getLogger(__name__)


def read_tour(folder: Path, name: str, examples: frozenset[str]) -> dict[str, Any]:
    """The tour called `name` in `folder`/tours: what is known and nothing else. examples: the ids of the gallery.

    Raises InvalidInput with one sentence for a name that is none, a file that is not there, or what is wrong in it.
    """
    if not NAME.fullmatch(name):
        raise InvalidInput("a tour's name is small letters, digits and hyphens, 40 at most.")
    path = folder / "tours" / f"{name}.json"
    if not path.is_file():
        raise InvalidInput(f"there is no tour {name!r}.")
    if path.stat().st_size > MOST_BYTES:
        raise InvalidInput(f"the tour {name!r} is larger than {MOST_BYTES // 1000} kB.")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InvalidInput(f"the tour {name!r} is not JSON.") from None
    try:
        return _tour(told, examples)
    except InvalidInput as error:
        raise InvalidInput(f"the tour {name!r}: {error}") from None


def tours_in(folder: Path, examples: frozenset[str]) -> list[dict[str, str]]:
    """Name and title of every tour that can be read, "first" first; the others are left out, and the log says why."""
    found = []
    for path in sorted((folder / "tours").glob("*.json"), key=lambda p: (p.stem != "first", p.stem)):
        try:
            found.append({"name": path.stem, "title": read_tour(folder, path.stem, examples)["title"]})
        except InvalidInput as error:
            log.warning("%s is left out: %s", path, error)
    return found


def route(examples: Examples) -> Route:
    """GET /tours/<name>: a checked tour, or 404 with one sentence."""

    def told(request: Request) -> Response:
        try:
            value = read_tour(examples.folder, request.path_params["name"], frozenset(examples.all))
        except InvalidInput as error:
            return JSONResponse({"problem": str(error)}, status_code=404)
        return JSONResponse(value, headers={"Cache-Control": "no-store"})

    return Route("/tours/{name}", told)


def _tour(told: object, examples: frozenset[str]) -> dict[str, Any]:
    if not isinstance(told, dict) or not isinstance(told.get("stops"), list):
        raise InvalidInput("it must be an object with a title and a list of stops.")
    if not 1 <= len(told["stops"]) <= MOST_STOPS:
        raise InvalidInput(f"it must have 1 to {MOST_STOPS} stops, not {len(told['stops'])}.")
    _only(told, {"title", "stops"}, "it")
    stops = [_stop(stop, f"stop {i + 1}", examples) for i, stop in enumerate(told["stops"])]
    return {"title": _text(told, "title", "it"), "stops": stops}


def _stop(told: object, where: str, examples: frozenset[str]) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise InvalidInput(f"{where} must be an object.")
    _only(told, {"at", "show", *TEXTS}, where)
    stop: dict[str, Any] = {name: _text(told, name, where) for name in ("title", "text")}
    if "notes" in told:
        stop["notes"] = _text(told, "notes", where)
    if "at" in told:
        stop["at"] = _one_of(PLACES)(told["at"], f"at of {where}")
    show = told.get("show", {})
    if not isinstance(show, dict):
        raise InvalidInput(f"show of {where} must be an object.")
    actions = _actions(examples)
    _only(show, set(actions), f"show of {where}")
    return stop | {"show": {name: actions[name](value, f"{name} of {where}") for name, value in show.items()}}


def _actions(examples: frozenset[str]) -> Mapping[str, Callable[[object, str], Any]]:
    """What a stop can do to the view, and what checks it."""
    methods = [name for name, kind in REGISTRY.items() if kind.exact_count]
    return {
        "example": _one_of(sorted(examples)),
        "method": _one_of(methods),
        "methods": _methods([name for name in REGISTRY if name != "full"]),
        "budget": lambda value, where: _whole(value, where, 1, MOST_BUDGET),
        "layer": _one_of(LAYERS),
        "tab": _one_of(TABS),
        "mode": _one_of(("one", "compare")),
        "token": lambda value, where: _whole(value, where, 0, MOST_BUDGET),
        "frame": lambda value, where: _whole(value, where, 1, 1000),
        "playback": _playback,
    }


def _playback(value: object, where: str) -> object:
    return _one_of(STAGES)(value, where) if isinstance(value, str) else _whole(value, where, 0, 2000)


def _methods(known: list[str]) -> Callable[[object, str], Any]:
    def check(value: object, where: str) -> Any:
        if not isinstance(value, list) or not 2 <= len(value) <= 6:
            raise InvalidInput(f"{where} must be two to six methods.")
        return [_one_of(known)(one, where) for one in value]

    return check


def _one_of(allowed: list[str] | tuple[str, ...]) -> Callable[[object, str], str]:
    def check(value: object, where: str) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise InvalidInput(f"{where} must be one of {', '.join(allowed)}, not {str(value)[:40]!r}.")
        return value

    return check


def _whole(value: object, where: str, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidInput(f"{where} must be a whole number from {least} to {most}, not {str(value)[:40]!r}.")
    return value


def _text(told: dict[str, Any], name: str, where: str) -> str:
    value = told.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > TEXTS[name]:
        raise InvalidInput(f"{name} of {where} must be text of 1 to {TEXTS[name]} characters.")
    return value


def _only(told: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(told) - known)
    if unknown:
        raise InvalidInput(f"{where} has no {str(unknown[0])[:40]!r}; there are {', '.join(sorted(known))}.")
