"""An icon as yet another artist would draw it: lines around its parts, fewer shades, another tint."""

from __future__ import annotations

import cv2
import numpy as np

from fsr.world.picture import Redrawn

_FINE = 96  # pixels at which lines are found


def redraw(icon: np.ndarray, how: Redrawn | None) -> np.ndarray:
    """(side, side, 4) uint8 to the same."""
    if how is None:
        return icon
    if how.mirrored:
        icon = icon[:, ::-1]
    if how.stretch != 1.0:
        icon = _stretched(icon, how.stretch)
    rgb, alpha = np.ascontiguousarray(icon[..., :3]), np.ascontiguousarray(icon[..., 3])
    if how.hue or how.saturation != 1.0 or how.brightness != 1.0:
        rgb = _tinted(rgb, how)
    if how.levels:
        step = 255 / (how.levels - 1)
        rgb = np.round(np.round(rgb / step) * step).astype(np.uint8)
    if how.edges:
        rgb, alpha = _lined(rgb, alpha, how.edges)
    return np.dstack([rgb, alpha])


def _stretched(icon: np.ndarray, stretch: float) -> np.ndarray:
    side = icon.shape[0]
    width, height = (side, round(side / stretch)) if stretch > 1 else (round(side * stretch), side)
    part = cv2.resize(np.ascontiguousarray(icon), (width, height), interpolation=cv2.INTER_AREA)
    whole = np.zeros_like(icon)
    top, left = (side - height) // 2, (side - width) // 2
    whole[top : top + height, left : left + width] = part
    return whole


def _tinted(rgb: np.ndarray, how: Redrawn) -> np.ndarray:
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + how.hue / 2) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * how.saturation, 0, 255)
    hsv[..., 2] = np.clip(hsv[..., 2] * how.brightness, 0, 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)


def _lined(rgb: np.ndarray, alpha: np.ndarray, edges: float) -> tuple[np.ndarray, np.ndarray]:
    """Black lines around the silhouette and where colours meet inside."""
    side = rgb.shape[0]
    small = cv2.resize(rgb, (_FINE, _FINE), interpolation=cv2.INTER_AREA)
    solid = cv2.resize(alpha, (_FINE, _FINE), interpolation=cv2.INTER_AREA)
    flat = cv2.medianBlur(small, 5)
    meet = cv2.Canny(flat, 60, 150)
    meet[cv2.erode(solid, np.ones((3, 3), np.uint8)) < 128] = 0
    rim = cv2.morphologyEx((solid > 100).astype(np.uint8) * 255, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    thick = max(1, round(edges * _FINE))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thick, thick))
    lines = cv2.dilate(np.maximum(meet, rim), disc)
    lines = cv2.resize(lines, (side, side), interpolation=cv2.INTER_LINEAR)
    share = lines[..., None].astype(np.float32) / 255
    drawn = rgb * (1 - share) + 12 * share
    return drawn.astype(np.uint8), np.maximum(alpha, lines)
