"""Batches of the world: pictures with a label for every patch, packed questions, and where each answer looks.

A batch is a function of (stage, step) alone, so that any number of processes may draw it. Classic scenes
(`fsr.shapes`) stay in the mix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fsr.shapes import scenes as classic
from fsr.shapes.questions import DIRECTIONS, Question, neighbour, third_of
from fsr.shapes.questions import ask as ask_classic
from fsr.shapes.scenes import COLORS, GRID, PATCH, UNSEEN_PAIRS, Scene, Window, generator
from fsr.world import icons as icon_sets
from fsr.world.asking import TYPES, UNKNOWN, ask
from fsr.world.drawing import FILTERS, coverage, draw, scaled
from fsr.world.names import ICONS, NAMES
from fsr.world.picture import Item, Picture, item_of
from fsr.world.sampling import World, random_picture
from fsr.world.words import token_ids, words
from training.batches import (
    COLOR_ID,
    IGNORE,
    PLACE_ID,
    PREFIX,
    Packed,
    focus_map,
    gaze_of,
    look_rows,
    looked_at,
    packed,
)

NAME_ID = {n: i + 1 for i, n in enumerate(NAMES)}  # 0 is background or "no such neighbour"
KIND_ID = {k: i + 1 for i, k in enumerate(("shape", *ICONS))}
PAIR_ID = {(c, s): i for i, (c, s) in enumerate((c, s) for c in COLORS for s in classic.SHAPES)}
SIZES = 8  # classes of an object's area, by factors of 1.8 from three patches
HEADS = {"color": 13, "name": len(NAMES) + 1, "kind": len(KIND_ID) + 1, "digit": 11, "center": 2, "place": 9}
HEADS |= {"size": SIZES}
HEADS |= {f"{d}_{what}": n for d in DIRECTIONS for what, n in (("color", 13), ("name", len(NAMES) + 1))}
RELATED = {"same_color": 9, "same_name": 9, "same_kind": 9, "rank": 8, "total": 9, "middle": 2}
GAZES = ((*DIRECTIONS, "same_color", "earlier"), (*DIRECTIONS, "same_name", "same_kind"))
QUERIES = 64
# The place is part of the data's seed: append, never reorder.
STAGES = ("seeing", "reading", "together", "pointing", "again", "longer", "rereading")
_STREAM = 10  # apart from every seed of the classic training
# the classic questions' types under the names of the world's
_CLASSIC = {"shape": "name"}


@dataclass(frozen=True)
class Mix:
    """What a step's batch is made of. rows: the windows' sides in patches. sizes: windows of some steps instead, in
    turn every `every` steps, as (rows, batch, room): prompts of other lengths.

    icons: the share of the pictures that hold none but icons. artists: whose. scenes: of classic scenes. room: question
    tokens behind a picture, 0 for none. kinds: how often each type is asked. looks: whether it is told where the
    answers look.
    """

    steps: int
    rows: int
    batch: int
    sizes: tuple[tuple[int, int, int], ...] = ()
    every: int = 5
    icons: float = 0.15
    artists: tuple[str, ...] = icon_sets.TRAINED
    scenes: float = 0.2
    room: int = 0
    kinds: tuple[float, ...] = (1.0,) * len(TYPES)
    looks: float = 0.0
    labels: bool = True

    def window(self, step: int) -> tuple[int, int, int]:
        """(rows, batch, room) of a step."""
        if self.sizes and step % self.every == self.every - 1:
            return self.sizes[step // self.every % len(self.sizes)]
        return self.rows, self.batch, self.room


@dataclass(frozen=True)
class Drawn:
    """A picture at the size that the model reads. scene: what it is, if it is a classic one. covered: as `coverage`."""

    picture: Picture
    image: np.ndarray
    covered: np.ndarray
    scene: Scene | None = None


def random_drawn(
    rng: np.random.Generator, window: Window, icons: float, scenes: float, artists: tuple[str, ...] = icon_sets.TRAINED
) -> Drawn:
    cells = window.rows * window.cols
    most = 8 if cells >= 250 else 5 if cells >= 120 else 3 if cells >= 60 else 2 if cells >= 30 else 1
    count, form = int(rng.integers(1, most + 1)), rng.random()
    if form < scenes and cells >= 30:
        scene = classic.random_scene(rng, count, window)
        picture = Picture(tuple(item_of(t) for t in scene.things), window)
        return Drawn(picture, classic.draw(scene), classic.coverage(scene), scene)
    world = World(artists=artists, icons=1.0 if form > 1 - icons else None, redrawn=True)
    picture = random_picture(rng, count, world, window)
    filter_ = "bicubic" if rng.random() < 0.4 else str(rng.choice(list(FILTERS)))  # the model's processor has bicubic
    image = scaled(draw(picture), window.rows * PATCH, window.cols * PATCH, filter_)
    return Drawn(picture, image, coverage(picture))


# -------------------------------------------------------------------------------------------------------------- labels


@dataclass
class Labels:
    """Per patch: a class for every head (IGNORE where it does not count), weights, the wanted CLS attention; per
    picture: which names and which colour-shape pairs there are, how many objects; queries and gazes as in
    `training.batches.Structure`."""

    heads: dict[str, Tensor]
    weight: Tensor
    middle: Tensor
    attention: Tensor
    names: Tensor
    pairs: Tensor
    count: Tensor
    queries: Tensor
    gazes: tuple[Tensor, ...]


def label(drawn: Sequence[Drawn], rng: np.random.Generator) -> Labels:
    b, n = len(drawn), drawn[0].covered[0].size
    heads = {name: np.full((b, n), IGNORE, np.int64) for name in (*HEADS, *RELATED)}
    weight, middle, attention = (np.zeros((b, n), np.float32) for _ in range(3))
    names, pairs = np.zeros((b, len(NAMES)), np.float32), np.zeros((b, len(PAIR_ID)), np.float32)
    count, queries = np.zeros(b, np.int64), np.zeros((b, QUERIES), np.int64)
    gazes = [np.zeros((b, len(g), QUERIES, 1 + n), np.float32) for g in GAZES]
    for k, one in enumerate(drawn):
        picture, things = one.picture, one.picture.things
        maps, flat = focus_map(picture, one.covered), one.covered.reshape(len(things), -1)
        owner, most = flat.argmax(0), flat.max(0)
        empty = most < 0.03
        attention[k] = maps.mean(0)
        count[k], heads["total"][k] = len(things), len(things)
        for name in ("color", "name", "kind", "center", "middle"):
            heads[name][k, empty] = 0
        weight[k, empty] = middle[k, empty] = 0.5 * len(things) / max(empty.sum(), 1)
        wanted = []
        for i, t in enumerate(things):
            mine = (owner == i) & (most >= 0.10)
            if not mine.any():
                mine[flat[i].argmax()] = True
            weight[k, mine] = middle[k, mine] = 1 / mine.sum()
            names[k, NAME_ID[t.name] - 1] = 1
            if t.kind == "shape":
                pairs[k, PAIR_ID[t.pair]] = 1
            alike = _alike(things, t)
            for name, value in _facts(picture, i, alike).items():
                heads[name][k, mine] = value
            centre = int(np.where(mine, maps[i], -1).argmax())
            for name in ("center", "middle"):
                heads[name][k, mine] = 0
                heads[name][k, centre] = 1
            middle[k, centre] = 1
            wanted.append(gaze_of(picture, i, maps, alike))
        chance = np.where(empty, 0, 1 / np.maximum(np.bincount(owner[~empty], minlength=len(things)), 1)[owner])
        queries[k] = rng.choice(n, QUERIES, p=chance / chance.sum()) if chance.sum() else 0
        for out, of in zip(gazes, GAZES, strict=True):
            for h, name in enumerate(of):
                out[k, h] = np.stack([w[name] for w in wanted])[owner[queries[k]]]
    t = torch.from_numpy
    arrays = (weight, middle, attention, names, pairs, count, queries)
    return Labels({name: t(v) for name, v in heads.items()}, *map(t, arrays), tuple(map(t, gazes)))


def _alike(things: Sequence[Item], t: Item) -> dict[str, list[int]]:
    return {
        "same_color": [j for j, o in enumerate(things) if o.color == t.color],
        "same_name": [j for j, o in enumerate(things) if o.name == t.name],
        "same_kind": [j for j, o in enumerate(things) if o.kind == t.kind],
        "earlier": [j for j, o in enumerate(things) if o.x < t.x],
    }


def _facts(picture: Picture, i: int, alike: dict[str, list[int]]) -> dict[str, int]:
    """What every patch of an object should know of it, its place, its neighbours and the others."""
    t, place = picture.things[i], third_of(picture.things[i])
    facts = {name: len(alike[name]) for name in ("same_color", "same_name", "same_kind")}
    facts |= {"rank": len(alike["earlier"]), "color": COLOR_ID[t.color] if t.color else IGNORE}
    if t.color is None:
        facts["same_color"] = IGNORE
    facts |= {"name": NAME_ID[t.name], "kind": KIND_ID[t.kind], "digit": 0 if t.digit is None else t.digit + 1}
    facts["place"] = IGNORE if place is None else PLACE_ID[place]
    facts["size"] = int(np.clip(np.log(t.area / (3 * PATCH * PATCH)) / np.log(1.8), 0, SIZES - 1))
    for direction in DIRECTIONS:
        j = neighbour(picture, i, direction)
        other = picture.things[j] if j is not None and j >= 0 else None
        color, name = (0, 0) if j == -1 else (IGNORE, IGNORE)
        if other is not None:
            color, name = COLOR_ID[other.color] if other.color else IGNORE, NAME_ID[other.name]
        facts |= {f"{direction}_color": color, f"{direction}_name": name}
    return facts


# ----------------------------------------------------------------------------------------------------------- questions


@cache
def _ids() -> dict[str, int]:
    return {w: i for i, w in enumerate(words())}


def ids_of(text: str) -> tuple[int, ...]:
    return token_ids(text, _ids())


def questions(one: Drawn, rng: np.random.Generator, kinds: Sequence[float]) -> Iterator[Question]:
    """Without end, for as long as the picture allows any; of a classic scene half as that world asks."""
    share = np.array(kinds) / sum(kinds)
    for _ in range(400):
        kind = TYPES[rng.choice(len(TYPES), p=share)]
        if one.scene is not None and rng.random() < 0.5:
            found = ask_classic(one.scene, str(rng.choice(list(_CLASSIC_TYPES))), rng)
            found = found and replace(found, type=_CLASSIC.get(found.type, found.type))
        else:
            found = ask(one.picture, kind, rng)
        if found is not None and not _unseen(found):
            yield found


_CLASSIC_TYPES = ("color", "shape", "exists", "count", "digit", "where", "relation", "list")
_UNSEEN_TEXTS = tuple(f"{color} {shape}" for color, shape in sorted(UNSEEN_PAIRS))


def _unseen(question: Question) -> bool:
    """Whether a pair that training must not show is named."""
    return any(pair in question.text for pair in _UNSEEN_TEXTS)


def looks(asked: Packed, drawn: Sequence[Drawn]) -> tuple[Tensor, Tensor]:
    """Where the tokens that are answered should look, as `training.batches.looks`."""
    maps = [focus_map(d.picture, d.covered) for d in drawn]
    ahead = len(PREFIX) + maps[0].shape[1]

    def row(k: int, _: Question, objects: tuple[int, ...]) -> np.ndarray:
        out = np.zeros(ahead, np.float32)
        if objects:
            out[len(PREFIX) :] = maps[k][list(objects)].mean(0)
        else:
            out[0] = 1
        return out

    return look_rows(asked, ahead, looked_at, row)


# ------------------------------------------------------------------------------------------------------------- batches


@dataclass
class Batch:
    """pixels: (B, 3, H, W) uint8. places: (B, N) of every patch in the full grid, row by row. ahead: (B, PREFIX + N)
    positions of what stands before the questions. pointed: (question's ids, picture, wanted (N,)) of the text tower.
    """

    pixels: Tensor
    places: Tensor
    labels: Labels | None
    packed: Packed | None
    looks: tuple[Tensor, Tensor] | None
    ahead: Tensor
    pointed: list[tuple[list[int], int, Tensor]]


def batch(stage: str, step: int, mix: Mix) -> Batch:
    rng = generator("train", _STREAM, STAGES.index(stage), step)
    rows, size, room = mix.window(step)
    drawn = []
    for _ in range(size):
        window = Window(int(rng.integers(GRID - rows + 1)), int(rng.integers(GRID - rows + 1)), rows, rows)
        drawn.append(random_drawn(rng, window, mix.icons, mix.scenes, mix.artists))
    pixels = torch.from_numpy(np.stack([d.image for d in drawn])).permute(0, 3, 1, 2).contiguous()
    grid = torch.arange(rows)[:, None] * GRID + torch.arange(rows)
    corner = torch.tensor([d.picture.window.top * GRID + d.picture.window.left for d in drawn])
    places = corner[:, None] + grid.flatten()
    # A window's tokens stand at their place in the full grid, or close together; the questions behind either.
    spread = rows < GRID and rng.random() < 0.5
    visual = places if spread else torch.arange(rows * rows).expand(size, -1)
    ahead = torch.cat([torch.arange(len(PREFIX)).expand(size, -1), len(PREFIX) + visual], 1)
    out = Batch(pixels, places, label(drawn, rng) if mix.labels else None, None, None, ahead, [])
    if stage == "pointing":
        out.pointed = _pointed(drawn, rng)
    elif room:
        start = len(PREFIX) + (GRID * GRID if spread else rows * rows)
        asked = [questions(d, rng, mix.kinds) for d in drawn]
        out.packed = packed(asked, room, start, TYPES, ids_of=ids_of)
        out.looks = looks(out.packed, drawn) if mix.looks else None
        out.packed.asked.clear()  # nothing that is slow to send between processes
    return out


def _pointed(drawn: Sequence[Drawn], rng: np.random.Generator, each: int = 16) -> list[tuple[list[int], int, Tensor]]:
    found = []
    for k, one in enumerate(drawn):
        maps = focus_map(one.picture, one.covered)
        about = (q for q in questions(one, rng, (1.0,) * len(TYPES)) if q.about and q.answer != UNKNOWN)
        for question, _ in zip(about, range(each), strict=False):
            rows = maps[list(question.about)]
            half = question.type == "relation" and len(rows) == 2  # the object that is asked for counts half
            wanted = (rows[0] + 0.5 * rows[1]) / 1.5 if half else rows.mean(0)
            found.append(([2, *ids_of(question.text), 3], k, torch.from_numpy(wanted)))
    return found


def moved(value: Any, device: torch.device) -> Any:
    """The same with every tensor on a device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: moved(getattr(value, f.name), device) for f in fields(value)})
    if isinstance(value, dict):
        return {k: moved(v, device) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(moved(v, device) for v in value)
    return value


class Steps(Dataset[Batch]):
    """The batches of a stage, by step."""

    def __init__(self, stage: str, mixes: Sequence[Mix], first: int) -> None:
        self.stage, self.first = stage, first
        self.mixes = [m for m in mixes for _ in range(m.steps)]

    def __len__(self) -> int:
        return len(self.mixes) - self.first

    def __getitem__(self, i: int) -> Batch:
        if i >= len(self):
            raise IndexError(i)
        return batch(self.stage, self.first + i, self.mixes[self.first + i])


def _alone(_: int) -> None:
    """A worker draws on one core."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def drawn_ahead(stage: str, mixes: Sequence[Mix], first: int, workers: int) -> Iterator[Batch]:
    """The batches from step `first` on, drawn by `workers` processes while the model learns; 0: in this one."""
    loader = DataLoader(Steps(stage, mixes, first), batch_size=None, num_workers=workers, worker_init_fn=_alone)
    return iter(loader)
