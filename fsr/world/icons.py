"""Icons as arrays: (side, side, 4) uint8 RGBA, one file a set, made by `python -m training icons`.

The sets are development data, outside git; what needs them says so in one sentence.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fsr.errors import FsrError

TRAINED = ("noto", "noto-v1", "twemoji", "emojione", "fluent-emoji-flat", "fluent-emoji")
HELD_OUT = "openmoji"
DEFAULT = Path(__file__).resolve().parents[2] / "train" / "icons"


def folder() -> Path:
    """Where the arrays lie: $FSR_ICONS, else train/icons."""
    return Path(os.environ.get("FSR_ICONS") or DEFAULT)


@dataclass(frozen=True)
class Artist:
    """icons: name -> (side, side, 4) uint8, colour not multiplied by opacity. colors: name -> its one colour."""

    icons: dict[str, np.ndarray]
    colors: dict[str, str]


@lru_cache(maxsize=16)
def artist(name: str) -> Artist:
    """Raises FsrError where the set is not there."""
    path = folder() / f"{name}.npz"
    if not path.exists():
        raise FsrError(f"The icons of {name} are not on this machine: python -m training icons fetches them.")
    with np.load(path) as arrays:
        icons = {key: arrays[key] for key in arrays.files}
    facts = json.loads(path.with_suffix(".json").read_text())
    return Artist(icons, facts["colors"])


def here(name: str) -> bool:
    return (folder() / f"{name}.npz").exists()
