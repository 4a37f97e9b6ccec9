"""Whether a model fits, on its device and in the host's memory, before its weights are read."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fsr.similarity import ALL_UP_TO
from fsr.vlm.cost import DecoderShape, kv_cache_bytes
from fsr.vlm.placement import FOUR_BIT, WHOLE, Placement

SLACK = 1.05  # of a model of which only the number of weights is known: all that it needs besides
BUFFERS = 1.02  # beside the weights, where the rest is counted
SIDE = 1280  # pixels: the longer side of the largest picture, as the page scales it down
FRAMES = 32  # of the largest clip
TEXT = 400  # positions of the longest question on the page, its template and its answer
QWEN_FRAME = 768  # tokens that Qwen's processor makes of a step in time of a clip, at most
SMOL_TILES = 17  # 4 x 4, and the whole picture
INTERNVL_TILES = 13  # twelve, and the whole picture
FOUR_BIT_BYTES = 0.5625  # NF4: half a byte a number, and a float32 for every block of 64
CGROUP = Path("/sys/fs/cgroup")


def parameters_of(kind: Any, config: Any) -> dict[str, int]:
    """How many numbers every parameter of a transformers class holds, by name, counted without making them."""
    with torch.device("meta"):
        model = kind(config)
    return {name: p.numel() for name, p in model.named_parameters()}  # tied weights count once


def weight_bytes(kind: Any, config: Any, dtype: torch.dtype) -> int:
    """What the parameters of a transformers class take in this dtype."""
    return sum(parameters_of(kind, config).values()) * dtype.itemsize


def placed_bytes(parameters: Mapping[str, int], placement: Placement) -> int:
    """What these parameters take once they are placed; with 4 bit the language model's layers take less."""

    def size(name: str) -> float:
        small = placement.four_bit and ".layers." in name and not name.startswith(WHOLE)
        return FOUR_BIT_BYTES if small else placement.dtype.itemsize

    return round(sum(n * size(name) for name, n in parameters.items()))


def free_bytes(device: torch.device) -> int | None:
    """What can still be taken on this device; None where it does not tell."""
    if device.type == "cuda":  # what PyTorch holds back for later counts as free
        held_back = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held_back
    if device.type != "cpu":
        return None
    free = [x for x in (_proc_available(), _cgroup_left()) if x is not None]
    return min(free) if free else None


def free_together() -> int | None:
    """The same for all GPUs and the CPU, over which a device_map can spread a model."""
    devices = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    free = [free_bytes(device) for device in [*devices, torch.device("cpu")]]
    return sum(x for x in free if x is not None) if any(x is not None for x in free) else None


@dataclass(frozen=True)
class Needs:
    """Estimated bytes. relevance: the text tower of CLIP. cache, activations: of the largest prompt, see
    `largest_prompt`. passing: what goes through the host's memory on its way to another device.
    """

    weights: int
    relevance: int = 0
    cache: int = 0
    activations: int = 0
    passing: int = 0

    @property
    def device(self) -> int:
        """Where the model computes."""
        return round(self.weights * BUFFERS) + self.relevance + self.cache + self.activations


def needs_of(config: Any, parameters: Mapping[str, int], placement: Placement, clip: Mapping[str, int]) -> Needs:
    """parameters, clip: how many numbers every parameter holds, of the model and of the CLIPModel for its relevance."""
    shape, visual = DecoderShape.of(config.get_text_config()), largest_prompt(config)
    length, size = visual + TEXT, placement.dtype.itemsize
    # a decoder layer holds about eight rows of its width and three of its MLP; the similarities are float32
    activations = length * (8 * shape.width + 3 * shape.mlp_width) * size + 4 * min(visual, ALL_UP_TO) ** 2
    whole = (
        max((n * size for n in parameters.values()), default=0) if placement.map else size * sum(parameters.values())
    )
    return Needs(
        weights=placed_bytes(parameters, placement),
        relevance=4 * sum(n for name, n in clip.items() if not name.startswith("vision_model.")),
        cache=kv_cache_bytes(shape, length, size),
        activations=activations,
        passing=0 if placement.device.type == "cpu" else max(whole, 4 * sum(clip.values())),
    )


def largest_prompt(config: Any) -> int:
    """Visual tokens of a picture of `SIDE` pixels, or a clip of `FRAMES` frames; those of which there are more."""
    vision = config.vision_config
    if hasattr(vision, "spatial_merge_size"):
        picture = math.ceil(SIDE / (vision.patch_size * vision.spatial_merge_size)) ** 2
        most = max(picture, math.ceil(FRAMES / vision.temporal_patch_size) * min(picture, QWEN_FRAME))
    elif hasattr(config, "scale_factor"):  # SmolVLM, whose frames are one tile each
        most = max(SMOL_TILES, FRAMES) * (vision.image_size // vision.patch_size // config.scale_factor) ** 2
    elif hasattr(config, "mm_tokens_per_image"):  # Gemma 3, which reads no clips
        most = config.mm_tokens_per_image
    elif hasattr(config, "downsample_ratio"):  # InternVL, likewise
        most = max(INTERNVL_TILES, FRAMES) * config.image_seq_length
    else:
        rows = vision.image_size // vision.patch_size
        pinpoints = getattr(config, "image_grid_pinpoints", None) or []
        tiles = max((h * w // vision.image_size**2 for h, w in pinpoints), default=0)
        limit = str(getattr(config, "vision_aspect_ratio", "")).removeprefix("anyres_max_")
        tiles = min(tiles, int(limit)) if limit.isdigit() else tiles
        clip = FRAMES * math.ceil(rows / 2) ** 2 if config.model_type == "llava_onevision" else 0
        most = max((1 + tiles) * rows**2, clip)
    room = getattr(config.get_text_config(), "max_position_embeddings", None) or most
    return int(min(most, room))


def bytes_each(precision: str) -> float:
    """What a number of the weights takes. precision: the name of a dtype, or 4bit."""
    return {"float32": 4.0, FOUR_BIT: FOUR_BIT_BYTES}.get(precision, 2.0)


def misfit(name: str, needs: Needs, placement: Placement, freed: int = 0) -> str:
    """Why the model does not fit; empty where it does, or where nobody knows. freed: bytes of its device that will be
    free before it is loaded."""
    spread = placement.device_map is not None
    free = room(placement)
    if free is not None and needs.device > free + freed:
        where = "all devices together have" if spread else f"{placement.device} has"
        return (
            f"{name} needs about {needs.device / 1e9:.1f} GB in {placement.precision}, "
            f"{needs.weights / 1e9:.1f} GB of it for its weights, and {where} {(free + freed) / 1e9:.1f} GB free"
        )
    host = free_bytes(torch.device("cpu")) if needs.passing and not spread else None
    if host is not None and needs.passing > host:
        return (
            f"{name} passes {needs.passing / 1e9:.1f} GB through the memory of this machine on its way to "
            f"{placement.device}, and {host / 1e9:.1f} GB of it are free"
        )
    return ""


def room(placement: Placement) -> int | None:
    """Bytes that are free where the model would go; None where that is not known."""
    return free_together() if placement.device_map is not None else free_bytes(placement.device)


def release() -> None:
    """Give what nobody holds any more back to the devices."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _proc_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup_left() -> int | None:
    """A container's own limit, less what it holds and cannot give back."""
    try:
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such limit here
        return None
    return limit - used + int(stat.get("inactive_file", 0))
