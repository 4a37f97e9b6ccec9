"""What objects stand on: plain, gradient, textured or busy, and the bars of a letterbox."""

from __future__ import annotations

import cv2
import numpy as np

from fsr.world.picture import Ground

GROUNDS = ("plain", "gradient", "glow", "stripes", "checks", "blobs", "grain", "confetti", "paper")
_COARSE = 192  # smooth grounds are made at this size and scaled


def paint_ground(ground: Ground, height: int, width: int) -> np.ndarray:
    """(height, width, 3) float32, 0 to 255."""
    first, second = np.array(ground.first, np.float32), np.array(ground.second, np.float32)
    if ground.kind == "plain":
        plain: np.ndarray = np.broadcast_to(first, (height, width, 3)).copy()
        return plain
    rng = np.random.default_rng(ground.seed)
    if ground.kind == "confetti":
        return _confetti(rng, first, second, height, width)
    if ground.kind == "grain":
        t: np.ndarray = rng.random((height, width), dtype=np.float32) * 0.45
    elif ground.kind in ("gradient", "glow", "blobs", "paper"):
        t = cv2.resize(_SMOOTH[ground.kind](rng), (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width)
        t = _STRIPED[ground.kind](rng, x, y)
    mixed: np.ndarray = first + np.clip(t, 0, 1)[..., None] * (second - first)
    return mixed


def _axes() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:_COARSE, 0:_COARSE].astype(np.float32) / _COARSE
    return x, y


def _gradient(rng: np.random.Generator) -> np.ndarray:
    x, y = _axes()
    a = rng.uniform(0, 2 * np.pi)
    along: np.ndarray = x * np.float32(np.cos(a)) + y * np.float32(np.sin(a))
    share: np.ndarray = (along - along.min()) / np.ptp(along)
    return share


def _glow(rng: np.random.Generator) -> np.ndarray:
    x, y = _axes()
    far: np.ndarray = np.hypot(x - np.float32(rng.random()), y - np.float32(rng.random()))
    share: np.ndarray = far / far.max()
    return share


def _blobs(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.random((int(rng.integers(3, 14)),) * 2, dtype=np.float32)
    soft: np.ndarray = cv2.resize(coarse, (_COARSE, _COARSE), interpolation=cv2.INTER_CUBIC)
    return soft


def _paper(rng: np.random.Generator) -> np.ndarray:
    fine = rng.random((_COARSE, _COARSE), dtype=np.float32)
    soft: np.ndarray = cv2.GaussianBlur(fine, (0, 0), float(rng.uniform(0.8, 3)))
    rough: np.ndarray = 0.3 + 2 * (soft - soft.mean())
    return rough


def _stripes(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a, periods = rng.uniform(0, np.pi), rng.uniform(5, 34)
    wave: np.ndarray = np.sin((x * np.cos(a) + y * np.sin(a)) * np.float32(2 * np.pi * periods))
    striped: np.ndarray = (wave > 0) * np.float32(0.6) if rng.random() < 0.4 else 0.3 + 0.3 * wave
    return striped


def _checks(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    n = float(rng.uniform(3, 20))
    board: np.ndarray = ((x * n).astype(np.int32) + (y * n).astype(np.int32)) % 2
    checked: np.ndarray = board.astype(np.float32) * np.float32(0.8)
    return checked


_SMOOTH = {"gradient": _gradient, "glow": _glow, "blobs": _blobs, "paper": _paper}
_STRIPED = {"stripes": _stripes, "checks": _checks}


def _confetti(rng: np.random.Generator, first: np.ndarray, second: np.ndarray, height: int, width: int) -> np.ndarray:
    """Busy: thin lines and specks, all between the two colours, none as large as an object."""
    image: np.ndarray = np.broadcast_to(first, (height, width, 3)).copy()
    size = max(height, width)
    for _ in range(int(rng.integers(20, 90))):
        color = tuple(float(v) for v in first + rng.random() * (second - first))
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if rng.random() < 0.5:
            dx, dy = rng.normal(0, size / 7, 2)
            cv2.line(image, (int(x), int(y)), (int(x + dx), int(y + dy)), color, max(1, size // 250), cv2.LINE_AA)
        else:
            cv2.circle(image, (int(x), int(y)), max(1, int(size * rng.uniform(0.002, 0.012))), color, -1)
    return image
