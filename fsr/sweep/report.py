"""What a sweep found, from its Parquet files: a line a method and budget, read by DuckDB."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import Any

from fsr.errors import FsrError, InvalidInput
from fsr.sweep.compact import compacted, connected
from fsr.sweep.store import BLOCKS
from fsr.sweep.view import FULL, View


def opened(folder: Path) -> Any:
    """A DuckDB connection with the views `rows` and `items` of this folder. Raises InvalidInput where there is none."""
    try:
        import duckdb
    except ImportError as error:
        raise FsrError("reading sweeps needs DuckDB: pip install duckdb.") from error
    if not any((folder / BLOCKS).glob("block=*/rows.parquet")):
        raise InvalidInput(f"{folder} holds no block of a sweep.")
    database = duckdb.connect()
    for name in ("rows", "items"):
        files = str(folder / BLOCKS / "block=*" / f"{name}.parquet").replace("'", "''")
        database.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{files}', union_by_name = true)")
    return database


def found(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """A line a method and budget (`fsr.sweep.view.View.headline`), best first at each budget; and how many questions
    could not be asked."""
    with tempfile.TemporaryDirectory(prefix="fsr-sweeps-") as cache:
        database = connected(os.cpu_count() or 1, "1GB", Path(cache) / "spill")
        view = View(database, compacted(database, folder, Path(cache)))
        return sorted(view.headline(), key=_place), view.counts()[1]


def _place(line: dict[str, Any]) -> tuple[bool, float, float, str]:
    budget = math.inf if line["budget"] is None else line["budget"]
    score = -math.inf if line["score"] is None else line["score"]
    return line["method"] != FULL, -budget, -score, line["method"]
