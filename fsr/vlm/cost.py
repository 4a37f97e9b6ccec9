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
    token); `new_tokens`, end-of-text included; `kv_bytes`, keys and values in the cache object once the prompt is read;
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
class DecoderShape:
    """The numbers of a Llama-like decoder (gated MLP, grouped queries) that the formulas need."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_width: int
    vocabulary: int

    @staticmethod
    def of(config: Any) -> DecoderShape:
        """Read a transformers text configuration (Llama, Mistral, Qwen2)."""
        heads = config.num_attention_heads
        return DecoderShape(
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            mlp_width=config.intermediate_size,
            vocabulary=config.vocab_size,
        )


def prefill_flops(shape: DecoderShape, length: int, causal: bool = False) -> int:
    """Estimated floating-point operations to read `length` positions and score one next token.

    A multiply-add counts two. Attention is counted in full (L x L, as dense kernels and torch's flop counter do),
    norms, activations and rotary positions are left out. causal: count only the L (L + 1) / 2 pairs that a causal mask
    leaves, as the FSR paper's Table 7 does.
    """
    whole = layered_prefill_flops(shape, [length] * shape.layers)
    masked = length * (length - 1) // 2
    return whole - 4 * shape.layers * shape.heads * shape.head_dim * masked if causal else whole


def decode_flops(shape: DecoderShape, length: int, new_tokens: int) -> int:
    """Estimated operations for the `new_tokens` after the first, which prefill gave, on a cache of `length`."""
    return layered_decode_flops(shape, [length] * shape.layers, new_tokens)


def layered_prefill_flops(shape: DecoderShape, lengths: Sequence[int]) -> int:
    """As `prefill_flops` where every layer reads its own number of positions. lengths: one a layer.

    What a method computes to rank tokens inside the language model is left out: a few attention rows, and for
    PyramidDrop the keys of the layer that prunes.
    """
    return sum(_layer(shape, length, length) for length in lengths) + _head(shape)


def layered_decode_flops(shape: DecoderShape, lengths: Sequence[int], new_tokens: int) -> int:
    """As `decode_flops` on a cache that holds its own number of positions in every layer. lengths: one a layer."""
    steps = range(max(new_tokens - 1, 0))
    return sum(sum(_layer(shape, 1, length + i + 1) for length in lengths) + _head(shape) for i in steps)


def _layer(shape: DecoderShape, queries: int, keys: int) -> int:
    attention_width = shape.heads * shape.head_dim
    projections = 2 * shape.width * attention_width + 2 * shape.width * shape.kv_heads * shape.head_dim
    mlp = 3 * shape.width * shape.mlp_width
    return 2 * queries * (projections + mlp + 2 * keys * attention_width)


def _head(shape: DecoderShape) -> int:
    return 2 * shape.width * shape.vocabulary


def kv_cache_bytes(shape: DecoderShape, length: int, bytes_per_value: int) -> int:
    """Estimated keys and values of `length` positions, all layers."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * length * bytes_per_value


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
