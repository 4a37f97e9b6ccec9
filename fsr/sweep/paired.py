"""Two columns of answers to the same questions, side by side: the difference of their scores, every question with
itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fsr.errors import InvalidInput
from fsr.sweep.filters import where
from fsr.sweep.intervals import Pairs
from fsr.sweep.view import FULL, View, known

MEASURES = {"score": "{}.score", "agreement": "{}.agrees::INT::DOUBLE"}  # without known answers the second


@dataclass(frozen=True)
class Beside:
    """What stands beside each line of a sweep: the rows of this view, of the same method and budget where these are ""
    and None."""

    view: View
    method: str = ""
    budget: int | None = None


def beside(view: View, settings: dict[str, Any], method: str, budget: str) -> Beside:
    """As an address names it. settings: of the sweep beside. Raises InvalidInput."""
    some = method or next(iter(settings["methods"]), FULL)
    if method == FULL and budget:
        raise InvalidInput("the unpruned model has no budget.")
    return Beside(view, known(settings, some, "").method if method else "", known(settings, some, budget).budget)


def paired(view: View, other: Beside, filter_: str = "") -> list[dict[str, Any]]:
    """A line a method and budget that both have questions of.

    questions: those both answered. measure: score, or where no answer is known agreement with the unpruned model.
    here, there: its means. difference: here less there, with the paired 95 % interval of `fsr.sweep.intervals.Pairs`.
    only_here, only_there: questions that one of them has right (agrees on) alone.
    """
    found = where(filter_, view.columns, view.items)
    joined = ["o.item = r.item"]
    values: list[Any] = []
    if other.method:
        joined.append("o.method = ?")
        values.append(other.method)
    else:
        joined.append("o.method = r.method")
    if other.method == FULL:
        pass
    elif other.budget is not None:
        joined.append("o.budget = ?")
        values.append(other.budget)
    else:
        joined.append("o.budget IS NOT DISTINCT FROM r.budget")
    if other.view is view:  # nothing stands beside itself
        joined.append("NOT (o.method = r.method AND o.budget IS NOT DISTINCT FROM r.budget)")
    lines = view.ask(
        f"""SELECT r.method, r.budget, {", ".join(_sums(MEASURES[name]) for name in MEASURES)}
        FROM {view.tables(found.items)} JOIN {other.view.rows} o ON {" AND ".join(joined)}
        WHERE r.problem IS NULL AND o.problem IS NULL AND ({found.sql})
        GROUP BY r.method, r.budget ORDER BY r.method <> '{FULL}', r.budget DESC NULLS FIRST, r.method""",
        [*values, *found.values],
    )
    return [_line(*line) for line in lines]


def _sums(measure: str) -> str:
    """n, only here, only there, then the sums of `Pairs`, of questions that have both."""
    r, o = measure.format("r"), measure.format("o")
    both = f"FILTER ({r} IS NOT NULL AND {o} IS NOT NULL)"
    alone = f"count(*) FILTER ({r} >= 0.5 AND {o} < 0.5), count(*) FILTER ({r} < 0.5 AND {o} >= 0.5)"
    sums = ", ".join(f"coalesce(sum({one}) {both}, 0)" for one in (r, o, f"{r} * {r}", f"{o} * {o}", f"{r} * {o}"))
    return f"count(*) {both}, {alone}, {sums}"


def _line(method: str, budget: int | None, *sums: Any) -> dict[str, Any]:
    each = len(sums) // len(MEASURES)
    measure = "score" if sums[0] else "agreement"
    n, only_here, only_there, *rest = sums[:each] if sums[0] else sums[each:]
    line: dict[str, Any] = {"method": method, "budget": budget, "questions": n, "measure": measure}
    line |= {"only_here": only_here, "only_there": only_there}
    pairs = Pairs(n, *map(float, rest))
    if not n:
        return line | dict.fromkeys(("here", "there", "difference", "difference_low", "difference_high"))
    low, high = pairs.difference()
    line |= {"here": pairs.s / n, "there": pairs.u / n, "difference": (pairs.s - pairs.u) / n}
    return line | {"difference_low": low, "difference_high": high}
