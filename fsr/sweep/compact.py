"""A sweep's many small files as two that are quick to ask: one of rows, one of items, made once and kept.

They lie in DIR/view where `keep` put them, at the end of a long sweep, else in a cache of whoever asks; blocks that are
added later make them old.

rows.parquet: the fields of `fsr.sweep.store` without roles, sorted by method, budget and item; budget is null for the
unpruned model; besides unpruned_score and flip. items.parquet: question, its first two words, media, answers, and the
data's own columns as c0, c1, ...; columns.json says how the data calls them. Roles and layouts stay in their blocks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsr.errors import FsrError, InvalidInput
from fsr.sweep.store import BLOCKS, DATA, ROW_FIELDS, SETTINGS

FORMAT = 1  # of what is kept; another number is made anew
GROUP = 30_000  # rows of a row group: what a query can skip
MOST_COLUMNS = 200  # of the data's own
VIEW = "view"  # of a sweep's folder
MANY = 64  # blocks
FLIPS = ("lost", "won", "changed", "same")
_FLIP = """CASE WHEN r.problem IS NOT NULL OR u.problem IS NOT NULL OR r.answer IS NULL THEN NULL
    WHEN u.score >= 0.5 AND r.score < 0.5 THEN 'lost' WHEN u.score < 0.5 AND r.score >= 0.5 THEN 'won'
    WHEN r.agrees THEN 'same' ELSE 'changed' END"""
_KEPT = [name for name in ROW_FIELDS if name not in ("roles", "budget")]
_ROWS = f"""
WITH r AS (SELECT * FROM {{source}}), u AS (SELECT item, score, problem FROM r WHERE method = 'full')
SELECT {", ".join(f"r.{name}" for name in _KEPT)}, CASE WHEN r.method <> 'full' THEN r.budget END AS budget,
    u.score AS unpruned_score, {_FLIP} AS flip
FROM r LEFT JOIN u ON r.item = u.item ORDER BY r.method, budget, r.item
"""
_OPENING = "left(lower(array_to_string(list_slice(string_split(trim(question), ' '), 1, 2), ' ')), 40)"


@dataclass(frozen=True)
class Compact:
    """Where both files lie. own: the column of items.parquet -> its name in the data, in its order."""

    rows: Path
    items: Path
    own: dict[str, str]


def connected(threads: int, memory: str, spill: Path) -> Any:
    """A DuckDB database in memory with these limits. Raises FsrError where there is no DuckDB."""
    try:
        import duckdb
    except ImportError as error:
        raise FsrError("reading sweeps needs DuckDB: pip install duckdb.") from error
    config: dict[str, Any] = {"threads": threads, "memory_limit": memory, "temp_directory": str(spill)}
    database = duckdb.connect(config=config)
    for name in ("enable_progress_bar", "autoinstall_known_extensions", "autoload_known_extensions"):
        database.execute(f"SET {name} = false")
    database.execute("SET lock_configuration = true")
    return database


def literal(text: object) -> str:
    """A text in SQL. Only for paths of ours; what a browser sends is bound as a parameter."""
    return "'" + str(text).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A column of a file in SQL."""
    return '"' + name.replace('"', '""') + '"'


def stamp(folder: Path) -> tuple[int, int]:
    """Changes with every block that is added. Raises InvalidInput where the sweep is gone."""
    try:
        return (folder / BLOCKS).stat().st_mtime_ns, (folder / SETTINGS).stat().st_mtime_ns
    except OSError as error:
        raise InvalidInput("the sweep is no longer there.") from error


def state(folder: Path) -> str:
    """A hash of which blocks there are, the same in a copy of the folder."""
    files = sorted((folder / BLOCKS).glob("block=*/*.parquet"))
    found = [FORMAT, *((path.parent.name, path.name, path.stat().st_size) for path in files)]
    return hashlib.sha256(repr(found).encode()).hexdigest()[:24]


def compacted(database: Any, folder: Path, cache: Path) -> Compact:
    """Both files of the sweep as it is now, made in the cache where they are not there yet. Raises InvalidInput for no
    block."""
    now = state(folder)
    for place in (folder / VIEW / now, cache / now):
        if (found := _read(place)) is not None:
            return found
    _make(database, folder, cache / now)
    found = _read(cache / now)
    assert found is not None
    return found


def keep(folder: Path) -> None:
    """Make both files in the sweep's own folder, where it has so many blocks that this takes seconds; older ones go.
    Where there is no room for them, the page makes its own."""
    if sum(1 for _ in (folder / BLOCKS).glob("block=*")) < MANY:
        return
    now = state(folder)
    with tempfile.TemporaryDirectory(prefix="fsr-sweeps-") as spill, contextlib.suppress(FsrError):
        _make(connected(os.cpu_count() or 1, "1GB", Path(spill)), folder, folder / VIEW / now)
    for path in (folder / VIEW).glob("[!.]*"):  # not what another shard is at
        if path.name != now:
            shutil.rmtree(path, ignore_errors=True)


def _read(place: Path) -> Compact | None:
    """None where there is none, or what is there was not made here."""
    try:
        own = json.loads((place / "columns.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    good = isinstance(own, dict) and all(re.fullmatch(r"c\d+", name) and isinstance(own[name], str) for name in own)
    return Compact(place / "rows.parquet", place / "items.parquet", own) if good else None


def _make(database: Any, folder: Path, place: Path) -> None:
    import duckdb

    beside, own_cursor = place.with_name(f".{place.name}.{os.getpid()}"), database.cursor()
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        sources = {name: source(folder, name) for name in ("rows", "items")}
        described = own_cursor.execute(f"DESCRIBE SELECT * FROM {sources['items']}").fetchall()
        found = [name for name, *_ in described if name.startswith(DATA)][:MOST_COLUMNS]
        own = {f"c{i}": name.removeprefix(DATA) for i, name in enumerate(found)}
        columns = "".join(f", {identifier(name)} AS c{i}" for i, name in enumerate(found))
        kept = f"item, question, {_OPENING} AS opening, media, answers{columns}"
        items = f"SELECT {kept} FROM {sources['items']} ORDER BY item"
        for name, query in (("rows", _ROWS.format(source=sources["rows"])), ("items", items)):
            to = literal(beside / f"{name}.parquet")
            own_cursor.execute(f"COPY ({query}) TO {to} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP})")
        (beside / "columns.json").write_text(json.dumps(own), encoding="utf-8")
        os.rename(beside, place)
    except duckdb.Error as error:
        raise InvalidInput("the files of this sweep cannot be read.") from error
    except OSError as error:
        if not place.is_dir():  # nobody was faster
            raise FsrError(f"there is no room to read the sweep: {error.strerror}.") from error
    finally:
        own_cursor.close()
        shutil.rmtree(beside, ignore_errors=True)


def source(folder: Path, name: str) -> str:
    """In SQL: all blocks' files of this name as one table. Raises InvalidInput where there is none."""
    if not any((folder / BLOCKS).glob(f"block=*/{name}.parquet")):
        raise InvalidInput("this sweep holds no block yet.")
    return f"read_parquet({literal(folder / BLOCKS / 'block=*' / f'{name}.parquet')}, union_by_name = true)"
