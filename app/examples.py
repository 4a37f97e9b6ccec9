"""The example scenes: a picture, a question and a recorded trace each, read from disk when someone looks at them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fsr.tokens import InvalidInput


@dataclass(frozen=True)
class Example:
    """One scene: `picture` is a file, `trace` a file in the format of `fsr.trace` (it may not be recorded yet)."""

    id: str
    title: str
    question: str
    picture: Path
    trace_file: Path

    def trace(self) -> str | None:
        """The recorded trace as JSON, or None before the first recording."""
        return self.trace_file.read_text(encoding="utf-8") if self.trace_file.is_file() else None


class Examples:
    """The gallery in `folder`: examples/index.json, examples/<id>.png and traces/<id>.json."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def all(self) -> dict[str, Example]:
        index = self.folder / "examples" / "index.json"
        if not index.is_file():
            return {}
        rows = json.loads(index.read_text(encoding="utf-8"))
        return {row["id"]: self._example(row) for row in rows}

    def _example(self, row: dict[str, Any]) -> Example:
        picture = self.folder / "examples" / f"{row['id']}.png"
        trace = self.folder / "traces" / f"{row['id']}.json"
        return Example(row["id"], row["title"], row["question"], picture, trace)

    def get(self, name: object) -> Example:
        """Raises InvalidInput for a name that is not in the gallery."""
        if not isinstance(name, str) or name not in self.all:
            raise InvalidInput(f"there is no example {str(name)[:40]!r}; choose one of {', '.join(self.all)}.")
        return self.all[name]

    @property
    def first(self) -> Example | None:
        return next(iter(self.all.values()), None)
