"""Sweeps that a page shows: found in folders, opened by name, read by one DuckDB with bounded threads and memory."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fsr.errors import InvalidInput
from fsr.sweep.compact import compacted, connected, literal, stamp
from fsr.sweep.data import Item
from fsr.sweep.data import opened as opened_data
from fsr.sweep.store import BLOCKS, SETTINGS
from fsr.sweep.view import FULL, Chosen, View

THREADS, MEMORY = 2, "256MB"
MOST = 200  # sweeps
SCENES = "shapes:"


@dataclass(frozen=True)
class Sweep:
    """One sweep by its name. settings: as `fsr.sweep.wanted.Wanted.settings` wrote them, checked."""

    name: str
    folder: Path
    settings: dict[str, Any]

    def told(self) -> dict[str, Any]:
        """What a list of sweeps says of it; no path."""
        data = str(self.settings["data"])
        shown = data if data.startswith(SCENES) else Path(data).name
        told = {name: self.settings[name] for name in ("model", "metric", "budgets", "items", "digest")}
        return told | {"name": self.name, "data": shown, "methods": list(self.settings["methods"])}

    @cached_property
    def media(self) -> Path | None:
        """The folder of the data, which holds its pictures; None where it is not here."""
        if (data := str(self.settings["data"])).startswith(SCENES):
            return None
        for path in (Path(data), self.folder / data, self.folder.parent / data):
            if path.is_file() or (path / "index.json").is_file():
                return (path.parent if path.is_file() else path).resolve()
        return None


class Library:
    """folders: of sweeps, or of one each. Everything that is made to read them is deleted at the end."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.cache = Path(tempfile.mkdtemp(prefix="fsr-sweeps-"))
        self._delete = weakref.finalize(self, shutil.rmtree, self.cache, ignore_errors=True)
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._views: dict[str, tuple[object, View]] = {}

    @cached_property
    def database(self) -> Any:
        """Raises FsrError where there is no DuckDB."""
        return connected(THREADS, MEMORY, self.cache / "spill")

    def sweeps(self) -> dict[str, Sweep]:
        """By name; folders that hold none are left out, and of two with one name the second has a number."""
        found: dict[str, Sweep] = {}
        for folder in self.folders:
            inside = sorted(path.parent for path in folder.glob(f"*/{SETTINGS}"))
            for one in [folder, *inside] if (folder / SETTINGS).is_file() else inside:
                settings = _settings(one / SETTINGS)
                if settings is not None and len(found) < MOST:
                    name, number = one.resolve().name, 2
                    while name in found:
                        name, number = f"{one.resolve().name}-{number}", number + 1
                    found[name] = Sweep(name, one, settings)
        return found

    def get(self, name: str) -> Sweep:
        """Raises InvalidInput for a name that is none."""
        found = self.sweeps()
        if name not in found:
            there = f"there are {', '.join(found)}" if found else "there is none"
            raise InvalidInput(f"there is no sweep {name[:40]!r}; {there}.")
        return found[name]

    def view(self, sweep: Sweep) -> View:
        """The sweep as it is now. Raises FsrError where it cannot be read."""
        with self._lock:
            lock, database = self._locks.setdefault(sweep.name, threading.Lock()), self.database
        with lock:  # making one sweep's files holds up no other
            now = sweep.folder, stamp(sweep.folder)
            held = self._views.get(sweep.name)
            if held is None or held[0] != now:
                view = View(database, compacted(database, sweep.folder, self.cache))
                held = self._views[sweep.name] = now, view
            return held[1]

    # -- one item

    def item(self, sweep: Sweep, number: int) -> Item:
        """An item with what to open, a picture or a path inside the data's folder. Raises InvalidInput where it is not
        there, or cannot be had any more."""
        if (data := str(sweep.settings["data"])).startswith(SCENES):
            for item in opened_data(data).items(number, number + 1):
                return item
            raise InvalidInput(f"the sweep {sweep.name!r} has no item {number}.")
        found = self.view(sweep).told(Chosen(FULL, None), [number]).get(number)
        if found is None:
            raise InvalidInput(f"the sweep {sweep.name!r} has no item {number}.")
        path = _inside(sweep.media, found["media"] or "")
        return Item(number, found["question"] or "", path, found["media"], tuple(found["answers"] or ()))

    def drawn(self, sweep: Sweep, number: int, of: Chosen) -> tuple[str | None, bytes | None]:
        """The item's layout (`fsr.sweep.layout`) and its tokens' roles, those that were written."""
        block = number // max(1, int(sweep.settings["block"]))
        folder = sweep.folder / BLOCKS / f"block={block:06d}"
        if not (folder / "rows.parquet").is_file():
            return None, None
        view = self.view(sweep)
        rows, items = (f"read_parquet({literal(folder / f'{name}.parquet')})" for name in ("rows", "items"))
        if not {"roles"} <= _names(view, rows) or not {"layout"} <= _names(view, items):
            return None, None
        layout = view.ask(f"SELECT layout FROM {items} WHERE item = ?", [number])
        roles = view.ask(f"SELECT r.roles FROM {rows} r WHERE r.item = ? AND {Chosen.sql}", [number, *of.values])
        return layout[0][0] if layout else None, bytes(roles[0][0]) if roles and roles[0][0] else None

    def close(self) -> None:
        """Delete what was made."""
        self._delete()


def _names(view: View, table: str) -> set[str]:
    return {name for name, *_ in view.ask(f"DESCRIBE SELECT * FROM {table}")}


def _inside(folder: Path | None, name: str) -> Path:
    """The file of this name in the folder. Raises InvalidInput where it is elsewhere, or the folder is not here."""
    if folder is None:
        raise InvalidInput("the pictures of this sweep are not here.")
    if "\0" in name or not name:
        raise InvalidInput("this item has no picture.")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise InvalidInput("the picture of this item is not in the folder of the data.")
    return path


_KINDS: dict[str, type | tuple[type, ...]] = {"data": str, "digest": str, "model": str, "methods": dict}
_KINDS |= {"budgets": list, "metric": str, "items": int, "block": int}


def _settings(path: Path) -> dict[str, Any] | None:
    """None for a file that no sweep wrote."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(told, dict) or any(not isinstance(told.get(name), kind) for name, kind in _KINDS.items()):
        return None
    whole = all(isinstance(budget, int) and not isinstance(budget, bool) for budget in told["budgets"])
    return told if whole and told["block"] > 0 else None
