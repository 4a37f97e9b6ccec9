"""The tokens of one frame as a drawing needs them, and the colours and names of their roles.

Two painters read this, one a medium: `app.overlay` for pixels, `app.figures` for lines of a figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fsr.bench.look import CROSS_INSET, ROLES
from fsr.errors import InvalidInput
from fsr.pruners.reading import Reading
from fsr.tokens import Role

Box = tuple[float, float, float, float]

COLORS = {Role.KEPT: ROLES["kept"], Role.SCAN: ROLES["scan"], Role.FOCUS: ROLES["focus"]}
NAMES = {Role.FOCUS: "Focus", Role.SCAN: "Scan", Role.KEPT: "kept"}
BY_NAME = {NAMES[role]: color for role, color in COLORS.items()}
ANCHOR, MERGED, DROPPED, UNENCODED = "anchor", "merged into an anchor", "dropped", "never encoded"


@dataclass(frozen=True)
class Cells:
    """width, height: of the frame as it is drawn. boxes: token -> (left, top, right, bottom). at: (row, column) ->
    token; place: the other way round. seen: the part of the frame that the model saw."""

    width: float
    height: float
    boxes: dict[int, Box]
    at: dict[tuple[int, int], int]
    place: dict[int, tuple[int, int]]
    seen: Box

    @staticmethod
    def of(trace: Mapping[str, Any], frame: int) -> Cells:
        """The tokens of a frame that have a place, in the frame's own pixels. Raises InvalidInput for no such frame."""
        frames, tokens = trace["frames"], trace["tokens"]
        if not 0 <= frame < len(frames):
            raise InvalidInput(f"the frame must be a whole number from 0 to {len(frames) - 1}, not {frame!r}.")
        grid, of = frames[frame], tokens["frame"] or [0] * tokens["n"]
        boxes = {i: _box(tokens["rect"][i]) for i in range(tokens["n"]) if of[i] == frame and tokens["rect"][i]}
        place = {i: (tokens["row"][i], tokens["col"][i]) for i in boxes}
        at = {where: i for i, where in place.items()}
        return Cells(grid["width"], grid["height"], boxes, at, place, _box(grid["seen"]))

    def pixels(self, width: int, height: int) -> Cells:
        """The same in whole pixels of a frame that is drawn with so many."""
        across, down = width / self.width, height / self.height

        def whole(box: Box) -> Box:
            left, top = min(max(round(box[0] * across), 0), width), min(max(round(box[1] * down), 0), height)
            right, bottom = min(round(box[2] * across), width), min(round(box[3] * down), height)
            return left, top, max(right, left), max(bottom, top)

        boxes = {i: whole(box) for i, box in self.boxes.items()}
        return replace(self, width=width, height=height, boxes=boxes, seen=whole(self.seen))

    @property
    def size(self) -> float:
        """The shorter side of a token."""
        return min((min(x1 - x0, y1 - y0) for x0, y0, x1, y1 in self.boxes.values()), default=1)

    def of_role(self, reading: Reading, *roles: Role) -> list[int]:
        """The tokens with one of these roles."""
        return [i for i in self.boxes if reading.roles[i] in roles]

    def middle(self, i: int) -> tuple[float, float]:
        x0, y0, x1, y1 = self.boxes[i]
        return (x0 + x1) / 2, (y0 + y1) / 2

    def cross(self, i: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
        """Both diagonals of a token, from end to end, away from its edge."""
        inset = CROSS_INSET * self.size
        x0, y0, x1, y1 = self.boxes[i]
        left, top, right, bottom = x0 + inset, y0 + inset, x1 - inset, y1 - inset
        return [((left, top), (right, bottom)), ((left, bottom), (right, top))]

    def borders(self, reading: Reading, i: int) -> tuple[bool, bool, bool, bool]:
        """Whether the token's left, upper, right and lower side faces another role, or none."""
        row, col = self.place[i]
        beside = ((row, col - 1), (row - 1, col), (row, col + 1), (row + 1, col))
        left, above, right, below = (
            (other := self.at.get(where)) is None or reading.roles[other] != reading.roles[i] for where in beside
        )
        return left, above, right, below


def _box(rect: Iterable[float]) -> Box:
    x0, y0, x1, y1 = rect
    return x0, y0, x1, y1


def legend(readings: Sequence[Reading]) -> list[str]:
    """What occurs in these readings, in the order in which a legend explains it."""
    used = {role for reading in readings for role in reading.roles}
    found = [name for role, name in NAMES.items() if role in used]
    found += [ANCHOR] if any(reading.absorbed for reading in readings) else []
    found += [MERGED] if Role.MERGED in used else []
    dropped = [reading.never_encoded for reading in readings if Role.DROPPED in reading.roles]
    return found + [DROPPED] * (False in dropped) + [UNENCODED] * (True in dropped)
