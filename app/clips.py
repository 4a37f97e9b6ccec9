"""Clips that visitors brought, by content: sampled frames for the model, a picture of each for the page, a few of them.

The file itself is kept as long as its frames, so that another model can be given another number of them; the frames of
every number that was asked for are kept as long as there is room.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from fsr.errors import InvalidInput
from fsr.media.video import Clip, ClipLimits, load_clip

AT_ONCE = 2  # clips that are decoded at the same time
QUALITY = 90  # of the JPEG files that the page shows
PREFIX = "clip-"  # of ids
GONE = "the clip is no longer here; choose an example or upload it again."


@dataclass(frozen=True, eq=False)
class Film:
    """The sampled frames of a clip. id: a hash of the file's name and bytes, so that nobody sees another's name of it.

    files: a picture of every frame, for a browser. saved: the frames of a saved view, all there is of the clip.
    """

    id: str
    name: str
    clip: Clip
    files: tuple[Path, ...]
    saved: bool = False

    def thinned(self, count: int) -> Film:
        """At most `count` of its frames, evenly."""
        n = len(self.files)
        if count >= n:
            return self
        at = [round((i + 0.5) * n / count - 0.5) for i in range(count)]
        clip, files = self.clip, tuple(self.files[i] for i in at)
        frames, indices = [clip.frames[i] for i in at], [clip.indices[i] for i in at]
        times = [clip.timestamps_s[i] for i in at]
        return replace(self, clip=replace(clip, frames=frames, indices=indices, timestamps_s=times), files=files)

    @property
    def nbytes(self) -> int:
        """Bytes of its frames in memory."""
        return sum(3 * frame.width * frame.height for frame in self.clip.frames)

    @property
    def image(self) -> Image.Image:
        """The first frame."""
        return self.clip.frames[0]

    @property
    def images(self) -> list[Image.Image]:
        return self.clip.frames


def is_clip_id(name: str) -> bool:
    """Whether this names a clip, not a picture."""
    return name.startswith(PREFIX)


class Clips:
    """Checks, decodes and keeps clips; forgets the least recently used one together with all of its files.

    nbytes: of frames in memory; beyond, of every clip only the number of frames asked for last is kept.
    """

    def __init__(self, size: int, limits: ClipLimits, nbytes: float = 600e6) -> None:
        self.size, self.limits, self.nbytes = size, limits, nbytes
        self.folder = Path(tempfile.mkdtemp(prefix="fsr-clips-"))
        self._delete = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self._held: OrderedDict[str, OrderedDict[int, Film]] = OrderedDict()  # by clip and number of frames
        self._names: dict[str, str] = {}  # of those clips
        self._lock = threading.Lock()
        self._decoding = threading.Semaphore(AT_ONCE)

    def open(self, path: str | Path, count: int) -> Film:
        """`count` frames of an untrusted file. Raises InvalidInput with one sentence, and then nothing is kept."""
        path = Path(path)
        digest = self._digest(path)
        held = self._find(digest, count)
        if held is not None:
            return held
        return self._kept(digest, path.name, self._decoded(path, count), path)

    def admit(self, path: str | Path) -> str:
        """The id of an untrusted file, to be decoded by `get`. Raises InvalidInput where it is too large or gone."""
        path = Path(path)
        digest = self._digest(path)
        with self._lock:
            if digest not in self._held:
                shutil.copyfile(path, self._source(digest))
                self._held[digest] = OrderedDict()
                self._forget()
            self._held.move_to_end(digest)
            self._names[digest] = path.name
        return digest

    def keep(self, name: str, clip: Clip) -> Film:
        """Frames that went through a door of `fsr.media`, without the file that they are of."""
        digest = hashlib.sha256(os.fsencode(name) + b"/")
        for frame in clip.frames:
            digest.update(f"{frame.size}".encode() + frame.tobytes())
        found = PREFIX + digest.hexdigest()[:32]
        return self._find(found, len(clip.frames)) or self._kept(found, name, clip, None)

    def get(self, digest: str, count: int) -> Film:
        """`count` frames of a clip opened before, decoded again where they are others. Raises InvalidInput."""
        held = self._find(digest, count)
        if held is not None:
            return held
        with self._lock:
            name = self._names.get(digest)
        if name is None:
            raise InvalidInput(GONE)
        source = self._source(digest)
        return self._kept(digest, name, self._decoded(source, count), source)

    def holds(self, digest: str, count: int) -> bool:
        """Whether `get` need not decode."""
        return self._find(digest, count) is not None

    def known(self, digest: str) -> Film | None:
        """The clip with whatever number of frames it was opened last."""
        with self._lock:
            films = self._held.get(digest)
            return next(reversed(films.values())) if films else None

    def _digest(self, path: Path) -> str:
        """A hash of the file's name and bytes, of a file that is not too large."""
        try:
            if path.stat().st_size > self.limits.bytes:
                raise InvalidInput(f"the clip is larger than {self.limits.bytes / 1e6:g} MB.")
            digest = hashlib.sha256(os.fsencode(path.name) + b"/")
            with path.open("rb") as file:
                while block := file.read(1_000_000):
                    digest.update(block)
            return PREFIX + digest.hexdigest()[:32]
        except OSError as error:
            raise InvalidInput(f"there is no clip {path.name!r} that can be read.") from error

    def _find(self, digest: str, count: int) -> Film | None:
        with self._lock:
            films = self._held.get(digest, OrderedDict())
            whole = next((film for film in films.values() if film.saved), None)
            if whole is not None:
                self._held.move_to_end(digest)
                return whole.thinned(count)
            film = next((film for film in films.values() if len(film.files) == min(count, film.clip.count)), None)
            if film is not None:
                self._held.move_to_end(digest)
                films.move_to_end(len(film.files))
            return film

    def _decoded(self, path: Path, count: int) -> Clip:
        with self._decoding:
            return load_clip(path, count, self.limits)

    def _kept(self, digest: str, name: str, clip: Clip, path: Path | None) -> Film:
        """path: what the clip was decoded from, None: nothing; where that is our own copy it may have been forgotten
        meanwhile."""
        source = self._source(digest)
        files = tuple(self.folder / f"{digest}-{len(clip.frames)}-{i}.jpg" for i in range(len(clip.frames)))
        with self._lock:
            if path is not None and not source.is_file():
                if path == source:
                    raise InvalidInput(GONE)
                shutil.copyfile(path, source)
            for file, frame in zip(files, clip.frames, strict=True):
                if not file.is_file():
                    frame.save(file, "JPEG", quality=QUALITY)
            film = Film(digest, name[-80:], clip, files, saved=path is None)
            self._names[digest] = name
            films = self._held.setdefault(digest, OrderedDict())
            films[len(files)] = film
            films.move_to_end(len(files))
            self._held.move_to_end(digest)
            self._forget()
        return film

    def _forget(self) -> None:
        """Whole clips beyond `size`, then frames beyond `nbytes`: the oldest numbers of frames, but never a clip's only
        ones."""
        while len(self._held) > self.size:
            forgotten, _ = self._held.popitem(last=False)
            self._names.pop(forgotten, None)
            for file in self.folder.glob(f"{forgotten}*"):
                file.unlink(missing_ok=True)
        for films in self._held.values():
            while len(films) > 1 and self._total() > self.nbytes:
                for file in films.popitem(last=False)[1].files:
                    file.unlink(missing_ok=True)

    def _total(self) -> int:
        return sum(film.nbytes for films in self._held.values() for film in films.values())

    def _source(self, digest: str) -> Path:
        return self.folder / f"{digest}.clip"

    def close(self) -> None:
        """Delete the files; the end of the process does so, too."""
        self._delete()
