"""Many inputs, one statement: a loop inside the test, where a case says nothing of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def each(names: str | Sequence[str], rows: Iterable[Any], ids: Any = None) -> Callable[[Callable[..., None]], Any]:
    """As `pytest.mark.parametrize`, but one test runs all rows and names the one that failed. Fixtures are shared."""
    named = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    cases = list(rows)
    labels = list(ids) if isinstance(ids, Iterable) else cases

    def decorate(test: Callable[..., None]) -> Any:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            for label, row in zip(labels, cases, strict=True):
                values = tuple(row) if len(named) > 1 else (row,)
                try:
                    test(*args, **kwargs, **dict(zip(named, values, strict=True)))
                except Exception as error:
                    raise AssertionError(f"in the case {str(label)[:200]}: {error}") from error

        signature = inspect.signature(test)
        left = [parameter for name, parameter in signature.parameters.items() if name not in named]
        run.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return run

    return decorate
