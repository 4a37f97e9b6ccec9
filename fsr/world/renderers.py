"""How opaque an outline is at every pixel, by libraries that differ: OpenCV, Pillow, matplotlib's Agg, resvg (SVG).

Each fills outlines, strokes them and writes a digit, with soft or hard edges. `HELD_OUT` is never trained on: it has
outlines and digits of its own besides. SVG is rasterised by resvg: wheels for every platform without a system
library, and not built on one of the other three (cairosvg needs cairo, skia-python ten times the size).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fsr.errors import FsrError

HELD_OUT = "agg"
Contours = Sequence[np.ndarray]  # (corners, 2) pixels each, x before y; the second is a hole


class Renderer(Protocol):
    """Masks are (height, width) uint8: 0 to 255 opaque."""

    def fill(self, contours: Contours, height: int, width: int, soft: bool) -> np.ndarray: ...

    def line(self, contours: Contours, thick: float, height: int, width: int, soft: bool) -> np.ndarray: ...

    def digit(self, text: str, size: float, style: int, soft: bool) -> np.ndarray:
        """As large as it is drawn. size: its height in pixels. style: of the fonts one, counted round."""

    def outline(self, name: str) -> list[np.ndarray] | None:
        """The renderer's own outline of a shape in [-1, 1]^2, if it has one."""


class OpenCV:
    SHIFT = 4  # fractional bits
    FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)

    def _fixed(self, contours: Contours) -> list[np.ndarray]:
        return [np.round((c - 0.5) * (1 << self.SHIFT)).astype(np.int32) for c in contours]

    def fill(self, contours: Contours, height: int, width: int, soft: bool) -> np.ndarray:
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, self._fixed(contours), 255, cv2.LINE_AA if soft else cv2.LINE_8, self.SHIFT)
        return mask

    def line(self, contours: Contours, thick: float, height: int, width: int, soft: bool) -> np.ndarray:
        mask = np.zeros((height, width), np.uint8)
        kind = cv2.LINE_AA if soft else cv2.LINE_8
        cv2.polylines(mask, self._fixed(contours), True, 255, max(1, round(thick)), kind, self.SHIFT)
        return mask

    def digit(self, text: str, size: float, style: int, soft: bool) -> np.ndarray:
        font, scale, thick = self.FONTS[style % len(self.FONTS)], size / 21, max(1, round(size / 8))
        (w, h), _ = cv2.getTextSize(text, font, scale, thick)
        ink = np.zeros((h + 2 * thick, w + 2 * thick), np.uint8)
        kind = cv2.LINE_AA if soft else cv2.LINE_8
        cv2.putText(ink, text, (thick, h + thick - 1), font, scale, 255, thick, kind)
        return ink

    def outline(self, name: str) -> list[np.ndarray] | None:
        return None


class Pillow:
    FINE = 4  # it has no soft edges of its own: drawn larger, then reduced

    def fill(self, contours: Contours, height: int, width: int, soft: bool) -> np.ndarray:
        k = self.FINE if soft else 1
        ink = Image.new("L", (width * k, height * k))
        draw = ImageDraw.Draw(ink)
        for c, level in zip(contours, (255, 0), strict=False):
            draw.polygon([tuple(p) for p in (c * k - 0.5).tolist()], fill=level)
        return np.asarray(ink.reduce(k) if soft else ink)

    def line(self, contours: Contours, thick: float, height: int, width: int, soft: bool) -> np.ndarray:
        k = self.FINE if soft else 1
        ink = Image.new("L", (width * k, height * k))
        draw = ImageDraw.Draw(ink)
        for c in contours:
            ring = np.concatenate([c, c[:2]]) * k - 0.5
            draw.line([tuple(p) for p in ring.tolist()], fill=255, width=max(1, round(thick * k)), joint="curve")
        return np.asarray(ink.reduce(k) if soft else ink)

    def digit(self, text: str, size: float, style: int, soft: bool) -> np.ndarray:
        font = _aileron(max(6, round(size * 1.36)))
        left, top, right, bottom = font.getbbox(text)
        ink = Image.new("L", (int(right - left) + 3, int(bottom - top) + 3))
        draw = ImageDraw.Draw(ink)
        draw.fontmode = "L" if soft else "1"
        draw.text((1 - left, 1 - top), text, fill=255, font=font, stroke_width=style % 2)
        return np.asarray(ink)

    def outline(self, name: str) -> list[np.ndarray] | None:
        return None


@lru_cache(maxsize=256)
def _aileron(size: int) -> Any:
    """Pillow's own font."""
    return ImageFont.load_default(size)


class Svg:
    FONTS = ("DejaVu Serif", "DejaVu Sans Mono", "STIXGeneral")

    def _drawn(self, contours: Contours, height: int, width: int, soft: bool, look: str) -> np.ndarray:
        path = " ".join("M" + " ".join(f"{x:.2f},{y:.2f}" for x, y in c) + "Z" for c in contours)
        edges = "geometricPrecision" if soft else "crispEdges"
        text = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" shape-rendering="{edges}">'
            f'<path d="{path}" fill-rule="evenodd" {look}/></svg>'
        )
        return rasterised(text)[..., 3]

    def fill(self, contours: Contours, height: int, width: int, soft: bool) -> np.ndarray:
        return self._drawn(contours, height, width, soft, 'fill="#000"')

    def line(self, contours: Contours, thick: float, height: int, width: int, soft: bool) -> np.ndarray:
        look = f'fill="none" stroke="#000" stroke-width="{thick:.2f}" stroke-linejoin="round"'
        return self._drawn(contours, height, width, soft, look)

    def digit(self, text: str, size: float, style: int, soft: bool) -> np.ndarray:
        glyph = _glyph(text, self.FONTS[style % len(self.FONTS)], style % 2 == 1)
        return self.fill([c * size + 1 for c in glyph], *_room(glyph, size), soft)

    def outline(self, name: str) -> list[np.ndarray] | None:
        return None


# matplotlib's own outlines of the shapes
MARKERS = {"circle": "o", "square": "s", "triangle": "^", "star": "*", "diamond": "d", "cross": "P", "hexagon": "H"}


class Agg:
    def _drawn(self, contours: Contours, height: int, width: int, soft: bool, thick: float) -> np.ndarray:
        from matplotlib.backends.backend_agg import RendererAgg
        from matplotlib.path import Path
        from matplotlib.transforms import Affine2D

        canvas: Any = RendererAgg(width, height, 72)  # type: ignore[no-untyped-call]
        gc = canvas.new_gc()
        gc.set_antialiased(soft)
        gc.set_linewidth(thick)
        gc.set_foreground((0, 0, 0))
        # Agg counts rows from below.
        parts = [Path(np.concatenate([c, c[:1]]), closed=True) for c in contours]
        flipped = Affine2D().scale(1, -1).translate(0, height)
        canvas.draw_path(gc, Path.make_compound_path(*parts), flipped, None if thick else (0, 0, 0))
        return np.array(canvas.buffer_rgba())[..., 3]

    def fill(self, contours: Contours, height: int, width: int, soft: bool) -> np.ndarray:
        return self._drawn(contours, height, width, soft, 0)

    def line(self, contours: Contours, thick: float, height: int, width: int, soft: bool) -> np.ndarray:
        return self._drawn(contours, height, width, soft, max(thick, 0.5))

    def digit(self, text: str, size: float, style: int, soft: bool) -> np.ndarray:
        glyph = _glyph(text, "DejaVu Sans", style % 2 == 1)
        return self.fill([c * size + 1 for c in glyph], *_room(glyph, size), soft)

    def outline(self, name: str) -> list[np.ndarray] | None:
        return _marker(MARKERS[name]) if name in MARKERS else None


@lru_cache(maxsize=32)
def _marker(sign: str) -> list[np.ndarray]:
    """A marker of matplotlib's, scaled to the unit square."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(sign)
    path = style.get_path().transformed(style.get_transform())
    (points,) = path.to_polygons(closed_only=True)
    points = np.asarray(points)[:-1] * (1, -1)
    low, high = points.min(0), points.max(0)
    return [(points - (low + high) / 2) * 2 / (high - low).max()]


@lru_cache(maxsize=128)
def _glyph(text: str, family: str, bold: bool) -> list[np.ndarray]:
    """A digit's outlines, one high, with y downwards, from the fonts that matplotlib brings."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    path = TextPath((0, 0), text, size=64, prop=FontProperties(family=family, weight="bold" if bold else "normal"))
    outlines = [np.asarray(c)[:-1] * (1, -1) for c in path.to_polygons(closed_only=True)]
    low = np.min([c.min(0) for c in outlines], 0)
    high = np.max([c.max(0) for c in outlines], 0)
    return [(c - low) / (high - low)[1] for c in outlines]


def _room(glyph: Contours, size: float) -> tuple[int, int]:
    wide, high = np.max([c.max(0) for c in glyph], 0) * size
    return int(high) + 3, int(wide) + 3


def rasterised(svg: str, width: int | None = None) -> np.ndarray:
    """(h, w, 4) uint8 of an SVG text. Raises FsrError where resvg is not installed."""
    try:
        import resvg_py
    except ImportError as error:
        raise FsrError("SVG is drawn by resvg-py, which is not installed: pip install resvg-py.") from error
    drawn = resvg_py.svg_to_bytes(svg_string=svg, width=width)
    return np.asarray(Image.open(io.BytesIO(bytes(drawn))).convert("RGBA"))


RENDERERS: dict[str, Renderer] = {"opencv": OpenCV(), "pillow": Pillow(), "svg": Svg(), "agg": Agg()}
TRAINED = tuple(name for name in RENDERERS if name != HELD_OUT)
