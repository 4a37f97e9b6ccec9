"""Saved views that visitors opened again: what the file holds, and its picture or frames, under a hash of the file."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.clips import Clips, Film
from app.pictures import Picture, Pictures
from fsr.errors import InvalidInput
from fsr.media.video import Clip
from fsr.trace.page import Explanation
from fsr.trace.saved import MAX_BYTES, open_saved

PREFIX = "view-"  # of ids
GONE = "the saved view is no longer here; open its file again."
UNDATED = "an earlier day"


@dataclass(frozen=True, eq=False)
class SavedView:
    """id: a hash of the file. view: what it holds, checked. shown: its picture or frames, as a model is given them."""

    id: str
    view: Explanation
    shown: Picture | Film

    @property
    def trace(self) -> dict[str, Any]:
        """The record, whose answers say that they are not of today."""
        trace = self.view.trace
        recorded = trace.recorded or {"on": self.view.saved or UNDATED, "device": trace.model["device"]}
        return replace(trace, recorded=recorded).to_dict()


def is_view_id(name: str) -> bool:
    """Whether this names a saved view, not a picture or a clip."""
    return name.startswith(PREFIX)


class SavedViews:
    """Opens, checks and keeps saved views; forgets the least recently used. max_side: pixels of a picture."""

    def __init__(self, size: int, pictures: Pictures, clips: Clips, max_side: int, max_bytes: int) -> None:
        self.size, self.pictures, self.clips = size, pictures, clips
        self.max_side, self.max_bytes = max_side, min(MAX_BYTES, max_bytes)
        self._held: OrderedDict[str, Explanation] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: str | Path) -> SavedView:
        """The view in an untrusted file. Raises InvalidInput with one sentence."""
        view = open_saved(path, self.max_bytes, self.max_side)
        if view.trace.clip is None and len(view.pictures) > 1:
            raise InvalidInput(f"the view is about {len(view.pictures)} pictures; this page shows one, or a clip.")
        digest = PREFIX + hashlib.sha256(Path(path).read_bytes()).hexdigest()[:32]
        with self._lock:
            self._held[digest] = view
            while len(self._held) > self.size:
                self._held.popitem(last=False)
        return self.get(digest)

    def get(self, digest: str) -> SavedView:
        """A view opened before. Raises InvalidInput where it was forgotten."""
        with self._lock:
            view = self._held.get(digest)
            if view is None:
                raise InvalidInput(GONE)
            self._held.move_to_end(digest)
        shown = self.pictures.keep(view.pictures[0]) if view.trace.clip is None else self.clips.keep(*_clip(view))
        return SavedView(digest, view, shown)


def _clip(view: Explanation) -> tuple[str, Clip]:
    """The clip's name, and of its frames those that the view shows."""
    about, frames = view.trace.clip, view.trace.frames
    assert about is not None
    return about["name"], Clip(
        frames=list(view.pictures),
        indices=[frame["index"] for frame in frames],
        timestamps_s=[frame["time"] for frame in frames],
        fps=about["fps"],
        duration_s=about["duration"],
        count=about["count"],
        width=about["width"],
        height=about["height"],
        decoder=about["decoder"],
    )
