"""What `fsr.bench.look` says, as the page reads it: `python -m app.look` writes static/look.js and static/look.css."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from fsr.bench import look

STATIC = Path(__file__).parent / "static"
WRITTEN = "Written by `python -m app.look` from fsr/bench/look.py: change it there."
CONSTANTS = (
    "ROLES", "ROLES_ON_DARK", "HALO", "SERIES", "PAIR", "VEIL_ON_BRIGHT", "VEIL_ON_DARK", "BRIGHT", "VEILED", "HEAT",
    "HEAT_OPACITY", "SCALES", "LOG_SPAN", "LOWEST_KL", "TEXT", "MUTED", "LINE", "GROUND", "CROSSED",
    "CROSS_INSET",
)  # fmt: skip


def module() -> str:
    """The constants as an ES module."""
    lines = [f"export const {name} = {json.dumps(getattr(look, name))};" for name in CONSTANTS]
    return "\n".join([f"// {WRITTEN}", "", *lines, ""])


def stylesheet() -> str:
    """The same as CSS variables, for the light page and for the dark one."""
    light = {
        **look.ROLES,
        "only-one": look.PAIR["one"],
        "only-other": look.PAIR["other"],
        "ground": look.GROUND,
        "crossed": look.CROSSED,
        "veil": look.VEIL_ON_BRIGHT,  # the page sets what lies over dropped tokens of the picture on screen
    }
    rules = ((":root", light), (".dark", look.ROLES_ON_DARK))
    blocks = [" ".join([f"{where} {{", *(f"--fx-{k}: {v};" for k, v in what.items()), "}"]) for where, what in rules]
    return "\n".join([f"/* {WRITTEN} */", *blocks, ""])


def veil_for(picture: Image.Image) -> str:
    """Bright pictures get a dark veil, dark pictures a light one."""
    small = np.asarray(picture.convert("RGB").resize((16, 16))) / 255
    mean = float((small @ [0.2126, 0.7152, 0.0722]).mean())
    return look.VEIL_ON_BRIGHT if mean > look.BRIGHT else look.VEIL_ON_DARK


if __name__ == "__main__":
    (STATIC / "look.js").write_text(module(), encoding="utf-8")
    (STATIC / "look.css").write_text(stylesheet(), encoding="utf-8")
