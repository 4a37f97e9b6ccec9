"""Calibrate how far a picture lies from those that a model learnt from, and measure how well that tells photographs.

Statistics come from scenes as in training, the limit from validation scenes alone. Half of the photographs choose the
measure; rates are of test scenes and of the other half, which nothing was chosen by.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from fsr import vlm
from fsr.bench.accuracy import case
from fsr.bench.clip_accuracy import SECONDS, clip_cases
from fsr.bench.intervals import interval
from fsr.bench.world_accuracy import SETS, world_cases
from fsr.errors import FsrError
from fsr.shapes.clips import FRAMES, draw_clip, moments
from fsr.vlm.familiar import MEASURES, Familiar, Rate
from fsr.world import icons

FALSE_ALARMS = 0.02  # of validation scenes lie beyond the limit
SEED = 7  # scenes of no other measurement
DEFAULT = Path(__file__).resolve().parents[2] / "train" / "photos"
PHOTOS = "photo"  # the folder of photographs among the kinds of pictures
Say = Callable[[str], None]


def folder() -> Path:
    """Where the pictures lie, a folder a kind: $FSR_PHOTOS, else train/photos."""
    return Path(os.environ.get("FSR_PHOTOS") or DEFAULT)


def pictures(kind: str) -> dict[str, Image.Image]:
    """Those of a kind by name. Raises FsrError where there are none."""
    found = sorted((folder() / kind).glob("*.png"))
    if not found:
        raise FsrError(f"no pictures are in {folder() / kind}: python -m training photos fetches them.")
    return {path.stem: Image.open(path).convert("RGB") for path in found}


def kinds() -> list[str]:
    """The kinds of pictures that are here, photographs first."""
    here = sorted(path.name for path in folder().glob("*") if any(path.glob("*.png")))
    return sorted(here, key=lambda kind: kind != PHOTOS)


def scenes(stream: str, count: int) -> Iterator[tuple[str, Image.Image]]:
    """`count` scenes of every set, with its name: those of `fsr.shapes`, and those of `fsr.world` whose icons are
    here. Of the training stream, those that are drawn as in training."""
    for i in range(count):
        yield "shapes", case(stream, SEED, i).picture
    for name in ("own",) if stream == "train" else SETS:
        of = SETS[name]
        if all(_here(artist) for artist in of.world.artists):
            yield from ((name, one.picture) for one in world_cases(name, stream, SEED, count))


def _here(artist: str) -> bool:
    try:
        return bool(icons.artist(artist).icons)
    except FsrError:
        return False


Frames = tuple[list[Image.Image], list[float] | None]


def drawn(model: vlm.VLM, stream: str, count: int) -> Iterator[tuple[str, Frames]]:
    """The scenes, or for a model that reads clips drawn clips, as many as of all sets."""
    if not model.reads_clips:
        yield from ((name, ([picture], None)) for name, picture in scenes(stream, count))
        return
    times = [SECONDS * t for t in moments(FRAMES)]
    for one in clip_cases(stream, SEED, count * 2):
        yield "clips", ([Image.fromarray(frame) for frame in draw_clip(one.clip, FRAMES)], times)


def shown(model: vlm.VLM, picture: Image.Image) -> Frames:
    """The picture; for a model that reads clips, a camera that moves over it."""
    if not model.reads_clips:
        return [picture], None
    width, height = picture.size
    side = round(0.8 * min(width, height))
    steps = [(round(t * (width - side)), round(t * (height - side))) for t in moments(FRAMES)]
    return [picture.crop((x, y, x + side, y + side)) for x, y in steps], [SECONDS * t for t in moments(FRAMES)]


def tokens(model: vlm.VLM, frames: Frames) -> Tensor:
    """(N, D): all visual tokens."""
    found = model.encode_media(*frames, needs=frozenset()).embeddings.float().cpu()
    model.forget()
    return found


def auroc(near: Sequence[float], far: Sequence[float]) -> float:
    """How often one of `far` has the larger distance than one of `near`."""
    one, other = np.asarray(near)[None], np.asarray(far)[:, None]
    return float(((other > one) + 0.5 * (other == one)).mean())


def rate(distances: Iterable[float], limit: float) -> Rate:
    beyond = np.asarray(list(distances)) > limit
    low, high = interval(beyond)
    return Rate(float(beyond.mean()), low, high, len(beyond))


def calibrate(model: vlm.VLM, count: int, say: Say = lambda line: None) -> Familiar:
    """count: validation and test scenes of every set each; twice as many for the statistics."""
    say("scenes as in training")
    known = [tokens(model, frames) for _, frames in drawn(model, "train", 2 * count)]
    fitted = {name: measure.fit(known) for name, measure in MEASURES.items()}
    del known

    def distances(frames: Frames) -> dict[str, float]:
        found = tokens(model, frames)
        return {name: measure.distance(found, fitted[name]) for name, measure in MEASURES.items()}

    say("validation scenes")
    near = [distances(frames) for _, frames in drawn(model, "validation", count)]
    photos = {}
    for kind in [PHOTOS, *(kind for kind in kinds() if kind != PHOTOS)]:
        say(kind)
        photos[kind] = [distances(shown(model, picture)) for picture in pictures(kind).values()]
    choosing, testing = photos[PHOTOS][::2], photos[PHOTOS][1::2]
    told = {name: auroc([d[name] for d in near], [d[name] for d in choosing]) for name in MEASURES}
    best = max(told, key=lambda name: told[name])
    limit = float(np.quantile([d[best] for d in near], 1 - FALSE_ALARMS))
    say("test scenes")
    apart: dict[str, list[float]] = {}
    for name, frames in drawn(model, "test", count):
        apart.setdefault(name, []).append(distances(frames)[best])
    every = [d for some in apart.values() for d in some]
    between = {kind: _told([d[best] for d in some], limit) for kind, some in photos.items() if kind != PHOTOS}
    record: dict[str, Any] = {
        "command": f"python -m fsr bench familiar --model {model.id} --scenes {count}",
        "measures": {name: {"words": MEASURES[name].words, "auroc": value} for name, value in told.items()},
        "auroc": auroc(every, [d[best] for d in testing]),
        "choosing": len(choosing),
        "validation": len(near),
        "sets": {name: _told(some, limit) for name, some in apart.items()},
        "between": between,
    }
    rates = rate(every, limit), rate([d[best] for d in testing], limit)
    return Familiar(best, {k: v.half().float() for k, v in fitted[best].items()}, limit, *rates, record)


def _told(distances: list[float], limit: float) -> dict[str, float]:
    found = rate(distances, limit)
    return {"share": found.share, "low": found.low, "high": found.high, "of": found.of}
