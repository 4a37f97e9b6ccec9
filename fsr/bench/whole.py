"""What a machine without a GPU takes before a prompt is read: a real-size checkpoint is loaded, media are encoded.

The checkpoint has random weights and is written to a folder of its own first, so that it is read as one that was
downloaded; it comes from the system's cache of files, not from the disk. Peak memory is the process's, and on another
machine than Linux it is not told.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from fsr.bench.machine import peak_bytes, reset_peak
from fsr.bench.measure import quartiles
from fsr.vlm.base import VLM
from fsr.vlm.cost import timed

PHOTOGRAPH = (1280, 960)  # pixels: what the page makes of a photograph of 4:3
CLIP = (640, 360)
FRAMES = 8
PARTS = (2, 4, 9)  # of all visual tokens a half, a quarter and a ninth are kept
SCORES = frozenset({"saliency"})


def loaded(built: VLM, dtype: torch.dtype, device: torch.device) -> tuple[VLM, dict[str, Any]]:
    """The same model, read from a folder as the page reads one; and load_s, load_memory_mb."""
    from fsr.vlm import load

    model, processor, name = built.model, built.processor, built.id  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        del model, processor
        _let_go(built)
        reset_peak()
        vlm, ms = timed(lambda: load(folder, device, dtype, media_cache=0, name=name), device)
        found = {"load_s": round(ms / 1e3, 2), "load_memory_mb": _megabytes()}
    vlm.decoder.eos = frozenset()  # random weights end an answer by chance
    return vlm, found


def encoded(vlm: VLM, pictures: Sequence[Image.Image], clip: bool, repeats: int) -> dict[str, Any]:
    """pixels, frames, visual_tokens, encode_ms (the vision tower, a median), spread (its quartiles) and memory_mb."""
    times = [float(i) for i in range(len(pictures))] if clip else None
    tokens = len(vlm.encode_media(pictures, times, SCORES).layout)
    reset_peak()
    took = [vlm.encode_ms(pictures, times, SCORES) for _ in range(repeats)]
    return {
        "pixels": list(pictures[0].size),
        "frames": len(pictures),
        "visual_tokens": tokens,
        "encode_ms": round(statistics.median(took), 1),
        "spread": [round(end, 1) for end in quartiles(took)],
        "memory_mb": _megabytes(),
    }


def _let_go(vlm: VLM) -> None:
    for parameter in vlm.decoder.model.parameters():
        parameter.data = parameter.new_empty(0)
    gc.collect()


def _megabytes() -> float | None:
    peak = peak_bytes()
    return None if peak is None else round(peak / 1e6, 1)
