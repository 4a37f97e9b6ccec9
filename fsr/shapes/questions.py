"""Questions in ordinary English about drawn scenes, their answers, and which objects each question is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fsr.shapes.scenes import COLORS, PATCH, SHAPES, SIDE, UNSEEN_PAIRS, Scene, Thing

TYPES = ("color", "shape", "exists", "count", "digit", "where", "relation", "list")
PLURALS = {s: ("crosses" if s == "cross" else s + "s") for s in SHAPES}
THIRDS = (("top left", "top", "top right"), ("left", "center", "right"), ("bottom left", "bottom", "bottom right"))
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
_THINGS, _THING_SHARE = ("object", "shape", "thing"), (0.45, 0.4, 0.15)
PLACE_MARGIN = 8.0  # pixels that an asked-about centre keeps from the borders between thirds


@dataclass(frozen=True)
class Question:
    """text and answer in lower case. about: indices of the objects it names. subject: the one object asked about."""

    type: str
    text: str
    answer: str
    about: tuple[int, ...]
    subject: int | None = None


@dataclass(frozen=True)
class Reference:
    """A way to name objects: by colour, by shape, by both, or by neither."""

    color: str | None
    shape: str | None

    def matches(self, thing: Thing) -> bool:
        return self.color in (None, thing.color) and self.shape in (None, thing.shape)

    def noun(self, rng: np.random.Generator) -> str:
        shape = self.shape or str(rng.choice(_THINGS, p=_THING_SHARE))
        return f"{self.color} {shape}" if self.color else shape

    def plural(self, rng: np.random.Generator) -> str:
        shape = (
            PLURALS[self.shape] if self.shape else str(rng.choice(["objects", "shapes", "things"], p=[0.45, 0.4, 0.15]))
        )
        return f"{self.color} {shape}" if self.color else shape


def article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def ask(scene: Scene, kind: str, rng: np.random.Generator, subject: int | None = None) -> Question | None:
    """One question of a type, about object `subject` if given; None where the scene allows no unambiguous one."""
    question = _MAKERS[kind](scene, rng, subject)
    return None if question is None else finished(question, rng)


def finished(question: Question, rng: np.random.Generator) -> Question:
    """The same in American or British spelling, with or without a question mark."""
    text = question.text.replace("color", "colour") if rng.random() < 0.3 else question.text
    text = text if rng.random() < 0.25 else text + "?"
    return Question(question.type, text, question.answer, question.about, question.subject)


def _pick(rng: np.random.Generator, templates: list[str]) -> str:
    """The first template is the plainest and comes most often."""
    weights = np.array([2.0] + [1.0] * (len(templates) - 1))
    return templates[rng.choice(len(templates), p=weights / weights.sum())]


_PICTURES = ("picture", "image", "scene")


def _fill(rng: np.random.Generator, templates: list[str], **words: str) -> str:
    return filled(rng, templates, _PICTURES, **words)


def filled(rng: np.random.Generator, templates: list[str], pictures: Sequence[str], **words: str) -> str:
    """One of the templates with its words put in; {picture} is one of `pictures`."""
    return _pick(rng, templates).format(picture=str(rng.choice(pictures)), **words)


def _unique(
    scene: Scene, rng: np.random.Generator, forms: list[str], subject: int | None
) -> tuple[int, Reference] | None:
    """An object and a reference of one of the forms ('both', 'color', 'shape', 'none') that fits it alone."""
    order = [subject] if subject is not None else list(rng.permutation(len(scene.things)))
    for i in order:
        thing = scene.things[i]
        for form in rng.permutation(forms):
            ref = Reference(
                thing.color if form in ("both", "color") else None, thing.shape if form in ("both", "shape") else None
            )
            if sum(ref.matches(t) for t in scene.things) == 1:
                return int(i), ref
    return None


def _color(scene: Scene, rng: np.random.Generator, subject: int | None) -> Question | None:
    found = _unique(scene, rng, ["shape", "none"], subject)
    if found is None:
        return None
    i, ref = found
    text = _fill(
        rng,
        [
            "what color is the {x}",
            "what is the color of the {x}",
            "which color is the {x}",
            "which color does the {x} have",
            "what color does the {x} have",
            "the {x} is which color",
            "tell me the color of the {x}",
            "what is the color of the {x} in the {picture}",
        ],
        x=ref.noun(rng),
    )
    return Question("color", text, scene.things[i].color, (i,), i)


def _shape(scene: Scene, rng: np.random.Generator, subject: int | None) -> Question | None:
    found = _unique(scene, rng, ["color", "none"], subject)
    if found is None:
        return None
    i, ref = found
    noun = ref.color + str(rng.choice([" object", " thing"], p=[0.8, 0.2])) if ref.color else "object"
    text = _fill(
        rng,
        [
            "what shape is the {x}",
            "which shape is the {x}",
            "what is the shape of the {x}",
            "what shape does the {x} have",
            "what is the {x}",
            "what kind of shape is the {x}",
            "tell me the shape of the {x}",
        ],
        x=noun,
    )
    return Question("shape", text, scene.things[i].shape, (i,), i)


def _exists(scene: Scene, rng: np.random.Generator, subject: int | None) -> Question | None:
    present = subject is not None or bool(rng.random() < 0.5)
    ref = _present(scene, rng, subject) if present else _absent(scene, rng)
    about = tuple(i for i, t in enumerate(scene.things) if ref.matches(t))
    one, many = ref.noun(rng), ref.plural(rng)
    negated = bool(rng.random() < 0.25)
    if negated:
        text = _fill(
            rng,
            ["is no {x} present", "is there no {x}", "is there no {x} in the {picture}", "are there no {xs}"],
            x=one,
            xs=many,
        )
    else:
        text = _fill(
            rng,
            [
                "is there {a_x}",
                "does the {picture} contain {a_x}",
                "is there {a_x} in the {picture}",
                "can you see {a_x}",
                "is {a_x} present",
                "do you see {a_x}",
                "are there any {xs}",
                "does the {picture} show {a_x}",
            ],
            a_x=article(one),
            xs=many,
        )
    answer = "yes" if present != negated else "no"
    return Question("exists", text, answer, about, about[0] if len(about) == 1 else None)


def _present(scene: Scene, rng: np.random.Generator, subject: int | None) -> Reference:
    i = subject if subject is not None else rng.integers(len(scene.things))
    thing, form = scene.things[i], rng.random()
    if form < 0.5:
        return Reference(thing.color, thing.shape)
    return Reference(None, thing.shape) if form < 0.8 else Reference(thing.color, None)


def _absent(scene: Scene, rng: np.random.Generator) -> Reference:
    """Often nearly right: the colour of one object with the shape of another."""
    while True:
        form = rng.random()
        color, shape = str(rng.choice(list(COLORS))), str(rng.choice(SHAPES))
        if form < 0.35:
            color = scene.things[rng.integers(len(scene.things))].color
            shape = scene.things[rng.integers(len(scene.things))].shape
        elif form < 0.5:
            color = scene.things[rng.integers(len(scene.things))].color
        elif form < 0.6:
            shape = scene.things[rng.integers(len(scene.things))].shape
        ref = Reference(color, shape)
        if form >= 0.6:
            ref = Reference(None, shape) if form < 0.85 else Reference(color, None)
        if (ref.color, ref.shape) not in UNSEEN_PAIRS and not any(ref.matches(t) for t in scene.things):
            return ref


def _count(scene: Scene, rng: np.random.Generator, subject: int | None) -> Question | None:
    form = rng.random()
    if form < 0.15 and subject is None:
        ref = Reference(None, None)
    elif form < 0.25 and subject is None:
        ref = _absent(scene, rng)
    else:
        ref = _present(scene, rng, subject)
        if form < 0.7 and subject is None:  # the commonest colour or shape, so that large counts are asked too
            if rng.random() < 0.6:
                ref = Reference(None, Counter(t.shape for t in scene.things).most_common(1)[0][0])
            else:
                ref = Reference(Counter(t.color for t in scene.things).most_common(1)[0][0], None)
    about = tuple(i for i, t in enumerate(scene.things) if ref.matches(t))
    text = _fill(
        rng,
        [
            "how many {xs} are there",
            "how many {xs} are in the {picture}",
            "how many {xs} can you see",
            "how many {xs} do you see",
            "count the {xs}",
            "what is the number of {xs}",
            "how many {xs}",
        ],
        xs=ref.plural(rng),
    )
    return Question("count", text, str(len(about)), about, about[0] if len(about) == 1 else None)


def _digit(scene: Scene, rng: np.random.Generator, subject: int | None) -> Question | None:
    order = [subject] if subject is not None else list(rng.permutation(len(scene.things)))
    for i in order:
        if scene.things[i].digit is None:
            continue
        found = _unique(scene, rng, ["both", "color", "shape"], int(i))
        if found is None:
            continue
        noun = str(rng.choice(["digit", "number"], p=[0.6, 0.4]))
        text = _fill(
            rng,
            [
                "what {n} is on the {x}",
                "which {n} is on the {x}",
                "what {n} is written on the {x}",
                "what is the {n} on the {x}",
                "what {n} does the {x} have",
                "read the {n} on the {x}",
            ],
            n=noun,
            x=found[1].noun(rng),
        )
        return Question("digit", text, str(scene.things[i].digit), (int(i),), int(i))
    return None


class Placed(Protocol):
    """Whatever has a place in the picture: its centre in pixels."""

    @property
    def x(self) -> float: ...

    @property
    def y(self) -> float: ...


class Things(Protocol):
    @property
    def things(self) -> Sequence[Placed]: ...


def place_of(thing: Placed) -> str:
    """Which ninth of the picture the centre lies in."""
    return THIRDS[min(int(thing.y * 3 / SIDE), 2)][min(int(thing.x * 3 / SIDE), 2)]


def third_of(thing: Placed) -> str | None:
    """Which ninth of the picture the centre lies in; None near a border."""
    for value in (thing.y, thing.x):
        if min(abs(value - SIDE / 3), abs(value - 2 * SIDE / 3)) < PLACE_MARGIN:
            return None
    return place_of(thing)


def _where(scene: Scene, rng: np.random.Generator, subject: int | None) -> Question | None:
    order = [subject] if subject is not None else list(rng.permutation(len(scene.things)))
    for i in order:
        place = third_of(scene.things[i])
        found = _unique(scene, rng, ["both", "both", "color", "shape"], int(i)) if place else None
        if place and found:
            text = _fill(
                rng,
                [
                    "where is the {x}",
                    "where in the {picture} is the {x}",
                    "in which part of the {picture} is the {x}",
                    "what is the position of the {x}",
                    "where can you see the {x}",
                ],
                x=found[1].noun(rng),
            )
            return Question("where", text, place, (int(i),), int(i))
    return None


def neighbour(scene: Things, i: int, direction: str) -> int | None:
    """The nearest object in the quadrant of a direction: its index, -1 for none, None where that is ambiguous.

    The quadrant is 45 degrees to each side. Objects near its borders, and a second one almost as near, are ambiguous.
    """
    dx, dy = DIRECTIONS[direction]
    at = scene.things[i]
    inside, border = [], []
    for j, other in enumerate(scene.things):
        if j == i:
            continue
        x, y = other.x - at.x, other.y - at.y
        forward, aside = x * dx + y * dy, abs(x * dy) + abs(y * dx)
        if forward <= 0 and aside * 0.8 > -forward and forward > -aside * 0.2 and aside < PATCH:
            return None
        distance = float(np.hypot(x, y))
        if forward > aside * 1.2:
            inside.append((distance, j))
        elif forward > aside * 0.8:
            border.append(distance)
    inside.sort()
    if not inside:
        return None if border else -1
    if (border and min(border) < inside[0][0] * 1.2) or (len(inside) > 1 and inside[1][0] < inside[0][0] * 1.2):
        return None
    return inside[0][1]


def _relation(scene: Scene, rng: np.random.Generator, subject: int | None) -> Question | None:
    order = [subject] if subject is not None else list(rng.permutation(len(scene.things)))
    for i in order:
        found = _unique(scene, rng, ["both", "both", "color", "shape"], int(i))
        if found is None:
            continue
        for direction in rng.permutation(list(DIRECTIONS)):
            j = neighbour(scene, int(i), str(direction))
            if j is None or (j == -1 and len(scene.things) > 1 and rng.random() < 0.8):
                continue
            phrases = {"left": ["left of", "to the left of"], "right": ["right of", "to the right of"]}
            phrases |= {"above": ["above"], "below": ["below", "under"]}
            phrase = str(rng.choice(phrases[str(direction)]))
            text = _fill(
                rng,
                [
                    "what is {d} the {x}",
                    "which object is {d} the {x}",
                    "what object is {d} the {x}",
                    "what do you see {d} the {x}",
                ],
                d=phrase,
                x=found[1].noun(rng),
            )
            answer = "nothing" if j == -1 else " ".join(scene.things[j].pair)
            return Question("relation", text, answer, (int(i),) if j == -1 else (int(i), j), int(i))
    return None


def _list(scene: Scene, rng: np.random.Generator, subject: int | None) -> Question | None:
    order = sorted(range(len(scene.things)), key=lambda i: scene.things[i].x)
    text = _fill(
        rng,
        [
            "what objects are there",
            "what objects are in the {picture}",
            "what is in the {picture}",
            "what do you see",
            "list the objects",
            "describe the {picture}",
            "which objects can you see",
            "what shapes are there",
        ],
    )
    answer = ", ".join(" ".join(scene.things[i].pair) for i in order)
    return Question("list", text, answer, tuple(order), order[0] if len(order) == 1 else None)


_MAKERS = {
    "color": _color,
    "shape": _shape,
    "exists": _exists,
    "count": _count,
    "digit": _digit,
    "where": _where,
    "relation": _relation,
    "list": _list,
}


def correct(question: Question, answer: str) -> bool:
    """Whether an answer is right: word for word, but a list may name its objects in any order."""
    answer = " ".join(answer.lower().replace(".", " ").split())
    if question.type != "list":
        return answer == question.answer
    return Counter(p.strip() for p in answer.split(",")) == Counter(question.answer.split(", "))
