"""How far the loading of a model is: bytes of its files downloaded, bytes of its weights read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

VERBS = {"download": "Downloading", "weights": "Loading"}
_HOOK = threading.Lock()  # transformers has one place for a progress hook


class LoadStopped(Exception):  # noqa: N818  nothing is wrong: a progress callback may raise it to end a load
    """Raised by a progress callback; `load` lets it through, and what was downloaded stays on disk."""


@dataclass(frozen=True)
class LoadProgress:
    """One step. phase: "download" or "weights". done, total: bytes. files: how many files of weights there are."""

    name: str
    phase: str
    done: int
    total: int
    files: int = 1

    def __str__(self) -> str:
        done, total = amounts(self.done, self.total)
        files = f", {self.files} files" if self.files > 1 else ""
        return f"{VERBS[self.phase]} {self.name}: {done} of {total}{files}"


Report = Callable[[LoadProgress], None]


def amounts(done: int, total: int) -> tuple[str, str]:
    """3_200_000_000 and 14_100_000_000 -> "3.2" and "14.1 GB": one unit for both, that of the total."""
    size, unit = next((s, u) for s, u in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (0.0, "bytes")) if total >= s)
    return f"{done / (size or 1):.{1 if size else 0}f}", f"{total / (size or 1):.{1 if size else 0}f} {unit}"


@contextmanager
def reading(report: Report | None, start: LoadProgress, sizes: Mapping[str, int]) -> Iterator[None]:
    """While it is entered, transformers' reading of weights is reported. sizes: bytes of every parameter, by name."""
    tell = report or (lambda step: None)
    tell(start)
    with in_place_of_bars(lambda items: _counted(items, tell, start, sizes)):
        yield
    tell(replace(start, done=start.total))


@contextmanager
def in_place_of_bars(read: Callable[[Any], Iterable[Any]] = iter) -> Iterator[None]:
    """While it is entered, transformers draws no bar for the weights it reads; they go through `read`."""
    from transformers.utils import logging

    def hook(factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        weights = str(kwargs.get("desc", "")).startswith("Loading weights") and args
        return read(args[0]) if weights else factory(*args, **kwargs)

    with _HOOK:
        before = logging.set_tqdm_hook(hook)
        try:
            yield
        finally:
            logging.set_tqdm_hook(before)


def _counted(items: Any, report: Report, start: LoadProgress, sizes: Mapping[str, int]) -> Iterator[Any]:
    """The (name, weights) that are being read, one after the other."""
    done = 0
    for item in items:
        yield item
        done = min(start.total, done + sizes.get(item[0], 0))
        report(replace(start, done=done))
