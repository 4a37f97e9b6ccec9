"""Training batches of clips: frames, questions packed behind one clip, and a label for every visual token.

A visual token of a clip stands for 2 x 2 patches. A clip drawn in a window of the grid is a clip of its own; its tokens
stand where they would in the full grid, so that the language model tells time and place by the same positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fsr.shapes.clip_questions import CLIP_TYPES, ask_clip
from fsr.shapes.clips import FRAMES, WAYS, Clip, draw_clip, moments, random_clip, random_events
from fsr.shapes.questions import Question
from fsr.shapes.scenes import GRID, Window, coverage, generator
from training.batches import (
    COLOR_ID,
    IGNORE,
    MEAN,
    PREFIX,
    SHAPE_ID,
    STD,
    Packed,
    focus_map,
    look_rows,
    next_listed,
    packed,
)

CELLS = GRID // 2  # tokens along an edge of a full frame
TOKENS = FRAMES * CELLS**2
WAY_ID = {way: i + 1 for i, way in enumerate(WAYS)}
SEEN = 0.25  # share of a token that an object covers before the token is called its own
MOVED = 20.0  # pixels from where an object was first, before it counts as moved

STRIDE = 28.0  # pixels of a class of `far`
FAR = 8  # classes of `far`

# What a visual token should know, name -> classes, of its object, of what has gone from its place (0 for nothing), of
# its frame. first: the colour it began with. new: the frame in which it appeared, 0 for the first. far: how far it has
# come, in strides. passed: it overtook, it was overtaken. gone: the frame in which it was no longer there.
KNOWS = {"color": 13, "shape": 10, "way": 5, "far": FAR, "first": 13, "new": FRAMES, "passed": 3, "frame": FRAMES}
KNOWS |= {"gone": FRAMES, "gone_color": 13, "gone_shape": 10}

# Where one layer of the Llama should look from a visual token, head by head: at its object where that was first seen,
# at its own place in the first frame and in the frame before; later in training also at its object and its place in
# every frame so far, so that what is known does not hang on a single frame.
GAZES = ("origin", "origin", "start", "start", "before")
SPREAD_GAZES = ("origin", "trail", "start", "places", "before")
LOOK_TYPES = ("color", "shape")  # types of questions about how an object looks, which an event does not change
QUERIES = 96  # tokens a clip whose look is trained
ON_OBJECTS = 0.75  # share of them on objects or where one has gone


def random_clips(step: int, stage: int, batch: int, side: int, most: int) -> tuple[list[Clip], np.random.Generator]:
    """The clips of one training step, of windows of side x side patches that lie anywhere in the grid (even places)."""
    rng = generator("train", 100 + stage, step)
    clips = []
    for _ in range(batch):
        top, left = (2 * int(rng.integers((GRID - side) // 2 + 1)) for _ in range(2))
        count = int(rng.integers(min(2, most), most + 1)) if most > 2 or rng.random() < 0.7 else 1
        events, overtaking = random_events(rng, count)
        clips.append(random_clip(rng, count, events, Window(top, left, side, side), overtaking=overtaking))
    return clips, rng


def distinct_frames(clips: list[Clip]) -> tuple[Tensor, Tensor]:
    """(which, back) int64: of all B * FRAMES frames those that differ, and which of these every frame is."""
    place: dict[tuple, int] = {}
    which: list[int] = []
    back: list[int] = []
    for k, clip in enumerate(clips):
        for f, time in enumerate(moments()):
            key = (k, clip.scene(time).things)
            if key not in place:
                place[key] = len(which)
                which.append(k * FRAMES + f)
            back.append(place[key])
    return torch.tensor(which), torch.tensor(back)


def pixels(clips: list[Clip], which: Tensor) -> Tensor:
    """(frames, 3, H, W) float32, normalised as the processor does. which: of the B * FRAMES frames."""
    images = torch.from_numpy(np.concatenate([draw_clip(c) for c in clips])[which.numpy()]).permute(0, 3, 1, 2)
    return images.contiguous().float().mul_(1 / (255 * STD)).sub_(MEAN / STD)


def patch_positions(clips: list[Clip]) -> Tensor:
    """(B * FRAMES, rows * cols) int64: the place of every patch in the tower's position table."""
    w = clips[0].window
    local = torch.arange(w.rows)[:, None] * GRID + torch.arange(w.cols)
    offset = torch.tensor([c.window.top * GRID + c.window.left for c in clips]).repeat_interleave(FRAMES)
    return 1 + (offset[:, None] + local.flatten())


def positions(clips: list[Clip]) -> Tensor:
    """(B, tokens + 1) int64: the place in the prompt of every visual token and of the newline, as in a full clip."""
    w = clips[0].window
    local = torch.arange(w.rows // 2)[:, None] * CELLS + torch.arange(w.cols // 2)
    one = (torch.arange(FRAMES)[:, None] * CELLS**2 + local.flatten()).flatten()
    offset = torch.tensor([c.window.top // 2 * CELLS + c.window.left // 2 for c in clips])
    tokens = len(PREFIX) + one + offset[:, None]
    return torch.cat([tokens, torch.full((len(clips), 1), len(PREFIX) + TOKENS)], 1)


def questions(clip: Clip, rng: np.random.Generator, weights: dict[str, float]) -> Iterator[Question]:
    """Random questions about a clip: of the types that it allows, as often as the weights say, so that rare types are
    asked whenever they can be."""
    types = [t for t in CLIP_TYPES if weights.get(t, 0) > 0]
    refused: set[str] = set()
    for _ in range(60):
        open_types = [t for t in types if t not in refused]
        p = np.array([weights[t] for t in open_types])
        kind = open_types[rng.choice(len(open_types), p=p / p.sum())]
        question = ask_clip(clip, kind, rng)
        if question is not None:
            yield question
        elif kind not in ("order", "happens", "count"):  # these draw what they ask about, another try may do
            refused.add(kind)


def pack_clips(clips: list[Clip], rng: np.random.Generator, room: int, weights: dict[str, float]) -> Packed:
    asked = [questions(clip, rng, weights) for clip in clips]
    return packed(asked, room, len(PREFIX) + TOKENS + 1, CLIP_TYPES, clips=True)


@dataclass
class Known:
    """heads: (B, tokens) classes by KNOWS, IGNORE where they do not count. weight: (B, tokens).

    owner: (B, tokens) the actor that a token shows, -1 for none. gone: the actor that has gone from there, -1 for none.
    """

    heads: dict[str, Tensor]
    weight: Tensor
    owner: np.ndarray
    gone: np.ndarray


def label_clips(clips: list[Clip]) -> Known:
    w = clips[0].window
    shape = (len(clips), FRAMES, w.rows * w.cols // 4)
    heads = {name: np.full(shape, IGNORE, np.int64) for name in KNOWS}
    weight = np.zeros(shape, np.float32)
    owners, left = np.full(shape, -1), np.full(shape, -1)
    heads["frame"][:] = np.arange(FRAMES)[:, None]
    for name in ("color", "gone", "gone_color", "gone_shape"):
        heads[name][:] = 0
    for k, clip in enumerate(clips):
        for f, time in enumerate(moments()):
            covered = _tokens_covered(clip, time)
            shown = np.array([a.shown(time) for a in clip.actors])
            owner = np.where(shown[:, None], covered, 0).argmax(0)
            mine = np.where(shown[:, None], covered, 0).max(0) >= SEEN
            gone = np.array([a.vanishes is not None and time >= a.vanishes for a in clip.actors])
            ghost = np.where(gone[:, None], covered, 0)
            for i, actor in enumerate(clip.actors):
                at = (owner == i) & mine
                if at.any():
                    weight[k, f, at] = 1 / at.sum()
                    owners[k, f, at] = i
                    for name, value in _facts(clip, i, time).items():
                        heads[name][k, f, at] = value
                at = (ghost.argmax(0) == i) & (ghost.max(0) >= SEEN) & ~mine
                if at.any():
                    weight[k, f, at] = 1 / at.sum()
                    left[k, f, at] = i
                    heads["gone"][k, f, at] = _frame_of(actor.vanishes)
                    heads["gone_color"][k, f, at] = COLOR_ID[actor.thing.color]
                    heads["gone_shape"][k, f, at] = SHAPE_ID[actor.thing.shape]
            rest = weight[k, f] == 0
            weight[k, f, rest] = 0.5 / max(rest.sum(), 1)
    b = len(clips)
    flat = {name: torch.from_numpy(v.reshape(b, -1)) for name, v in heads.items()}
    return Known(flat, torch.from_numpy(weight.reshape(b, -1)), owners.reshape(b, -1), left.reshape(b, -1))


def gazes(known: Known, rng: np.random.Generator, names: Sequence[str] = GAZES) -> tuple[Tensor, Tensor]:
    """(queries, wanted): (B, QUERIES) int64 visual tokens, and (B, names, QUERIES, tokens) float32, where each should
    look. A token sees itself and what comes before it."""
    b, n = known.owner.shape
    cells = n // FRAMES
    queries = np.zeros((b, QUERIES), np.int64)
    wanted = np.zeros((b, len(names), QUERIES, n), np.float32)
    rows = np.arange(QUERIES)
    for k in range(b):
        owner = known.owner[k]
        busy = (owner >= 0) | (known.gone[k] >= 0)
        chance = np.where(busy, ON_OBJECTS / max(busy.sum(), 1), (1 - ON_OBJECTS) / max((~busy).sum(), 1))
        queries[k] = q = rng.choice(n, QUERIES, p=chance / chance.sum())
        start, before = q % cells, np.where(q < cells, q, q - cells)
        for h, name in enumerate(names):
            if name in ("origin", "trail"):
                of = np.where(owner[q] >= 0, owner[q], known.gone[k, q])
                for i in np.unique(of[of >= 0]):
                    seen = np.flatnonzero(owner == i)
                    if len(seen):
                        if name == "origin":
                            seen = seen[seen // cells == seen[0] // cells]
                        wanted[k, h][np.ix_(of == i, seen)] = 1
                        wanted[k, h, of == i] *= np.arange(n) <= q[of == i, None]
                wanted[k, h] /= np.maximum(wanted[k, h].sum(-1, keepdims=True), 1)
            elif name == "places":
                same = (np.arange(n) % cells == start[:, None]) & (np.arange(n) < np.maximum(q, cells)[:, None])
                wanted[k, h] = same / same.sum(-1, keepdims=True)
            else:
                wanted[k, h, rows, start if name == "start" else before] = 1
    return torch.from_numpy(queries), torch.from_numpy(wanted)


def looks(packed: Packed, clips: list[Clip], spread: bool = False) -> tuple[Tensor, Tensor]:
    """Where the tokens that are answered should look, (B, L, prefix + tokens) each: first, and in the layer after.

    At the objects a question is about, where they are in the last frame or were before they vanished, for by then it is
    known what became of them; in the first frame where the question is about that, or how they look. Where one of
    several is asked for, first at all, then at that one; in a list at the next. At the first token, <s>, for none;
    where objects are counted it has one share, so that the share tells their number. spread: at the place of what has
    vanished in every frame since. Rows weigh as much as their token does, all others are zero.
    """
    cells = clips[0].window.rows * clips[0].window.cols // 4
    covered = {time: [_tokens_covered(clip, time) for clip in clips] for time in (0.0, 1.0)}
    n = len(PREFIX) + FRAMES * cells

    def row(k: int, question: Question, objects: tuple[int, ...]) -> np.ndarray:
        out = np.zeros(n, np.float32)
        counted = question.type == "count" or (question.type == "happens" and question.subject is None)
        nothing = counted or not objects
        out[0] = nothing / (nothing + len(objects))
        for i in objects:
            actor = clips[k].actors[i]
            early = "first frame" in question.text or (question.type in LOOK_TYPES and actor.shown(0))
            seen, left = covered[0.0 if early else 1.0][k][i], _frame_of(actor.vanishes)
            since = FRAMES - left if spread and left and not early else 1
            at = out[len(PREFIX) :][:cells] if early else out[-since * cells :]
            at += np.tile(seen, since) / max(since * seen.sum(), 1e-6) / (nothing + len(objects))
        return out

    return look_rows(packed, n, _looked_at, row)


def _looked_at(question: Question, token: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The objects behind an answer's token, in the first layer and in the next."""
    about = question.about
    if question.type == "frame":  # a list: a colour, a shape and a comma for each object, which looks at the next
        about = next_listed(question, token)
    if question.type in ("order", "overtakes") and question.subject is not None:
        return about, (question.subject,)
    return about, about


def _frame_of(time: float | None) -> int:
    """The first frame at or after a moment."""
    return 0 if time is None else next(f for f, t in enumerate(moments()) if t >= time)


def _tokens_covered(clip: Clip, time: float) -> np.ndarray:
    """(actors, tokens of a frame) float32: how much of each token every actor covers, shown or not."""
    w, actors = clip.window, clip.actors
    scene = clip.scene(time)
    scene = type(scene)(tuple(a.at(time) for a in actors), w, clip.background)
    covered = coverage(scene)
    return covered.reshape(len(actors), w.rows // 2, 2, w.cols // 2, 2).mean((2, 4)).reshape(len(actors), -1)


def _facts(clip: Clip, i: int, time: float) -> dict[str, int]:
    """What every token of a shown actor should know by then."""
    actor = clip.actors[i]
    now, first = actor.at(time), actor.thing
    far = np.hypot(now.x - first.x, now.y - first.y)
    way = IGNORE if 1 < far < MOVED else WAY_ID[str(actor.way)] if far >= MOVED else 0
    passed = 0
    if clip.overtaking is not None and i in clip.overtaking:
        fast, slow = (clip.actors[j].at(time) for j in clip.overtaking)
        x, y = WAYS[str(actor.way)]
        ahead = (fast.x - slow.x) * x + (fast.y - slow.y) * y
        passed = (1 if i == clip.overtaking[0] else 2) if ahead > MOVED / 2 else 0 if ahead < 0 else IGNORE
    facts = {"color": COLOR_ID[now.color], "shape": SHAPE_ID[now.shape], "way": way, "passed": passed}
    facts |= {"first": COLOR_ID[first.color], "new": _frame_of(actor.appears)}
    return facts | {"far": min(int(far / STRIDE), FAR - 1)}


def clip_focus(clip: Clip, about: tuple[int, ...]) -> np.ndarray:
    """(tokens,) float32: the tokens of these actors in all frames that show them, each actor with the same share."""
    w = clip.window
    total = np.zeros((FRAMES, w.rows // 2 * (w.cols // 2)), np.float32)
    for i in about:
        one = np.zeros_like(total)
        for f, time in enumerate(moments()):
            if clip.actors[i].shown(time):
                scene = type(clip.scene(time))((clip.actors[i].at(time),), w, clip.background)
                fine = focus_map(scene, coverage(scene)).reshape(w.rows // 2, 2, w.cols // 2, 2)
                one[f] = fine.sum((1, 3)).ravel()
        total += one / max(one.sum(), 1e-6)
    return total.ravel() / max(len(about), 1)
