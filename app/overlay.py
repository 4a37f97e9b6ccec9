"""One frame with its tokens, drawn as the page's canvas draws it (static/paint.js): the same colours, roles and rings.

The cells are those of `Cells.pixels`. Pixels are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import cv2
import numpy as np
from PIL import Image

from app.cells import COLORS, Box, Cells
from fsr.bench import look
from fsr.bench.look import rgb
from fsr.pruners.reading import Reading
from fsr.tokens import Role

Color = tuple[int, int, int]

VEILED = {Role.DROPPED: look.VEILED["dropped"], Role.MERGED: look.VEILED["merged"]}
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
SUBPIXELS = 4  # binary digits behind the point, for circles
SCAN = rgb(COLORS[Role.SCAN])


def counts(reading: Reading, tokens: Iterable[int]) -> Counter[Role]:
    """How many of these tokens have which role."""
    return Counter(Role(reading.roles[i]) for i in tokens)


def foreign_anchors(reading: Reading, of: list[int]) -> set[int]:
    """The anchors that absorbed tokens of other frames. of: the frame of every token of the trace."""
    return {anchor for source, anchor in reading.anchor.items() if of[source] != of[anchor]}


def painted(picture: Image.Image, tokens: Cells, reading: Reading, foreign: set[int], veil: str) -> np.ndarray:
    """The picture with veil, outlines, merged tokens and rings. foreign: anchors that get a second, dashed ring."""
    image = np.array(picture.convert("RGB"))
    _veil(image, tokens, reading, rgb(veil))
    if reading.never_encoded:
        _crosses(image, tokens, reading)
    for role, color in COLORS.items():
        _outline(image, tokens, reading, role, rgb(color))
    cell = min(tokens.size, 80)
    for x, y in map(tokens.middle, tokens.of_role(reading, Role.MERGED)):
        radius = max(3.0, cell * 0.09)
        _disc(image, x, y, radius + 1.5, WHITE)
        _disc(image, x, y, radius, SCAN)
    for i in filter(reading.absorbed.get, tokens.boxes):
        x, y = tokens.middle(i)
        radius, width = cell * 0.24, min(cell * 0.2, 1.5 + 1.5 * reading.absorbed[i])
        _disc(image, x, y, radius + width, SCAN)
        _disc(image, x, y, radius + width / 2, WHITE)
        _disc(image, x, y, max(0.5, radius - width / 2), SCAN)
        if i in foreign:
            _dashed(image, x, y, radius + width + 4)
    return image


def _veil(image: np.ndarray, tokens: Cells, reading: Reading, veil: Color) -> None:
    strength = np.full(image.shape[:2], look.VEILED["unseen"], np.float32)  # what the model never saw
    _area(strength, tokens.seen)[:] = VEILED[Role.DROPPED]
    for i, box in tokens.boxes.items():
        _area(strength, box)[:] = VEILED.get(Role(reading.roles[i]), 0)
    image[:] = image + (np.asarray(veil, np.float32) - image) * strength[..., None]


def _crosses(image: np.ndarray, tokens: Cells, reading: Reading) -> None:
    for line in map(tokens.cross, tokens.of_role(reading, Role.DROPPED)):
        for (x0, y0), (x1, y1) in line:
            cv2.line(image, (round(x0), round(y0)), (round(x1), round(y1)), rgb(look.CROSSED), 1, cv2.LINE_AA)


def _area(image: np.ndarray, box: Box) -> np.ndarray:
    """The part of an image inside a box of whole pixels, to write to."""
    x0, y0, x1, y1 = map(int, box)
    return image[y0:y1, x0:x1]


def _outline(image: np.ndarray, tokens: Cells, reading: Reading, role: Role, color: Color) -> None:
    """A thick line around a group of one role, a thin one inside it, on white; Focus has solid corners as well."""
    cell = min(tokens.size, 80)
    thick = round(max(3, cell * (0.1 if role == Role.FOCUS else 0.065)))
    own = tokens.of_role(reading, role)
    for width, inside, ink in ((thick + 2, 0, WHITE), (thick, 1, color)):
        for i in own:
            inner = _area(image, tokens.boxes[i])
            high, wide = inner.shape[:2]
            left, above, right, below = (width if side else inside for side in tokens.borders(reading, i))
            inner[:, :left] = inner[:above] = ink
            inner[:, max(wide - right, 0) :] = inner[max(high - below, 0) :] = ink
    if role == Role.FOCUS:
        for i in own:
            x, y, size = *map(int, tokens.boxes[i][:2]), round(cell * 0.36)
            cv2.fillPoly(image, [np.array([[x, y], [x + size, y], [x, y + size]])], color)


def _disc(image: np.ndarray, x: float, y: float, radius: float, color: Color) -> None:
    middle, wide = (round(x * 2**SUBPIXELS), round(y * 2**SUBPIXELS)), round(radius * 2**SUBPIXELS)
    cv2.circle(image, middle, wide, color, -1, cv2.LINE_AA, SUBPIXELS)


def _dashed(image: np.ndarray, x: float, y: float, radius: float) -> None:
    """A second ring: the anchor holds tokens of other frames."""
    middle, size = (round(x), round(y)), (round(radius), round(radius))
    cv2.ellipse(image, middle, size, 0, 0, 360, BLACK, 4, cv2.LINE_AA)
    for start in range(0, 360, 45):
        cv2.ellipse(image, middle, size, 0, start, start + 25, WHITE, 2, cv2.LINE_AA)
