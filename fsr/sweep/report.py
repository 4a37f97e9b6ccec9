"""What a sweep found, from its Parquet files: a line a method and budget, read by DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fsr.errors import FsrError, InvalidInput
from fsr.sweep.store import BLOCKS

# lost, won: questions that were right unpruned and are wrong now, and the other way round
HEADLINE = """
WITH r AS (SELECT * FROM rows WHERE problem IS NULL), u AS (SELECT item, score FROM r WHERE method = 'full')
SELECT r.method, r.budget, count(*) AS questions, avg(r.visual_tokens) AS visual_tokens, avg(r.score) AS score,
       avg(r.score) / nullif(avg(u.score), 0) AS retention, avg(r.agrees::INT) AS agreement, avg(r.kl) AS kl,
       count(*) FILTER (u.score >= 0.5 AND r.score < 0.5) AS lost,
       count(*) FILTER (u.score < 0.5 AND r.score >= 0.5) AS won
FROM r JOIN u USING (item) GROUP BY r.method, r.budget
ORDER BY (r.method = 'full')::INT DESC, r.budget DESC NULLS FIRST, avg(r.score) DESC, r.method
"""


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


def headline(folder: Path) -> list[dict[str, Any]]:
    """A row a method and budget, see `HEADLINE`."""
    found = opened(folder).execute(HEADLINE)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def problems(folder: Path) -> int:
    """Questions that could not be asked."""
    (count,) = (
        opened(folder).execute("SELECT count(*) FROM rows WHERE problem IS NOT NULL AND method = 'full'").fetchone()
    )
    return int(count)
