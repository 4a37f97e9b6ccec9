"""What an answer costs: the measured record, and the formulas for what cannot be measured (always called estimated).

Letters: L sequence length, D width, H query heads of size d, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """One answer's price.

    Measured: `visual_tokens` read by the language model (the rounded average of its layers where a method prunes inside
    it); `encode_ms`, the vision tower (once per picture, also when it was taken from the cache); `select_ms`, the
    pruner (inside the language model the choice is part of prefill); `prefill_ms`, from the selection to the first
    token; `first_token_ms`, the two together; `decode_ms_per_token`, mean of the tokens after the first (None with one
    token); `new_tokens`, end-of-text included; `kv_bytes`, keys and values in the cache object once the prompt is read,
    and the states of linear attention;
    `peak_bytes`, the device's peak memory while answering (None where the device does not tell). `repeats`: how often
    it was measured (`fsr.bench.measure`); above 1 every time is a median, and `spread` has the quartiles of its
    repeats, by name.
    Estimated: `flops_estimated`, the language model's prefill and decode by `prefill_flops` and `decode_flops`.
    """

    visual_tokens: int
    encode_ms: float
    select_ms: float
    prefill_ms: float
    first_token_ms: float
    decode_ms_per_token: float | None
    new_tokens: int
    kv_bytes: int
    peak_bytes: int | None
    flops_estimated: int
    repeats: int = 1
    spread: dict[str, tuple[float, float]] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, times to three decimals; `spread` as lists of two, left out where there is none."""
        record = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items() if k != "spread"}
        if self.spread is not None:
            record["spread"] = {name: [round(end, 3) for end in ends] for name, ends in self.spread.items()}
        return record


@dataclass(frozen=True)
class DeltaShape:
    """A Gated DeltaNet layer: heads of keys and of values, their sizes, and the width of its convolution."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int

    @staticmethod
    def of(config: Any) -> DeltaShape:
        return DeltaShape(
            key_heads=config.linear_num_key_heads,
            value_heads=config.linear_num_value_heads,
            key_dim=config.linear_key_head_dim,
            value_dim=config.linear_value_head_dim,
            kernel=config.linear_conv_kernel_dim,
        )

    @property
    def convolved(self) -> int:
        """Channels of the convolution: queries, keys and values."""
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim

    @property
    def state(self) -> int:
        """Numbers in the state that a layer carries on."""
        return self.value_heads * self.key_dim * self.value_dim

    def multiplications(self, width: int) -> int:
        """Of one position: projections, convolution, and the state that is asked, corrected and read."""
        values = self.value_heads * self.value_dim
        projections = width * (self.convolved + 2 * values + 2 * self.value_heads)
        return projections + self.convolved * self.kernel + 3 * self.state


@dataclass(frozen=True)
class DecoderShape:
    """The numbers of a Llama-like decoder (gated MLP, grouped queries) that the formulas need.

    linear: the layers of linear attention, from 0, all of the shape `delta`. gated: whether full attention has a gate
    as wide as its queries.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_width: int
    vocabulary: int
    linear: frozenset[int] = frozenset()
    delta: DeltaShape | None = None
    gated: bool = False

    @staticmethod
    def of(config: Any) -> DecoderShape:
        """Read a transformers text configuration (Llama, Mistral, Qwen2, Qwen3, Qwen3.5)."""
        heads, kinds = config.num_attention_heads, getattr(config, "layer_types", None) or ()
        linear = frozenset(i for i, kind in enumerate(kinds) if kind == "linear_attention")
        return DecoderShape(
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            mlp_width=config.intermediate_size,
            vocabulary=config.vocab_size,
            linear=linear,
            delta=DeltaShape.of(config) if linear else None,
            gated=bool(linear),
        )


def prefill_flops(shape: DecoderShape, length: int, causal: bool = False) -> int:
    """Estimated floating-point operations to read `length` positions and score one next token.

    A multiply-add counts two. Attention is counted in full (L x L, as dense kernels and torch's flop counter do),
    norms, activations and rotary positions are left out. causal: count only the L (L + 1) / 2 pairs that a causal mask
    leaves, as the FSR paper's Table 7 does. Linear attention is counted position by position; read in chunks, as
    implementations do, it takes some more.
    """
    whole = layered_prefill_flops(shape, [length] * shape.layers)
    masked = length * (length - 1) // 2
    attending = shape.layers - len(shape.linear)
    return whole - 4 * attending * shape.heads * shape.head_dim * masked if causal else whole


def decode_flops(shape: DecoderShape, length: int, new_tokens: int) -> int:
    """Estimated operations for the `new_tokens` after the first, which prefill gave, on a cache of `length`."""
    return layered_decode_flops(shape, [length] * shape.layers, new_tokens)


def layered_prefill_flops(shape: DecoderShape, lengths: Sequence[int]) -> int:
    """As `prefill_flops` where every layer reads its own number of positions. lengths: one a layer.

    What a method computes to rank tokens inside the language model is left out: a few attention rows, and for
    PyramidDrop the keys of the layer that prunes.
    """
    return sum(_layer(shape, i, length, length) for i, length in enumerate(lengths)) + _head(shape)


def layered_decode_flops(shape: DecoderShape, lengths: Sequence[int], new_tokens: int) -> int:
    """As `decode_flops` on a cache that holds its own number of positions in every layer. lengths: one a layer."""
    total = 0
    for step in range(1, new_tokens):
        total += sum(_layer(shape, i, 1, length + step) for i, length in enumerate(lengths)) + _head(shape)
    return total


def _layer(shape: DecoderShape, layer: int, queries: int, keys: int) -> int:
    mlp = 3 * shape.width * shape.mlp_width
    if shape.delta is not None and layer in shape.linear:
        return 2 * queries * (shape.delta.multiplications(shape.width) + mlp)
    attention_width = shape.heads * shape.head_dim
    projections = (3 if shape.gated else 2) * shape.width * attention_width
    projections += 2 * shape.width * shape.kv_heads * shape.head_dim
    return 2 * queries * (projections + mlp + 2 * keys * attention_width)


def _head(shape: DecoderShape) -> int:
    return 2 * shape.width * shape.vocabulary


def kv_cache_bytes(shape: DecoderShape, length: int, bytes_per_value: int) -> int:
    """Estimated keys and values of `length` positions, all layers; and the states of linear attention, in float32."""
    attending = shape.layers - len(shape.linear)
    cached = 2 * attending * shape.kv_heads * shape.head_dim * length * bytes_per_value
    if shape.delta is None:
        return cached
    state = shape.delta.convolved * shape.delta.kernel * bytes_per_value + 4 * shape.delta.state
    return cached + len(shape.linear) * state


def media_bytes(tokens: int, widths: tuple[int, ...], bytes_per_value: int) -> int:
    """Estimated memory of a cached picture: `tokens` rows in every width kept (embeddings D, features C, ...)."""
    return tokens * sum(widths) * bytes_per_value


def timed(work: Callable[[], T], device: torch.device | str = "cpu") -> tuple[T, float]:
    """The result of `work()` and its wall-clock milliseconds; waits for a CUDA device before and after."""
    synchronize(device)
    start = time.perf_counter()
    result = work()
    synchronize(device)
    return result, (time.perf_counter() - start) * 1e3


def synchronize(device: torch.device | str) -> None:
    """Wait until a CUDA device has finished; nothing to do on others."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
