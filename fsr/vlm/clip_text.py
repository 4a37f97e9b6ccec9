"""The CLIP model that a vision tower was taken from: where it lies, what it needs, and its parts for relevance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fsr.errors import FsrError
from fsr.vlm.hub import Hub
from fsr.vlm.memory import parameters_of
from fsr.vlm.progress import Report, in_place_of_bars
from fsr.vlm.relevance import ClipRelevance, same_tower
from fsr.vlm.source import Source
from fsr.vlm.weights import complete

# the CLIP that a tower was taken from, by (width, layers, picture side, patch)
KNOWN_CLIP = {
    (1024, 24, 336, 14): "openai/clip-vit-large-patch14-336",
    (1024, 24, 224, 14): "openai/clip-vit-large-patch14",
}
# its text encoder, for what is counted before anything of it is here
CLIP_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


def clip_of(source: Source, facts: dict[str, Any], config: Any) -> tuple[str | Path | None, str]:
    """The tower's CLIP, its folder beside the weights or its name, and what it is called; or None and why."""
    vision = config.vision_config
    if vision.model_type.startswith(("qwen", "internvl")):
        return None, "this model's vision tower was never paired with a text encoder"
    if vision.model_type != "clip_vision_model":
        return None, f"the text encoder of a {vision.model_type} tower is not aligned with its patches"
    beside = source.folder / "clip"
    if source.local and (beside / "config.json").is_file():
        return beside, "the CLIP model stored beside it"
    known = (vision.hidden_size, vision.num_hidden_layers, vision.image_size, vision.patch_size)
    name = facts.get("clip") or KNOWN_CLIP.get(known)
    if name is None:
        return None, "no CLIP model with a text encoder lies beside this checkpoint"
    return str(name), str(name)


def clip_parameters(clip: str | Path | None, config: Any) -> dict[str, int]:
    """How many numbers every parameter of it holds; none where it cannot be told, which loading will say."""
    from transformers import CLIPConfig, CLIPModel

    if clip is None:
        return {}
    if Path(clip).is_dir():
        try:
            return parameters_of(CLIPModel, CLIPConfig.from_pretrained(clip, local_files_only=True))
        except Exception:
            return {}
    vision = config.vision_config.to_dict()
    text = CLIP_TEXT | {"projection_dim": vision["projection_dim"]}
    known: Any = CLIPConfig(text_config=text, vision_config=vision, projection_dim=vision["projection_dim"])
    return parameters_of(CLIPModel, known)


def known_clip(name: str, local: bool, tower: Any, progress: Report | None) -> ClipRelevance:
    return load_clip(clip_place(name, local, progress), tower)


def clip_place(name: str, local: bool, progress: Report | None) -> Source:
    """Where the CLIP of that name lies, on this machine. local: nothing is downloaded for a checkpoint directory."""
    if Path(name).is_dir():
        return Source(Path(name).name, Path(name))
    hub = Hub(name, error=LookupError("nothing is downloaded for a directory")) if local else Hub.look(name)
    with Source(name, Path(name), hub).explained():
        return Source(name, hub.folder(True, "its CLIP model", progress), hub)


def load_clip(source: Source, tower: Any) -> ClipRelevance:
    from transformers import AutoTokenizer, CLIPModel

    with source.explained(), in_place_of_bars():
        clip = complete(CLIPModel, source.folder, source.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source.folder, local_files_only=True)
    try:
        equal = same_tower(tower, clip.vision_model)
    except FsrError as error:
        raise FsrError(f"{source.name} does not belong to this checkpoint: {error}") from error
    return ClipRelevance.of(clip, tokenizer, exact=equal)
