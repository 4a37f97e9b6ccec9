"""Reading inside a forward pass: hooks that never outlive it, and the attention rows that become saliency (Eq. 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fsr.errors import FsrError


@dataclass
class Seen:
    """What one module received and returned in the last forward pass."""

    input: Tensor
    output: Tensor


@contextmanager
def capture(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Seen]]:
    """Record the first positional input and the output of every named module while the block runs.

    The hooks are removed when the block ends, however it ends.
    """
    seen: dict[str, Seen] = {}
    handles = []

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = Seen(inputs[0].detach(), output.detach())

        return record

    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(recorder(name)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def cls_attention(queries: Tensor, keys: Tensor, heads: int, scale: float | None = None) -> Tensor:
    """(B, T-1) float32: the attention from [CLS] (position 0) to every patch, mean over heads. Eq. 1.

    queries, keys: (B, T, heads * d) as q_proj and k_proj return them. The softmax of each head runs over all T
    columns, [CLS] included; its column is then dropped, so a row sums to one minus what [CLS] gives itself.
    """
    q, k = _split(queries[:, :1], heads), _split(keys, heads)
    scores = q @ k.transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)
    return scores.softmax(dim=-1).mean(dim=1)[:, 0, 1:]


def received_attention(queries: Tensor, keys: Tensor, heads: int, scale: float | None = None) -> Tensor:
    """(B, T) float32: the attention every token receives, mean over heads and queries (towers without [CLS])."""
    q, k = _split(queries, heads), _split(keys, heads)
    scale = scale or q.shape[-1] ** -0.5
    rows = [(q[:, h] @ k[:, h].transpose(-1, -2) * scale).softmax(dim=-1).mean(dim=1) for h in range(heads)]
    return torch.stack(rows).mean(dim=0)


def _split(x: Tensor, heads: int) -> Tensor:
    """(B, T, heads * d) -> (B, heads, T, d) float32."""
    split: Tensor = x.float().unflatten(-1, (heads, -1)).transpose(1, 2)
    return split


def find(root: nn.Module, suffix: str) -> Any:
    """The module whose dotted name ends with `suffix`: transformers moves modules between versions.

    Raises FsrError where there is none.
    """
    for name, module in root.named_modules():
        if name == suffix or name.endswith("." + suffix):
            return module
    raise FsrError(f"this checkpoint has no module named {suffix}.")
