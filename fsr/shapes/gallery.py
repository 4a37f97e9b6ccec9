"""The pictures and clips of the example gallery that are drawn as the embedded models' scenes are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from PIL import Image

from fsr.shapes.clips import described, draw_clip
from fsr.shapes.scenes import COLORS, Scene, Thing, Window, draw


def picture_of(row: dict[str, Any]) -> Image.Image:
    """The drawn scene of one row of an index, RGB; the row holds its background and things."""
    things = tuple(_thing(**thing) for thing in row["things"])
    return Image.fromarray(draw(Scene(things, Window(), row["background"])))


def write_clip(row: dict[str, Any], path: Path) -> None:
    """The drawn clip of one row of an index as MPEG-4; the row holds its actors, and how many frames and seconds."""
    drawn = draw_clip(described(row), row["frames"])
    size = (drawn.shape[2], drawn.shape[1])
    letters = cv2.VideoWriter_fourcc(*"mp4v")  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(path), letters, row["frames"] / row["seconds"], size)
    for frame in drawn:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def _thing(
    shape: str,
    color: str,
    x: float,
    y: float,
    size: float = 0.0,
    digit: int | None = None,
    width: float = 0.0,
    height: float = 0.0,
    rgb: tuple[int, int, int] | None = None,
) -> Thing:
    """size: the side; without it width and height. rgb: another shade than the colour's own."""
    tall = size * 0.55 if shape == "rectangle" else size
    return Thing(shape, color, x, y, size or width, tall or height, tuple(rgb or COLORS[color]), digit)  # type: ignore[arg-type]
