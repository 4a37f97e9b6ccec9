"""The shapes' outlines in the unit square [-1, 1]^2, as different hands draw them."""

from __future__ import annotations

import numpy as np

from fsr.world.picture import Item

_ROUND = 72  # corners of a circle
# name -> range of `Look.inner`
INNER = {
    "circle": (0.0, 0.0),
    "square": (0.0, 0.0),
    "rectangle": (0.4, 0.64),  # shorter over longer side
    "triangle": (0.0, 0.0),
    "star": (0.36, 0.54),  # inner over outer radius
    "diamond": (0.55, 0.86),  # width over height
    "cross": (0.2, 0.42),  # width over length of its bars
    "ring": (0.42, 0.74),  # hole over outer radius
    "hexagon": (0.0, 0.0),
}
# degrees that a shape may be turned to either side and keep its name
TURNS = {
    "circle": 180,
    "square": 14,
    "rectangle": 18,
    "triangle": 30,
    "star": 36,
    "diamond": 12,
    "cross": 20,
    "ring": 180,
    "hexagon": 30,
}


def _regular(n: int, start: float) -> np.ndarray:
    a = np.deg2rad(np.arange(n) * 360 / n + start)
    return np.stack([np.cos(a), np.sin(a)], 1)


def _star(inner: float) -> np.ndarray:
    return np.stack([_regular(5, -90), inner * _regular(5, -54)], 1).reshape(-1, 2)


def _cross(arm: float) -> np.ndarray:
    quarter = np.array([[-arm, -1], [arm, -1], [arm, -arm]])
    turn = np.array([[0, 1], [-1, 0]])
    parts = [quarter]
    for _ in range(3):
        parts.append(parts[-1] @ turn)
    return np.concatenate(parts)


_BOX = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
_FIXED = {
    "square": _BOX * 0.96,
    "rectangle": _BOX,
    "triangle": np.array([[0, -1.0], [1, 0.9], [-1, 0.9]]),
    "hexagon": _regular(6, 0),
}


def contours(name: str, inner: float) -> list[np.ndarray]:
    """Closed outlines, (corners, 2) each; of two the second is a hole."""
    if name in ("circle", "ring"):
        outer = _regular(_ROUND, 0)
        return [outer] if name == "circle" else [outer, inner * outer[::-1]]
    if name in _FIXED:
        return [_FIXED[name]]
    if name == "diamond":
        return [np.array([[0, -1.0], [inner, 0], [0, 1], [-inner, 0]])]
    return [_star(inner) if name == "star" else _cross(inner)]


def placed(item: Item, unit: list[np.ndarray] | None = None) -> list[np.ndarray]:
    """The contours of a shape in pixels of the full picture, turned and drawn by hand. unit: another's outlines."""
    outlines = contours(item.name, item.look.inner) if unit is None else unit
    half = np.array([item.width, item.height]) / 2
    a = np.deg2rad(item.angle)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    rng = np.random.default_rng(item.look.seed)
    found = []
    for points in outlines:
        points = points * half
        if item.look.hand:
            points = _by_hand(points, item.look.hand * float(half.max()), rng)
        found.append(points @ turn + (item.x, item.y))
    return found


def _by_hand(points: np.ndarray, far: float, rng: np.random.Generator) -> np.ndarray:
    """Edges that waver: more corners, each strayed by a smooth random walk of about `far` pixels."""
    each = 1 if len(points) >= _ROUND else 6
    t = np.arange(each)[:, None] / each
    ahead = np.roll(points, -1, 0)
    fine = (points[:, None] + t * (ahead - points)[:, None]).reshape(-1, 2)
    n = len(fine)
    angle = np.arange(n) * 2 * np.pi / n
    waves = sum(rng.normal(0, 1, 2) / k * np.sin(k * angle + rng.uniform(0, 6.28))[:, None] for k in (2, 3, 5, 7))
    strayed: np.ndarray = fine + far * waves
    return strayed
