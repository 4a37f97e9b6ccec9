"""Small pictures of a sweep's items with the tokens painted on them, as WebP; a bounded number is kept."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
from PIL import Image

from app.cells import COLORS
from fsr.bench import look
from fsr.bench.look import rgb
from fsr.errors import InvalidInput
from fsr.media.pictures import load_image
from fsr.media.video import FRAMES, is_clip, load_clip
from fsr.sweep.layout import unpacked
from fsr.sweep.library import Library, Sweep
from fsr.sweep.view import Chosen
from fsr.tokens import Layout, Role
from fsr.trace import shown_frames

SMALLEST, LARGEST = 32, 640  # pixels of the longer side
KEPT_BYTES = 32_000_000
LOADED_SIDE = 1024  # pixels to which a picture is scaled before
TINT = 0.5  # how much of a kept token is its role's colour


class Thumbnails:
    """Draws and keeps thumbnails; forgets the least recently used."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._held: OrderedDict[object, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, sweep: Sweep, item: int, side: int, of: Chosen | None) -> bytes:
        """The item's picture, of a clip a frame, as WebP; with `of` what it keeps is painted. side: pixels of the
        longer one. Raises InvalidInput where there is no such item or no picture of it."""
        if not SMALLEST <= side <= LARGEST:
            raise InvalidInput(f"side must be from {SMALLEST} to {LARGEST} pixels, not {side}.")
        key = (sweep.name, sweep.settings["digest"], item, side, of)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        data = self._drawn(sweep, item, side, of)
        with self._lock:
            if key not in self._held:
                self._held[key] = data
                self._bytes += len(data)
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._held.popitem(last=False)[1])
        return data

    def _drawn(self, sweep: Sweep, item: int, side: int, of: Chosen | None) -> bytes:
        found = self.library.item(sweep, item)
        text, roles = self.library.drawn(sweep, item, of) if of is not None else (None, None)
        layout = unpacked(text) if text and roles else None
        if layout is not None and len(layout) != len(roles or b""):
            layout = None
        frame = 0 if layout is None else fullest(layout, roles or b"")
        grids = 1 if layout is None else len(layout.grids)
        image = picture(found.media, frame, grids, int(sweep.settings.get("frames") or 0))
        image.thumbnail((side, side))
        if layout is not None:
            image = painted(image, layout, roles or b"", frame)
        stream = io.BytesIO()
        image.save(stream, "WEBP", quality=80, method=2)
        return stream.getvalue()


def picture(media: Path | Image.Image | None, frame: int, grids: int, frames: int) -> Image.Image:
    """The picture, or of a clip the frame that the layout's grid shows; with a number of frames other than 8."""
    if isinstance(media, Image.Image):
        return media.convert("RGB")
    if media is None:
        raise InvalidInput("this item has no picture.")
    if not is_clip(media):
        return load_image(media, max_side=LOADED_SIDE)
    found = load_clip(media, frames or FRAMES).frames
    return found[shown_frames(len(found), grids)[frame] if grids > 1 else len(found) // 2]


def fullest(layout: Layout, roles: bytes) -> int:
    """The frame to show: of a picture with tiles those, of a clip the one with most tokens kept."""
    tiles = [number for number, grid in enumerate(layout.grids) if grid.part == "tiles"]
    if tiles:
        return tiles[0]
    kept = np.frombuffer(roles, np.uint8) >= Role.KEPT
    return int(np.bincount(layout.frame.numpy(), weights=kept, minlength=len(layout.grids)).argmax())


def painted(image: Image.Image, layout: Layout, roles: bytes, frame: int) -> Image.Image:
    """Dropped tokens under a veil, kept ones in their role's colour, Focus with a solid corner."""
    grid = layout.grids[frame]
    pixels = np.array(image.convert("RGB"), np.float32)
    height, width = pixels.shape[:2]
    scale = np.array([width / grid.width, height / grid.height] * 2)
    veil = rgb(look.VEIL_ON_BRIGHT if pixels.mean() / 255 >= look.BRIGHT else look.VEIL_ON_DARK)
    ink = {Role.DROPPED: (veil, look.VEILED["dropped"]), Role.MERGED: (veil, look.VEILED["merged"])}
    ink |= {role: (rgb(color), TINT) for role, color in COLORS.items()}
    rects = np.nan_to_num(layout.rect.numpy() * scale, nan=0.0).round().astype(int).tolist()
    here = (layout.frame == frame).tolist()
    for (x0, y0, x1, y1), role, shown in zip(rects, roles, here, strict=True):
        if shown and role in ink:
            part = pixels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
            color, strength = ink[Role(role)]
            part += (np.asarray(color, np.float32) - part) * strength
            if role == Role.FOCUS and part.size:
                part[0, :] = part[:, 0] = color
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
