"""One frame with its tokens, drawn as the page's canvas draws it (static/paint.js): the same colours, roles and rings.

Boxes are whole pixels of the drawn frame. Pixels are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from fsr.bench.chart import BLUE, GREEN, ORANGE
from fsr.pruners.reading import Reading
from fsr.tokens import Role

Color = tuple[int, int, int]
Box = tuple[int, int, int, int]

VEIL_ON_BRIGHT, VEIL_ON_DARK = (24, 27, 33), (214, 217, 222)
BRIGHT = 0.42  # mean luminance from which a picture gets the dark veil
VEILED = {Role.DROPPED: 0.62, Role.MERGED: 0.42}
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
SUBPIXELS = 4  # binary digits behind the point, for circles


def rgb(color: str) -> Color:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


ROLES = {Role.KEPT: rgb(GREEN), Role.SCAN: rgb(BLUE), Role.FOCUS: rgb(ORANGE)}
SCAN = ROLES[Role.SCAN]


@dataclass(frozen=True)
class Cells:
    """The tokens of one frame: box and (row, column) by token, and the part of the frame that the model saw."""

    boxes: dict[int, Box]
    at: dict[tuple[int, int], int]
    place: dict[int, tuple[int, int]]
    seen: Box

    @property
    def size(self) -> int:
        """The shorter side of a token."""
        return min((min(x1 - x0, y1 - y0) for x0, y0, x1, y1 in self.boxes.values()), default=1)


def cells(trace: Mapping[str, Any], frame: int, width: int, height: int) -> Cells:
    """Where the tokens of a frame lie once it is drawn with this many pixels."""
    grid, tokens = trace["frames"][frame], trace["tokens"]
    of, across, down = tokens["frame"] or [0] * tokens["n"], width / grid["width"], height / grid["height"]

    def box(rect: Iterable[float]) -> Box:
        x0, y0, x1, y1 = rect
        left, top = min(max(round(x0 * across), 0), width), min(max(round(y0 * down), 0), height)
        return left, top, min(max(round(x1 * across), left), width), min(max(round(y1 * down), top), height)

    boxes = {i: box(tokens["rect"][i]) for i in range(tokens["n"]) if of[i] == frame and tokens["rect"][i]}
    place = {i: (tokens["row"][i], tokens["col"][i]) for i in boxes}
    return Cells(boxes, {where: i for i, where in place.items()}, place, box(grid["seen"]))


def veil_for(picture: Image.Image) -> Color:
    """Bright pictures get a dark veil, dark pictures a light one."""
    small = np.asarray(picture.convert("RGB").resize((16, 16))) / 255
    return VEIL_ON_BRIGHT if float((small @ [0.2126, 0.7152, 0.0722]).mean()) > BRIGHT else VEIL_ON_DARK


def counts(reading: Reading, tokens: Iterable[int]) -> Counter[Role]:
    """How many of these tokens have which role."""
    return Counter(Role(reading.roles[i]) for i in tokens)


def foreign_anchors(reading: Reading, of: list[int]) -> set[int]:
    """The anchors that absorbed tokens of other frames. of: the frame of every token of the trace."""
    return {anchor for source, anchor in reading.anchor.items() if of[source] != of[anchor]}


def painted(picture: Image.Image, tokens: Cells, reading: Reading, foreign: set[int], veil: Color) -> np.ndarray:
    """The picture with veil, outlines, merged tokens and rings. foreign: anchors that get a second, dashed ring."""
    image = np.array(picture.convert("RGB"))
    _veil(image, tokens, reading, veil)
    for role, color in ROLES.items():
        _outline(image, tokens, reading, role, color)
    cell = min(tokens.size, 80)
    for _, (x, y) in _middles(tokens, (i for i in tokens.boxes if reading.roles[i] == Role.MERGED)):
        radius = max(3.0, cell * 0.09)
        _disc(image, x, y, radius + 1.5, WHITE)
        _disc(image, x, y, radius, SCAN)
    for i, (x, y) in _middles(tokens, (i for i in tokens.boxes if reading.absorbed.get(i))):
        radius, width = cell * 0.24, min(cell * 0.2, 1.5 + 1.5 * reading.absorbed[i])
        _disc(image, x, y, radius + width, SCAN)
        _disc(image, x, y, radius + width / 2, WHITE)
        _disc(image, x, y, max(0.5, radius - width / 2), SCAN)
        if i in foreign:
            _dashed(image, x, y, radius + width + 4)
    return image


def _middles(tokens: Cells, chosen: Iterable[int]) -> list[tuple[int, tuple[float, float]]]:
    found = []
    for i in chosen:
        x0, y0, x1, y1 = tokens.boxes[i]
        found.append((i, ((x0 + x1) / 2, (y0 + y1) / 2)))
    return found


def _veil(image: np.ndarray, tokens: Cells, reading: Reading, veil: Color) -> None:
    strength = np.zeros(image.shape[:2], np.float32)
    strength[tokens.seen[1] : tokens.seen[3], tokens.seen[0] : tokens.seen[2]] = VEILED[Role.DROPPED]
    for i, (x0, y0, x1, y1) in tokens.boxes.items():
        strength[y0:y1, x0:x1] = VEILED.get(Role(reading.roles[i]), 0)
    outside = np.ones(image.shape[:2], bool)
    outside[tokens.seen[1] : tokens.seen[3], tokens.seen[0] : tokens.seen[2]] = False
    strength[outside] = 0.82  # what the model never saw
    image[:] = image + (np.asarray(veil, np.float32) - image) * strength[..., None]


def _outline(image: np.ndarray, tokens: Cells, reading: Reading, role: Role, color: Color) -> None:
    """A thick line around a group of one role, a thin one inside it, on white; Focus has solid corners as well."""
    cell = min(tokens.size, 80)
    thick = round(max(3, cell * (0.1 if role == Role.FOCUS else 0.065)))
    own = [i for i in tokens.boxes if reading.roles[i] == role]
    for width, inside, ink in ((thick + 2, 0, WHITE), (thick, 1, color)):
        for i in own:
            _edges(image, tokens, reading, i, width, inside, ink)
    if role == Role.FOCUS:
        for i in own:
            x, y, size = *tokens.boxes[i][:2], round(cell * 0.36)
            cv2.fillPoly(image, [np.array([[x, y], [x + size, y], [x, y + size]])], color)


def _edges(image: np.ndarray, tokens: Cells, reading: Reading, i: int, thick: int, thin: int, color: Color) -> None:
    x0, y0, x1, y1 = tokens.boxes[i]
    row, col = tokens.place[i]

    def width(down: int, right: int) -> int:
        other = tokens.at.get((row + down, col + right))
        return thin if other is not None and reading.roles[other] == reading.roles[i] else thick

    left, above, right, below = width(0, -1), width(-1, 0), width(0, 1), width(1, 0)
    image[y0:y1, x0 : min(x0 + left, x1)] = color
    image[y0 : min(y0 + above, y1), x0:x1] = color
    image[y0:y1, max(x1 - right, x0) : x1] = color
    image[max(y1 - below, y0) : y1, x0:x1] = color


def _disc(image: np.ndarray, x: float, y: float, radius: float, color: Color) -> None:
    middle, wide = (round(x * 2**SUBPIXELS), round(y * 2**SUBPIXELS)), round(radius * 2**SUBPIXELS)
    cv2.circle(image, middle, wide, color, -1, cv2.LINE_AA, SUBPIXELS)


def _dashed(image: np.ndarray, x: float, y: float, radius: float) -> None:
    """A second ring: the anchor holds tokens of other frames."""
    middle, size = (round(x), round(y)), (round(radius), round(radius))
    cv2.ellipse(image, middle, size, 0, 0, 360, BLACK, 4, cv2.LINE_AA)
    for start in range(0, 360, 45):
        cv2.ellipse(image, middle, size, 0, start, start + 25, WHITE, 2, cv2.LINE_AA)
