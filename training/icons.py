"""Fetch icon sets by name and rasterise them: `python -m training icons`.

Two of them, of permissive licence, are committed for the page that composes scenes: `--ship` writes their atlases.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fsr.errors import FsrError
from fsr.world import icons
from fsr.world.colors import color_of
from fsr.world.names import ICONS, OBJECTS
from fsr.world.renderers import rasterised

SIDE = 192  # pixels of an icon's array
# set -> (version, licence). Iconify's JSON packages on npm, as the sets' own artists license them.
SETS = {
    "noto": ("1.2.9", "Apache-2.0"),
    "noto-v1": ("1.2.5", "Apache-2.0"),
    "twemoji": ("1.2.5", "CC-BY-4.0"),
    "emojione": ("1.2.3", "CC-BY-4.0"),
    "fluent-emoji-flat": ("1.2.6", "MIT"),
    "fluent-emoji": ("1.2.7", "MIT"),
    "fxemoji": ("1.2.2", "Apache-2.0"),
    "streamline-emojis": ("1.2.4", "CC-BY-4.0"),
    "openmoji": ("1.2.29", "CC-BY-SA-4.0"),
}
# Where a set calls an object otherwise than Unicode does, hyphens and a number at the end aside.
THEIR_NAMES = {
    "fxemoji": {
        "rabbit": "bunny",
        "cat": "cat",
        "dog": "dog",
        "pig": "pig",
        "panda": "pandaface",
        "whale": "spurtingwhale",
        "scissors": "blackscissors",
        "paintbrush": "lowerleftpaintbrush",
        "sun": "whitesun",
        "lightning": "bolt",
        "snowman": "snowmanwithoutsnow",
        "smiley": "grinwide",
        "devil": "devilhorns",
        "house": "housebuilding",
        "castle": "europeancastle",
        "tower": "toykotower",
        "pizza": "sliceofpizza",
    },
    "streamline-emojis": {
        "frog": "frog-face",
        "panda": "panda-face",
        "lion": "lion-face",
        "robot": "robot-face-1",
        "house": "house-with-garden",
        "sun": "sun-with-face",
    },
}
assert set(SETS) == {*icons.TRAINED, icons.HELD_OUT}


def fetch(name: str, into: Path) -> Path:
    """The package of a set at its locked version, by npm; npm checks its hash. Nothing is fetched twice."""
    version = SETS[name][0]
    path = into / f"iconify-json-{name}-{version}.tgz"
    if not path.exists():
        command = ["npm", "pack", "--silent", f"@iconify-json/{name}@{version}", "--pack-destination", str(into)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not path.exists():
            raise FsrError(f"npm could not fetch @iconify-json/{name}@{version}: {done.stderr.strip()[-200:]}")
    return path


def read(package: Path) -> dict[str, Any]:
    with tarfile.open(package) as archive:
        file = archive.extractfile("package/icons.json")
        assert file is not None
        found: dict[str, Any] = json.load(file)
    return found


def svg_of(of_set: dict[str, Any], name: str) -> str | None:
    """An icon as SVG text; None where the set has none of that name."""
    seen = of_set["icons"].get(name)
    if seen is None:
        alias = of_set.get("aliases", {}).get(name)
        return svg_of(of_set, alias["parent"]) if alias else None
    width = seen.get("width", of_set.get("width", 16))
    height = seen.get("height", of_set.get("height", 16))
    box = f"{seen.get('left', 0)} {seen.get('top', 0)} {width} {height}"
    size = f'width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" {size}>{seen["body"]}</svg>'


def svg_like(of_set: dict[str, Any], theirs: str) -> str | None:
    """The first icon whose name is the same but for hyphens or a number at its end."""
    found = (svg_of(of_set, name) for name in (theirs, theirs.replace("-", ""), f"{theirs}-1"))
    return next((text for text in found if text is not None), None)


def squared(rgba: np.ndarray) -> np.ndarray:
    """Cropped to what is opaque, in the middle of a transparent square of SIDE pixels."""
    import cv2

    ys, xs = np.nonzero(rgba[..., 3] > 8)
    part = rgba[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    side = max(part.shape[:2])
    top, left = (side - part.shape[0]) // 2, (side - part.shape[1]) // 2
    whole = np.zeros((side, side, 4), np.uint8)
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    alpha = whole[..., 3:].astype(np.float32) / 255
    joined = np.concatenate([whole[..., :3] * alpha, 255 * alpha], 2)
    joined = cv2.resize(joined, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    color = joined[..., :3] / np.maximum(joined[..., 3:] / 255, 1e-3)
    return np.clip(np.round(np.concatenate([color, joined[..., 3:]], 2)), 0, 255).astype(np.uint8)


def prepare(name: str, folder: Path) -> int:
    """Write folder/<name>.npz and .json; returns how many icons."""
    of_set = read(fetch(name, folder))
    arrays, colors = {}, {}
    for names in ICONS.values():
        for word, unicode in names.items():
            text = svg_like(of_set, THEIR_NAMES.get(name, {}).get(word, unicode))
            if text is None:
                continue
            arrays[word] = squared(rasterised(text, 2 * SIDE))
            color = color_of(arrays[word])
            if color:
                colors[word] = color
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    version, licence = SETS[name]
    facts = {"package": f"@iconify-json/{name}", "version": version, "license": licence, "colors": colors}
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")
    return len(arrays)


def ship(folder: Path, into: Path = icons.ATLASES) -> None:
    """Write the atlases of `icons.SHIPPED`, lossless, and what is known of them, from the arrays in `folder`."""
    into.mkdir(parents=True, exist_ok=True)
    names, sets = list(OBJECTS), {}
    for name in icons.SHIPPED:
        with np.load(folder / f"{name}.npz") as arrays:
            atlas = np.zeros((-(-len(names) // icons.COLUMNS) * SIDE, icons.COLUMNS * SIDE, 4), np.uint8)
            for at, word in enumerate(names):
                top, left = (SIDE * n for n in divmod(at, icons.COLUMNS))
                atlas[top : top + SIDE, left : left + SIDE] = arrays[word]
        Image.fromarray(atlas).save(into / f"{name}.webp", lossless=True, exact=True, quality=100, method=6)
        sets[name] = json.loads((folder / f"{name}.json").read_text())
    facts = {"side": SIDE, "names": names, "sets": sets}
    (into / "icons.json").write_text(json.dumps(facts, indent=1) + "\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=icons.folder(), help="where the packages and arrays go")
    parser.add_argument("--ship", action="store_true", help="write assets/icons from the arrays, and fetch nothing")


def main(options: argparse.Namespace) -> int:
    if options.ship:
        ship(options.out)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        print(f"{name}: {prepare(name, options.out)} icons", flush=True)
    return 0
