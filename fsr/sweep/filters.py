"""Which questions of a sweep: conditions on columns, as SQL whose every value is a parameter.

A condition is {"column": name, "is": operator, "value": ...}; all of a list must hold. What a browser sends chooses
among columns and operators that are known here, and never becomes a part of the SQL itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fsr.errors import InvalidInput

MOST, LONGEST, LISTED = 32, 1000, 200  # conditions, characters of a text, values of "in"
ORDERS = ("<", "<=", ">", ">=")
OPERATORS = ("=", "!=", *ORDERS, "in", "not in", "has", "empty")
ANYWHERE = "anywhere"


@dataclass(frozen=True)
class Column:
    """name: in a filter. kind: number, flag or text. sql: of the tables r (rows) and i (items). own: of the data.

    outcome: it says how the pruned answer came out, so that it explains no flip.
    """

    name: str
    label: str
    kind: str
    sql: str
    own: bool = False
    outcome: bool = False

    @property
    def of_items(self) -> bool:
        """Whether it is the same for every method and budget."""
        return self.sql.startswith(("i.", "array_to_string(i."))


@dataclass(frozen=True)
class Where:
    """sql: a condition. values: its parameters, in order. items, rows: whether it reads columns of either table."""

    sql: str
    values: tuple[Any, ...] = ()
    items: bool = False
    rows: bool = False


def where(text: str, columns: Mapping[str, Column], table: str) -> Where:
    """A filter as the address holds it, JSON or nothing. table: the items, in SQL. Raises InvalidInput with one
    sentence."""
    if not text.strip():
        return Where("true")
    try:
        conditions = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput("the filter must be JSON, a list of conditions.") from None
    if not isinstance(conditions, list) or len(conditions) > MOST:
        raise InvalidInput(f"the filter must be a list of at most {MOST} conditions.")
    found = [_condition(one, columns, table) for one in conditions]
    return Where(
        " AND ".join(f"({one.sql})" for one in found) or "true",
        tuple(value for one in found for value in one.values),
        any(one.items for one in found),
        any(one.rows for one in found),
    )


def _condition(told: Any, columns: Mapping[str, Column], table: str) -> Where:
    if not isinstance(told, dict) or not {"column", "is"} <= told.keys() <= {"column", "is", "value"}:
        raise InvalidInput('a condition is an object with "column", "is" and "value".')
    name, operator, value = told["column"], told["is"], told.get("value")
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise InvalidInput(f'a condition\'s "is" must be one of {", ".join(OPERATORS)}, not {str(operator)[:20]!r}.')
    if name == ANYWHERE and operator == "has":
        return _anywhere(_text(value, ANYWHERE), columns, table)
    column = columns.get(name) if isinstance(name, str) else None
    if column is None:
        raise InvalidInput(f"there is no column {str(name)[:40]!r}.")
    sql, values = _COMPARED.get(operator, _ordered)(column, operator, value)
    return Where(sql, tuple(values), column.of_items, not column.of_items)


def _anywhere(text: str, columns: Mapping[str, Column], table: str) -> Where:
    """Texts of items are looked through once, not once a row."""
    of_items, of_rows = (
        " OR ".join(f"contains(lower({columns[name].sql}), lower(?))" for name in names)
        for names in (("question", "answers"), ("answer", "unpruned"))
    )
    return Where(f"r.item IN (SELECT i.item FROM {table} i WHERE {of_items}) OR {of_rows}", (text,) * 4, rows=True)


Compared = tuple[str, list[Any]]


def _equal(column: Column, operator: str, value: Any) -> Compared:
    unlike = "NOT " if operator == "=" else ""
    return f"{column.sql} IS {unlike}DISTINCT FROM ?", [None if value is None else _value(column, value)]


def _listed(column: Column, operator: str, value: Any) -> Compared:
    """What has no value is neither in a list nor outside it."""
    if not isinstance(value, list) or not 1 <= len(value) <= LISTED:
        raise InvalidInput(f'"{operator}" takes a list of 1 to {LISTED} values.')
    return f"{column.sql} {operator.upper()} ({', '.join('?' * len(value))})", [_value(column, one) for one in value]


def _has(column: Column, _: str, value: Any) -> Compared:
    if column.kind != "text":
        raise InvalidInput(f'"has" is for texts, and {column.label!r} is none.')
    return f"contains(lower({column.sql}), lower(?))", [_text(value, column.label)]


def _empty(column: Column, _: str, value: Any) -> Compared:
    if value not in (None, True, False):
        raise InvalidInput('"empty" takes true, false or nothing.')
    return f"{column.sql} IS {'NOT ' if value is False else ''}NULL", []


def _ordered(column: Column, operator: str, value: Any) -> Compared:
    if column.kind != "number":
        raise InvalidInput(f"{operator} is for numbers, and {column.label!r} is none.")
    return f"{column.sql} {operator} ?", [_value(column, value)]


_COMPARED: dict[str, Callable[[Column, str, Any], Compared]] = {
    "=": _equal,
    "!=": _equal,
    "in": _listed,
    "not in": _listed,
    "has": _has,
    "empty": _empty,
}


def _value(column: Column, value: Any) -> Any:
    """Raises InvalidInput where it is none of the column's kind."""
    if column.kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidInput(f"{column.label!r} takes a number, not {str(value)[:40]!r}.")
        return float(value)
    if column.kind == "flag":
        if not isinstance(value, bool):
            raise InvalidInput(f"{column.label!r} takes true or false, not {str(value)[:40]!r}.")
        return value
    return _text(value, column.label)


def _text(value: Any, label: str) -> str:
    if not isinstance(value, str) or len(value) > LONGEST:
        raise InvalidInput(f"{label!r} takes a text of at most {LONGEST} characters.")
    return value.encode("utf-8", "replace").decode()
