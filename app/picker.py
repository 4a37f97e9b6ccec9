"""What the model picker tells of every model on offer: size, memory, licence, and what the scores are made of."""

from __future__ import annotations

from typing import Any

import torch

from app.models import Models
from app.offers import Offer, config_of, parameters
from app.settings import Settings
from fsr.vlm import VLM
from fsr.vlm.catalogue import CATALOGUE, uses
from fsr.vlm.checkpoint import NAMES
from fsr.vlm.hub import in_cache
from fsr.vlm.memory import SLACK, bytes_each, free_bytes, free_together
from fsr.vlm.placement import DTYPES, MAPS

UNKNOWN = "see the model card"
BY_EMBEDDING = "the language model's embeddings"


def rows(models: Models) -> list[dict[str, Any]]:
    """One row a model. needs_gb: estimate, at the dtype that would be used; held_gb: measured, of the one in memory.

    fits: whether that much is free, what the loaded model holds counted as free; None where it is not known. answer_s:
    see `Listed.on_cpu_s`; None on a GPU.
    """
    settings, free = models.settings, free_here(models.settings)
    room = None if free is None else free + held_bytes(models.held)
    found = [_row(offer, settings, room) for offer in settings.offers.values()]
    for row in found:
        if (vlm := models.in_memory(row["id"])) is not None:
            row |= {"state": "loaded", "precision": vlm.precision, "held_gb": held_bytes(vlm) / 1e9}
    return found


def _row(offer: Offer, settings: Settings, room: int | None) -> dict[str, Any]:
    count, precision = parameters(offer), precision_of(settings)
    needs = None if count is None else count * bytes_each(precision) * SLACK
    listed = CATALOGUE.get(offer.source)
    return {
        "id": offer.id,
        "title": offer.title,
        "state": "here" if is_here(offer) else "hub",
        "precision": precision,
        "held_gb": None,
        "needs_gb": None if needs is None else needs / 1e9,
        "download_gb": listed.gigabytes if listed and not is_here(offer) else None,
        "free_gb": None if room is None else room / 1e9,
        "fits": None if needs is None or room is None else needs <= room,
        "licence": licence(offer),
        "answer_s": listed.on_cpu_s if listed and not on_gpu(settings) else None,
        "answer_pixels": listed.on_cpu_pixels if listed else None,
        **pathways(offer),
    }


def held_bytes(vlm: VLM | None) -> int:
    """What its weights take in memory."""
    return 0 if vlm is None else vlm.held_bytes


def on_gpu(settings: Settings) -> bool:
    return settings.device.startswith("cuda") or (settings.device in ("", *MAPS) and torch.cuda.is_available())


def free_here(settings: Settings) -> int | None:
    """Bytes where a model would go."""
    if settings.device in MAPS:
        return free_together()
    try:
        return free_bytes(torch.device(settings.device or ("cuda" if on_gpu(settings) else "cpu")))
    except (RuntimeError, AssertionError):  # a device that is not there; loading says so
        return None


def precision_of(settings: Settings) -> str:
    """The dtype that a model would be loaded in."""
    if settings.dtype:
        known = DTYPES.get(settings.dtype)
        return settings.dtype if known is None else str(known).removeprefix("torch.")
    return "half precision" if on_gpu(settings) else "float32"


def is_here(offer: Offer) -> bool:
    return offer.folder is not None or in_cache(offer.source)


def licence(offer: Offer) -> str:
    if offer.source in NAMES:
        return "Apache-2.0"
    return CATALOGUE[offer.source].licence if offer.source in CATALOGUE else UNKNOWN


def pathways(offer: Offer) -> dict[str, str]:
    """saliency and relevance in short, from the catalogue or the configuration; empty where neither is here."""
    listed = CATALOGUE.get(offer.source)
    if listed is not None:
        found = uses(listed.registered.tower)
    elif offer.folder is not None:
        config = config_of(offer.folder)
        vision = config.get("vision_config")
        found = uses(str(vision.get("model_type")) if isinstance(vision, dict) else "")
    else:
        return {}
    return found | {"relevance": BY_EMBEDDING} if "relevance" in offer.options else found
