"""The example scenes: a picture or clip, a question and a recorded trace each, read from disk when someone looks."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fsr.bench.recording import rows_of
from fsr.errors import InvalidInput
from fsr.trace import Trace, TraceError

NEEDED = frozenset({"id", "title", "question"})
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One scene: `media` is a picture or a clip, `trace` a file in the format of `fsr.trace` (it may not be recorded).

    pictures: what the page shows, one file for every frame of the trace. recording: the name of the recording that the
    trace is of, "" for the embedded models'. story: a sentence or two about the answers recorded there; a test holds it
    against them.
    """

    id: str
    title: str
    question: str
    media: Path
    trace_file: Path
    pictures: tuple[Path, ...]
    clip: bool = False
    recording: str = ""
    story: str = ""


@dataclass(frozen=True)
class Recording:
    """What one model answered to the examples: a folder of traces/, "" for those that lie in traces/ itself.

    model: its id. title, on (a date), device: of the first trace. examples: their ids.
    """

    name: str
    model: str
    title: str
    on: str
    device: str
    examples: tuple[str, ...]


class Examples:
    """The gallery in `folder`: examples/index.json with examples/<id>.png, examples/clips.json with a clip
    examples/<id>.mp4 and its frames examples/<id>/<number>.webp, and traces/<id>.json.

    Recordings of further models, made by `fsr.bench.recording`, are folders traces/<name>/ of the same shape, with the
    frames that their clips were read at in traces/<name>/<id>/. No model is needed to look at them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def all(self) -> dict[str, Example]:
        pictures = {row["id"]: self._picture(row) for row in self._rows("index.json")}
        clips = {row["id"]: self._clip(row) for row in self._rows("clips.json")}
        return pictures | {name: clip for name, clip in clips.items() if clip.pictures and clip.media.is_file()}

    def _rows(self, name: str) -> list[dict[str, Any]]:
        """Raises InvalidInput for an index that cannot be read, or a row without what an example needs."""
        return rows_of(self.folder / "examples", name, NEEDED) if (self.folder / "examples" / name).is_file() else []

    def _picture(self, row: dict[str, Any]) -> Example:
        picture = self.folder / "examples" / f"{row['id']}.png"
        return self._example(row, picture, (picture,))

    def _clip(self, row: dict[str, Any]) -> Example:
        traces = self.folder / "traces"
        folders = (traces, self.folder / "examples", *sorted(traces.glob("*")))
        frames = next(filter(None, (frames_in(folder / row["id"]) for folder in folders)), ())
        return self._example(row, self.folder / "examples" / f"{row['id']}.mp4", frames, clip=True)

    def _example(self, row: dict[str, Any], media: Path, pictures: tuple[Path, ...], clip: bool = False) -> Example:
        trace = self.folder / "traces" / f"{row['id']}.json"
        told = str(row.get("story", ""))
        return Example(row["id"], row["title"], row["question"], media, trace, pictures, clip, story=told)

    @cached_property
    def recordings(self) -> dict[str, Recording]:
        """By name, the embedded models' first; folders without a trace of an example are left out."""
        folders = sorted(p for p in (self.folder / "traces").glob("*") if p.is_dir() and p.name not in self.all)
        found = [self._recording("", self.folder / "traces"), *(self._recording(p.name, p) for p in folders)]
        return {one.name: one for one in found if one is not None}

    def _recording(self, name: str, folder: Path) -> Recording | None:
        files = {example: path for example in self.all if (path := folder / f"{example}.json").is_file()}
        if not files:
            return None
        try:
            first = Trace.from_json(next(iter(files.values())).read_bytes())
        except TraceError as error:
            log.warning("%s is left out: %s", folder, error)
            return None
        made = first.recorded or {}
        title, on, device = first.model["title"], made.get("on", ""), made.get("device", "")
        return Recording(name, first.model["id"], title, on, device, tuple(files))

    def recording_of(self, model: str) -> str:
        """The recording to begin with: the one of this model, or else the embedded models', or the first."""
        first = next(iter(self.recordings), "")
        return next((one.name for one in self.recordings.values() if one.model == model), first)

    def ask(self, question: object) -> bool:
        """Whether it is the question of one of them."""
        return str(question).strip() in {example.question for example in self.all.values()}

    def get(self, name: object, recording: object = "") -> Example:
        """Raises InvalidInput for a name that is not in the gallery, or another recording than those there are."""
        if not isinstance(name, str) or name not in self.all:
            raise InvalidInput(f"there is no example {str(name)[:40]!r}; choose one of {', '.join(self.all)}.")
        example = self.all[name]
        if recording == "":
            return example
        if not isinstance(recording, str) or recording not in self.recordings:
            known = ", ".join(filter(None, self.recordings)) or "none"
            raise InvalidInput(f"there is no recording {str(recording)[:40]!r}; there are: {known}.")
        folder = self.folder / "traces" / recording
        frames = frames_in(folder / name) or example.pictures
        return replace(example, trace_file=folder / f"{name}.json", pictures=frames, recording=recording)

    @property
    def first(self) -> Example | None:
        return next(iter(self.all.values()), None)


def frames_in(folder: Path) -> tuple[Path, ...]:
    """The frames of a clip, files named by their numbers in it, in order."""
    return tuple(sorted(folder.glob("*.webp"), key=lambda path: int(path.stem)))
