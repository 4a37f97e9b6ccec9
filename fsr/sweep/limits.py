"""A time limit on what a thread asks DuckDB: what takes longer is interrupted, and nobody else notices."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from fsr.errors import FsrError

AGAIN_S = 0.05  # an interrupt between two statements is lost on DuckDB, so it is repeated


class _Limit:
    """Begins with the first cursor, so that nobody's time is spent by waiting for files to be made."""

    def __init__(self, seconds: float) -> None:
        self.over, self._cursor, self._seconds = False, None, seconds
        self._lock, self._done = threading.Lock(), threading.Event()
        self._watcher: threading.Thread | None = None

    def hold(self, cursor: Any) -> None:
        with self._lock:
            self._cursor = cursor
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="sweep-limit", daemon=True)
            self._watcher.start()

    def _watch(self) -> None:
        wait = self._seconds
        while not self._done.wait(wait):
            with self._lock:
                self.over, wait = True, AGAIN_S
                if self._cursor is not None:
                    self._cursor.interrupt()

    def end(self) -> None:
        self._done.set()
        if self._watcher is not None:
            self._watcher.join()


_limit: ContextVar[_Limit | None] = ContextVar("limit", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What goes through `cursor` in this thread ends after so many seconds. Raises FsrError."""
    limit = _Limit(seconds)
    token = _limit.set(limit)
    try:
        yield
    except Exception as error:
        if limit.over and type(error).__name__ == "InterruptException":  # DuckDB may not be installed
            raise FsrError(f"this took longer than {seconds:g} s and was stopped; ask for less.") from error
        raise
    finally:
        _limit.reset(token)
        limit.end()


@contextmanager
def cursor(database: Any) -> Iterator[Any]:
    """A DuckDB cursor of one's own, under the limit that there is."""
    limit, own = _limit.get(), database.cursor()
    try:
        if limit is not None:
            limit.hold(own)
        yield own
    finally:
        if limit is not None:
            limit.hold(None)
        own.close()
