"""A sweep's many small files as two that are quick to ask, one of rows and one of items, made once and kept; while it
goes on, as two for every 128 blocks.

They lie in DIR/view where the sweep left them, else in a cache of whoever asks. A block that is added later makes its
own part old and no other.

rows.parquet: the fields of `fsr.sweep.store` without roles, sorted by method, budget and item; budget is null for the
unpruned model; besides unpruned_score and flip. items.parquet: question, its first two words, media, answers, and the
data's own columns, named by a hash; columns.json says how the data calls them. Roles and layouts stay in their blocks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from fsr.errors import FsrError, InvalidInput
from fsr.sweep.store import BLOCKS, DATA, ROW_FIELDS, SETTINGS

FORMAT = 2  # of what is kept; another number is made anew
PART = 128  # blocks
GROUP = 16_384  # rows of a row group: what a query can skip
AT_ONCE = 2  # parts that are made at a time
MOST_COLUMNS = 200  # of the data's own
VIEW = "view"  # of a sweep's folder
MANY = 64  # blocks that are worth it
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
    """Where the files lie. own: the column of items.parquet -> its name in the data, in its order."""

    places: tuple[Path, ...]
    own: dict[str, str]

    @property
    def rows(self) -> str:
        """All rows as a table in SQL."""
        return _files([place / "rows.parquet" for place in self.places])

    @property
    def items(self) -> str:
        """All items as a table in SQL; a column of the data that a part does not have is null there."""
        return _files([place / "items.parquet" for place in self.places])


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


def parts(folder: Path) -> dict[int, list[Path]]:
    """The blocks that there are, in order, by the part that each belongs to."""
    found: dict[int, list[Path]] = {}
    for path in sorted((folder / BLOCKS).glob("block=*")):
        if (number := path.name.removeprefix("block=")).isdigit():
            found.setdefault(int(number) // PART, []).append(path)
    return found


def state(blocks: Sequence[Path]) -> str:
    """A hash of which blocks these are, the same in a copy of the folder."""
    files = sorted(file for block in blocks for file in block.glob("*.parquet"))
    found = [FORMAT, *((path.parent.name, path.name, path.stat().st_size) for path in files)]
    return hashlib.sha256(repr(found).encode()).hexdigest()[:24]


def compacted(database: Any, folder: Path, cache: Path) -> Compact:
    """The files of the sweep as it is now, made in the cache where they are not there yet. Raises InvalidInput for no
    block."""
    found = {state(blocks): blocks for blocks in parts(folder).values()}
    if not found:
        raise InvalidInput("this sweep holds no block yet.")
    if (whole := _kept(folder / VIEW / state(list(chain(*found.values()))))) is not None:
        return whole
    kept = {now: _kept(folder / VIEW / now) or _kept(cache / now) for now in found}

    def make(now: str) -> None:
        _make(database, found[now], cache / now)
        kept[now] = _kept(cache / now)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(make, [now for now, part in kept.items() if part is None]))
    own: dict[str, str] = {}
    places: list[Path] = []
    for part in kept.values():
        assert part is not None
        places += part.places
        own |= {name: label for name, label in part.own.items() if name in own or len(own) < MOST_COLUMNS}
    return Compact(tuple(places), own)


def keep(folder: Path) -> None:
    """Make both files of the whole sweep in its own folder, where it has so many blocks that this takes time; parts and
    older ones go. Where there is no room for them, the page makes its own."""
    blocks = list(chain(*parts(folder).values()))
    if len(blocks) < MANY:
        return
    now = state(blocks)
    _keep(folder, now, blocks)
    for path in (folder / VIEW).glob("[!.]*"):  # not what another shard is at
        if path.name != now:
            shutil.rmtree(path, ignore_errors=True)


def keep_part(folder: Path, block: int) -> None:
    """Make those of the part of this block, where it was the last that was missing: a sweep that still goes on, or was
    killed, is then quick to read."""
    first = block // PART * PART
    blocks = [folder / BLOCKS / f"block={number:06d}" for number in range(first, first + PART)]
    if all(path.is_dir() for path in blocks):
        _keep(folder, state(blocks), blocks)


def _keep(folder: Path, now: str, blocks: Sequence[Path]) -> None:
    if _kept(folder / VIEW / now) is None:
        with contextlib.suppress(FsrError, OSError), tempfile.TemporaryDirectory(prefix="fsr-sweeps-") as spill:
            _make(connected(os.cpu_count() or 1, "1GB", Path(spill)), blocks, folder / VIEW / now)


def _kept(place: Path) -> Compact | None:
    """None where there is none, or what is there was not made here."""
    try:
        own = json.loads((place / "columns.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    named = isinstance(own, dict) and all(isinstance(own[name], str) and name == _column(own[name]) for name in own)
    return Compact((place,), own) if named else None


def _column(name: str) -> str:
    """What a column of the data is called in items.parquet, the same in every part."""
    return "c" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:16]


def _make(database: Any, blocks: Sequence[Path], place: Path) -> None:
    import duckdb

    beside, own_cursor = place.with_name(f".{place.name}.{os.getpid()}"), database.cursor()
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        sources = {name: _files([block / f"{name}.parquet" for block in blocks]) for name in ("rows", "items")}
        described = own_cursor.execute(f"DESCRIBE SELECT * FROM {sources['items']}").fetchall()
        found = [name for name, *_ in described if name.startswith(DATA)][:MOST_COLUMNS]
        own = {_column(name.removeprefix(DATA)): name.removeprefix(DATA) for name in found}
        columns = "".join(f", {identifier(name)} AS {_column(name.removeprefix(DATA))}" for name in found)
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


def _files(paths: Sequence[Path]) -> str:
    """In SQL: Parquet files as one table."""
    return f"read_parquet([{', '.join(map(literal, paths))}], union_by_name = true)"
