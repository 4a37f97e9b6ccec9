"""How long the data-set view takes for many rows, and what memory: in a process of its own that holds nothing else."""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsr.bench.machine import peak_bytes, processor_name, reset_peak
from fsr.errors import InvalidInput
from fsr.sweep.common import common
from fsr.sweep.compact import keep
from fsr.sweep.generated import written
from fsr.sweep.library import THREADS, Library
from fsr.sweep.view import Chosen, View

LOST = json.dumps([{"column": "flip", "is": "=", "value": "lost"}])
KIND = json.dumps([{"column": "data_type", "is": "=", "value": "count"}, {"column": "kl", "is": ">", "value": 0.5}])
WORD = json.dumps([{"column": "anywhere", "is": "has", "value": "number 777"}])
OF = Chosen("fsr", 64)
SCREENS: dict[str, Callable[[View], object]] = {
    "filter": lambda view: _screen(view, KIND),
    "words": lambda view: _screen(view, WORD),
    "sort": lambda view: view.questions(OF, "", "kl", down=True, offset=1000),
    "headline": lambda view: view.headline(KIND, OF),
}


def speed(rows: int, repeats: int = 5) -> dict[str, Any]:
    """With generated rows, in seconds: first (open the folder and show the first screen), and the medians of filter,
    words (search), sort and headline. peak_mb: of the process, more than before. first_unkept, peak_unkept_mb: the same
    of a folder that the command left no compact files in. Raises InvalidInput for numbers below 1."""
    if rows < 1 or repeats < 1:
        raise InvalidInput("rows and repeats must be at least 1.")
    with tempfile.TemporaryDirectory(prefix="fsr-sweep-view-") as folder:
        sweep = Path(folder) / "generated"
        count = written(sweep, rows)
        unkept = _alone(sweep, 0)
        keep(sweep)
        found = _alone(sweep, repeats)
    machine = {"processor": processor_name(), "cores": os.cpu_count(), "threads": THREADS}
    return {
        "machine": machine,
        "rows": count,
        "first_unkept": unkept["first"],
        "peak_unkept_mb": unkept["peak_mb"],
        **found,
    }


def _alone(sweep: Path, repeats: int) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (sweep, repeats))


def _measured(sweep: Path, repeats: int) -> dict[str, Any]:
    import duckdb  # noqa: F401 # not what is measured

    reset_peak()
    before, began = peak_bytes() or 0, time.perf_counter()
    library = Library([sweep])
    view = library.view(library.get(sweep.name))
    view.counts()
    view.about()
    _screen(view, LOST)
    found: dict[str, Any] = {"first": time.perf_counter() - began}
    for name, show in SCREENS.items() if repeats else ():
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            show(view)
            times.append(time.perf_counter() - began)
        found[name] = sorted(times)[len(times) // 2]
    library.close()
    return found | {"peak_mb": ((peak_bytes() or 0) - before) / 1e6}


def _screen(view: View, filter_: str) -> None:
    """All that a screen with this filter asks for, one after another."""
    view.headline(filter_)
    view.questions(OF, filter_, "kl", down=True)
    common(view, OF, "lost", filter_)
