"""Fetch photographs of open licence, and what lies between them and drawn scenes: `python -m training photos`.

They calibrate the distance of `fsr.vlm.familiar`. Nothing of them is committed but the four in assets/photos.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from PIL import Image

from fsr.bench.familiar import folder
from fsr.errors import FsrError
from fsr.world.renderers import rasterised

SIDE = 1024  # pixels; larger pictures are made smaller
CHARTS = 12


@dataclass(frozen=True)
class Package:
    """A wheel on PyPI (version given) or a Debian package (the machine's own release), with the licences of what is
    taken from it, as its files of licences state them."""

    name: str
    licence: str
    version: str = ""


SKLEARN = Package("scikit-learn", "CC BY 2.0", "1.3.2")
SKIMAGE = Package("scikit-image", "CC0 or public domain", "0.18.3")
LOMIRI_16 = Package("lomiri-wallpapers-16.04", "CC BY 4.0, CC BY-SA 4.0 or CC0, by file")
LOMIRI_20 = Package("lomiri-wallpapers-20.04", "CC BY-SA 3.0")
FORENSICS = Package("forensics-samples-files", "CC BY-SA 4.0")
MATE = Package("mate-backgrounds", "GPL 2 or later")
PLASMA = Package("plasma-workspace-wallpapers", "GPL 2 or later, by its copyright file; LGPL 3, by its metadata")
PALAPELI = Package("palapeli-data", "GPL 2 or later")
UKUI = Package("ukui-wallpapers", "CC BY-SA 3.0")
GNOME = Package("gnome-backgrounds", "CC BY-SA 3.0")
HELP = Package("gnome-user-docs", "CC BY-SA 3.0")
CLIPART = Package("openclipart-svg", "public domain")

# kind -> package -> names of its files, with wildcards; each kind a folder
PICTURES: dict[str, dict[Package, str]] = {
    "photo": {
        SKLEARN: "china.jpg flower.jpg",
        SKIMAGE: "astronaut.png camera.png chelsea.png coffee.png motorcycle_left.png rocket.jpg",
        LOMIRI_16: "Bridge_by_* Dragonfly_by_* Picture_0B_by_* Picture_1A_by_* Wine_by_* aitzgorri_by_* free_by_* "
        "friends_by_* life_by_* picosdeeuropa_by_* seeding_by_* sunset_by_*",
        LOMIRI_20: "Kleiber_by_*",
        FORENSICS: "IMG-20191006-WA0002.jpg IMG_1054.JPG IMG_20191224_234846.jpg IMG_20200124_231153.jpg "
        "IMG_20200608_111614.jpg IMG_20200827_231612.jpg",
        MATE: "nature/*.jpg",
        PLASMA: "BytheWater/*/2560x1600.jpg ColdRipple/*/2560x1600.jpg DarkestHour/*/2560x1600.jpg "
        "EveningGlow/*/2560x1600.jpg FallenLeaf/*/2560x1600.jpg Kite/*/2560x1600.jpg OneStandsOut/*/2560x1600.jpg "
        "Path/*/2560x1600.jpg summer_1am/*/2560x1600.jpg ColorfulCups/*/2560x1600.jpg Grey/*/2560x1600.jpg",
        PALAPELI: "collection/*.jpg",
    },
    "texture": {
        SKIMAGE: "brick.png grass.png gravel.png moon.png hubble_deep_field.jpg ihc.png retina.jpg cell.png",
        PALAPELI: "palapeli/backgrounds/*.jpg",
        GNOME: "wood-?.webp",
    },
    "painting": {
        MATE: "abstract/*.png abstract/Elephants.jpg",
        UKUI: "2004default.jpg calla.png city.png desert.png firstgeneration.jpg goldfish.png rhythm.jpg "
        "rollpaper.png string.jpg the-mouse.jpg",
        LOMIRI_20: "Fossa_by_* Infinite-Sea_by_* Painting-Colors_by_*",
        GNOME: "*-l.svg oceans.svg",
    },
    "screenshot": {HELP: "help/C/*/figures/*.png", PALAPELI: "en/palapeli/puzzletable1.png"},
    "clip art": {CLIPART: "animals/*.svg food/*.svg transportation/*.svg"},
}
MOST = 40  # of a kind from one package, evenly spaced among its files
LEAST = 120  # pixels of a side: smaller ones are buttons


def fetched(package: Package, into: Path) -> Path:
    """The package, by pip or apt; both check its hash. Nothing is fetched twice."""
    start = package.name.replace("-", "_") if package.version else package.name
    found = next(into.glob(f"{start}[-_]{package.version}*"), None)
    if found is not None:
        return found
    if package.version:
        wheels = ["--only-binary", ":all:", "--python-version", "39", "--platform", "manylinux2014_x86_64"]
        wheels += ["--platform", "manylinux_2_12_x86_64", "--no-deps", "--quiet", "--dest", str(into)]
        command = [sys.executable, "-m", "pip", "download", *wheels, f"{package.name}=={package.version}"]
    else:
        command = ["apt-get", "download", package.name]
    try:
        done = subprocess.run(command, cwd=into, capture_output=True, text=True, check=False)
    except OSError as error:
        raise FsrError(f"{command[0]} is needed to fetch {package.name}: {error.strerror}.") from error
    found = next(into.glob(f"{start}[-_]*"), None)
    if done.returncode or found is None:
        raise FsrError(f"{package.name} could not be fetched: {done.stderr.strip()[-200:]}")
    return found


def files_of(package: Path, wanted: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The regular files of a wheel or a Debian package whose names match, with their paths."""

    def is_wanted(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in wanted)

    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            yield from ((name, archive.read(name)) for name in archive.namelist() if is_wanted(name))
        return
    with tempfile.TemporaryDirectory() as room:
        subprocess.run(["dpkg-deb", "-x", str(package), room], check=True, capture_output=True)
        for path in sorted(Path(room).rglob("*")):
            name = str(path.relative_to(room))
            if is_wanted(name) and path.is_file() and not path.is_symlink():
                yield name, path.read_bytes()


def opened(name: str, data: bytes) -> Image.Image | None:
    """RGB, at most `SIDE` pixels a side, drawings on white; None where it is smaller than `LEAST`."""
    if name.endswith(".svg"):
        try:
            drawn = Image.fromarray(rasterised(data.decode(), SIDE))
        except (ValueError, UnicodeDecodeError):  # what the rasteriser cannot read
            return None
    else:
        drawn = Image.open(io.BytesIO(data))
    if min(drawn.size) < LEAST:
        return None
    drawn.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    white = Image.new("RGBA", drawn.size, "white")
    return Image.alpha_composite(white, drawn.convert("RGBA")).convert("RGB")


def chart(number: int) -> Image.Image:
    """A line chart, bar chart, scatter plot or heat map of made-up numbers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rng = np.random.default_rng(number)
    figure = Figure(figsize=(6.4, 4.8), dpi=100)
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    kind = number % 4
    if kind == 0:
        axes.plot(rng.standard_normal((50, 3)).cumsum(0))
    elif kind == 1:
        axes.bar(list("abcdef"), rng.random(6))
    elif kind == 2:
        axes.scatter(*rng.standard_normal((2, 80)), c=rng.random(80))
    else:
        axes.imshow(rng.random((8, 8)))
    axes.set_title("Made-up numbers")
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=folder(), help="where packages and pictures go")


def main(options: argparse.Namespace) -> int:
    packages = options.out / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    for kind, of in PICTURES.items():
        into = options.out / kind
        into.mkdir(exist_ok=True)
        for package, names in of.items():
            found = list(files_of(fetched(package, packages), [f"*/{name}" for name in names.split()]))
            for name, data in found[:: -(-len(found) // MOST)]:
                picture = opened(name, data)
                if picture is not None:
                    parts = [part for part in Path(name).with_suffix("").parts if part not in ("contents", "images")]
                    picture.save(into / f"{package.name}-{parts[-2]}-{parts[-1]}.png")
        print(f"{kind}: {len(os.listdir(into))} pictures", flush=True)
    (options.out / "chart").mkdir(exist_ok=True)
    for number in range(CHARTS):
        chart(number).save(options.out / "chart" / f"{number:02}.png")
    return 0
