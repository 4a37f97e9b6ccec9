"""A drawn clip as the page gets it: its frames, and a trace made with a tiny random OneVision checkpoint."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

import fsr.vlm
from fsr.pruners import make
from fsr.trace import build_trace
from tests import tiny_families
from tests.tiny import PATCH

SIZE = (320, 180)
FPS = 25.0


def drawn_frames(n: int) -> list[Image.Image]:
    """A red disc crosses the picture, a blue square stays, a green triangle appears in the second half."""
    frames = []
    for i in range(n):
        image = Image.new("RGB", SIZE, (236, 234, 228))
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, 130, 320, 180), fill=(206, 202, 190))
        draw.rectangle((226, 60, 276, 110), fill=(52, 92, 178))
        if i >= n // 2:
            draw.polygon([(150, 128), (190, 128), (170, 88)], fill=(58, 140, 84))
        x = 40 + 220 * i / max(1, n - 1)
        draw.ellipse((x - 26, 44, x + 26, 96), fill=(200, 56, 48))
        frames.append(image)
    return frames


def recorded_clip(folder: Path, frames: int, cells: int = 4, methods: tuple[str, ...] = ("fsr", "random")) -> Any:
    """What the stage panel receives: `trace` as text and `pictures` as data addresses; cells x cells tokens a frame."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_families, "TILE", 2 * cells * PATCH)
        patch.setattr(tiny_families, "TILE_CELLS", 2 * cells)
        patch.setattr(tiny_families, "TILE_PINPOINTS", [[2 * cells * PATCH] * 2])
        vlm = fsr.vlm.load(str(tiny_families.save_onevision(folder / f"tiny-onevision-{cells}")))
    pictures = drawn_frames(frames)
    times = tuple(round(0.48 * i, 3) for i in range(frames))
    encoding = vlm.encode(vlm.encode_media(pictures, times=times), "Does the red disc move?")
    pruners = [make(name) for name in methods]
    plans = {pruner.name: (pruner, pruner.plan(encoding.tokens)) for pruner in pruners}
    trace = build_trace(vlm, encoding, plans).to_dict()
    for i, (frame, time) in enumerate(zip(trace["frames"], times, strict=True)):
        frame |= {"time": time, "index": 12 * i}
    trace["clip"] = {
        "name": "disc.mp4", "duration": times[-1] + 1 / FPS, "fps": FPS, "count": 12 * frames - 11, "width": SIZE[0],
        "height": SIZE[1], "decoder": "opencv", "sampled": frames, "share": "global",
    }  # fmt: skip
    shown = [{"file": {"url": address_of(p)}, "width": p.width, "height": p.height} for p in pictures]
    text = json.dumps(trace, separators=(",", ":"))
    return {"run": 1, "fresh": True, "example": None, "question": trace["question"], "trace": text, "pictures": shown}


def address_of(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
