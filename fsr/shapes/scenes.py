"""Drawn scenes: coloured shapes, some with a digit, on plain, gradient and textured backgrounds.

A scene is described in pixels of the full picture (`SIDE` x `SIDE`). A training crop is a scene of its own, drawn only
in a window of whole patches: nothing outside the window exists, and no token inside it is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

PATCH = 14
GRID = 24
SIDE = PATCH * GRID

SHAPES = ("circle", "square", "rectangle", "triangle", "star", "diamond", "cross", "ring", "hexagon")
COLORS = {
    "red": (222, 36, 40),
    "green": (40, 160, 58),
    "blue": (36, 74, 222),
    "yellow": (246, 214, 36),
    "purple": (128, 44, 172),
    "orange": (246, 132, 22),
    "teal": (18, 150, 148),
    "pink": (250, 132, 184),
    "brown": (122, 72, 32),
    "gray": (128, 128, 130),
    "black": (20, 20, 22),
    "white": (250, 250, 250),
}
# Pairs that no training scene and no training question contains; every colour and every shape is seen in other pairs.
UNSEEN_PAIRS = frozenset(
    {
        ("red", "hexagon"),
        ("green", "star"),
        ("blue", "triangle"),
        ("yellow", "ring"),
        ("purple", "square"),
        ("orange", "diamond"),
        ("teal", "circle"),
        ("pink", "cross"),
        ("black", "rectangle"),
    }
)
WRITABLE = ("circle", "square", "rectangle", "diamond", "hexagon")  # shapes with room for a digit
SMALLEST, LARGEST = 19, SIDE // 3  # side of the bounding box in pixels: 1.8 patches in area, a third of the picture
SMALL = 28  # up to this side the bounding box covers at most four patches
WRITABLE_FROM = 42

STREAMS = {"train": 1, "validation": 2, "test": 3}


@dataclass(frozen=True)
class Thing:
    """One object: centre and bounding box in pixels of the full picture."""

    shape: str
    color: str
    x: float
    y: float
    width: float
    height: float
    rgb: tuple[int, int, int]
    digit: int | None = None

    @property
    def pair(self) -> tuple[str, str]:
        return self.color, self.shape

    @property
    def small(self) -> bool:
        """At most four patches in area."""
        return self.width * self.height <= 4 * PATCH * PATCH


@dataclass(frozen=True)
class Window:
    """The drawn part of the picture, in patches."""

    top: int = 0
    left: int = 0
    rows: int = GRID
    cols: int = GRID


@dataclass(frozen=True)
class Scene:
    things: tuple[Thing, ...]
    window: Window
    background: int  # seed of the background


def generator(stream: str, *keys: int) -> np.random.Generator:
    """A random stream of its own for training, validation and test: no seed of one reaches a scene of another."""
    return np.random.default_rng(np.random.SeedSequence([STREAMS[stream], *keys]))


def random_scene(
    rng: np.random.Generator,
    count: int,
    window: Window | None = None,
    *,
    unseen: str = "never",
    small_share: float = 0.45,
) -> Scene:
    """A scene with `count` objects that do not touch. unseen: 'never', or 'one': the first object is an unseen pair."""
    window = window or Window()
    while True:
        pairs = _random_pairs(rng, count, unseen)
        things = _place(rng, pairs, window, small_share)
        if things is not None:
            return Scene(tuple(things), window, int(rng.integers(2**31)))


def _random_pairs(rng: np.random.Generator, count: int, unseen: str) -> list[tuple[str, str]]:
    """Half of the scenes draw from a few colours and shapes only, so that objects share them."""
    colors, shapes = list(COLORS), list(SHAPES)
    if rng.random() < 0.5:
        colors = list(rng.choice(colors, rng.integers(2, 5), replace=False))
        shapes = list(rng.choice(shapes, rng.integers(2, 5), replace=False))
    pairs: list[tuple[str, str]] = []
    if unseen == "one":
        pairs.append(sorted(UNSEEN_PAIRS)[rng.integers(len(UNSEEN_PAIRS))])
    while len(pairs) < count:
        pair = (str(rng.choice(colors)), str(rng.choice(shapes)))
        if pair in UNSEEN_PAIRS:
            colors, shapes = list(COLORS), list(SHAPES)
            continue
        pairs.append(pair)
    return pairs


def _place(
    rng: np.random.Generator, pairs: list[tuple[str, str]], window: Window, small_share: float
) -> list[Thing] | None:
    left, top = window.left * PATCH, window.top * PATCH
    width, height = window.cols * PATCH, window.rows * PATCH
    largest = min(LARGEST, min(width, height) * 0.6, 1.25 * np.sqrt(width * height / len(pairs)) - 12)
    things: list[Thing] = []
    for color, shape in pairs:
        for _ in range(40):
            w, h = _random_size(rng, shape, largest, small_share)
            if w + 4 >= width or h + 4 >= height:
                continue
            x = rng.uniform(left + w / 2 + 2, left + width - w / 2 - 2)
            y = rng.uniform(top + h / 2 + 2, top + height - h / 2 - 2)
            if all(abs(x - t.x) > (w + t.width) / 2 + 5 or abs(y - t.y) > (h + t.height) / 2 + 5 for t in things):
                break
        else:
            return None
        rgb = tuple(int(v) for v in np.clip(np.array(COLORS[color]) + rng.normal(0, 5, 3), 0, 255))
        digit = (
            int(rng.integers(10)) if shape in WRITABLE and min(w, h) >= WRITABLE_FROM and rng.random() < 0.7 else None
        )
        things.append(Thing(shape, color, x, y, w, h, rgb, digit))  # type: ignore[arg-type]
    return things


def _random_size(rng: np.random.Generator, shape: str, largest: float, small_share: float) -> tuple[float, float]:
    if rng.random() < small_share:
        side = rng.uniform(SMALLEST, SMALL)
    else:
        side = float(np.exp(rng.uniform(np.log(SMALL), np.log(max(largest, SMALL + 1)))))
    if shape != "rectangle":
        return side, side
    long = min(side * 1.25, LARGEST)
    short = max(long * rng.uniform(0.45, 0.6), 11.0)
    return (long, short) if rng.random() < 0.5 else (short, long)


# Outlines in the unit square [-1, 1]^2.
_ANGLE = np.pi / 180


def _regular(n: int, start: float) -> np.ndarray:
    a = (np.arange(n) * 360 / n + start) * _ANGLE
    return np.stack([np.cos(a), np.sin(a)], 1)


def _star() -> np.ndarray:
    outer, inner = _regular(5, -90), 0.42 * _regular(5, -54)
    return np.stack([outer, inner], 1).reshape(-1, 2)


_ARM = 0.34
_CORNER = np.array([[-_ARM, -1], [_ARM, -1], [_ARM, -_ARM]])  # a quarter of the cross's outline


def _rotated(points: np.ndarray, quarters: int) -> np.ndarray:
    c, s = np.cos(quarters * np.pi / 2), np.sin(quarters * np.pi / 2)
    turned: np.ndarray = points @ np.array([[c, s], [-s, c]])
    return turned


_OUTLINES = {
    "square": np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.94,
    "rectangle": np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float),
    "triangle": np.array([[0, -1], [1, 0.9], [-1, 0.9]]),
    "diamond": np.array([[0, -1], [0.82, 0], [0, 1], [-0.82, 0]]),
    "star": _star(),
    "hexagon": _regular(6, 0),
    "cross": np.concatenate([_rotated(_CORNER, k) for k in range(4)]),
}
_SHIFT = 4  # fractional bits of cv2's coordinates


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(points * (1 << _SHIFT)).astype(np.int32)


def mask_of(thing: Thing, window: Window) -> tuple[np.ndarray, int, int]:
    """Anti-aliased opacity of an object, (h, w) uint8, and its top left corner inside the window."""
    x, y = thing.x - window.left * PATCH, thing.y - window.top * PATCH
    x0, y0 = int(x - thing.width / 2) - 2, int(y - thing.height / 2) - 2
    mask = np.zeros((int(thing.height) + 6, int(thing.width) + 6), np.uint8)
    half = np.array([thing.width / 2, thing.height / 2])
    centre = np.array([x - x0 - 0.5, y - y0 - 0.5])
    if thing.shape in ("circle", "ring"):
        at = tuple(int(v) for v in _fixed(centre))
        cv2.circle(mask, at, int(half[0] * (1 << _SHIFT)), 255, -1, cv2.LINE_AA, _SHIFT)
        if thing.shape == "ring":
            cv2.circle(mask, at, int(half[0] * 0.55 * (1 << _SHIFT)), 0, -1, cv2.LINE_AA, _SHIFT)
    else:
        cv2.fillPoly(mask, [_fixed(_OUTLINES[thing.shape] * half + centre)], 255, cv2.LINE_AA, _SHIFT)
    return mask, x0, y0


def draw(scene: Scene) -> np.ndarray:
    """The picture: (rows * PATCH, cols * PATCH, 3) uint8 RGB."""
    image = backdrop(scene)
    for thing in scene.things:
        mask, x0, y0 = mask_of(thing, scene.window)
        paint(image, mask, x0, y0, thing.rgb)
        if thing.digit is not None:
            ink, dx, dy = _digit(thing, mask.shape)
            dark = np.dot(thing.rgb, (0.3, 0.59, 0.11)) > 120
            paint(image, ink, x0 + dx, y0 + dy, (15, 15, 15) if dark else (245, 245, 245))
    drawn: np.ndarray = cv2.convertScaleAbs(np.maximum(image, 0))  # rounds and saturates
    return drawn


def paint(image: np.ndarray, mask: np.ndarray, x0: int, y0: int, rgb: tuple[int, int, int]) -> None:
    """Lay a colour over part of an (H, W, 3) picture, float32 or uint8, as opaque as the mask says."""
    y1, x1 = min(y0 + mask.shape[0], image.shape[0]), min(x0 + mask.shape[1], image.shape[1])
    top, left = max(y0, 0), max(x0, 0)
    alpha = mask[top - y0 : y1 - y0, left - x0 : x1 - x0, None].astype(np.float32) / 255
    under = image[top:y1, left:x1]
    over = under + alpha * (np.array(rgb, np.float32) - under)
    image[top:y1, left:x1] = over if image.dtype == np.float32 else np.round(over)


def _digit(thing: Thing, box: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """The digit's opacity, drawn to 48 % of the object's shorter side, and its offset in the object's mask."""
    height = 0.48 * min(thing.width, thing.height)
    scale = height / 21  # cv2's simplex digits are 21 px high at scale 1
    thick = max(2, round(height / 8))
    text = str(thing.digit)
    (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    ink = np.zeros((h + 2 * thick, w + 2 * thick), np.uint8)
    cv2.putText(ink, text, (thick, h + thick - 1), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA)
    return ink, (box[1] - ink.shape[1]) // 2, (box[0] - ink.shape[0]) // 2


def backdrop(scene: Scene) -> np.ndarray:
    """Plain, gradient or textured, in colours that no object of the scene is near."""
    rng = np.random.default_rng(scene.background)
    height, width = scene.window.rows * PATCH, scene.window.cols * PATCH
    colors = np.array([t.rgb for t in scene.things], np.float32).reshape(-1, 3)
    first = _distant_color(rng, colors)
    kind = rng.choice(["plain", "gradient", "blobs", "stripes", "grain"])
    if kind == "plain":
        plain: np.ndarray = np.broadcast_to(first, (height, width, 3)).copy()
        return plain
    second = _distant_color(rng, colors, near=first)
    angle = rng.uniform(0, np.pi)
    across, down = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    along = across * np.float32(np.cos(angle)) + down[:, None] * np.float32(np.sin(angle))
    if kind == "gradient":
        t = (along - along.min()) / max(float(np.ptp(along)), 1)
    elif kind == "stripes":
        t = 0.25 + 0.25 * np.sin(along * np.float32(2 * np.pi / rng.uniform(10, 60)))
    elif kind == "blobs":
        coarse = rng.random((int(rng.integers(3, 12)),) * 2, dtype=np.float32)
        t = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    else:
        t = rng.random((height, width), dtype=np.float32) * 0.35
    mixed: np.ndarray = first + t[..., None] * (second - first)
    return mixed


def _distant_color(rng: np.random.Generator, colors: np.ndarray, near: np.ndarray | None = None) -> np.ndarray:
    """A random colour at least 80 (of 441) from every object's, or the best of 30 tries; `near` limits its range."""
    best, far = None, -1.0
    for _ in range(30):
        if near is None:
            grey = rng.uniform(30, 240)
            candidate = np.clip(grey + rng.normal(0, 28, 3), 0, 255).astype(np.float32)
        else:
            candidate = np.clip(near + rng.normal(0, 28, 3), 0, 255).astype(np.float32)
        distance = float(np.linalg.norm(colors - candidate, axis=1).min()) if len(colors) else 999.0
        if distance > far:
            best, far = candidate, distance
        if far >= 80:
            break
    assert best is not None
    return best


def coverage(scene: Scene) -> np.ndarray:
    """(objects, rows, cols) float32: the share of each patch that each object's mask covers."""
    rows, cols = scene.window.rows, scene.window.cols
    out = np.zeros((len(scene.things), rows, cols), np.float32)
    for i, thing in enumerate(scene.things):
        mask, x0, y0 = mask_of(thing, scene.window)
        r0, c0 = max(y0, 0) // PATCH, max(x0, 0) // PATCH
        r1 = min(-(-(y0 + mask.shape[0]) // PATCH), rows)
        c1 = min(-(-(x0 + mask.shape[1]) // PATCH), cols)
        local = np.zeros(((r1 - r0) * PATCH, (c1 - c0) * PATCH), np.float32)
        oy, ox = y0 - r0 * PATCH, x0 - c0 * PATCH
        part = mask[max(-oy, 0) : local.shape[0] - oy, max(-ox, 0) : local.shape[1] - ox]
        local[max(oy, 0) : max(oy, 0) + part.shape[0], max(ox, 0) : max(ox, 0) + part.shape[1]] = part / 255
        out[i, r0:r1, c0:c1] = local.reshape(r1 - r0, PATCH, c1 - c0, PATCH).mean((1, 3))
    return out
