"""The data-set view's answers: `./data` and what its page asks for, as `GET` requests with JSON.

Every question runs in a thread, a few at a time; what a visitor sends is bound or checked in `fsr.sweep`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from app.thumbnails import Thumbnails
from fsr.errors import FsrError, InvalidInput
from fsr.pruners import describe
from fsr.sweep.common import common
from fsr.sweep.library import Library, Sweep
from fsr.sweep.limits import within
from fsr.sweep.paired import beside, paired
from fsr.sweep.view import Chosen, View, known

AT_ONCE, PICTURES, EXPORTS = 4, 2, 1  # questions, thumbnails and downloads at a time
SECONDS, EXPORT_SECONDS = 10.0, 60.0  # that DuckDB may take for one of them
MOST_WAITING = 300  # of each kind
MOST_OFFSET, MOST_DIGITS = 100_000_000, 9
TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
log = logging.getLogger(__name__)
Query = Mapping[str, str]


class DataSets:
    """The routes of one app."""

    def __init__(self, library: Library) -> None:
        self.library, self.thumbnails = library, Thumbnails(library)
        self.asking, self.drawing, self.saving = map(CapacityLimiter, (AT_ONCE, PICTURES, EXPORTS))
        self._told: dict[tuple[str, View], Any] = {}

    def routes(self) -> list[BaseRoute]:
        """All but the page itself."""
        answers = {
            "sweeps": self.sweeps,
            "about": self.about,
            "headline": self.headline,
            "questions": self.questions,
            "common": self.common,
            "paired": self.paired,
        }
        found: list[BaseRoute] = [
            Route(f"/data/api/{name}", self._route(partial(_json, answer), self.asking))
            for name, answer in answers.items()
        ]
        found.append(Route("/data/picture", self._route(self.picture, self.drawing)))
        found.append(Route("/data/export", self._route(self.export, self.saving, EXPORT_SECONDS)))
        return found

    def _route(self, answer: Callable[[Query], Response], limiter: CapacityLimiter, seconds: float = SECONDS) -> Any:
        async def told(request: Request) -> Response:
            if limiter.statistics().tasks_waiting >= MOST_WAITING:
                return _refused("too many questions wait already; ask again in a moment.", 503)
            return await to_thread.run_sync(partial(_said, answer, request.query_params, seconds), limiter=limiter)

        return told

    # -- answers

    def sweeps(self, _: Query) -> Any:
        return [sweep.told() for sweep in self.library.sweeps().values()]

    def about(self, query: Query) -> Any:
        sweep, view = self._opened(query)
        key = sweep.name, view
        if key not in self._told:
            items, problems = view.counts()
            told = sweep.told() | {"items": items, "problems": problems, "columns": view.about()}
            labels = {one["name"]: one["label"] for one in describe()}
            self._told = {key: told | {"labels": {name: labels.get(name, name) for name in told["methods"]}}}
        return self._told[key]

    def headline(self, query: Query) -> Any:
        sweep, view = self._opened(query)
        of = _of(sweep, query) if query.get("method") else None
        return view.headline(query.get("filter", ""), of)

    def questions(self, query: Query) -> Any:
        sweep, view = self._opened(query)
        of = _of(sweep, query)
        return view.questions(
            of,
            query.get("filter", ""),
            query.get("sort", ""),
            query.get("down", "") not in ("", "0"),
            _whole(query, "offset", 0, MOST_OFFSET),
            _whole(query, "limit", 20, 1_000_000),
            self._beside(query, sweep, of),
            _whole(query, "at", 0, MOST_OFFSET) if query.get("at") else None,
        )

    def common(self, query: Query) -> Any:
        sweep, view = self._opened(query)
        return common(view, _of(sweep, query), query.get("flip") or "lost", query.get("filter", ""))

    def paired(self, query: Query) -> Any:
        sweep, view = self._opened(query)
        other = self._other(query, sweep)
        method, budget = query.get("beside_method", ""), query.get("beside_budget", "")
        return paired(view, beside(self.library.view(other), other.settings, method, budget), query.get("filter", ""))

    def picture(self, query: Query) -> Response:
        sweep = self.library.get(query.get("sweep", ""))
        of = _of(sweep, query) if query.get("method") else None
        data = self.thumbnails.get(
            sweep, _whole(query, "item", -1, MOST_OFFSET), _whole(query, "side", 160, 10_000), of
        )
        headers = {"Cache-Control": "private, max-age=600", "ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"'}
        return Response(data, media_type="image/webp", headers=headers)

    def export(self, query: Query) -> Response:
        sweep, view = self._opened(query)
        of, as_ = _of(sweep, query), query.get("as") or "csv"
        folder = tempfile.TemporaryDirectory(prefix="fsr-export-")
        try:
            path = Path(folder.name) / "questions"
            view.export(of, query.get("filter", ""), path, as_)
        except BaseException:
            folder.cleanup()
            raise
        budget = "" if of.budget is None else f"-{of.budget}"
        name = f"{sweep.name}-{of.method}{budget}.{as_}"
        return FileResponse(path, media_type=TYPES[as_], filename=name, background=BackgroundTask(folder.cleanup))

    # -- pieces

    def _opened(self, query: Query) -> tuple[Sweep, View]:
        sweep = self.library.get(query.get("sweep", ""))
        return sweep, self.library.view(sweep)

    def _beside(self, query: Query, sweep: Sweep, of: Chosen) -> tuple[View, Chosen] | None:
        if not query.get("beside"):
            return None
        other = self._other(query, sweep)
        method = query.get("beside_method") or of.method
        budget = query.get("beside_budget") or ("" if of.budget is None else str(of.budget))
        return self.library.view(other), known(other.settings, method, budget)

    def _other(self, query: Query, sweep: Sweep) -> Sweep:
        other = self.library.get(query.get("beside", ""))
        if other.settings["digest"] != sweep.settings["digest"]:
            raise InvalidInput(
                f"{other.name!r} asked other questions than {sweep.name!r}; they cannot stand side by side."
            )
        return other


def _of(sweep: Sweep, query: Query) -> Chosen:
    return known(sweep.settings, query.get("method", ""), query.get("budget", ""))


def _whole(query: Query, name: str, default: int, most: int) -> int:
    text = query.get(name, "") or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS) or int(text) > most:
        raise InvalidInput(f"{name} must be a whole number from 0 to {most}, not {text[:20]!r}.")
    return int(text)


def _json(answer: Callable[[Query], Any], query: Query) -> Response:
    value = json.dumps(answer(query), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(value, media_type="application/json", headers={"Cache-Control": "no-store"})


def _said(answer: Callable[[Query], Response], query: Query, seconds: float) -> Response:
    """What went wrong as one sentence, in which no path is."""
    try:
        with within(seconds):
            return answer(query)
    except InvalidInput as error:
        return _refused(str(error), 400)
    except FsrError as error:
        return _refused(str(error), 503)
    except Exception as error:
        log.exception("the data-set view could not answer")
        small = "Memory" in type(error).__name__
        return _refused("there is not enough memory for this; ask for less." if small else "this cannot be read.", 500)


def _refused(sentence: str, status: int) -> Response:
    return JSONResponse({"error": sentence}, status_code=status, headers={"Cache-Control": "no-store"})
