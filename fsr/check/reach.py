"""Reaching into a model for `python -m fsr check`, and leaving it as it was."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from fsr.vlm.family import Family

ATTENTION = "fsr_check"  # the name under which a recording attention is known to transformers, while it records


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
def embedding_layer(vlm: Family) -> Iterator[None]:
    """While it lasts, visual tokens are what the tower's first layer makes of their pixels."""
    owner, name, stand_in = vlm.patch_reader()
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
