"""Where a token lies on the visitor's picture: the image processor's pad, resize and crop, followed back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from fsr.errors import FsrError, InvalidInput
from fsr.tokens import Grid, Layout

FRAMINGS = ("processor", "pad")
MAX_RESIZED_PIXELS = 16_000_000


@dataclass(frozen=True)
class View:
    """How one picture became the model's input: input pixel = (picture pixel + pad) * scale + shift, per axis.

    size: the picture. output: the model's input. Pairs are (x, y).
    """

    size: tuple[int, int]
    output: tuple[int, int]
    pad: tuple[int, int]
    scale: tuple[float, float]
    shift: tuple[int, int]

    def back(self, axis: int, pixel: float) -> float:
        """An input coordinate on the picture (beyond its border where the model saw padding)."""
        return (pixel - self.shift[axis]) / self.scale[axis] - self.pad[axis]

    def seen(self) -> tuple[float, float, float, float]:
        """The part of the picture that reached the model: x0, y0, x1, y1."""
        low = [max(0.0, self.back(a, 0)) for a in (0, 1)]
        high = [min(float(self.size[a]), self.back(a, self.output[a])) for a in (0, 1)]
        return (low[0], low[1], high[0], high[1])


def view(processor: Any, width: int, height: int, framing: str = "processor") -> View:
    """The geometry of `processor` (a transformers image processor) for a width x height picture.

    framing "processor": as the checkpoint does it. "pad": padded to a square first, as the original LLaVA-1.5 code.
    """
    if framing not in FRAMINGS:
        raise InvalidInput(f"framing must be one of {', '.join(FRAMINGS)}, not {framing!r}.")
    pad, padded = (0, 0), (width, height)
    if framing == "pad" or (getattr(processor, "do_pad", False) and hasattr(processor, "pad_to_square")):
        side = max(width, height)
        pad, padded = ((side - width) // 2, (side - height) // 2), (side, side)
    resized = _resized(processor, *padded)
    output, shift = _cropped(processor, *resized)
    scale = (resized[0] / padded[0], resized[1] / padded[1])
    return View((width, height), output, pad, scale, shift)


def _resized(processor: Any, width: int, height: int) -> tuple[int, int]:
    if not getattr(processor, "do_resize", True):
        return width, height
    size = _named(processor.size)
    if set(size) == {"height", "width"}:
        return size["width"], size["height"]
    if set(size) != {"shortest_edge"}:
        raise FsrError(f"the layout does not know image processors that resize by {', '.join(sorted(size))}.")
    short, long = min(width, height), max(width, height)
    new_short, new_long = size["shortest_edge"], int(size["shortest_edge"] * long / short)
    if new_short * new_long > MAX_RESIZED_PIXELS:
        raise InvalidInput(f"a picture of {width} x {height} pixels is too narrow for this model's image processor.")
    return (new_short, new_long) if width <= height else (new_long, new_short)


def _cropped(processor: Any, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size after the centre crop, and where the resized picture's corner lies in it."""
    if not getattr(processor, "do_center_crop", False):
        return (width, height), (0, 0)
    crop = _named(processor.crop_size)
    output = (crop["width"], crop["height"])
    shift = (_offset(processor, width, output[0]), _offset(processor, height, output[1]))
    return output, shift


def _offset(processor: Any, length: int, crop: int) -> int:
    if length >= crop:
        return -((length - crop) // 2)
    missing = (crop - length) / 2  # the two backends of transformers round the border differently
    return math.floor(missing) if getattr(processor, "backend", "") == "torchvision" else math.ceil(missing)


def _named(size: Any) -> dict[str, int]:
    return {k: int(v) for k, v in dict(size).items() if v}


def framed(processor: Any, frame: Image.Image, framing: str) -> Image.Image:
    """The picture to hand to the processor: itself, or padded to a square with the processor's mean colour."""
    if framing == "processor" or frame.width == frame.height:
        return frame
    side = max(frame.size)
    mean = getattr(processor, "image_mean", None) or [0.5] * 3
    square = Image.new("RGB", (side, side), tuple(int(255 * m) for m in mean))
    square.paste(frame, ((side - frame.width) // 2, (side - frame.height) // 2))
    return square


def layout(views: list[View], patch: int, extra: int = 0) -> Layout:
    """The layout of all frames' tokens: per frame `extra` tokens outside the grid ([CLS] kept), then rows x cols."""
    frames, rows, cols, rects, grids = [], [], [], [], []
    for index, one in enumerate(views):
        n_cols, n_rows = one.output[0] // patch, one.output[1] // patch
        grids.append(Grid(one.size[0], one.size[1], n_rows, n_cols, one.seen()))
        frames += [index] * (extra + n_rows * n_cols)
        rows += [-1] * extra + [r for r in range(n_rows) for _ in range(n_cols)]
        cols += [-1] * extra + list(range(n_cols)) * n_rows
        rects += [[math.nan] * 4] * extra
        xs = [one.back(0, patch * c) for c in range(n_cols + 1)]
        ys = [one.back(1, patch * r) for r in range(n_rows + 1)]
        rects += [[xs[c], ys[r], xs[c + 1], ys[r + 1]] for r in range(n_rows) for c in range(n_cols)]
    as_rects = torch.tensor(rects, dtype=torch.float32).reshape(-1, 4)
    return Layout(torch.tensor(frames), torch.tensor(rows), torch.tensor(cols), as_rects, tuple(grids))
