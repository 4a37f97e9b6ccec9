"""The only door for untrusted pictures: a file of unknown content becomes an upright RGB picture, or one sentence."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from fsr.errors import InvalidInput

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_BYTES = 32_000_000
MAX_PIXELS = 32_000_000
MAX_SIDE = 2048
MAX_ASPECT = 30  # longer side : shorter side; image processors enlarge the shorter one
ORIENTATION = 0x0112  # EXIF tag, and what turns each of its values upright
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(
    path: str | os.PathLike[str],
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    max_side: int | None = MAX_SIDE,
) -> Image.Image:
    """A JPEG, PNG or WebP file as RGB, turned upright by its EXIF orientation, transparency laid on white.

    Size and format are read from the header before any pixel is decoded. A longer side over `max_side` is scaled down
    to it (None: never). Raises InvalidInput for anything else: too large, animated, cut off, damaged, other formats.
    """
    return read_image(_read(Path(path), max_bytes), max_pixels, max_side)


def read_image(data: bytes, max_pixels: int = MAX_PIXELS, max_side: int | None = MAX_SIDE) -> Image.Image:
    """`load_image` of a file's bytes, which are as many as the caller allows."""
    image = _opened(data)
    _check_header(image, max_pixels)
    try:
        return _upright_rgb(image, max_side)
    except MemoryError as error:
        raise InvalidInput("the picture does not fit into memory.") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise InvalidInput("the picture is damaged or cut off; save it again and retry.") from error


def _read(path: Path, max_bytes: int) -> bytes:
    if not path.is_file():
        raise InvalidInput(f"there is no picture file {path.name!r}.")
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InvalidInput(f"the picture file {path.name!r} cannot be read.") from error
    if not data:
        raise InvalidInput("the picture file is empty.")
    if len(data) > max_bytes:
        raise InvalidInput(f"the picture file is larger than {max_bytes / 1e6:g} MB.")
    return data


def _opened(data: bytes) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidInput("the picture has far too many pixels.") from error
    except Exception as error:
        raise InvalidInput("the file is not a JPEG, PNG or WebP picture.") from error


def _check_header(image: ImageFile.ImageFile, max_pixels: int) -> None:
    width, height = image.size
    if width < 1 or height < 1 or width * height > max_pixels:
        limit = max_pixels / 1e6
        raise InvalidInput(f"the picture has {width} x {height} pixels; at most {limit:g} million are allowed.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InvalidInput(f"the picture is {width} x {height} pixels; at most {MAX_ASPECT} : 1 is allowed.")
    # phone cameras append further views to a JPEG (MPO): the first is the picture
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise InvalidInput("the picture is animated; give a still picture.")


def _upright_rgb(image: ImageFile.ImageFile, max_side: int | None) -> Image.Image:
    if max_side is not None:
        image.draft("RGB", (max_side, max_side))  # JPEG: decode at a fraction of the size where that is enough
    image.load()
    picture = _rgb(image)
    if max_side is not None and max(picture.size) > max_side:
        picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    turn = TURNS.get(_orientation(image))
    upright = picture if turn is None else picture.transpose(turn)
    return Image.frombytes("RGB", upright.size, upright.tobytes())  # the pixels alone, without metadata


def _orientation(image: Image.Image) -> int:
    try:
        orientation: int = image.getexif().get(ORIENTATION, 1)
        return orientation
    except Exception:  # damaged metadata is no reason to refuse the picture
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
