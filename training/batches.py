"""Training batches: pictures with a label for every patch, and questions packed behind one shared picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fsr.shapes.questions import DIRECTIONS, THIRDS, TYPES, Question, ask, neighbour, third_of
from fsr.shapes.scenes import COLORS, GRID, PATCH, SHAPES, Scene, Window, coverage, draw, generator, random_scene
from fsr.shapes.vocabulary import build_tokenizer
from fsr.world.picture import Picture

IGNORE = -100
WHOLE = 4  # an answer of more tokens than this weighs more than one answer
COLOR_ID = {c: i + 1 for i, c in enumerate(COLORS)}  # 0 is background or "no such neighbour"
SHAPE_ID = {s: i + 1 for i, s in enumerate(SHAPES)}
PLACE_ID = {p: i for i, p in enumerate(p for row in THIRDS for p in row)}
PAIRS = len(COLORS) * len(SHAPES)
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)  # CLIP's own normalisation
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)

# One head a label. name -> classes.
HEADS = {"color": 13, "shape": 10, "digit": 11, "center": 2, "place": 9}
HEADS |= {f"{d}_{what}": n for d in DIRECTIONS for what, n in (("color", 13), ("shape", 10))}
# What a patch's object is among the others: how many share its colour, shape or both, how many lie left of it; how many
# objects there are (every patch); whether the patch is the object's middle.
STRUCTURE = {"same_color": 9, "same_shape": 9, "same_pair": 9, "rank": 8, "total": 9, "middle": 2}
# Which patches an object's patches should look at, a head of the layer each: (last but two, last but one) layer.
GAZES = ((*DIRECTIONS, "same_color", "earlier"), (*DIRECTIONS, "same_shape", "same_pair"))
QUERIES = 64  # patches of each picture whose gaze is trained


def random_scenes(
    step: int, stage: int, batch: int, rows: int, cols: int, small: float = 0.45
) -> tuple[list[Scene], np.random.Generator]:
    """The scenes of one training step; their windows lie anywhere in the picture's grid."""
    rng = generator("train", stage, step)
    most = 8 if rows * cols >= 250 else (5 if rows * cols >= 120 else 3)
    scenes = []
    for _ in range(batch):
        window = Window(int(rng.integers(GRID - rows + 1)), int(rng.integers(GRID - cols + 1)), rows, cols)
        scenes.append(random_scene(rng, int(rng.integers(1, most + 1)), window, small_share=small))
    return scenes, rng


def pixels(scenes: list[Scene]) -> Tensor:
    """(B, 3, H, W) float32, normalised as the image processor does."""
    images = torch.from_numpy(np.stack([draw(s) for s in scenes])).permute(0, 3, 1, 2).float() / 255
    return (images - MEAN) / STD


def positions(scenes: list[Scene]) -> Tensor:
    """(B, rows * cols) int64: the place of every patch of every window in the full picture's position table."""
    w = scenes[0].window
    row, col = torch.arange(w.rows), torch.arange(w.cols)
    local = row[:, None] * GRID + col
    offset = torch.tensor([s.window.top * GRID + s.window.left for s in scenes])
    return 1 + (offset[:, None] + local.flatten())


def focus_map(scene: Scene | Picture, covered: np.ndarray) -> np.ndarray:
    """(objects, rows * cols): each object's patches, weighted towards its centre, summing to one an object."""
    w = scene.window
    y = (np.arange(w.rows) + 0.5 + w.top) * PATCH
    x = (np.arange(w.cols) + 0.5 + w.left) * PATCH
    out = np.zeros_like(covered)
    for i, t in enumerate(scene.things):
        sigma = max(max(t.width, t.height) / 3, 0.75 * PATCH)
        d2 = (y[:, None] - t.y) ** 2 + (x[None] - t.x) ** 2
        g = np.exp(-d2 / (2 * sigma**2)) * np.minimum(covered[i], 0.5)
        out[i] = g / max(g.sum(), 1e-6)
    return out.reshape(len(scene.things), -1)


@dataclass
class Labels:
    """Per patch: a class for every head (IGNORE where it does not count), a weight, the wanted CLS attention.

    Per picture: which colour-shape pairs there are, and how many objects.
    """

    heads: dict[str, Tensor]
    weight: Tensor
    attention: Tensor
    pairs: Tensor
    count: Tensor


def label(scenes: list[Scene]) -> Labels:
    b, n = len(scenes), scenes[0].window.rows * scenes[0].window.cols
    heads = {name: np.full((b, n), IGNORE, np.int64) for name in HEADS}
    weight, attention = np.zeros((b, n), np.float32), np.zeros((b, n), np.float32)
    pairs, count = np.zeros((b, PAIRS), np.float32), np.zeros(b, np.int64)
    for k, scene in enumerate(scenes):
        covered = coverage(scene)
        attention[k] = focus_map(scene, covered).mean(0)
        flat = covered.reshape(len(scene.things), -1)
        owner, most = flat.argmax(0), flat.max(0)
        empty = most < 0.03
        for name in ("color", "shape", "center"):
            heads[name][k, empty] = 0
        weight[k, empty] = 0.5 * len(scene.things) / max(empty.sum(), 1)
        count[k] = len(scene.things)
        for i, t in enumerate(scene.things):
            mine = (owner == i) & (most >= 0.10)
            if not mine.any():
                mine[flat[i].argmax()] = True
            weight[k, mine] = 1 / mine.sum()
            pairs[k, (COLOR_ID[t.color] - 1) * len(SHAPES) + SHAPE_ID[t.shape] - 1] = 1
            for name, value in _facts(scene, i).items():
                heads[name][k, mine] = value
            centre = int(t.y // PATCH - scene.window.top) * scene.window.cols + int(t.x // PATCH - scene.window.left)
            heads["center"][k, mine] = 0
            heads["center"][k, centre] = 1
    tensors = {name: torch.from_numpy(v) for name, v in heads.items()}
    return Labels(*map(_tensor, (tensors, weight, attention, pairs, count)))  # type: ignore[arg-type]


@dataclass
class Structure:
    """heads: (B, N) classes by STRUCTURE. middle: (B, N) weights. queries: (B, QUERIES) patches. gazes: for each layer
    of GAZES (B, heads, QUERIES, 1 + N) where they should look, CLS first; all zero where nothing is wanted.
    """

    heads: dict[str, Tensor]
    middle: Tensor
    queries: Tensor
    gazes: tuple[Tensor, ...]


def structure(scenes: list[Scene], rng: np.random.Generator) -> Structure:
    b, n = len(scenes), scenes[0].window.rows * scenes[0].window.cols
    heads = {name: np.full((b, n), IGNORE, np.int64) for name in STRUCTURE}
    middle = np.zeros((b, n), np.float32)
    queries = np.zeros((b, QUERIES), np.int64)
    gazes = [np.zeros((b, len(names), QUERIES, 1 + n), np.float32) for names in GAZES]
    for k, scene in enumerate(scenes):
        things, covered = scene.things, coverage(scene)
        maps, flat = focus_map(scene, covered), covered.reshape(len(scene.things), -1)
        owner, most = flat.argmax(0), flat.max(0)
        empty = most < 0.03
        heads["middle"][k, empty], middle[k, empty] = 0, 0.5 * len(things) / max(empty.sum(), 1)
        heads["total"][k] = len(things)
        wanted: list[dict[str, np.ndarray]] = []
        for i, t in enumerate(things):
            alike = {
                "same_color": [j for j, o in enumerate(things) if o.color == t.color],
                "same_shape": [j for j, o in enumerate(things) if o.shape == t.shape],
                "same_pair": [j for j, o in enumerate(things) if o.pair == t.pair],
                "earlier": [j for j, o in enumerate(things) if o.x < t.x],
            }
            mine = (owner == i) & (most >= 0.10)
            if not mine.any():
                mine[flat[i].argmax()] = True
            for name in ("same_color", "same_shape", "same_pair"):
                heads[name][k, mine] = len(alike[name])
            heads["rank"][k, mine] = len(alike["earlier"])
            centre = int(t.y // PATCH - scene.window.top) * scene.window.cols + int(t.x // PATCH - scene.window.left)
            heads["middle"][k, mine], middle[k, mine] = 0, 1 / mine.sum()
            heads["middle"][k, centre], middle[k, centre] = 1, 1
            wanted.append(gaze_of(scene, i, maps, alike))
        chance = np.where(empty, 0, 1 / np.maximum(np.bincount(owner[~empty], minlength=len(things)), 1)[owner])
        queries[k] = rng.choice(n, QUERIES, p=chance / chance.sum())
        for out, names in zip(gazes, GAZES, strict=True):
            for h, name in enumerate(names):
                out[k, h] = np.stack([w[name] for w in wanted])[owner[queries[k]]]
    tensors = {name: torch.from_numpy(v) for name, v in heads.items()}
    return Structure(tensors, torch.from_numpy(middle), torch.from_numpy(queries), tuple(map(torch.from_numpy, gazes)))


def gaze_of(scene: Scene | Picture, i: int, maps: np.ndarray, alike: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Where patches of object i look: at its neighbour, or at CLS for none; at those alike, with one share for CLS, so
    that the share tells their number."""
    out = {}
    for direction in DIRECTIONS:
        out[direction] = row = np.zeros(1 + maps.shape[1], np.float32)
        j = neighbour(scene, i, direction)
        if j == -1:
            row[0] = 1
        elif j is not None:
            row[1:] = maps[j]
    for name, objects in alike.items():
        out[name] = row = np.zeros(1 + maps.shape[1], np.float32)
        row[0] = 1 / (1 + len(objects))
        row[1:] = maps[objects].sum(0) / (1 + len(objects))
    return out


def _tensor(value: object) -> object:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _facts(scene: Scene, i: int) -> dict[str, int]:
    """What every patch of an object should know of it, its place and its neighbours."""
    t = scene.things[i]
    place = third_of(t)
    facts = {"color": COLOR_ID[t.color], "shape": SHAPE_ID[t.shape], "digit": 0 if t.digit is None else t.digit + 1}
    facts["place"] = IGNORE if place is None else PLACE_ID[place]
    for direction in DIRECTIONS:
        j = neighbour(scene, i, direction)
        if j is None:
            facts[f"{direction}_color"] = facts[f"{direction}_shape"] = IGNORE
        else:
            facts[f"{direction}_color"] = 0 if j == -1 else COLOR_ID[scene.things[j].color]
            facts[f"{direction}_shape"] = 0 if j == -1 else SHAPE_ID[scene.things[j].shape]
    return facts


@lru_cache(maxsize=2)
def _word_id(clips: bool = False) -> dict[str, int]:
    return build_tokenizer(clips).get_vocab()


@lru_cache(maxsize=200_000)
def token_ids(text: str, clips: bool = False) -> tuple[int, ...]:
    """The ids of a lower-case text in the picture model's tokenizer, or the clip model's; without special tokens."""
    vocabulary = _word_id(clips)
    for mark in "?,:":
        text = text.replace(mark, f" {mark} ")
    return tuple(vocabulary[w] for w in text.split())


@dataclass
class Packed:
    """Questions behind one shared picture: every question sees the picture and itself, never another question.

    ids, position, target: (B, L) behind the picture. block: (B, L) which question a token belongs to, -1 for padding.
    kinds: (B, L) index into the types of every answer token, -1 elsewhere. share: (B, L) 1 / length of the token's
    answer, but a long list weighs more than a word. asked: (picture, question, place of the token that is answered
    first, answer tokens with the end) for each question.
    """

    ids: Tensor
    target: Tensor
    position: Tensor
    block: Tensor
    kinds: Tensor
    share: Tensor
    asked: list[tuple[int, Question, int, int]]


PREFIX = ("<s>", "user", ":")


def pack(
    scenes: list[Scene], rng: np.random.Generator, room: int, weights: dict[str, float], negated: float = 0.0
) -> Packed:
    """As many questions a scene as fit into `room` tokens, their types drawn by `weights`.

    negated: for that share of the `exists` questions only a negated one ("is there no ...") will do; of the rest a
    quarter are negated.
    """
    p = np.array([weights[t] for t in TYPES])

    def asked(scene: Scene) -> Iterator[Question]:
        for _ in range(40):
            kind = str(rng.choice(TYPES, p=p / p.sum()))
            question = ask(scene, kind, rng)
            if negated and kind == "exists" and rng.random() < negated:
                while question is not None and " no " not in question.text:
                    question = ask(scene, kind, rng)
            if question is not None:
                yield question

    start = len(PREFIX) + scenes[0].window.rows * scenes[0].window.cols
    return packed([asked(scene) for scene in scenes], room, start, TYPES)


def packed(
    asked: Sequence[Iterator[Question]],
    room: int,
    start: int,
    types: Sequence[str],
    clips: bool = False,
    ids_of: Callable[[str], tuple[int, ...]] | None = None,
) -> Packed:
    """The first questions about each picture, as many as fit into `room` tokens. start: the position of their first.

    ids_of: how a text becomes ids, where another tokenizer than those of `token_ids` does it.
    """
    ids_of = ids_of or (lambda text: token_ids(text, clips))
    b = len(asked)
    ids, target = np.zeros((b, room), np.int64), np.full((b, room), IGNORE, np.int64)
    position, block, kinds = np.zeros((b, room), np.int64), np.full((b, room), -1), np.full((b, room), -1)
    share = np.zeros((b, room), np.float32)
    ask_end, eos, done = token_ids("assistant :"), _word_id()["</s>"], []
    for k, questions in enumerate(asked):
        used = 0
        for number, question in enumerate(questions):
            q = (*ids_of(question.text), *ask_end)
            a = (*ids_of(question.answer), eos)
            size = len(q) + len(a) - 1
            if used + size > room:
                break
            at = slice(used, used + size)
            ids[k, at] = (*q, *a[:-1])
            target[k, used + len(q) - 1 : used + size] = a
            kinds[k, used + len(q) - 1 : used + size] = types.index(question.type)
            share[k, used + len(q) - 1 : used + size] = 1 / min(len(a), WHOLE)
            position[k, at] = start + np.arange(size)
            block[k, at] = number
            done.append((k, question, used + len(q) - 1, len(a)))
            used += size
    t = torch.from_numpy
    return Packed(t(ids), t(target), t(position), t(block), t(kinds), t(share), done)


def looks(packed: Packed, scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """Where the tokens that are answered should look, (B, L, prefix + patches) each: first, and in the layer after.

    At the objects a question is about, alike; of a relation first at the one it names, then at its neighbour; in a list
    at the next object; at <s> for none. How many there are is told by what their patches hold, not by the shares, which
    pruning would change. Rows weigh as much as their token does, all others are zero.
    """
    maps = [focus_map(s, coverage(s)) for s in scenes]

    def row(k: int, _: Question, objects: tuple[int, ...]) -> np.ndarray:
        out = np.zeros(len(PREFIX) + maps[k].shape[1], np.float32)
        if objects:
            out[len(PREFIX) :] = maps[k][list(objects)].mean(0)
        else:
            out[0] = 1
        return out

    return look_rows(packed, len(PREFIX) + maps[0].shape[1], looked_at, row)


def look_rows(
    packed: Packed,
    n: int,
    looked_at: Callable[[Question, int], tuple[tuple[int, ...], tuple[int, ...]]],
    row: Callable[[int, Question, tuple[int, ...]], np.ndarray],
) -> tuple[Tensor, Tensor]:
    """Two (B, L, n), where each token that is answered should look: first, and in the layer after.

    looked_at: the objects behind a token of a question's answer, for both layers. row: (picture, question, objects) to
    (n,) shares that sum to 1. Rows weigh as much as their token does, all others are zero.
    """
    both = np.zeros((2, *packed.ids.shape, n), np.float32)
    for k, question, place, size in packed.asked:
        for token in range(size):
            for out, objects in zip(both[:, k, place + token], looked_at(question, token), strict=True):
                out[:] = row(k, question, objects)
    share = packed.share[..., None]
    return torch.from_numpy(both[0]) * share, torch.from_numpy(both[1]) * share


def looked_at(question: Question, token: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The objects behind an answer's token, in the first layer and in the next."""
    about = question.about
    yes_or_no = question.answer in ("yes", "no")
    if question.type == "relation" or (question.type == "size" and yes_or_no):
        return about[:1], about[1:]
    if question.type == "list":
        about = next_listed(question, token)
    if question.type == "size" and question.subject is not None:
        about = (question.subject,)  # looking at both would mix their names
    return about, about


def next_listed(question: Question, token: int) -> tuple[int, ...]:
    """The object of a list's token, or the next one at a comma; () at the end."""
    start = 0
    for i, name in zip(question.about, question.answer.split(", "), strict=False):
        start += len(name.split()) + 1
        if token < start - 1:
            return (i,)
    return ()


def prefix_ids() -> Tensor:
    return torch.tensor([_word_id()[w] for w in PREFIX])


def questions_for(scenes: list[Scene], rng: np.random.Generator, each: int) -> list[tuple[int, Question]]:
    """`each` questions a scene, as (index of the scene, question)."""
    out = []
    for k, scene in enumerate(scenes):
        found = 0
        while found < each:
            question = ask(scene, str(rng.choice(TYPES)), rng)
            if question is not None:
                out.append((k, question))
                found += 1
    return out
