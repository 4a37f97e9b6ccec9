"""Colours by the names that people give them: each name is a neighbourhood, not a value."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

from fsr.shapes.scenes import COLORS

RGB = tuple[int, int, int]
OF_ONE_COLOR = 0.6  # share of an icon's pixels in one neighbourhood from which it has that colour
A_SECOND = 0.2  # share of another from which it has none


@dataclass(frozen=True)
class Range:
    """Of hue (degrees, may begin below 0), saturation and value (0 to 1)."""

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]

    def holds(self, hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
        turned: np.ndarray = (hue - self.hue[0]) % 360 <= self.hue[1] - self.hue[0]
        for of, (low, high) in ((saturation, self.saturation), (value, self.value)):
            turned = turned & (of >= low) & (of <= high)
        return turned


# Narrow where names meet: nobody is asked about a colour between two. They hold CSS's and matplotlib's of the name.
RANGES = {
    "red": Range((-9, 9), (0.72, 1.0), (0.7, 1.0)),
    "green": Range((92, 150), (0.45, 1.0), (0.32, 1.0)),
    "blue": Range((203, 246), (0.6, 1.0), (0.45, 1.0)),
    "yellow": Range((49, 63), (0.55, 1.0), (0.88, 1.0)),
    "purple": Range((262, 304), (0.42, 1.0), (0.36, 0.78)),
    "orange": Range((20, 40), (0.72, 1.0), (0.86, 1.0)),
    "teal": Range((172, 188), (0.55, 1.0), (0.4, 0.72)),
    "pink": Range((316, 351), (0.22, 0.62), (0.85, 1.0)),
    "brown": Range((8, 32), (0.45, 0.85), (0.28, 0.56)),
    "gray": Range((0, 360), (0.0, 0.07), (0.38, 0.68)),
    "black": Range((0, 360), (0.0, 1.0), (0.0, 0.13)),
    "white": Range((0, 360), (0.0, 0.05), (0.94, 1.0)),
}


def random_color(rng: np.random.Generator, name: str) -> RGB:
    """A colour of that name; often the plainest."""
    if rng.random() < 0.25:
        red, green, blue = np.clip(np.array(COLORS[name]) + rng.normal(0, 5, 3), 0, 255).astype(int)
        return int(red), int(green), int(blue)
    r = RANGES[name]
    hue, saturation, value = (rng.uniform(*edges) for edges in (r.hue, r.saturation, r.value))
    if name == "black":
        saturation *= 0.5
    red, green, blue = (round(255 * v) for v in colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value))
    return red, green, blue


def shares(rgba: np.ndarray) -> dict[str, float]:
    """Of an icon's opaque pixels: the share in each neighbourhood, or a little paler or darker. rgba: (h, w, 4)."""
    opaque = rgba[..., 3] > 200
    if not opaque.any():
        return {}
    hsv = cv2.cvtColor(rgba[..., :3].astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[opaque]
    wide = {
        name: Range(
            r.hue,
            (max(r.saturation[0] - 0.05, 0), min(r.saturation[1] + 0.1, 1)),
            (max(r.value[0] - 0.05, 0), min(r.value[1] + 0.05, 1)),
        )
        for name, r in RANGES.items()
    }
    return {name: float(r.holds(hsv[:, 0], hsv[:, 1], hsv[:, 2]).mean()) for name, r in wide.items()}


def color_of(rgba: np.ndarray) -> str | None:
    """The one colour that a person would give an icon, or None."""
    found = sorted(shares(rgba).items(), key=lambda one: -one[1])
    if len(found) < 2 or found[0][1] < OF_ONE_COLOR or found[1][1] > A_SECOND:
        return None
    return found[0][0]
