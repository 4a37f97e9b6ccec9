"""Icons as arrays: (side, side, 4) uint8 RGBA, one file a set, made by `python -m training icons`.

The sets are development data, outside git; what needs them says so in one sentence. Two of them are in the repository
as well, as one picture each (`assets/icons`), so that a page can draw with them: the same arrays, to the bit.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fsr.errors import FsrError

TRAINED = (
    "noto",
    "noto-v1",
    "twemoji",
    "emojione",
    "fluent-emoji-flat",
    "fluent-emoji",
    "fxemoji",
    "streamline-emojis",
)
HELD_OUT = "openmoji"
SHIPPED = ("noto", "fluent-emoji-flat")
_ROOT = Path(__file__).resolve().parents[2]
DEFAULT, ATLASES = _ROOT / "train" / "icons", _ROOT / "assets" / "icons"
COLUMNS = 10  # of icons in an atlas


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
        if name in SHIPPED:
            return shipped(name)
        raise FsrError(f"The icons of {name} are not on this machine: python -m training icons fetches them.")
    with np.load(path) as arrays:
        icons = {key: arrays[key] for key in arrays.files}
    facts = json.loads(path.with_suffix(".json").read_text())
    return Artist(icons, facts["colors"])


@lru_cache(maxsize=2)
def shipped(name: str) -> Artist:
    """One of SHIPPED, from its atlas."""
    facts = atlases()
    with Image.open(ATLASES / f"{name}.webp") as picture:
        atlas = np.asarray(picture.convert("RGBA"))
    side, icons = facts["side"], {}
    for at, word in enumerate(facts["names"]):
        top, left = (side * n for n in divmod(at, COLUMNS))
        icons[word] = atlas[top : top + side, left : left + side]
    return Artist(icons, facts["sets"][name]["colors"])


@lru_cache(maxsize=1)
def atlases() -> dict[str, Any]:
    """side: pixels of an icon. names: in the order of an atlas, row by row. sets: what is known of each."""
    found: dict[str, Any] = json.loads((ATLASES / "icons.json").read_text(encoding="utf-8"))
    return found
