"""Questions to a finished, or growing, sweep: averages with intervals, a screenful of questions, what flips share.

DuckDB reads two compact files (`fsr.sweep.compact`). Names of columns and every value that comes from outside are
checked or bound as parameters (`fsr.sweep.filters`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsr.errors import InvalidInput
from fsr.sweep.compact import Compact, literal
from fsr.sweep.filters import Column, where
from fsr.sweep.intervals import Pairs, wilson
from fsr.sweep.limits import cursor
from fsr.sweep.store import DATA

FULL = "full"
SCREEN = 100  # questions at a time
MOST_VALUES = 20  # of a text that are told
MEASURED = (
    Column("item", "number", "number", "r.item"),
    Column("question", "question", "text", "i.question"),
    Column("opening", "question begins with", "text", "i.opening"),
    Column("media", "picture or clip", "text", "i.media"),
    Column("answers", "known answers", "text", "array_to_string(i.answers, ' | ')"),
    Column("unpruned", "answer with all tokens", "text", "r.unpruned"),
    Column("answer", "pruned answer", "text", "r.answer", outcome=True),
    Column("flip", "flip", "text", "r.flip", outcome=True),
    Column("agrees", "same answer", "flag", "r.agrees", outcome=True),
    Column("unpruned_score", "score with all tokens", "number", "r.unpruned_score", outcome=True),
    Column("score", "score", "number", "r.score", outcome=True),
    Column("kl", "KL divergence", "number", "r.kl", outcome=True),
    Column("log_prob", "log-probability of the unpruned answer", "number", "r.log_prob", outcome=True),
    Column("k_focus", "K_F", "number", "r.k_focus"),
    Column("covering_radius", "covering radius", "number", "r.covering_radius"),
    Column("share_focus", "share of Focus", "number", "r.share_focus"),
    Column("share_scan", "share of Scan", "number", "r.share_scan"),
    Column("share_kept", "share kept without a stage", "number", "r.share_kept"),
    Column("share_merged", "share merged", "number", "r.share_merged"),
    Column("visual_tokens", "visual tokens read", "number", "r.visual_tokens"),
    Column("problem", "problem", "text", "r.problem", outcome=True),
)
PLAIN: tuple[str, ...] = ("item", "unpruned", "answer", "unpruned_score", "score", "flip", "kl", "log_prob", "k_focus")
PLAIN += ("covering_radius", "share_kept", "share_focus", "share_scan", "share_merged", "visual_tokens", "problem")


@dataclass(frozen=True)
class Chosen:
    """A method at a budget; budget None: of a method, or the unpruned model, without one."""

    method: str
    budget: int | None

    sql = "r.method = ? AND r.budget IS NOT DISTINCT FROM ?"

    @property
    def values(self) -> tuple[Any, ...]:
        return self.method, self.budget


class View:
    """One state of one sweep. database: see `fsr.sweep.compact.connected`; every question has a cursor of its own."""

    def __init__(self, database: Any, files: Compact) -> None:
        self.database, self.files = database, files
        self.rows, self.items = files.rows, files.items
        self.columns = {column.name: column for column in (*MEASURED, *self._own())}

    def _own(self) -> list[Column]:
        """The data's columns; their kinds are those of the file."""
        kinds = {name: kind for name, kind, *_ in self.ask(f"DESCRIBE SELECT * FROM {self.items}")}
        kind = {"DOUBLE": "number", "BOOLEAN": "flag"}
        return [
            Column(DATA + label, label, kind.get(kinds[name], "text"), f"i.{name}", own=True)
            for name, label in self.files.own.items()
        ]

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of an answer."""
        with cursor(self.database) as own:
            found: list[tuple[Any, ...]] = own.execute(sql, list(values)).fetchall()
            return found

    def tables(self, items: bool) -> str:
        """FROM, with the items beside the rows where they are needed."""
        return f"{self.rows} r" + (f" JOIN {self.items} i ON i.item = r.item" if items else "")

    def column(self, name: str) -> Column:
        """Raises InvalidInput for a name that is none."""
        if name not in self.columns:
            raise InvalidInput(f"there is no column {name[:40]!r}.")
        return self.columns[name]

    # -- what there is

    def counts(self) -> tuple[int, int]:
        """Items, and how many of them could not be asked."""
        ((items,),) = self.ask(f"SELECT count(*) FROM {self.items}")
        ((problems,),) = self.ask(
            f"SELECT count(*) FROM {self.rows} r WHERE r.method = ? AND r.problem IS NOT NULL", [FULL]
        )
        return items, problems

    def about(self) -> list[dict[str, Any]]:
        """Every column: name, label, kind, own, and its range or most frequent values."""
        return [self._told(column) for column in self.columns.values()]

    def _told(self, column: Column) -> dict[str, Any]:
        told: dict[str, Any] = {"name": column.name, "label": column.label, "kind": column.kind, "own": column.own}
        tables = f"{self.items} i" if column.of_items else f"{self.rows} r"
        if column.kind == "number":
            ((low, high),) = self.ask(f"SELECT min({column.sql}), max({column.sql}) FROM {tables}")
            return told | {"min": finite(low), "max": finite(high)}
        if column.name in ("question", "media", "answers", "answer", "unpruned", "problem"):
            return told
        found = self.ask(
            f"SELECT {column.sql} AS value, count(*) AS n FROM {tables} WHERE {column.sql} IS NOT NULL "
            f"GROUP BY value ORDER BY n DESC, value LIMIT {MOST_VALUES}"
        )
        return told | {"values": [{"value": value, "count": n} for value, n in found]}

    # -- averages

    def headline(self, filter_: str = "", of: Chosen | None = None) -> list[dict[str, Any]]:
        """A line a method and budget, the unpruned model's first; 95 % intervals.

        score: the mean, with Wilson's interval. difference: from the unpruned model, retention: the ratio to it; both
        intervals are of pairs, every question with itself (`fsr.sweep.intervals.Pairs`). lost, won: right unpruned and
        wrong now, and the other way round; changed: another answer, as right or wrong as before.

        of: the method and budget whose rows the filter reads; else each line's own.
        """
        found = where(filter_, self.columns, self.items)
        condition, values, items = found.sql, found.values, found.items
        if of is not None and found.rows:
            inner = f"SELECT r.item FROM {self.tables(items)} WHERE {Chosen.sql} AND ({condition})"
            condition, values, items = f"r.item IN ({inner})", (*of.values, *found.values), False
        both = "r.score IS NOT NULL AND r.unpruned_score IS NOT NULL"
        sums: tuple[str, ...] = (
            "r.score",
            "r.unpruned_score",
            "r.score * r.score",
            "r.unpruned_score * r.unpruned_score",
        )
        sums += ("r.score * r.unpruned_score",)
        lines = self.ask(
            f"""SELECT r.method, r.budget, count(*), avg(r.visual_tokens), avg(r.agrees::INT),
                avg(r.kl) FILTER (isfinite(r.kl)), count(*) FILTER (r.flip = 'lost'), count(*) FILTER (r.flip = 'won'),
                count(*) FILTER (r.flip = 'changed'), count(*) FILTER ({both}),
                {", ".join(f"coalesce(sum({one}) FILTER ({both}), 0)" for one in sums)}
            FROM {self.tables(items)} WHERE r.problem IS NULL AND ({condition})
            GROUP BY r.method, r.budget ORDER BY r.method <> '{FULL}', r.budget DESC NULLS FIRST, r.method""",
            values,
        )
        return [_line(*line) for line in lines]

    # -- questions

    def questions(
        self,
        of: Chosen,
        filter_: str = "",
        sort: str = "",
        down: bool = False,
        offset: int = 0,
        limit: int = 20,
        beside: tuple[View, Chosen] | None = None,
        at: int | None = None,
    ) -> dict[str, Any]:
        """A screenful: total, offset and rows. sort: a column; nothing last, then by number. beside: another sweep of
        the same data, and the method and budget of it that are told with each row. at: an item whose place in the whole
        list is told, too, None where the filter leaves it out."""
        if not 1 <= limit <= SCREEN:
            raise InvalidInput(f"limit must be from 1 to {SCREEN}, not {limit}.")
        found, order = where(filter_, self.columns, self.items), self.column(sort or "item")
        chosen = f"WHERE {Chosen.sql} AND ({found.sql})"
        values = (*of.values, *found.values)
        ((total,),) = self.ask(f"SELECT count(*) FROM {self.tables(found.items)} {chosen}", values)
        tables = f"FROM {self.tables(found.items or order.of_items)} {chosen}"
        sorted_ = f"ORDER BY {order.sql} {'DESC' if down else 'ASC'} NULLS LAST, r.item"
        page = self.ask(f"SELECT r.item {tables} {sorted_} LIMIT ? OFFSET ?", (*values, limit, offset))
        items = [item for (item,) in page]
        told = self.told(of, items)
        if beside is not None:
            other, others = beside
            theirs = other.told(others, items)
            for item, row in told.items():
                row["beside"] = {name: theirs[item][name] for name in _BESIDE} if item in theirs else None
        screenful = {"total": total, "offset": offset, "rows": [told[item] for item in items]}
        if at is not None:
            places = f"SELECT r.item, row_number() OVER ({sorted_}) - 1 AS place {tables}"
            found_at = self.ask(f"SELECT place FROM ({places}) WHERE item = ?", (*values, at))
            screenful["place"] = found_at[0][0] if found_at else None
        return screenful

    def told(self, of: Chosen, items: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Everything about these items with a method at a budget, by item."""
        own = [column for column in self.columns.values() if column.own]
        wanted = [self.columns[name].sql for name in PLAIN] + ["i.question", "i.answers", "i.media"]
        found = self.ask(
            f"SELECT {', '.join([*wanted, *(column.sql for column in own)])} FROM {self.tables(True)} "
            f"WHERE {Chosen.sql} AND r.item IN ({', '.join('?' * len(items)) or 'NULL'})",
            (*of.values, *items),
        )
        told = {}
        for line in found:
            row = dict(zip((*PLAIN, "question", "answers", "media"), map(finite, line), strict=False))
            row["columns"] = {column.name: finite(x) for column, x in zip(own, line[len(wanted) :], strict=True)}
            told[row["item"]] = row
        return told

    def export(self, of: Chosen, filter_: str, path: Path, as_: str) -> None:
        """The selected questions with all columns as a file, csv or parquet. A text of CSV that a spreadsheet would
        take for a formula begins with an apostrophe. Raises InvalidInput for another format."""
        if as_ not in _FORMATS:
            raise InvalidInput(f"as must be one of {', '.join(_FORMATS)}, not {as_[:20]!r}.")
        found = where(filter_, self.columns, self.items)
        parts, names = ["r.method", "r.budget"], {"method", "budget"}
        for column in self.columns.values():
            name = _unlike(column.label if column.own else column.name, names)
            sql = _harmless(column.sql) if as_ == "csv" and column.kind == "text" else column.sql
            parts.append(f"{sql} AS {_heading(name, as_)}")
        with cursor(self.database) as own:
            own.execute(
                f"COPY (SELECT {', '.join(parts)} FROM {self.tables(True)} WHERE {Chosen.sql} AND ({found.sql}) "
                f"ORDER BY r.item) TO {literal(path)} ({_FORMATS[as_]})",
                [*of.values, *found.values],
            )


_BESIDE = ("answer", "score", "flip", "kl")
_FORMATS = {"csv": "FORMAT csv, HEADER", "parquet": "FORMAT parquet, COMPRESSION zstd"}


def _harmless(sql: str) -> str:
    """A text that no spreadsheet takes for a formula (OWASP, CSV Injection)."""
    return f"CASE WHEN regexp_matches({sql}, '^\\s*[=+\\-@\\t\\r\\n]') THEN '''' || {sql} ELSE {sql} END"


def _heading(name: str, as_: str) -> str:
    safe = f"'{name}" if as_ == "csv" and name.lstrip()[:1] in ("=", "+", "-", "@") else name
    return '"' + safe.replace('"', '""').replace("\0", "") + '"'


def _unlike(name: str, names: set[str]) -> str:
    """The name, or one with a number where another column has it."""
    found, number = name, 2
    while found.lower() in names:
        found, number = f"{name} {number}", number + 1
    names.add(found.lower())
    return found


def finite(value: Any) -> Any:
    """JSON has no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(
    method: str, budget: int | None, n: int, tokens: float, agreement: float, kl: float, *counts: Any
) -> dict[str, Any]:
    lost, won, changed, *sums = counts
    pairs = Pairs(*map(float, sums))
    line: dict[str, Any] = {"method": method, "budget": budget, "questions": n, "visual_tokens": finite(tokens)}
    line |= {"agreement": agreement, "kl": finite(kl), "lost": lost, "won": won, "changed": changed}
    names = ("score", "difference", "retention")
    line |= {name + end: None for name in names for end in ("", "_low", "_high")}
    if pairs.n:
        score = pairs.s / pairs.n
        _put(line, "score", score, wilson(score, pairs.n))
        full = method == FULL
        _put(line, "difference", score - pairs.u / pairs.n, (0.0, 0.0) if full else pairs.difference())
        if pairs.u:
            _put(line, "retention", pairs.s / pairs.u, (1.0, 1.0) if full else pairs.retention())
    return line


def _put(line: dict[str, Any], name: str, value: float, ends: tuple[float, float] | None) -> None:
    line |= {name: value, f"{name}_low": ends and ends[0], f"{name}_high": ends and ends[1]}


def known(chosen: Mapping[str, Any], method: str, budget: str) -> Chosen:
    """A method and budget as the address holds them. chosen: the sweep's settings. Raises InvalidInput."""
    methods = [*chosen["methods"], FULL]
    if method not in methods:
        raise InvalidInput(f"the method must be one of {', '.join(methods)}, not {method[:40]!r}.")
    if not budget or method == FULL:
        return Chosen(method, None)
    if budget not in map(str, chosen["budgets"]):
        raise InvalidInput(f"the budget must be one of {', '.join(map(str, chosen['budgets']))}, not {budget[:20]!r}.")
    return Chosen(method, int(budget))
