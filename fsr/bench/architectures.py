"""Real-size models with random weights: what the benchmark measures where no checkpoint can be had.

Shapes are those of the published configurations. Weights and the words of the tokenizer (one a byte) are made here:
neither changes how long anything takes, and nothing is downloaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fsr.bench.configurations import (
    Architecture,
    gemma_parts,
    intern_parts,
    llava_parts,
    original_parts,
    qwen_parts,
    smol_parts,
    tokenizer,
)
from fsr.bench.model_shapes import (
    CLIP_TEXT,
    CLIP_VISION,
    GEMMA3_4B,
    GEMMA3_12B,
    GEMMA3_VISION,
    INTERN_VISION,
    QWEN2_05B,
    QWEN2_7B,
    QWEN3_06B,
    QWEN3_2B,
    QWEN3_4B,
    QWEN3_8B,
    QWEN3_17B,
    QWEN3_82B,
    QWEN3_VISION,
    QWEN3_VISION_LARGE,
    QWEN25_3B,
    QWEN25_7B,
    QWEN25_VISION,
    QWEN35_08B,
    QWEN35_VISION,
    SMALL,
    SMALL_QWEN_VISION,
    SMALL_TEXT,
    SMALL_VISION,
    SMOL_VISION,
    SMOL_VISION_LARGE,
    SMOLLM2_135M,
    SMOLLM2_360M,
    SMOLLM2_1700M,
    VICUNA_7B,
)
from fsr.errors import FsrError, InvalidInput
from fsr.vlm.base import VLM
from fsr.vlm.cost import DecoderShape, kv_cache_bytes
from fsr.vlm.memory import free_bytes, weight_bytes
from fsr.vlm.original_weights import TOWERS
from fsr.vlm.relevance import ClipRelevance

__all__ = ["ARCHITECTURES", "SMALL", "Architecture", "build", "memory", "named"]

RESERVE = 1_000_000_000  # Python, libraries and what a forward pass holds besides the widest layer
WORKING = 4  # copies of the widest activation that a decoder layer holds at once
TEXT = 200  # positions that are no visual tokens, at most, in the memory check
NOISE = 1_000_003  # numbers that all weights are filled with, over and over; prime, so that rows differ


def build(
    name: str,
    dtype: torch.dtype,
    device: torch.device,
    layers: int | None = None,
    frames: int = 1,
    media_cache: int = 0,
) -> VLM:
    """The architecture with random weights, through the project's own adapter. layers: of the language model.

    frames: how many will be read at once, for the memory check. media_cache: pictures whose encoding is kept; without,
    every encode is a real one. Raises InvalidInput for an unknown name or depth, and FsrError where it does not fit,
    both before anything is built.
    """
    import transformers

    one = named(name)
    least = one.text.get("full_attention_interval", 1)  # transformers' cache counts positions where all are kept
    if layers is not None and not least <= layers <= one.layers:
        raise InvalidInput(f"--layers must be from {least} to {one.layers} for {name}, not {layers}.")
    config, processor = one.make(one, {**one.text, "num_hidden_layers": layers or one.layers})
    check_memory(name, config, dtype, device, frames)
    model = empty(getattr(transformers, one.kind), config, dtype, device)
    fill(model)
    module, kind = one.family
    vlm: VLM = getattr(importlib.import_module(module), kind)(
        model,
        processor,
        id=name,
        title=one.title,
        clip=None if one.clip is None else lambda: relevance(one),
        clip_source="a random CLIP text tower" if one.clip is not None else "this family has none",
        relevance_sign=-1 if one.clip is not None else 1,
        media_cache=media_cache,
        **one.settings,
    )
    vlm.decoder.eos = frozenset()  # random weights end an answer by chance
    return vlm


def named(name: str) -> Architecture:
    """The architecture of that name; with `SMALL` behind it, a narrow and shallow one with the same processor."""
    full = name.removesuffix(SMALL)
    if full not in ARCHITECTURES:
        raise InvalidInput(f"--architecture must be one of {', '.join(ARCHITECTURES)}, not {name!r}.")
    return ARCHITECTURES[full] if full == name else small(ARCHITECTURES[full])


def small(one: Architecture) -> Architecture:
    """The same with modules that are built and run in no time."""
    text = {**one.text, **SMALL_TEXT}
    if "rope_parameters" in text:
        text["rope_parameters"] = {**text["rope_parameters"], "mrope_section": [2, 2, 2]}
    clip = None if one.clip is None else {**one.clip, **SMALL_VISION, "vocab_size": SMALL_TEXT["vocab_size"]}
    if "depth" in one.vision:  # Qwen's tower, which takes pictures of any size
        vision = {**one.vision, **SMALL_QWEN_VISION}
        side = 36 * one.vision.get("patch_size", 14)
        return replace(one, text=text, vision=vision, picture=(side, side), tokens=18 * 18)
    return replace(one, text=text, vision={**one.vision, **SMALL_VISION}, clip=clip)


def check_memory(name: str, config: Any, dtype: torch.dtype, device: torch.device, frames: int = 1) -> None:
    """Raises FsrError with the depth that would fit, where weights, cache and working memory are more than is free."""
    needed, a_layer = memory(name, config, dtype, frames)
    free = free_bytes(device)
    if free is None or needed <= free:
        return
    label, layers = str(dtype).removeprefix("torch."), config.get_text_config().num_hidden_layers
    fitting = layers - -(-(needed - free) // a_layer)
    hint = f"give --layers {fitting}, which fits" if fitting >= 1 else "even one layer does not fit"
    raise FsrError(
        f"{name} with {layers} layers needs about {needed / 1e9:.1f} GB in {label}, {device} has {free / 1e9:.1f} GB "
        f"free; {hint}."
    )


def memory(name: str, config: Any, dtype: torch.dtype, frames: int = 1) -> tuple[int, int]:
    """Estimated bytes to build and measure it, and bytes of one decoder layer with its part of the cache."""
    import transformers

    one, shape = named(name), DecoderShape.of(config.get_text_config())
    length = TEXT + one.tokens * (frames if one.video else 1)
    weights = weight_bytes(getattr(transformers, one.kind), config, dtype)
    cache = kv_cache_bytes(shape, length, dtype.itemsize)
    working = WORKING * length * max(shape.mlp_width, shape.width) * dtype.itemsize
    clip = 0 if one.clip is None else 4 * _clip_parameters(one.clip)
    attention_width = shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    a_layer = dtype.itemsize * shape.width * (attention_width + 3 * shape.mlp_width) + cache // shape.layers
    return weights + cache + working + clip + RESERVE, a_layer


def empty(kind: Any, config: Any, dtype: torch.dtype, device: torch.device) -> Any:
    """A transformers model whose parameters are not yet set: made once, in its own dtype, on its own device."""
    from transformers.initialization import no_init_weights

    with no_init_weights(), device:
        model = kind._from_config(config, dtype=dtype)
    model.tie_weights()
    return model.eval()


@torch.no_grad()
def fill(model: nn.Module, seed: int = 0) -> None:
    """Norms at one, biases at zero, all else noise that keeps the size of what passes through."""
    noise = torch.randn(NOISE, generator=torch.Generator().manual_seed(seed)).to(next(model.parameters()).device)
    for place, (name, parameter) in enumerate(model.named_parameters()):
        if parameter.ndim == 1 and name.endswith(("weight", "bias")):
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            width = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
            tile(parameter, noise.roll(-997 * place) * width**-0.5)


def tile(parameter: Tensor, noise: Tensor) -> None:
    """Fill a parameter with the same numbers over and over: as fast as memory, where drawing each takes minutes."""
    flat, block = parameter.view(-1), noise.to(parameter)
    for part in flat.split(len(block)):
        part.copy_(block[: len(part)])


def relevance(one: Architecture) -> ClipRelevance:
    """A random CLIP text tower of the right shape, in float32 as the real one is loaded."""
    from transformers import CLIPConfig, CLIPModel

    assert one.clip is not None
    vision = {**one.vision, "num_hidden_layers": 1}  # only its last norm is used
    config = CLIPConfig(
        text_config=dict(one.clip), vision_config=vision, projection_dim=int(one.clip["projection_dim"])
    )
    clip = empty(CLIPModel, config, torch.float32, torch.device("cpu"))
    fill(clip, 1)
    return ClipRelevance.of(clip, tokenizer(()))


def _clip_parameters(text: Mapping[str, Any]) -> int:
    width, layers = text["hidden_size"], text["num_hidden_layers"]
    weights: int = width * (text["vocab_size"] + layers * (4 * width + 2 * text["intermediate_size"]))
    return weights


ARCHITECTURES = {
    "llava-1.5-7b": Architecture(
        "LLaVA-1.5 7B",
        "LlavaForConditionalGeneration",
        ("fsr.vlm.llava", "Llava"),
        llava_parts,
        VICUNA_7B,
        CLIP_VISION,
        (336, 336),
        576,
        clip=CLIP_TEXT,
    ),
    "llava-next-7b": Architecture(
        "LLaVA-NeXT 7B (Vicuna), as papers count it",
        "LlavaNextForConditionalGeneration",
        ("fsr.vlm.llava_next", "LlavaNext"),
        llava_parts,
        VICUNA_7B,
        CLIP_VISION,
        (672, 672),
        2880,
        clip=CLIP_TEXT,
        settings={"mode": "paper"},
    ),
    "qwen2.5-vl-3b": Architecture(
        "Qwen2.5-VL 3B",
        "Qwen2_5_VLForConditionalGeneration",
        ("fsr.vlm.qwen2_5_vl", "Qwen25VL"),
        qwen_parts,
        QWEN25_3B,
        QWEN25_VISION,
        (1008, 1008),
        1296,
    ),
    "qwen2.5-vl-7b": Architecture(
        "Qwen2.5-VL 7B",
        "Qwen2_5_VLForConditionalGeneration",
        ("fsr.vlm.qwen2_5_vl", "Qwen25VL"),
        qwen_parts,
        QWEN25_7B,
        {**QWEN25_VISION, "out_hidden_size": 3584},
        (1008, 1008),
        1296,
    ),
    "llava-onevision-0.5b": Architecture(
        "LLaVA-OneVision 0.5B",
        "LlavaOnevisionForConditionalGeneration",
        ("fsr.vlm.llava_onevision", "LlavaOnevision"),
        original_parts,
        QWEN2_05B,
        {"tower": next(iter(TOWERS))},
        (384, 384),
        1458,
    ),
    "llava-video-7b": Architecture(
        "LLaVA-Video 7B",
        "LlavaOnevisionForConditionalGeneration",
        ("fsr.vlm.llava_video", "LlavaVideo"),
        original_parts,
        QWEN2_7B,
        {"tower": next(iter(TOWERS))},
        (640, 360),
        169,
        video=True,
    ),
    "smolvlm2-256m": Architecture(
        "SmolVLM2 256M",
        "SmolVLMForConditionalGeneration",
        ("fsr.vlm.smolvlm", "SmolVLM"),
        smol_parts,
        SMOLLM2_135M,
        SMOL_VISION,
        (1024, 1024),
        1088,
        join=4,
    ),
    "smolvlm2-500m": Architecture(
        "SmolVLM2 500M",
        "SmolVLMForConditionalGeneration",
        ("fsr.vlm.smolvlm", "SmolVLM"),
        smol_parts,
        SMOLLM2_360M,
        SMOL_VISION,
        (1024, 1024),
        1088,
        join=4,
    ),
    "smolvlm2-2.2b": Architecture(
        "SmolVLM2 2.2B",
        "SmolVLMForConditionalGeneration",
        ("fsr.vlm.smolvlm", "SmolVLM"),
        smol_parts,
        SMOLLM2_1700M,
        SMOL_VISION_LARGE,
        (1024, 1024),
        1377,
        join=3,
    ),
    "qwen3-vl-2b": Architecture(
        "Qwen3-VL 2B",
        "Qwen3VLForConditionalGeneration",
        ("fsr.vlm.qwen3_vl", "Qwen3VL"),
        qwen_parts,
        QWEN3_2B,
        QWEN3_VISION,
        (1024, 1024),
        1024,
    ),
    "qwen3-vl-4b": Architecture(
        "Qwen3-VL 4B",
        "Qwen3VLForConditionalGeneration",
        ("fsr.vlm.qwen3_vl", "Qwen3VL"),
        qwen_parts,
        QWEN3_4B,
        {**QWEN3_VISION, "out_hidden_size": 2560},
        (1024, 1024),
        1024,
    ),
    "qwen3-vl-8b": Architecture(
        "Qwen3-VL 8B",
        "Qwen3VLForConditionalGeneration",
        ("fsr.vlm.qwen3_vl", "Qwen3VL"),
        qwen_parts,
        QWEN3_8B,
        QWEN3_VISION_LARGE,
        (1024, 1024),
        1024,
    ),
    "qwen3.5-0.8b": Architecture(
        "Qwen3.5 0.8B",
        "Qwen3_5ForConditionalGeneration",
        ("fsr.vlm.qwen3_5", "Qwen35"),
        qwen_parts,
        QWEN35_08B,
        QWEN35_VISION,
        (1024, 1024),
        1024,
    ),
    "gemma-3-4b": Architecture(
        "Gemma 3 4B",
        "Gemma3ForConditionalGeneration",
        ("fsr.vlm.gemma3", "Gemma3"),
        gemma_parts,
        GEMMA3_4B,
        GEMMA3_VISION,
        (896, 896),
        256,
        join=4,
    ),
    "gemma-3-12b": Architecture(
        "Gemma 3 12B",
        "Gemma3ForConditionalGeneration",
        ("fsr.vlm.gemma3", "Gemma3"),
        gemma_parts,
        GEMMA3_12B,
        GEMMA3_VISION,
        (896, 896),
        256,
        join=4,
    ),
    "internvl3.5-1b": Architecture(
        "InternVL3.5 1B",
        "InternVLForConditionalGeneration",
        ("fsr.vlm.internvl", "InternVL"),
        intern_parts,
        QWEN3_06B,
        INTERN_VISION,
        (896, 896),
        1280,
        join=2,
    ),
    "internvl3.5-2b": Architecture(
        "InternVL3.5 2B",
        "InternVLForConditionalGeneration",
        ("fsr.vlm.internvl", "InternVL"),
        intern_parts,
        QWEN3_17B,
        INTERN_VISION,
        (896, 896),
        1280,
        join=2,
    ),
    "internvl3.5-8b": Architecture(
        "InternVL3.5 8B",
        "InternVLForConditionalGeneration",
        ("fsr.vlm.internvl", "InternVL"),
        intern_parts,
        QWEN3_82B,
        INTERN_VISION,
        (896, 896),
        1280,
        join=2,
    ),
}
