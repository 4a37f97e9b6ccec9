"""What the model picker offers: FSR_MODEL, FSR_MODELS and their options, checked before the page starts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsr.errors import InvalidInput
from fsr.vlm.catalogue import CATALOGUE
from fsr.vlm.checkpoint import EMBEDDED, NAMES, is_hub_id
from fsr.vlm.hub import WEIGHTS

SHAPES = "shapes"
CLIPS_ONLY = "shapes-video"  # the embedded model that knows drawn clips
DEFAULT_ON_GPU = "llava-hf/llava-1.5-7b-hf"
# to wait for their answers on a CPU
SMALL_ENOUGH = "HuggingFaceTB/SmolVLM2-256M-Video-Instruct,llava-hf/llava-onevision-qwen2-0.5b-ov-hf"
ALL = "all"
# the word after a colon -> the option of `fsr.vlm.load` that it sets
WORDS = {"native": "mode", "paper": "mode", "pad": "framing", "llm_embedding": "relevance"}


@dataclass(frozen=True)
class Offer:
    """One model on offer. id: what travels to the page and back, never a path. source, options: for `fsr.vlm.load`."""

    id: str
    source: str
    title: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path | None:
        """Where the checkpoint lies, None for one of the hub."""
        if self.source in NAMES:
            return EMBEDDED.parent / self.source
        return None if is_hub_id(self.source) and not Path(self.source).is_dir() else Path(self.source).expanduser()


@dataclass(frozen=True)
class Choice:
    """What answers at first, what else is on offer, and what answers where the first cannot be loaded ("": nothing)."""

    model: str
    models: str
    fallback: str = ""


def chosen(cuda: bool, environment: Mapping[str, str]) -> Choice:
    """The models of FSR_MODEL, FSR_MODELS and FSR_FALLBACK, or the defaults of a machine with a GPU, or without.

    On a public page a load is everyone's wait: there only its host puts more than the embedded models on offer.
    """
    model, fallback = (environment.get(name, "").strip() for name in ("FSR_MODEL", "FSR_FALLBACK"))
    if model or not cuda or environment.get("FSR_DEVICE", "").strip().startswith("cpu"):
        small = not model and not is_public(environment) and not is_offline(environment)
        others = f"{CLIPS_ONLY},{SMALL_ENOUGH}" if small else CLIPS_ONLY
        return Choice(model or SHAPES, environment.get("FSR_MODELS", others), fallback)
    embedded = f"{SHAPES},{CLIPS_ONLY}"
    models = environment.get("FSR_MODELS", embedded if is_public(environment) else f"{embedded},{ALL}")
    return Choice(DEFAULT_ON_GPU, models, fallback or SHAPES)


def is_public(environment: Mapping[str, str]) -> bool:
    """Whether others than this machine's user are meant to see the page: a Space, or an address that is not its own."""
    host = (environment.get("FSR_HOST") or environment.get("GRADIO_SERVER_NAME") or "").strip()
    return bool(environment.get("SPACE_ID")) or not (host in ("", "localhost", "::1") or host.startswith("127."))


def is_offline(environment: Mapping[str, str]) -> bool:
    """Whether its user said that there is no way to the hub."""
    return environment.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "on", "yes", "true")


def offered(texts: Iterable[str]) -> dict[str, Offer]:
    """By id, each once, in this order; "all" stands for every listed model of the hub."""
    found: dict[str, Offer] = {}
    listed = [name for text in texts for name in (CATALOGUE if text.strip() == ALL else [text.strip()]) if name]
    for text in dict.fromkeys(listed):
        offer = offer_of(text, found)
        found[offer.id] = offer
    return found


def offer_of(text: str, taken: Iterable[str] = ()) -> Offer:
    """A model with its options after colons, e.g. "llava-hf/llava-v1.6-vicuna-7b-hf:paper". taken: ids of others."""
    source = text
    words: list[str] = []
    while ":" in source and source.rpartition(":")[2] in WORDS:
        source, _, word = source.rpartition(":")
        words.insert(0, word)
    listed, name = CATALOGUE.get(source), Path(source).name
    title = listed.title if listed else NAMES.get(source, name).partition(":")[0]
    here = source not in NAMES and Path(source).expanduser().is_dir()
    wanted = ":".join([name if here else source, *words])
    ids = (wanted if i == 1 else f"{wanted}-{i}" for i in range(1, 1000))
    id = next(i for i in ids if i not in taken)
    number = id.removeprefix(wanted).replace("-", " ")
    return Offer(id, source, ", ".join([title + number, *words]), {WORDS[word]: word for word in words})


def check(offer: Offer) -> None:
    """Raises InvalidInput for what cannot be a model, or an option that it does not have."""
    if offer.source not in NAMES and not is_hub_id(offer.source) and not Path(offer.source).expanduser().is_dir():
        names = ", ".join(NAMES)
        raise InvalidInput(
            f"FSR_MODEL and FSR_MODELS take {names}, checkpoint directories, hub ids like owner/name and "
            f"(FSR_MODELS) {ALL}, with commas between them; {offer.source!r} is none."
        )
    listed = CATALOGUE.get(offer.source)
    if "mode" in offer.options and listed is not None and "mode" not in listed.registered.options:
        raise InvalidInput(f"the mode {offer.options['mode']} is for LLaVA-NeXT; {listed.title} has none.")


def parameters(offer: Offer) -> float | None:
    """How many numbers its weights have: as listed, or from the size of its files; None where neither is known."""
    if offer.source in CATALOGUE:
        return CATALOGUE[offer.source].parameters * 1e9
    if offer.folder is None:
        return None
    size = next((n for kind in WEIGHTS if (n := sum(f.stat().st_size for f in offer.folder.glob(kind)))), 0)
    config = config_of(offer.folder)
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return size / (4 if stored == "float32" else 2) or None


def smallest_real(offers: Iterable[Offer]) -> Offer | None:
    """The smallest model on offer that knows photographs; None where there are embedded ones alone."""
    real = [offer for offer in offers if offer.source not in NAMES]
    return min(real, key=lambda offer: parameters(offer) or float("inf"), default=None)


def config_of(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # loading says what is wrong with it
        return {}
    return found if isinstance(found, dict) else {}
