"""Which models read clips, and how many frames of one unless they are asked for another number."""

from __future__ import annotations

import json
from pathlib import Path

from fsr.vlm.catalogue import CATALOGUE, FAMILIES
from fsr.vlm.checkpoint import EMBEDDED, NAMES

EMBEDDED_FRAMES = 8
BY_TYPE = {kind: one.clip_frames for name, one in FAMILIES.items() for kind in (name, one.original) if kind}


def clip_frames(model: str) -> int | None:
    """Frames of a clip; 0: the model reads pictures only; None: its files are not here and it is not listed.

    A checkpoint directory may say another number in its fsr.json, `clip_frames`. Nothing is loaded.
    """
    if model in CATALOGUE:
        return CATALOGUE[model].registered.clip_frames
    folder = EMBEDDED.parent / model if model in NAMES else Path(model).expanduser()
    if not model or not folder.is_dir():
        return None
    default = BY_TYPE.get(str(_facts(folder / "config.json").get("model_type")), 0)
    own = _facts(folder / "fsr.json").get("clip_frames", EMBEDDED_FRAMES if model in NAMES else default)
    return min(default, own) if isinstance(own, int) and own >= 1 else default


def _facts(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a damaged checkpoint is told of where it is loaded
        return {}
    return found if isinstance(found, dict) else {}
