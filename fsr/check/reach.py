"""Reaching into a model for `python -m fsr check`, and leaving it as it was."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fsr.vlm.capture import find
from fsr.vlm.llava import Llava
from fsr.vlm.qwen2_5_vl import QwenTower

ATTENTION = "fsr_check"  # the name under which a recording attention is known to transformers, while it records


def vision_of(vlm: Llava) -> Any:
    return vlm.tower.visual if isinstance(vlm.tower, QwenTower) else find(vlm.model, "vision_tower")


@contextmanager
def attending(vision: Any, implementation: str) -> Iterator[None]:
    before = vision.config._attn_implementation
    try:
        vision.config._attn_implementation = implementation
        yield
    finally:
        vision.config._attn_implementation = before


@contextmanager
def recorded(vision: Any, module: Any) -> Iterator[list[Tensor]]:
    """The tower computes with transformers' eager attention; the weights of one module are kept, (1, H, T, T) each."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    plain: Any = vars(inspect.getmodule(type(module)))["eager_attention_forward"]
    weights: list[Tensor] = []

    def recording(attending: Any, *args: Any, **options: Any) -> Any:
        out = plain(attending, *args, **options)
        if attending is module:
            weights.append(out[1])
        return out

    ALL_ATTENTION_FUNCTIONS[ATTENTION] = recording
    try:
        with attending(vision, ATTENTION):
            yield weights
    finally:
        del ALL_ATTENTION_FUNCTIONS[ATTENTION]


@contextmanager
def embedding_layer(vlm: Llava) -> Iterator[None]:
    """While it lasts, visual tokens are what the tower's first layer makes of their pixels."""
    vision, tower = vision_of(vlm), vlm.tower

    def patches(pixels: Tensor, grids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = vision.patch_embed(pixels).view(-1, tower.merge**2 * vision.config.hidden_size)
        return out, out, out[:, 0].float()

    def convolved(pixels: Tensor, wanted: frozenset[str] = frozenset()) -> dict[str, Tensor]:
        out = find(vision, "embeddings.patch_embedding")(pixels).flatten(2).transpose(1, 2)
        out = torch.nn.functional.pad(out, (0, 0, tower.extra, 0)).flatten(0, 1)
        return {"embeddings": out, "features": out, "saliency": out[:, 0].float()}

    owner, name, stand_in = (tower, "read", patches) if isinstance(tower, QwenTower) else (vlm, "_read", convolved)
    if not isinstance(tower, QwenTower):
        vlm.encode_media([Image.new("RGB", (336, 336))])  # its warm-up is the tower's own
    try:
        setattr(owner, name, stand_in)
        yield
    finally:
        delattr(owner, name)


@contextmanager
def forgetful(model: Any) -> Iterator[None]:
    """Qwen's class remembers the positions of its last prompt; here neither before nor after."""
    holder = model.model if hasattr(model.model, "rope_deltas") else None
    try:
        if holder is not None:
            holder.rope_deltas = None
        yield
    finally:
        if holder is not None:
            holder.rope_deltas = None
