"""Drawn clips: coloured shapes that move, overtake, appear, vanish or change colour in front of one background.

Time runs from 0, the first frame, to 1, the last. As with scenes, a clip is described in pixels of the full picture,
and a training crop is a clip of its own, drawn only in a window of whole patches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from fsr.shapes.scenes import COLORS, PATCH, SHAPES, SIDE, UNSEEN_PAIRS, Scene, Thing, Window, backdrop, mask_of, paint

FRAMES = 8
EVENTS = ("move", "appear", "vanish", "turn")
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SMALLEST, LARGEST = 3 * PATCH, 6 * PATCH  # side of an object's bounding box in pixels; a token of a clip has 2 patches
ROOM = 5  # pixels between the ways of two objects
EARLIEST, LATEST = 0.2, 0.8  # of the times at which something appears, vanishes or changes
APART = 0.24  # between two such times: at least one of eight frames lies between them


@dataclass(frozen=True)
class Actor:
    """An object and what happens to it. thing: at the beginning.

    to: (x, y) of its centre once it has moved, which it does at even speed from times[0] to times[1]. appears,
    vanishes, turns: when, if ever. turned: the object's look after that; only colour and rgb count.
    """

    thing: Thing
    to: tuple[float, float] | None = None
    times: tuple[float, float] = (0.0, 1.0)
    appears: float | None = None
    vanishes: float | None = None
    turns: float | None = None
    turned: Thing | None = None

    @property
    def event(self) -> str | None:
        if self.to is not None:
            return "move"
        return "appear" if self.appears else "vanish" if self.vanishes else "turn" if self.turns else None

    @property
    def way(self) -> str | None:
        """The direction in which it moves."""
        if self.to is None:
            return None
        x, y = self.to[0] - self.thing.x, self.to[1] - self.thing.y
        return ("right" if x > 0 else "left") if abs(x) > abs(y) else ("down" if y > 0 else "up")

    @property
    def colors(self) -> tuple[str, ...]:
        return (self.thing.color,) if self.turned is None else (self.thing.color, self.turned.color)

    def shown(self, time: float) -> bool:
        return (self.appears is None or time >= self.appears) and (self.vanishes is None or time < self.vanishes)

    def at(self, time: float) -> Thing:
        """What it looks like and where it is, shown or not."""
        thing = self.thing
        if self.to is not None:
            start, end = self.times
            share = min(max((time - start) / (end - start), 0.0), 1.0)
            return replace(
                thing, x=thing.x + share * (self.to[0] - thing.x), y=thing.y + share * (self.to[1] - thing.y)
            )
        if self.turns is not None and self.turned is not None and time >= self.turns:
            return replace(thing, color=self.turned.color, rgb=self.turned.rgb)
        return thing


@dataclass(frozen=True)
class Clip:
    """overtaking: indices of the actor that overtakes and of the one that is overtaken."""

    actors: tuple[Actor, ...]
    window: Window
    background: int  # seed of the background
    overtaking: tuple[int, int] | None = None

    def scene(self, time: float) -> Scene:
        """The picture at one moment."""
        return Scene(tuple(a.at(time) for a in self.actors if a.shown(time)), self.window, self.background)

    def of(self, event: str) -> list[int]:
        """The actors to whom it happens, in the order of time where that matters."""
        found = [i for i, a in enumerate(self.actors) if a.event == event]
        return sorted(found, key=lambda i: _moment(self.actors[i]))


def _moment(actor: Actor) -> float:
    return actor.appears or actor.vanishes or actor.turns or 0.0


def moments(frames: int = FRAMES) -> list[float]:
    """The times of evenly spaced frames, first and last included."""
    return [i / (frames - 1) for i in range(frames)]


def draw_clip(clip: Clip, frames: int = FRAMES) -> np.ndarray:
    """(frames, rows * PATCH, cols * PATCH, 3) uint8 RGB, evenly spaced in time, first and last included."""
    looks = [t for a in clip.actors for t in (a.thing, a.turned) if t is not None]
    back = backdrop(Scene(tuple(looks), clip.window, clip.background))  # away from every colour ever shown
    drawn = np.repeat(cv2.convertScaleAbs(np.maximum(back, 0))[None], frames, 0)
    for frame, time in zip(drawn, moments(frames), strict=True):
        for thing in clip.scene(time).things:
            paint(frame, *mask_of(thing, clip.window), thing.rgb)
    return drawn


def described(row: Mapping[str, Any]) -> Clip:
    """The clip of a row of assets/examples/clips.json.

    actors: shape, color, x, y and size in pixels, and what happens: to [x, y] with times, appears, vanishes, or turns
    with turned, a colour. background: its seed.
    """
    actors = []
    for a in row["actors"]:
        thing = Thing(a["shape"], a["color"], a["x"], a["y"], a["size"], a["size"], COLORS[a["color"]])
        turned = replace(thing, color=a["turned"], rgb=COLORS[a["turned"]]) if "turned" in a else None
        to, times = tuple(a["to"]) if "to" in a else None, tuple(a.get("times", (0.0, 1.0)))
        actors.append(Actor(thing, to, times, a.get("appears"), a.get("vanishes"), a.get("turns"), turned))
    return Clip(tuple(actors), Window(), int(row["background"]))


# ------------------------------------------------------------------------------------------------------- random clips


def random_clip(
    rng: np.random.Generator,
    count: int,
    events: Iterable[str],
    window: Window | None = None,
    *,
    overtaking: bool = False,
    unseen: bool = False,
) -> Clip:
    """`count` objects whose ways do not cross. events: one an object at most, to the first objects.

    overtaking: two further events go to objects that move the same way, one passing the other. unseen: the first
    object is a colour-shape pair that training never shows.
    """
    window, events = window or Window(), list(events)
    while True:
        pairs = _distinct_pairs(rng, count + events.count("turn"), unseen)
        units = [_Unit(1, event) for event in events] + ([_Unit(2, "overtake")] if overtaking else [])
        units += [_Unit(1, None)] * (count - sum(u.size for u in units))
        clip = _placed(rng, units, pairs, window, count)
        if clip is not None:
            return clip


@dataclass(frozen=True)
class _Unit:
    """One or two objects that are placed together."""

    size: int
    event: str | None


def random_events(rng: np.random.Generator, count: int) -> tuple[list[str], bool]:
    """What happens in a clip of `count` objects: one or two things mostly, three of a kind at times; overtaking."""
    theme = rng.random()
    if theme < 0.16 and count >= 2:
        return ([str(rng.choice(EVENTS))] if count > 2 and rng.random() < 0.3 else []), True
    if theme < 0.24 and count >= 3:
        return [str(rng.choice(EVENTS[:3]))] * 3, False
    if theme < 0.4 and count >= 2:
        return [str(rng.choice(EVENTS))] * 2, False
    if theme < 0.72 and count >= 2:
        return [str(e) for e in rng.choice(EVENTS, 2)], False
    return [str(rng.choice(EVENTS))], False


def _distinct_pairs(rng: np.random.Generator, count: int, unseen: bool) -> list[tuple[str, str]]:
    """Half of the clips draw from a few colours and shapes only, so that objects share them; no pair comes twice."""
    colors, shapes = list(COLORS), list(SHAPES)
    if rng.random() < 0.5:
        colors = list(rng.choice(colors, 4, replace=False))
        shapes = list(rng.choice(shapes, 3, replace=False))
    pairs: list[tuple[str, str]] = []
    if unseen:
        pairs.append(sorted(UNSEEN_PAIRS)[rng.integers(len(UNSEEN_PAIRS))])
    for _ in range(1000):
        if len(pairs) == count:
            return pairs
        pair = (str(rng.choice(colors)), str(rng.choice(shapes)))
        if pair not in UNSEEN_PAIRS and pair not in pairs:
            pairs.append(pair)
    return _distinct_pairs(rng, count, unseen)


def _placed(
    rng: np.random.Generator, units: list[_Unit], pairs: list[tuple[str, str]], window: Window, count: int
) -> Clip | None:
    """A clip in whose window every unit has a box of its own; None where none was found."""
    actors: list[Actor] = []
    boxes: list[tuple[float, float, float, float]] = []
    times = _times(rng, sum(u.event in ("appear", "vanish", "turn") for u in units))
    overtaking, spare = None, iter(pairs[count:])
    for unit in sorted(units, key=lambda u: u.event not in ("overtake", "move")):  # what needs most room goes first
        for _ in range(40):
            chosen = pairs[len(actors) : len(actors) + unit.size]
            found = _overtaking(rng, chosen, window) if unit.size == 2 else [_single(rng, chosen[0], unit, window)]
            box = _swept(found)
            if _inside(box, window) and all(_clear(box, other) for other in boxes):
                break
        else:
            return None
        if unit.size == 2:
            overtaking = (len(actors), len(actors) + 1)
        elif unit.event in ("appear", "vanish"):
            moment = {"appears" if unit.event == "appear" else "vanishes": times.pop()}
            found = [replace(found[0], **moment)]  # type: ignore[arg-type]
        elif unit.event == "turn":
            color = _other_color(rng, found[0].thing, next(spare), pairs)
            turned = replace(found[0].thing, color=color, rgb=_shade(rng, color))
            found = [replace(found[0], turns=times.pop(), turned=turned)]
        actors += found
        boxes.append(box)
    order = rng.permutation(len(actors))
    if overtaking is not None:
        place = {int(old): new for new, old in enumerate(order)}
        overtaking = (place[overtaking[0]], place[overtaking[1]])
    return Clip(tuple(actors[i] for i in order), window, int(rng.integers(2**31)), overtaking)


def _times(rng: np.random.Generator, count: int) -> list[float]:
    """Moments at which something happens, far enough apart to tell their order, in random order."""
    while True:
        times = rng.uniform(EARLIEST, LATEST, count)
        if all(b - a >= APART for a, b in pairwise(sorted(times))):
            return [float(t) for t in times]


def _other_color(rng: np.random.Generator, thing: Thing, pair: tuple[str, str], pairs: list[tuple[str, str]]) -> str:
    """A colour that makes a pair which no other object is, and which training shows."""
    choices = [c for c in COLORS if (c, thing.shape) not in pairs and (c, thing.shape) not in UNSEEN_PAIRS]
    return pair[0] if pair[0] in choices else str(rng.choice(choices))


def _shade(rng: np.random.Generator, color: str) -> tuple[int, int, int]:
    r, g, b = np.clip(np.array(COLORS[color]) + rng.normal(0, 5, 3), 0, 255)
    return int(r), int(g), int(b)


def _extent(window: Window) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in pixels."""
    left, top = window.left * PATCH, window.top * PATCH
    return left, top, left + window.cols * PATCH, top + window.rows * PATCH


def _thing(rng: np.random.Generator, pair: tuple[str, str], window: Window) -> Thing:
    """An object anywhere in the window."""
    left, top, right, bottom = _extent(window)
    side = rng.uniform(SMALLEST, max(SMALLEST + 4, LARGEST * min(right - left, bottom - top) / SIDE))
    width = height = float(side)
    if pair[1] == "rectangle":
        width, height = width * 1.2, width * 0.65
        if rng.random() < 0.5:
            width, height = height, width
    x, y = (
        rng.uniform(left + width / 2 + 2, right - width / 2 - 2),
        rng.uniform(top + height / 2 + 2, bottom - height / 2 - 2),
    )
    return Thing(pair[1], pair[0], float(x), float(y), width, height, _shade(rng, pair[0]))


def _single(rng: np.random.Generator, pair: tuple[str, str], unit: _Unit, window: Window) -> Actor:
    thing = _thing(rng, pair, window)
    if unit.event != "move":
        return Actor(thing)
    left, _, right, _ = _extent(window)
    far = rng.uniform((right - left) / 5, (right - left) * 0.6)
    x, y = list(WAYS.values())[rng.integers(len(WAYS))]
    return Actor(thing, (thing.x + far * x, thing.y + far * y), _stretch(rng))


def _stretch(rng: np.random.Generator) -> tuple[float, float]:
    """From when to when something moves."""
    return float(rng.uniform(0, 0.2)), float(rng.uniform(0.75, 1))


def _overtaking(rng: np.random.Generator, pairs: list[tuple[str, str]], window: Window) -> list[Actor]:
    """The first object begins behind the second, on a lane beside it, and ends ahead of it."""
    left, top, right, bottom = _extent(window)
    side = min(right - left, bottom - top)
    fast, slow = (_thing(rng, pair, window) for pair in pairs)
    x, y = list(WAYS.values())[rng.integers(len(WAYS))]
    behind, ahead = rng.uniform(side / 9, side / 5, 2)
    far = rng.uniform(side / 6, side / 4.5)
    lane = (fast.height + slow.height if x else fast.width + slow.width) / 2 + rng.uniform(ROOM, 3 * ROOM)
    lane *= rng.choice([-1, 1])
    fast = replace(fast, x=slow.x - behind * x + lane * abs(y), y=slow.y - behind * y + lane * abs(x))
    times, farther = _stretch(rng), behind + far + ahead
    return [
        Actor(fast, (fast.x + farther * x, fast.y + farther * y), times),
        Actor(slow, (slow.x + far * x, slow.y + far * y), times),
    ]


def _swept(actors: Iterable[Actor]) -> tuple[float, float, float, float]:
    """The box of all places where they ever are."""
    things = [t for a in actors for t in (a.at(0.0), a.at(1.0))]
    return (
        min(t.x - t.width / 2 for t in things),
        min(t.y - t.height / 2 for t in things),
        max(t.x + t.width / 2 for t in things),
        max(t.y + t.height / 2 for t in things),
    )


def _inside(box: tuple[float, float, float, float], window: Window) -> bool:
    left, top, right, bottom = _extent(window)
    return box[0] >= left + 1 and box[1] >= top + 1 and box[2] <= right - 1 and box[3] <= bottom - 1


def _clear(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    across = one[2] + ROOM < other[0] or other[2] + ROOM < one[0]
    return across or one[3] + ROOM < other[1] or other[3] + ROOM < one[1]
