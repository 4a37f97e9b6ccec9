"""Finding and loading a checkpoint: the embedded model, a directory, or a hub id. Failures are one clear sentence."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fsr.errors import FsrError, InvalidInput
from fsr.vlm.base import VLM
from fsr.vlm.capture import find
from fsr.vlm.catalogue import CATALOGUE, FAMILIES, Registered
from fsr.vlm.clip_text import clip_of, clip_parameters, clip_place, known_clip, load_clip
from fsr.vlm.familiar import Familiar
from fsr.vlm.family import Family
from fsr.vlm.geometry import FRAMINGS
from fsr.vlm.hub import Hub, in_cache
from fsr.vlm.llava_next import MODES
from fsr.vlm.media import MEDIA_CACHE_BYTES
from fsr.vlm.memory import SLACK, Needs, bytes_each, misfit, needs_of, parameters_of, room
from fsr.vlm.original_weights import config_of, load_original, original_config, processor_of, tokenizer_of
from fsr.vlm.placement import DTYPES, FOUR_BIT, DeviceMap, Placement, placed
from fsr.vlm.progress import LoadProgress, Report, reading
from fsr.vlm.relevance import ClipRelevance
from fsr.vlm.source import Source
from fsr.vlm.weights import check_whole, complete, weight_files

EMBEDDED = Path(__file__).resolve().parents[2] / "assets" / "shapes"
NAMES = {
    "shapes": "Shapes: the embedded model, knows drawn scenes only",
    "shapes-video": "Shapes for clips: embedded as well, knows drawn clips of 8 frames only",
}
RELEVANCE = ("clip", "llm_embedding")
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
    checkpoint = Checkpoint.of(
        model, device, dtype, framing, media_cache, mode, relevance, device_map, media_cache_bytes, name
    )
    if why := checkpoint.misfit():
        raise FsrError(why)
    checkpoint.fetch(progress)
    return checkpoint.load(progress)


@dataclass(eq=False)
class Checkpoint:
    """A checkpoint of which everything is known but its weights: nothing of it is in memory yet.

    What can go wrong goes wrong here or in `fetch`, before another model has to make room; `load` reads the weights.
    kind: the class in transformers, family: ours, made with settings. needs: estimated. folder, clip_at: where
    the files are, once `fetch` has looked.
    """

    source: Source
    title: str
    config: Any
    processor: Any
    original: bool
    placement: Placement
    kind: Any
    family: type[Family]
    settings: Mapping[str, Any]
    parameters: Mapping[str, int]
    needs: Needs
    clip: str | Path | None
    by_embedding: bool
    folder: Path | None = None
    clip_at: Source | None = None

    @staticmethod
    def of(
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
    ) -> Checkpoint:
        """As `load`, without its weights; of one on the hub the settings are on this machine afterwards."""
        if relevance not in RELEVANCE:
            raise InvalidInput(f"relevance must be one of {', '.join(RELEVANCE)}, not {relevance!r}.")
        if framing not in FRAMINGS:
            raise InvalidInput(f"framing must be one of {', '.join(FRAMINGS)}, not {framing!r}.")
        if mode is not None and mode not in MODES:
            raise InvalidInput(f"mode must be one of {', '.join(MODES)}, not {mode!r}.")
        source = _source(model, name or model)
        config, tokenizer = _config(source)
        if config.model_type not in FAMILIES:
            raise FsrError(f"{source.name} is a '{config.model_type}' model; supported are {', '.join(FAMILIES)}.")
        placement = placed(config, device, dtype, device_map)
        facts = _facts(source) if source.local else {}
        family = _family(model, config, facts)
        if mode is not None and "mode" not in family.options:
            raise InvalidInput(f"mode is a setting of LLaVA-NeXT; {source.name} is a '{config.model_type}' model.")
        extra = {} if mode is None else {"mode": mode}
        if "positions" in facts and "positions" in family.options:
            extra["positions"] = str(facts["positions"])
        clip, clip_source = clip_of(source, facts, config)
        kind = _transformers_class(family.loads)
        with source.explained():
            processor = _processor(source, config, tokenizer)
            parameters = parameters_of(kind, config)
            needs = needs_of(config, parameters, placement, clip_parameters(clip, config))
        settings = {
            "clip_source": clip_source,
            "relevance_sign": _sign(facts, config),
            "framing": framing,
            "media_cache": media_cache,
            "media_cache_bytes": media_cache_bytes,
            **extra,
        }
        return Checkpoint(
            source=source,
            title=str(facts.get("title") or (CATALOGUE[model].title if model in CATALOGUE else Path(model).name)),
            config=config,
            processor=processor,
            original=tokenizer is not None,
            placement=placement,
            kind=kind,
            family=getattr(importlib.import_module(family.module), family.name),
            settings=settings,
            parameters=parameters,
            needs=needs,
            clip=clip,
            by_embedding=relevance == "llm_embedding",
        )

    def misfit(self, freed: int = 0, others: Mapping[str, float] | None = None) -> str:
        """Why it does not fit into memory, and what would; empty where it fits.

        freed: bytes of its device that will be free before it is loaded. others: title -> weights of models that could
        be taken in its place, default those of the catalogue.
        """
        why = misfit(self.source.name, self.needs, self.placement, freed)
        if not why:
            return ""
        fitting = [f"dtype {name}" for name, one in self._smaller() if not misfit("", self._needs(one), one, freed)]
        free = (room(self.placement) or 0) + freed
        if others is None:
            others = {one.title: one.parameters * 1e9 for one in CATALOGUE.values()}
        each = bytes_each(self.placement.precision) * SLACK
        models = {title: count * each for title, count in others.items() if count * each <= free}
        fitting += [max(models, key=lambda title: models[title])] if models else []
        return f"{why}; {' or '.join(fitting)} would fit." if fitting else f"{why}; choose a smaller model."

    def _smaller(self) -> list[tuple[str, Placement]]:
        """The same in fewer bytes a number, by the name of the dtype."""
        found = []
        if self.placement.dtype.itemsize > 2:
            found.append(("bfloat16", replace(self.placement, dtype=DTYPES["bfloat16"])))
        if self.placement.device.type == "cuda" and not self.placement.four_bit:
            found.append((FOUR_BIT, replace(self.placement, dtype=DTYPES["bfloat16"], four_bit=True)))
        return found

    def _needs(self, placement: Placement) -> Needs:
        return needs_of(self.config, self.parameters, placement, clip_parameters(self.clip, self.config))

    def fetch(self, progress: Report | None = None) -> None:
        """Download what is missing, that of its CLIP included, and check that every file of weights is whole."""
        hub = self.source.hub
        with self.source.explained():
            self.folder = self.source.folder if hub is None else hub.folder(True, self.title, progress)
            check_whole(self.source.name, self.folder)
        if hub is not None and isinstance(self.clip, str) and not self.by_embedding:
            with suppress(FsrError):  # `pathways` says why there is no relevance then
                self.clip_at = clip_place(self.clip, False, progress)

    def load(self, progress: Report | None = None) -> VLM:
        """The model in memory, once it was fetched. Raises FsrError with one sentence."""
        llava = self._weights(progress)
        vlm: Family = self.family(
            llava,
            self.processor,
            id=self.source.name,
            title=self.title,
            clip=None if self.clip is None else self._relevance_of(find(llava, "vision_tower"), progress),
            **self.settings,
        )
        vlm.precision = self.placement.precision
        vlm.familiar = Familiar.read(self.source.folder) if self.source.local else None
        if self.by_embedding:
            vlm.measure_relevance_in_the_language_model()
        elif self.source.local:
            vlm.relevance_model  # noqa: B018  nothing to download: load it now, so that `pathways` tells how it went
        return vlm

    def _weights(self, progress: Report | None) -> Any:
        """The model with its weights where they belong."""
        folder = self.folder or self.source.folder
        with self.source.explained():
            sizes = {name: n * self.placement.dtype.itemsize for name, n in self.parameters.items()}
            files = max(1, len(weight_files(folder)))
            with reading(progress, LoadProgress(self.title, "weights", 0, sum(sizes.values()), files), sizes):
                if self.original:
                    model = load_original(str(folder), True, self.config, **self.placement.options())
                else:
                    model = complete(self.kind, folder, self.source.name, **self.placement.options())
            return model if self.placement.map is not None else model.to(self.placement.device)

    def _relevance_of(self, tower: Any, progress: Report | None) -> Callable[[], ClipRelevance]:
        assert self.clip is not None
        if isinstance(self.clip, Path):
            return partial(load_clip, Source(f"the CLIP model of {self.source.name}", self.clip), tower)
        if self.clip_at is not None:
            return partial(load_clip, self.clip_at, tower)
        return partial(known_clip, self.clip, self.source.local, tower, progress)


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


def _family(model: str, config: Any, facts: dict[str, Any]) -> Registered:
    """The family of a configuration. LLaVA-Video is OneVision's classes with other pooling, told apart by its own
    configuration, fsr.json or its name."""
    video = config.model_type == "llava_onevision" and (
        getattr(config, "mm_newline_position", None) == "grid"
        or facts.get("family") == "llava_video"
        or "llava-video" in Path(model).name.lower()
    )
    return FAMILIES["llava_video" if video else config.model_type]


def _transformers_class(name: str) -> Any:
    import transformers

    return getattr(transformers, name)


def _processor(source: Source, config: Any, tokenizer: Any) -> Any:
    from transformers import AutoProcessor

    if tokenizer is not None:
        return processor_of(config, tokenizer)
    processor = AutoProcessor.from_pretrained(source.folder, local_files_only=True)
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise FsrError(f"{source.name} has no processor with an image processor and a tokenizer.")
    return processor


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
