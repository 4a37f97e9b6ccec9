"""The example scenes: a picture or clip, a question and a recorded trace each, read from disk when someone looks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fsr.tokens import InvalidInput


@dataclass(frozen=True)
class Example:
    """One scene: `media` is a picture or a clip, `trace` a file in the format of `fsr.trace` (it may not be recorded).

    pictures: what the page shows, one file for every frame of the trace.
    """

    id: str
    title: str
    question: str
    media: Path
    trace_file: Path
    pictures: tuple[Path, ...]
    clip: bool = False

    def trace(self) -> str | None:
        """The recorded trace as JSON, or None before the first recording."""
        return self.trace_file.read_text(encoding="utf-8") if self.trace_file.is_file() else None


class Examples:
    """The gallery in `folder`: examples/index.json with examples/<id>.png, examples/clips.json with a clip
    examples/<id>.mp4 and its frames examples/<id>/<number>.webp, and traces/<id>.json."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def all(self) -> dict[str, Example]:
        pictures = {row["id"]: self._picture(row) for row in self._rows("index.json")}
        clips = {row["id"]: self._clip(row) for row in self._rows("clips.json")}
        return pictures | {name: clip for name, clip in clips.items() if clip.pictures and clip.media.is_file()}

    def _rows(self, name: str) -> list[dict[str, Any]]:
        index = self.folder / "examples" / name
        return json.loads(index.read_text(encoding="utf-8")) if index.is_file() else []

    def _picture(self, row: dict[str, Any]) -> Example:
        picture = self.folder / "examples" / f"{row['id']}.png"
        return self._example(row, picture, (picture,))

    def _clip(self, row: dict[str, Any]) -> Example:
        frames = (self.folder / "examples" / row["id"]).glob("*.webp")
        ordered = tuple(sorted(frames, key=lambda path: int(path.stem)))
        return self._example(row, self.folder / "examples" / f"{row['id']}.mp4", ordered, clip=True)

    def _example(self, row: dict[str, Any], media: Path, pictures: tuple[Path, ...], clip: bool = False) -> Example:
        trace = self.folder / "traces" / f"{row['id']}.json"
        return Example(row["id"], row["title"], row["question"], media, trace, pictures, clip)

    def get(self, name: object) -> Example:
        """Raises InvalidInput for a name that is not in the gallery."""
        if not isinstance(name, str) or name not in self.all:
            raise InvalidInput(f"there is no example {str(name)[:40]!r}; choose one of {', '.join(self.all)}.")
        return self.all[name]

    @property
    def first(self) -> Example | None:
        return next(iter(self.all.values()), None)
