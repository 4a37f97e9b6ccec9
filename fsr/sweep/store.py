"""A sweep on disk: one folder a block, each put in its place at once or not at all.

    DIR/sweep.json                      what was asked; another question needs another folder
    DIR/blocks/block=000012/rows.parquet    a row for every question, method and budget
    DIR/blocks/block=000012/items.parquet   a row for every question: its words, picture, answers and columns, and
                                            where the tokens lie on the picture (fsr.sweep.layout)
    DIR/view/                           behind a long sweep: all blocks as two files (fsr.sweep.compact)

A block is written beside its place, synced, and renamed: whatever ends the process, a block is there whole or not
there. Nothing is changed afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsr.errors import FsrError, InvalidInput
from fsr.sweep.data import Item

SETTINGS, BLOCKS = "sweep.json", "blocks"
ROW_FIELDS = {  # of rows.parquet, with the kind of each
    "item": "int64",
    "method": "string",
    "budget": "int32",  # null: the method decides itself
    "visual_tokens": "float64",  # that the language model read
    "answer": "string",
    "unpruned": "string",  # the unpruned model's answer
    "agrees": "bool",
    "score": "float64",  # by the metric; null without known answers
    "kl": "float64",  # nats a token, of the unpruned answer
    "log_prob": "float64",  # nats, of the whole unpruned answer
    "k_focus": "float64",
    "covering_radius": "float64",
    "share_kept": "float64",
    "share_focus": "float64",
    "share_scan": "float64",
    "share_merged": "float64",
    "roles": "binary",  # a byte a visual token, `fsr.tokens.Role`; null where the language model itself prunes
    "encode_ms": "float64",
    "select_ms": "float64",
    "answer_ms": "float64",
    "problem": "string",  # why it could not be asked
}
TIMES = ("encode_ms", "select_ms", "answer_ms")
DATA = "data_"  # before the name of a column that the data brought


@dataclass(frozen=True)
class Store:
    """The folder of one sweep."""

    folder: Path

    def begin(self, settings: dict[str, Any]) -> None:
        """Keep the settings, or see that they are those of before. Raises InvalidInput with what differs."""
        path = self.folder / SETTINGS
        try:
            (self.folder / BLOCKS).mkdir(parents=True, exist_ok=True)
            if path.exists():
                _same(self.folder, json.loads(path.read_text(encoding="utf-8")), settings)
                return
            _written(path, (json.dumps(settings, indent=1, ensure_ascii=False) + "\n").encode())
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{self.folder} cannot hold a sweep: {error}.") from error

    def done(self) -> set[int]:
        """The blocks that are there."""
        found = (self.folder / BLOCKS).glob("block=*")
        return {int(path.name.removeprefix("block=")) for path in found if path.name.removeprefix("block=").isdigit()}

    def commit(self, block: int, items: Sequence[Item], rows: Sequence[dict[str, Any]]) -> None:
        """Put a block in its place; where another was faster, that one stays. Raises FsrError for a full disk."""
        place = self.folder / BLOCKS / f"block={block:06d}"
        beside = self.folder / BLOCKS / f".block={block:06d}.{os.getpid()}"
        try:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
            _table(beside / "rows.parquet", _rows(rows))
            _table(beside / "items.parquet", _items(items, rows))
            _synced(beside)
            with contextlib.suppress(FileExistsError):
                os.rename(beside, place)
            _synced(place.parent)
        except OSError as error:
            if not place.exists():
                raise FsrError(f"{self.folder} cannot be written: {error.strerror or error}.") from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def sweep_up(self) -> None:
        """Take away what a killed process left beside its place."""
        for path in (self.folder / BLOCKS).glob(".block=*"):
            if not _alive(path.suffix.removeprefix(".")):
                shutil.rmtree(path, ignore_errors=True)


def _same(folder: Path, before: Any, now: dict[str, Any]) -> None:
    differing = [name for name in now if not isinstance(before, dict) or before.get(name) != now[name]]
    if differing:
        raise InvalidInput(f"{folder} holds another sweep ({', '.join(differing)} differ); choose another --out.")


def _rows(rows: Sequence[dict[str, Any]]) -> Any:
    import pyarrow as pa

    schema = pa.schema(
        [(name, getattr(pa, "bool_" if kind == "bool" else kind)()) for name, kind in ROW_FIELDS.items()]
    )
    return pa.table({name: [row.get(name) for row in rows] for name in ROW_FIELDS}, schema=schema)


def _items(items: Sequence[Item], rows: Sequence[dict[str, Any]]) -> Any:
    """Columns of the data are numbers, or true and false, where all of a block are, else texts."""
    import pyarrow as pa

    layouts = {row["item"]: row["layout"] for row in rows if "layout" in row}
    columns: dict[str, Any] = {
        "item": pa.array([one.index for one in items], pa.int64()),
        "question": pa.array([one.question for one in items], pa.string()),
        "media": pa.array([one.name for one in items], pa.string()),
        "answers": pa.array([list(one.answers) for one in items], pa.list_(pa.string())),
        "layout": pa.array([layouts.get(one.index) for one in items], pa.string()),
    }
    for name in sorted({name for one in items for name in one.columns}):
        values = [one.columns.get(name) for one in items]
        kinds = {type(value) for value in values if value is not None}
        if kinds <= {float} or kinds <= {bool}:
            columns[DATA + name] = pa.array(values, pa.float64() if kinds <= {float} else pa.bool_())
        else:
            columns[DATA + name] = pa.array([None if v is None else str(v) for v in values], pa.string())
    return pa.table(columns)


def _table(path: Path, table: Any) -> None:
    import pyarrow.parquet as parquet

    parquet.write_table(table, path, compression="zstd")
    _synced(path)


def _written(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    _synced(beside)
    os.replace(beside, path)
    _synced(path.parent)


def _synced(path: Path) -> None:
    """On the disk, not only in memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alive(process: str) -> bool:
    if not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
