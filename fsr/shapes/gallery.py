"""The pictures of the example gallery that are drawn as the embedded model's scenes are."""

from __future__ import annotations

from typing import Any

from PIL import Image

from fsr.shapes.scenes import COLORS, Scene, Thing, Window, draw


def picture_of(row: dict[str, Any]) -> Image.Image:
    """The drawn scene of one row of an index, RGB; the row holds its background and things."""
    things = tuple(_thing(**thing) for thing in row["things"])
    return Image.fromarray(draw(Scene(things, Window(), row["background"])))


def _thing(shape: str, color: str, x: float, y: float, size: float, digit: int | None = None) -> Thing:
    height = size * 0.55 if shape == "rectangle" else size
    return Thing(shape, color, x, y, size, height, COLORS[color], digit)
