"""From a `Picture` to pixels, and which patches each of its objects covers."""

from __future__ import annotations

import io
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image

from fsr.shapes.scenes import PATCH, SIDE, Window
from fsr.world import icons
from fsr.world.colors import RGB
from fsr.world.grounds import paint_ground
from fsr.world.outlines import placed
from fsr.world.picture import Item, Noise, Picture, Redrawn
from fsr.world.redrawing import redraw
from fsr.world.renderers import RENDERERS, Renderer

DIGIT = 0.46  # height of a digit, a share of its shape's shorter side


def draw(picture: Picture) -> np.ndarray:
    """(rows, cols, 3) uint8 RGB; the full picture is side x side, a window its share of that."""
    scale = picture.side / SIDE
    window = picture.window
    height, width = (max(8, round(n * PATCH * scale)) for n in (window.rows, window.cols))
    image = paint_ground(picture.ground, height, width)
    renderer = RENDERERS[picture.renderer]
    for item in picture.things:
        if item.artist is None:
            _draw_shape(image, item, picture, renderer, scale)
        else:
            _stamp(image, _stamped(item, window, scale))
    _bars(image, picture, scale)
    return _befallen(cv2.convertScaleAbs(np.maximum(image, 0)), picture.noise)


def scaled(image: np.ndarray, height: int, width: int, filter_: str) -> np.ndarray:
    """filter_: one of `FILTERS`."""
    if image.shape[:2] == (height, width):
        return image
    if filter_ == "area":
        smaller: np.ndarray = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return smaller
    return np.asarray(Image.fromarray(image).resize((width, height), FILTERS[filter_]))


FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": None,
}


# ------------------------------------------------------------------------------------------------------------- shapes


def _contours(item: Item, window: Window, scale: float, renderer: Renderer | None = None) -> list[np.ndarray]:
    origin = np.array([window.left, window.top]) * PATCH
    unit = renderer.outline(item.name) if renderer else None
    return [(c - origin) * scale for c in placed(item, unit)]


def _draw_shape(image: np.ndarray, item: Item, picture: Picture, renderer: Renderer, scale: float) -> None:
    look, size = item.look, min(item.width, item.height) * scale
    contours = _contours(item, picture.window, scale, renderer)
    line = max(look.line * size, 1.0) if look.line or not look.filled else 0.0
    margin = 2 + line + look.shadow * size
    corners = np.concatenate(contours)
    x0, y0 = (np.floor(corners.min(0) - margin)).astype(int)
    x1, y1 = (np.ceil(corners.max(0) + margin)).astype(int)
    local = [c - (x0, y0) for c in contours]
    height, width, soft = int(y1 - y0), int(x1 - x0), picture.antialias
    body = renderer.fill(local, height, width, soft) if look.filled else renderer.line(local, line, height, width, soft)
    if look.shadow:
        by = round(look.shadow * size)
        dark = tuple(int(v * 0.45) for v in picture.ground.first)
        _lay(image, body // 2, x0 + by, y0 + by, dark)  # type: ignore[arg-type]
    _lay(image, body, x0, y0, item.rgb, look.second)
    if look.filled and look.line:
        _lay(image, renderer.line(local, line, height, width, soft), x0, y0, look.line_rgb)
    if item.digit is not None:
        _write(image, item, picture, renderer, scale)


def _write(image: np.ndarray, item: Item, picture: Picture, renderer: Renderer, scale: float) -> None:
    size = DIGIT * min(item.width, item.height) * scale
    ink = renderer.digit(str(item.digit), size, item.look.seed, picture.antialias)
    x = (item.x - picture.window.left * PATCH) * scale - ink.shape[1] / 2
    y = (item.y - picture.window.top * PATCH) * scale - ink.shape[0] / 2
    under: RGB = item.rgb if item.look.filled else picture.ground.first
    dark = np.dot(under, (0.3, 0.59, 0.11)) > 120
    _lay(image, ink, round(x), round(y), (15, 15, 15) if dark else (245, 245, 245))


def _lay(image: np.ndarray, mask: np.ndarray, x0: int, y0: int, rgb: RGB, second: RGB | None = None) -> None:
    """Lay a colour, or a gradient from top to bottom, over part of an (H, W, 3) float32 picture."""
    y1, x1 = min(y0 + mask.shape[0], image.shape[0]), min(x0 + mask.shape[1], image.shape[1])
    top, left = max(y0, 0), max(x0, 0)
    if y1 <= top or x1 <= left:
        return
    alpha = mask[top - y0 : y1 - y0, left - x0 : x1 - x0, None].astype(np.float32) / 255
    color = np.array(rgb, np.float32)
    if second is not None:
        t = np.linspace(0, 1, mask.shape[0], dtype=np.float32)[top - y0 : y1 - y0, None, None]
        color = color + t * (np.array(second, np.float32) - color)
    under = image[top:y1, left:x1]
    under += alpha * (color - under)


# -------------------------------------------------------------------------------------------------------------- icons


_COARSE = 96  # pixels of an icon from which one is drawn that is no larger


@lru_cache(maxsize=64)
def _icon(artist: str, name: str, redrawn: Redrawn | None, coarse: bool) -> np.ndarray:
    """(side, side, 4) float32, colour multiplied by opacity (0 to 1)."""
    icon = icons.artist(artist).icons[name]
    if coarse:
        icon = cv2.resize(icon, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    icon = redraw(icon, redrawn)
    alpha = icon[..., 3:].astype(np.float32) / 255
    return np.concatenate([icon[..., :3] * alpha, alpha], 2)


def _stamped(item: Item, window: Window, scale: float) -> tuple[np.ndarray, int, int]:
    """An icon turned and scaled: (h, w, 4) float32, colour multiplied by opacity (0 to 1), and its top left corner."""
    assert item.artist is not None
    size = item.width * scale / spread(item.angle)
    icon = _icon(item.artist, item.name, item.redrawn, size <= _COARSE)
    if size < icon.shape[0] / 1.5:  # reduce first: a warp alone would leave out pixels
        side = max(4, round(size))
        icon = cv2.resize(icon, (side, side), interpolation=cv2.INTER_AREA)
    half = item.width * scale / 2
    x, y = (item.x - window.left * PATCH) * scale, (item.y - window.top * PATCH) * scale
    x0, y0 = int(np.floor(x - half)), int(np.floor(y - half))
    side = int(np.ceil(2 * half)) + 1
    a, k = np.deg2rad(item.angle), icon.shape[0] / size
    c, s = k * np.cos(a), k * np.sin(a)
    middle = icon.shape[0] / 2 - 0.5
    back = np.array([[c, s, 0], [-s, c, 0]])  # from the picture to the icon
    back[:, 2] = middle - back[:, :2] @ np.array([x - x0 - 0.5, y - y0 - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(icon, back, (side, side), flags=flags), x0, y0


def spread(angle: float) -> float:
    """How much wider the upright box of a turned square is."""
    a = np.deg2rad(angle)
    return float(abs(np.cos(a)) + abs(np.sin(a)))


def _stamp(image: np.ndarray, stamped: tuple[np.ndarray, int, int]) -> None:
    icon, x0, y0 = stamped
    y1, x1 = min(y0 + icon.shape[0], image.shape[0]), min(x0 + icon.shape[1], image.shape[1])
    top, left = max(y0, 0), max(x0, 0)
    if y1 <= top or x1 <= left:
        return
    part = icon[top - y0 : y1 - y0, left - x0 : x1 - x0]
    under = image[top:y1, left:x1]
    under += part[..., :3] - part[..., 3:] * under


# ------------------------------------------------------------------------------------------------------ bars and noise


def _bars(image: np.ndarray, picture: Picture, scale: float) -> None:
    left, top, right, bottom = picture.frame
    if not any(picture.frame):
        return
    window = picture.window
    height, width = image.shape[:2]
    x0 = max(0, round((left - window.left * PATCH) * scale))
    y0 = max(0, round((top - window.top * PATCH) * scale))
    x1 = min(width, round((SIDE - right - window.left * PATCH) * scale))
    y1 = min(height, round((SIDE - bottom - window.top * PATCH) * scale))
    inside = image[y0:y1, x0:x1].copy()
    image[:] = picture.frame_rgb
    image[y0:y1, x0:x1] = inside


def _befallen(image: np.ndarray, noise: Noise) -> np.ndarray:
    if noise.grain:
        rng = np.random.default_rng(noise.seed)
        grain = rng.normal(0, noise.grain, image.shape).astype(np.float32)
        image = np.clip(image + grain, 0, 255).astype(np.uint8)
    if noise.colors:
        image = np.asarray(Image.fromarray(image).quantize(noise.colors).convert("RGB"))
    if noise.jpeg:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=noise.jpeg)
        image = np.asarray(Image.open(file).convert("RGB"))
    return image


# ----------------------------------------------------------------------------------------------------------- coverage


def coverage(picture: Picture) -> np.ndarray:
    """(objects, rows, cols) float32: the share of each patch that each object covers; of an outline its inside too."""
    window, half = picture.window, PATCH // 2
    rows, cols = window.rows * half, window.cols * half  # at half the size: shares of a patch, not edges, are wanted
    out = np.zeros((len(picture.things), window.rows, window.cols), np.float32)
    for i, item in enumerate(picture.things):
        mask: np.ndarray = np.zeros((rows, cols), np.float32)
        if item.artist is None:
            mask = RENDERERS["opencv"].fill(_contours(item, window, 0.5), rows, cols, True).astype(np.float32) / 255
        else:
            icon, x0, y0 = _stamped(item, window, 0.5)
            y1, x1 = min(y0 + icon.shape[0], rows), min(x0 + icon.shape[1], cols)
            top, left = max(y0, 0), max(x0, 0)
            mask[top:y1, left:x1] = icon[top - y0 : y1 - y0, left - x0 : x1 - x0, 3]
        out[i] = mask.reshape(window.rows, half, window.cols, half).mean((1, 3))
    return out
