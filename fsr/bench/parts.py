"""A measurement in parts, within a time: what was measured is written after each, whatever becomes of the others."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fsr.errors import InvalidInput

FOLDERS = re.compile(r"(?<![\w.])(?:/[\w.+@-]+)+/")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """name: in the file. seconds: about what it takes; it is not begun with less."""

    name: str
    seconds: float
    work: Callable[[], dict[str, Any]]


class Skipped(Exception):  # noqa: N818
    """Why a part is not measured, in a sentence."""


class TimeUp(BaseException):  # so that nothing on the way takes it for an error of its own
    """The time for all parts is over."""


def run(parts: Sequence[Part], limit_s: float, where: Path, facts: dict[str, Any], say: Say) -> dict[str, Any]:
    """Do the parts in order and write after each: {**facts, "limit_s", "complete", "parts": {name: {"seconds", ...}}}.

    A part that is left out has `skipped`, one that failed `failed`, a sentence each; the next one begins.
    """
    start = time.perf_counter()
    result: dict[str, Any] = {**facts, "limit_s": limit_s, "complete": False, "parts": {}}
    write(result, where)
    for part in parts:
        left = limit_s - (time.perf_counter() - start)
        say(f"{part.name}, {max(0.0, left):.0f} s left")
        result["parts"][part.name] = found = measured(part, left)
        for kind in {"skipped", "failed"} & found.keys():
            say(f"{part.name} {kind}: {found[kind]}")
        write(result, where)
    result["complete"] = True
    write(result, where)
    return result


def passed(result: dict[str, Any]) -> bool:
    """Whether nothing was found wrong; what was skipped is not."""
    return all("failed" not in part and part.get("passed", True) for part in result["parts"].values())


def measured(part: Part, left: float) -> dict[str, Any]:
    """What a part finds in the seconds that are left."""
    if left <= part.seconds:
        return {"skipped": f"it takes about {part.seconds:.0f} s, and {max(0.0, left):.0f} s were left."}
    start = time.perf_counter()
    try:
        with ending_after(left):
            found = part.work()
        json.dumps(found, allow_nan=False)
    except Skipped as reason:
        found = {"skipped": str(reason)}
    except TimeUp:
        found = {"skipped": "the time was over before it was done."}
    except Exception as error:  # whatever a card brings: the other parts are measured all the same
        traceback.print_exc(file=sys.stderr)
        found = {"failed": said(error)}
    seconds = round(time.perf_counter() - start, 1)
    free()
    return {"seconds": seconds, **found}


@contextmanager
def ending_after(seconds: float) -> Iterator[None]:
    """Raises TimeUp inside the block after so many seconds, where signals can be had."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def write(result: dict[str, Any], where: Path) -> None:
    """Whole or not at all, however the program ends. Raises InvalidInput for such a file."""
    beside = where.with_name(f"{where.name}.part")
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(beside, where)
    except OSError as error:
        raise InvalidInput(f"{where} cannot be written: {error.strerror}.") from error


def free() -> None:
    """Give back what the part before has held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def said(error: BaseException) -> str:
    """The first line of an error, without folders."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {FOLDERS.sub('', first)}"[:300]
