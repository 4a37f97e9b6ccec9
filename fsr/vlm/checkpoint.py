"""Finding and loading a checkpoint: the embedded model, a directory, or a hub id. Failures are one clear sentence."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fsr.tokens import FsrError, InvalidInput
from fsr.vlm.base import VLM
from fsr.vlm.capture import find
from fsr.vlm.catalogue import CATALOGUE
from fsr.vlm.llava_qwen import config_of, load_original, original_config, processor_of, tokenizer_of
from fsr.vlm.memory import check_fits, weight_bytes
from fsr.vlm.relevance import ClipRelevance, same_tower

EMBEDDED = Path(__file__).resolve().parents[2] / "assets" / "shapes"
NAMES = {"shapes": "Shapes: the embedded model, knows drawn scenes only"}
DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
}
# the CLIP that a tower was taken from, by (width, layers, picture side, patch)
KNOWN_CLIP = {
    (1024, 24, 336, 14): "openai/clip-vit-large-patch14-336",
    (1024, 24, 224, 14): "openai/clip-vit-large-patch14",
}
# model_type of the configurations that `load` understands -> class in transformers, our module and class
FAMILIES = {
    "llava": ("LlavaForConditionalGeneration", "fsr.vlm.llava", "Llava"),
    "llava_next": ("LlavaNextForConditionalGeneration", "fsr.vlm.llava_next", "LlavaNext"),
    "llava_onevision": ("LlavaOnevisionForConditionalGeneration", "fsr.vlm.llava_onevision", "LlavaOnevision"),
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", "fsr.vlm.qwen2_5_vl", "Qwen25VL"),
}
VIDEO = ("LlavaOnevisionForConditionalGeneration", "fsr.vlm.llava_video", "LlavaVideo")
RELEVANCE = ("clip", "llm_embedding")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def available() -> list[dict[str, Any]]:
    """What `load` can be given by name: id, title, and whether it is on this machine already.

    For models of the hub also needs_gb (their weights in half precision) and licence.
    """
    embedded = [{"id": k, "title": v, "here": (EMBEDDED / "config.json").is_file()} for k, v in NAMES.items()]
    return embedded + [
        {"id": k, "title": v.title, "here": _in_hub_cache(k), "needs_gb": v.gigabytes, "licence": v.licence}
        for k, v in CATALOGUE.items()
    ]


def load(
    model: str,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    framing: str = "processor",
    media_cache: int = 16,
    mode: str | None = None,
    relevance: str = "clip",
) -> VLM:
    """Load "shapes" (embedded), a checkpoint directory, or a hub id such as llava-hf/llava-1.5-7b-hf.

    device: default cuda where there is one, else cpu. dtype: default float32 on the CPU, the checkpoint's own on cuda.
    mode: "native" or "paper", for LLaVA-NeXT. relevance: "clip" (the tower's own CLIP, none where there is none) or
    "llm_embedding" (cosine to the question's mean input embedding in the language model).
    Nothing is downloaded for "shapes" and directories. Raises FsrError with one sentence when it cannot be loaded.
    """
    if relevance not in RELEVANCE:
        raise InvalidInput(f"relevance must be one of {', '.join(RELEVANCE)}, not {relevance!r}.")
    source, local = _source(model)
    config, tokenizer = _config(source, local)
    if config.model_type not in FAMILIES:
        raise FsrError(f"{model} is a '{config.model_type}' model; supported are {', '.join(FAMILIES)}.")
    device = _device(device)
    facts = _facts(source) if local else {}
    kind, module, family = _family(model, config, facts)
    if mode is not None and config.model_type != "llava_next":
        raise InvalidInput(f"mode is a setting of LLaVA-NeXT; {model} is a '{config.model_type}' model.")
    llava, processor = _weights(kind, source, local, device, _dtype(dtype, device, config), config, tokenizer)
    clip, clip_source = _clip(source, local, facts, config, llava)
    extra = {} if mode is None else {"mode": mode}
    if "positions" in facts and config.model_type == "llava":
        extra["positions"] = str(facts["positions"])
    vlm: Any = getattr(importlib.import_module(module), family)(
        llava,
        processor,
        id=model,
        title=str(facts.get("title") or (CATALOGUE[model].title if model in CATALOGUE else Path(model).name)),
        clip=clip,
        clip_source=clip_source,
        relevance_sign=_sign(facts, config),
        framing=framing,
        media_cache=media_cache,
        **extra,
    )
    if relevance == "llm_embedding":
        vlm.measure_relevance_in_the_language_model()
    elif local:
        vlm.relevance_model  # noqa: B018  nothing to download: load it now, so that `pathways` tells how it went
    return vlm


def _source(model: str) -> tuple[str, bool]:
    """Where to load from, and whether that is a directory."""
    if model in NAMES:
        if not (EMBEDDED / "config.json").is_file():
            raise FsrError(
                f"the embedded model is missing: {EMBEDDED} has no config.json (make train-shapes makes it)."
            )
        return str(EMBEDDED), True
    path = Path(model).expanduser()
    if model and path.is_dir():
        if not (path / "config.json").is_file():
            raise FsrError(f"the directory {model} holds no config.json, so it is not a checkpoint.")
        return str(path), True
    if not _HUB_ID.fullmatch(model) or model.startswith("."):
        names = ", ".join(NAMES)
        raise FsrError(
            f"there is no model {model!r}: give {names}, a checkpoint directory or a hub id like owner/name."
        )
    return model, False


def _config(source: str, local: bool) -> tuple[Any, Any]:
    """The configuration, and the tokenizer where the files are LLaVA-Video's original ones (else None)."""
    from transformers import AutoConfig

    with _explained(source):
        original = original_config(source, local)
        if original is None:
            return AutoConfig.from_pretrained(source, local_files_only=local), None
        tokenizer = tokenizer_of(source, local)
        return config_of(original, tokenizer), tokenizer


def _family(model: str, config: Any, facts: dict[str, Any]) -> tuple[str, str, str]:
    """The classes for a configuration. LLaVA-Video is OneVision's classes with other pooling, told apart by its own
    configuration, fsr.json or its name."""
    video = config.model_type == "llava_onevision" and (
        getattr(config, "mm_newline_position", None) == "grid"
        or facts.get("family") == "llava_video"
        or "llava-video" in Path(model).name.lower()
    )
    return VIDEO if video else FAMILIES[config.model_type]


def _weights(
    kind: str, source: str, local: bool, device: torch.device, dtype: torch.dtype, config: Any, tokenizer: Any
) -> tuple[Any, Any]:
    import transformers

    model_class = getattr(transformers, kind)
    with _explained(source):
        check_fits(source, weight_bytes(model_class, config, dtype), device, dtype)
        if tokenizer is None:
            model = _complete(model_class, source, dtype, local)
            processor = transformers.AutoProcessor.from_pretrained(source, local_files_only=local)
        else:
            model, processor = load_original(source, local, config, dtype), processor_of(config, tokenizer)
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise FsrError(f"{source} has no processor with an image processor and a tokenizer.")
    try:
        return model.to(device), processor
    except torch.cuda.OutOfMemoryError as error:
        raise FsrError(f"{source} does not fit into the memory of {device}; try dtype float16 or the CPU.") from error


def _complete(kind: Any, source: str, dtype: torch.dtype, local: bool) -> Any:
    """from_pretrained, but weights that are not in the files are an error, not a random beginning."""
    model, info = kind.from_pretrained(source, dtype=dtype, local_files_only=local, output_loading_info=True)
    if info["missing_keys"]:
        raise FsrError(f"{source} lacks weights, for example {min(info['missing_keys'])}.")
    return model


@contextmanager
def _explained(source: str) -> Iterator[None]:
    """Turn whatever a loader raises into one sentence."""
    try:
        yield
    except FsrError:
        raise
    except Exception as error:  # config, weights and tokenizer readers raise nearly anything on damaged files
        raise FsrError(reason(source, error)) from error


def reason(source: str, error: BaseException) -> str:
    """One sentence for a failed load: gated, unknown, unreachable or damaged."""
    names = {type(e).__name__ for e in _chain(error)}
    if "GatedRepoError" in names:
        return f"{source} is gated: accept its licence on its hub page and log in with `hf auth login`."
    if names & {"RepositoryNotFoundError", "RevisionNotFoundError"}:
        return f"the hub knows no model {source} (or it is private)."
    if names & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError", "ConnectTimeout"}:
        return f"{source} is not on this machine and the hub cannot be reached; download it once, or load 'shapes'."
    detail = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return f"{source} cannot be loaded: {detail}"


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _facts(source: str) -> dict[str, Any]:
    """fsr.json beside the weights: title, relevance_sign, clip (a directory or hub id), positions; all optional."""
    path = Path(source) / "fsr.json"
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text())
    except ValueError as error:
        raise FsrError(f"{path} is not valid JSON.") from error
    if not isinstance(facts, dict) or facts.get("relevance_sign", 1) not in (1, -1):
        raise FsrError(f"{path} must be an object whose relevance_sign is 1 or -1.")
    return facts


def _sign(facts: dict[str, Any], config: Any) -> int:
    """The tower's relevance sign: its own facts, else -1 for the CLIP towers of LLaVA, +1 for others."""
    default = -1 if config.vision_config.model_type == "clip_vision_model" else 1
    return int(facts.get("relevance_sign", default))


def _clip(source: str, local: bool, facts: dict[str, Any], config: Any, llava: Any) -> tuple[Any, str]:
    """A loader for the tower's CLIP and its name, or (None, why there is none)."""
    vision = config.vision_config
    if vision.model_type.startswith("qwen"):
        return None, "this model's vision tower was never paired with a text encoder"
    if vision.model_type != "clip_vision_model":
        return None, f"the text encoder of a {vision.model_type} tower is not aligned with its patches"
    tower = find(llava, "vision_tower")
    beside = Path(source) / "clip"
    if local and (beside / "config.json").is_file():
        return partial(_load_clip, str(beside), True, tower), "the CLIP model stored beside it"
    known = (vision.hidden_size, vision.num_hidden_layers, vision.image_size, vision.patch_size)
    name = facts.get("clip") or KNOWN_CLIP.get(known)
    if name is None:
        return None, "no CLIP model with a text encoder lies beside this checkpoint"
    return partial(_load_clip, name, local, tower), name


def _load_clip(source: str, local: bool, tower: Any) -> ClipRelevance:
    from transformers import AutoTokenizer, CLIPModel

    with _explained(source):
        clip = _complete(CLIPModel, source, torch.float32, local)
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local)
    try:
        equal = same_tower(tower, clip.vision_model)
    except FsrError as error:
        raise FsrError(f"{source} does not belong to this checkpoint: {error}") from error
    return ClipRelevance.of(clip, tokenizer, exact=equal)


def _device(device: str | torch.device | None) -> torch.device:
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InvalidInput(f"the device {device!r} cannot be used here; cpu always can.") from error
    return chosen


def _dtype(dtype: str | torch.dtype | None, device: torch.device, config: Any) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is not None:
        if dtype not in DTYPES:
            raise InvalidInput(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}.")
        return DTYPES[dtype]
    own = getattr(config, "dtype", None)
    return own if device.type == "cuda" and isinstance(own, torch.dtype) else torch.float32


def _in_hub_cache(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json"), str)
