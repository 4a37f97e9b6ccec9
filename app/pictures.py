"""Pictures that visitors brought, by content: the pixels for the model and a file for the page, a bounded number."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fsr.errors import InvalidInput
from fsr.media.pictures import load_image


@dataclass(frozen=True, eq=False)
class Picture:
    """`id` is a hash of the pixels; `image` is upright RGB; `file` shows the same pixels in a browser."""

    id: str
    image: Image.Image
    file: Path


class Pictures:
    """Checks, scales and keeps pictures; forgets the least recently used one together with its file."""

    def __init__(self, size: int, max_side: int, max_bytes: int) -> None:
        self.size, self.max_side, self.max_bytes = size, max_side, max_bytes
        self.folder = Path(tempfile.mkdtemp(prefix="fsr-pictures-"))
        self._delete = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self._held: OrderedDict[str, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: str | Path) -> Picture:
        """The picture in an untrusted file. Raises InvalidInput with one sentence."""
        return self.keep(load_image(path, max_bytes=self.max_bytes, max_side=self.max_side))

    def keep(self, image: Image.Image) -> Picture:
        """A picture that went through a door of `fsr.media`, as large as it is shown."""
        digest = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()[:32]
        with self._lock:
            if digest not in self._held:
                self._held[digest] = Picture(digest, image, self._saved(digest, image))
            self._held.move_to_end(digest)
            while len(self._held) > self.size:
                self._held.popitem(last=False)[1].file.unlink(missing_ok=True)
            return self._held[digest]

    def get(self, digest: str | None) -> Picture:
        """A picture opened before. Raises InvalidInput where it was forgotten."""
        with self._lock:
            picture = self._held.get(digest or "")
            if picture is None:
                raise InvalidInput("the picture is no longer here; choose an example or upload it again.")
            self._held.move_to_end(picture.id)
            return picture

    def _saved(self, digest: str, image: Image.Image) -> Path:
        file = self.folder / f"{digest}.png"
        image.save(file, compress_level=1)
        return file

    def close(self) -> None:
        """Delete the files; the end of the process does so, too."""
        self._delete()
