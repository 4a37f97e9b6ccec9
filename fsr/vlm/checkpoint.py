"""Finding and loading a checkpoint: the embedded model, a directory, or a hub id. Failures are one clear sentence."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fsr.errors import FsrError, InvalidInput
from fsr.vlm.base import MEDIA_CACHE_BYTES, VLM
from fsr.vlm.capture import find
from fsr.vlm.catalogue import CATALOGUE
from fsr.vlm.family import Family
from fsr.vlm.geometry import FRAMINGS
from fsr.vlm.hub import WEIGHTS, Hub, in_cache
from fsr.vlm.llava_next import MODES
from fsr.vlm.memory import check_fits, parameters_of, placed_bytes
from fsr.vlm.original_weights import config_of, load_original, original_config, processor_of, tokenizer_of
from fsr.vlm.placement import DeviceMap, Placement, placed
from fsr.vlm.progress import LoadProgress, LoadStopped, Report, in_place_of_bars, reading
from fsr.vlm.relevance import ClipRelevance, same_tower

EMBEDDED = Path(__file__).resolve().parents[2] / "assets" / "shapes"
NAMES = {
    "shapes": "Shapes: the embedded model, knows drawn scenes only",
    "shapes-video": "Shapes for clips: embedded as well, knows drawn clips of 8 frames only",
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
UNREACHABLE = {
    *("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError", "ConnectTimeout"),
    *("ReadTimeout", "TimeoutException", "NetworkError", "ProxyError"),
}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def available() -> list[dict[str, Any]]:
    """What `load` can be given by name: id, title, and whether it is on this machine already.

    For models of the hub also needs_gb (their weights in half precision) and licence.
    """
    embedded = [
        {"id": k, "title": v, "here": (EMBEDDED.parent / k / "config.json").is_file()} for k, v in NAMES.items()
    ]
    return embedded + [
        {"id": k, "title": v.title, "here": in_cache(k), "needs_gb": v.gigabytes, "licence": v.licence}
        for k, v in CATALOGUE.items()
    ]


@dataclass(frozen=True)
class Source:
    """Where a checkpoint lies. name: as sentences call it. folder: at least its settings. hub: None for a directory."""

    name: str
    folder: Path
    hub: Hub | None = None

    @property
    def local(self) -> bool:
        return self.hub is None

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn whatever a loader raises into one sentence, without the folder in it."""
        try:
            yield
        except (FsrError, LoadStopped):
            raise
        except Exception as error:  # config, weights and tokenizer readers raise nearly anything on damaged files
            raise FsrError(reason(self.name, error).replace(str(self.folder), self.name)) from error


def load(
    model: str,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    framing: str = "processor",
    media_cache: int = 16,
    mode: str | None = None,
    relevance: str = "clip",
    device_map: DeviceMap | None = None,
    media_cache_bytes: int = MEDIA_CACHE_BYTES,
    name: str | None = None,
    progress: Report | None = None,
) -> VLM:
    """Load "shapes" or "shapes-video" (embedded), a checkpoint directory, or a hub id such as llava-hf/llava-1.5-7b-hf.

    device: default cuda where there is one, else cpu. dtype: default float32 on the CPU, the checkpoint's own on cuda;
    "4bit": the language model's layers in NF4 (bitsandbytes, cuda). device_map: "auto" or another of accelerate's, to
    spread the model over devices; `device` takes the names too. framing: "processor" or "pad" (to a square first).
    mode: "native" or "paper", for LLaVA-NeXT. relevance: "clip" (the tower's own CLIP, none where there is none) or
    "llm_embedding" (cosine to the question's mean input embedding in the language model). media_cache,
    media_cache_bytes: how much encoded media is held. name: the model's id in traces and in sentences, default `model`.
    progress: told how far download and reading are; it may raise LoadStopped to end the load.
    Nothing is downloaded for "shapes" and directories. Raises FsrError with one sentence when it cannot be loaded.
    """
    if relevance not in RELEVANCE:
        raise InvalidInput(f"relevance must be one of {', '.join(RELEVANCE)}, not {relevance!r}.")
    if framing not in FRAMINGS:  # now, not after minutes of loading
        raise InvalidInput(f"framing must be one of {', '.join(FRAMINGS)}, not {framing!r}.")
    if mode is not None and mode not in MODES:
        raise InvalidInput(f"mode must be one of {', '.join(MODES)}, not {mode!r}.")
    source = _source(model, name or model)
    config, tokenizer = _config(source)
    if config.model_type not in FAMILIES:
        raise FsrError(f"{source.name} is a '{config.model_type}' model; supported are {', '.join(FAMILIES)}.")
    placement = placed(config, device, dtype, device_map)
    facts = _facts(source) if source.local else {}
    kind, module, family = _family(model, config, facts)
    if mode is not None and config.model_type != "llava_next":
        raise InvalidInput(f"mode is a setting of LLaVA-NeXT; {source.name} is a '{config.model_type}' model.")
    title = str(facts.get("title") or (CATALOGUE[model].title if model in CATALOGUE else Path(model).name))
    llava, processor = _weights(kind, source, placement, config, tokenizer, title, progress)
    clip, clip_source = _clip(source, facts, config, llava, progress)
    extra = {} if mode is None else {"mode": mode}
    if "positions" in facts and config.model_type in ("llava", "llava_onevision"):
        extra["positions"] = str(facts["positions"])
    vlm: Family = getattr(importlib.import_module(module), family)(
        llava,
        processor,
        id=source.name,
        title=title,
        clip=clip,
        clip_source=clip_source,
        relevance_sign=_sign(facts, config),
        framing=framing,
        media_cache=media_cache,
        media_cache_bytes=media_cache_bytes,
        **extra,
    )
    vlm.precision = placement.precision
    if relevance == "llm_embedding":
        vlm.measure_relevance_in_the_language_model()
    elif source.local:
        vlm.relevance_model  # noqa: B018  nothing to download: load it now, so that `pathways` tells how it went
    return vlm


def _source(model: str, name: str) -> Source:
    """Where to load from; of a checkpoint on the hub its settings are on this machine afterwards."""
    if model in NAMES:
        folder = EMBEDDED.parent / model
        if not (folder / "config.json").is_file():
            raise FsrError(f"the embedded model is missing: {folder} has no config.json (make train-{model} makes it).")
        return Source(name, folder)
    path = Path(model).expanduser()
    if model and path.is_dir():
        if not (path / "config.json").is_file():
            raise FsrError(f"the directory {name} holds no config.json, so it is not a checkpoint.")
        return Source(name, path)
    if not is_hub_id(model):
        names = ", ".join(NAMES)
        raise FsrError(f"there is no model {name!r}: give {names}, a checkpoint directory or a hub id like owner/name.")
    hub = Hub.look(model)
    found = Source(name, Path(model), hub)
    with found.explained():
        return Source(name, hub.folder(weights=False), hub)


def is_hub_id(model: str) -> bool:
    """Whether this is written like owner/name."""
    return _HUB_ID.fullmatch(model) is not None and not model.startswith(".")


def _config(source: Source) -> tuple[Any, Any]:
    """The configuration, and the tokenizer where the files are LLaVA-Video's original ones (else None)."""
    from transformers import AutoConfig

    with source.explained():
        original = original_config(str(source.folder), True)
        if original is None:
            return AutoConfig.from_pretrained(source.folder, local_files_only=True), None
        tokenizer = tokenizer_of(str(source.folder), True)
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
    kind: str,
    source: Source,
    placement: Placement,
    config: Any,
    tokenizer: Any,
    title: str,
    progress: Report | None,
) -> tuple[Any, Any]:
    """The model with its weights where they belong, and its processor."""
    import transformers

    model_class = getattr(transformers, kind)
    with source.explained():
        parameters = parameters_of(model_class, config)
        check_fits(source.name, placed_bytes(parameters, placement), placement)
        folder = source.folder if source.hub is None else source.hub.folder(True, title, progress)
        sizes = {name: n * placement.dtype.itemsize for name, n in parameters.items()}
        start = LoadProgress(title, "weights", 0, sum(sizes.values()), _weight_files(folder))
        with reading(progress, start, sizes):
            if tokenizer is None:
                model = _complete(model_class, folder, source.name, **placement.options())
                processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
            else:
                model = load_original(str(folder), True, config, **placement.options())
                processor = processor_of(config, tokenizer)
        if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
            raise FsrError(f"{source.name} has no processor with an image processor and a tokenizer.")
        return (model if placement.map is not None else model.to(placement.device)), processor


def _weight_files(folder: Path) -> int:
    return max(1, next((n for kind in WEIGHTS if (n := len(list(folder.glob(kind))))), 0))


def _complete(kind: Any, folder: Path, name: str, **options: Any) -> Any:
    """from_pretrained, but weights that are not in the files are an error, not a random beginning."""
    model, info = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True, **options)
    if info["missing_keys"]:
        raise FsrError(f"{name} lacks weights, for example {min(info['missing_keys'])}.")
    return model


def reason(source: str, error: BaseException) -> str:
    """One sentence for a failed load: gated, unknown, unreachable or damaged."""
    names = {type(e).__name__ for e in _chain(error)}
    if "GatedRepoError" in names:
        return f"{source} is gated: accept its licence on its hub page and log in with `hf auth login`."
    if names & {"RepositoryNotFoundError", "RevisionNotFoundError"}:
        return f"the hub knows no model {source} (or it is private)."
    if "OutOfMemoryError" in names:
        return f"{source} does not fit into the memory of the GPU; try dtype 4bit, a smaller model or the CPU."
    if "IncompleteSnapshotError" in names:
        return f"only a part of {source} is on this machine and the hub cannot be reached; download the rest once."
    if names & UNREACHABLE:
        return f"{source} is not on this machine and the hub cannot be reached; download it once, or load 'shapes'."
    detail = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return f"{source} cannot be loaded: {detail}"


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _facts(source: Source) -> dict[str, Any]:
    """fsr.json beside the weights: title, relevance_sign, clip (a directory or hub id), positions; all optional."""
    path = source.folder / "fsr.json"
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text())
    except ValueError as error:
        raise FsrError(f"fsr.json of {source.name} is not valid JSON.") from error
    if not isinstance(facts, dict) or facts.get("relevance_sign", 1) not in (1, -1):
        raise FsrError(f"fsr.json of {source.name} must be an object whose relevance_sign is 1 or -1.")
    return facts


def _sign(facts: dict[str, Any], config: Any) -> int:
    """The tower's relevance sign: its own facts, else -1 for the CLIP towers of LLaVA, +1 for others."""
    default = -1 if config.vision_config.model_type == "clip_vision_model" else 1
    return int(facts.get("relevance_sign", default))


def _clip(source: Source, facts: dict[str, Any], config: Any, llava: Any, progress: Report | None) -> tuple[Any, str]:
    """A loader for the tower's CLIP and its name, or (None, why there is none)."""
    vision = config.vision_config
    if vision.model_type.startswith("qwen"):
        return None, "this model's vision tower was never paired with a text encoder"
    if vision.model_type != "clip_vision_model":
        return None, f"the text encoder of a {vision.model_type} tower is not aligned with its patches"
    tower = find(llava, "vision_tower")
    beside = source.folder / "clip"
    if source.local and (beside / "config.json").is_file():
        own = Source(f"the CLIP model of {source.name}", beside)
        return partial(_load_clip, own, tower), "the CLIP model stored beside it"
    known = (vision.hidden_size, vision.num_hidden_layers, vision.image_size, vision.patch_size)
    name = facts.get("clip") or KNOWN_CLIP.get(known)
    if name is None:
        return None, "no CLIP model with a text encoder lies beside this checkpoint"
    return partial(_known_clip, str(name), source.local, tower, progress), str(name)


def _known_clip(name: str, local: bool, tower: Any, progress: Report | None) -> ClipRelevance:
    """The CLIP of that name. local: nothing is downloaded for a checkpoint directory."""
    if Path(name).is_dir():
        return _load_clip(Source(Path(name).name, Path(name)), tower)
    hub = Hub(name, error=LookupError("nothing is downloaded for a directory")) if local else Hub.look(name)
    with Source(name, Path(name), hub).explained():
        folder = hub.folder(True, "its CLIP model", progress)
    return _load_clip(Source(name, folder, hub), tower)


def _load_clip(source: Source, tower: Any) -> ClipRelevance:
    from transformers import AutoTokenizer, CLIPModel

    with source.explained(), in_place_of_bars():
        clip = _complete(CLIPModel, source.folder, source.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source.folder, local_files_only=True)
    try:
        equal = same_tower(tower, clip.vision_model)
    except FsrError as error:
        raise FsrError(f"{source.name} does not belong to this checkpoint: {error}") from error
    return ClipRelevance.of(clip, tokenizer, exact=equal)
