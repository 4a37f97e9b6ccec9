"""What flips have in common: their share among questions of each kind, column by column, most telling first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fsr.errors import InvalidInput
from fsr.sweep import limits
from fsr.sweep.filters import Column, where
from fsr.sweep.intervals import wilson
from fsr.sweep.view import Chosen, View, finite

BARS = 8  # values of a text, or of a number with few, that have a bar each
BINS = 5  # of a number with many, as many questions in each
EXPLAINING: tuple[str, ...] = (
    "opening",
    "unpruned",
    "k_focus",
    "covering_radius",
    "share_focus",
    "share_scan",
    "share_kept",
)
EXPLAINING += ("share_merged", "visual_tokens")
AMONG = {
    "lost": ("r.unpruned_score >= 0.5", "questions that were right with all tokens"),
    "won": ("r.unpruned_score < 0.5", "questions that were wrong with all tokens"),
    "changed": ("r.flip IS NOT NULL", "all questions"),
    "any": ("r.flip IS NOT NULL", "all questions"),
}
Bar = tuple[str, list[dict[str, Any]], int, int]  # label, filter, questions, flips


def common(view: View, of: Chosen, flip: str = "lost", filter_: str = "") -> dict[str, Any]:
    """questions, flips, share (low, high: Wilson's 95 % interval), and the same of every bar of every column.

    A question counts where it could flip that way: lost ones among those that were right unpruned. Numbers with more
    than `BARS` values are cut at their quintiles. Columns stand by how telling they are: the likelihood-ratio statistic
    G of "each bar has its own share" against "one share", less 2 for every bar but one (Akaike, 1974), so that many
    bars alone are not telling; questions without a value have a bar, but do not count in it. How the pruned
    answer itself came out (KL, score) explains nothing and is left out, and so is a measured column that cuts the
    questions as another does (Scan and merged tokens).
    """
    if flip not in AMONG:
        raise InvalidInput(f"flip must be one of {', '.join(AMONG)}, not {flip[:20]!r}.")
    at_risk, words = AMONG[flip]
    found = where(filter_, view.columns, view.items)
    columns = [column for column in view.columns.values() if column.own or column.name in EXPLAINING]
    hit = "r.flip <> 'same'" if flip == "any" else f"r.flip = '{flip}'"
    with limits.cursor(view.database) as cursor:
        cursor.execute(
            f"CREATE TEMP TABLE chosen AS SELECT ({hit})::INT AS hit"
            + "".join(f", {column.sql} AS x{i}" for i, column in enumerate(columns))
            + f" FROM {view.tables(True)} WHERE {Chosen.sql} AND {at_risk} AND ({found.sql})",
            [*of.values, *found.values],
        )
        n, flips = cursor.execute("SELECT count(*), coalesce(sum(hit), 0) FROM chosen").fetchone()
        told = [_column(cursor, f"x{i}", column, n) for i, column in enumerate(columns)] if n else []
        cursor.execute("DROP TABLE chosen")
    telling = sorted(_unlike([one for one in told if one]), key=lambda one: -one["telling"])
    return {"flip": flip, "among": words, **_share(n, flips), "columns": telling}


def _unlike(told: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without measured columns whose bars count the same as those of one before."""
    found: dict[Any, dict[str, Any]] = {}
    for one in told:
        counts = tuple((bar["questions"], bar["flips"]) for bar in one["bars"])
        found.setdefault(counts if one["name"] in EXPLAINING else one["name"], one)
    return list(found.values())


def _share(n: int, flips: int) -> dict[str, Any]:
    low, high = wilson(flips / n if n else 0.0, n)
    return {"questions": n, "flips": int(flips), "share": flips / n if n else None, "low": low, "high": high}


def _column(cursor: Any, x: str, column: Column, n: int) -> dict[str, Any] | None:
    """None where all questions are alike, or none is like another."""
    bars = _numbers(cursor, x, column) if column.kind == "number" else _values(cursor, x, column, n)
    if len(bars) < 2:
        return None
    without = _none(cursor, x, column)
    told = [
        {"label": label, "filter": filter_, **_share(count, hits)} for label, filter_, count, hits in bars + without
    ]
    return {"name": column.name, "label": column.label, "telling": round(_telling(bars), 2), "bars": told}


def _telling(bars: Sequence[Bar]) -> float:
    """G = 2 sum O ln(O / E) over bars, flipped and not, less 2 for every bar but one."""
    n, flips = sum(bar[2] for bar in bars), sum(bar[3] for bar in bars)
    total = -2.0 * (len(bars) - 1)
    for _, _, count, hits in bars:
        for observed, share in ((hits, flips / n), (count - hits, 1 - flips / n)):
            if observed:
                total += 2 * observed * math.log(observed / (count * share))
    return total


def _values(cursor: Any, x: str, column: Column, n: int) -> list[Bar]:
    """A bar for each of the most frequent values, one for all others, one for none."""
    found = cursor.execute(
        f"SELECT {x}, count(*) AS n, sum(hit) FROM chosen WHERE {x} IS NOT NULL GROUP BY {x} "
        f"ORDER BY n DESC, {x} LIMIT {BARS}"
    ).fetchall()
    if column.kind == "text" and (not found or found[0][1] < max(2, n / 200)):
        return []
    bars: list[Bar] = [(_name(value), [_is(column, "=", value)], count, int(hits)) for value, count, hits in found]
    rest, hits = cursor.execute(
        f"SELECT count({x}), coalesce(sum(hit) FILTER ({x} IS NOT NULL), 0) FROM chosen"
    ).fetchone()
    rest, hits = rest - sum(bar[2] for bar in bars), int(hits) - sum(bar[3] for bar in bars)
    if rest:
        bars.append(("others", [_is(column, "not in", [value for value, *_ in found])], rest, hits))
    return bars


def _numbers(cursor: Any, x: str, column: Column) -> list[Bar]:
    (distinct,) = cursor.execute(f"SELECT count(DISTINCT {x}) FROM chosen WHERE isfinite({x})").fetchone()
    if distinct <= BARS:
        found = cursor.execute(
            f"SELECT {x}, count(*), sum(hit) FROM chosen WHERE isfinite({x}) GROUP BY {x} ORDER BY {x}"
        ).fetchall()
        bars: list[Bar] = [(_name(value), [_is(column, "=", value)], count, int(hits)) for value, count, hits in found]
        return bars
    shares = [i / BINS for i in range(1, BINS)]
    cuts, lowest, highest, whole = cursor.execute(
        f"SELECT quantile_disc({x}, {shares}), min({x}), max({x}), bool_and({x} = round({x})) FROM chosen "
        f"WHERE isfinite({x})"
    ).fetchone()
    edges = sorted({cut for cut in cuts if cut > lowest})
    cases = " ".join(f"WHEN {x} < ? THEN {i}" for i in range(len(edges)))
    case = f"CASE {cases} ELSE {len(edges)} END" if edges else "0"
    found = cursor.execute(
        f"SELECT {case} AS bin, count(*), sum(hit) FROM chosen WHERE isfinite({x}) GROUP BY bin ORDER BY bin", edges
    ).fetchall()
    ends = [lowest, *edges, highest + 1 if whole else highest]
    bars = []
    for i, count, hits in found:
        filter_ = [_is(column, ">=", ends[i])] if i else []
        filter_ += [_is(column, "<", ends[i + 1])] if i < len(edges) else []
        label = _between(ends[i], ends[i + 1] - 1 if whole else ends[i + 1], whole)
        bars.append((label, filter_, count, int(hits)))
    return bars


def _between(low: float, high: float, whole: bool) -> str:
    """Of whole numbers both ends are in it, of others the lower one."""
    if whole:
        return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
    ends = f"{low:.3g}", f"{high:.3g}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _none(cursor: Any, x: str, column: Column) -> list[Bar]:
    count, hits = cursor.execute(f"SELECT count(*), coalesce(sum(hit), 0) FROM chosen WHERE {x} IS NULL").fetchone()
    return [("none", [{"column": column.name, "is": "empty"}], count, int(hits))] if count else []


def _is(column: Column, operator: str, value: Any) -> dict[str, Any]:
    return {"column": column.name, "is": operator, "value": finite(value)}


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:80]
