"""How objects of a picture are named, and which of them a name fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fsr.shapes.questions import article
from fsr.shapes.scenes import COLORS, SHAPES, UNSEEN_PAIRS
from fsr.world.names import DISPUTED, ICONS, KIND_WORDS, MANY_ALREADY, OBJECTS, plural
from fsr.world.picture import Item, Picture

KINDS = ("shape", *ICONS)


@dataclass(frozen=True)
class Noun:
    """one, many: its singular and plural. fits: the objects that it names."""

    one: str
    many: str
    fits: tuple[int, ...]

    @property
    def with_article(self) -> str:
        last = self.one.split()[-1]
        return self.one if last in MANY_ALREADY else article(self.one)


def _fitting(picture: Picture, color: str | None, name: str | None) -> tuple[int, ...]:
    return tuple(
        i
        for i, t in enumerate(picture.things)
        if (name is None or t.name == name) and (color is None or t.color == color)
    )


def named(picture: Picture, name: str, color: str | None = None) -> Noun:
    """By name, and colour if given: "star", "red star", "dog"."""
    before = f"{color} " if color else ""
    return Noun(before + name, before + plural(name), _fitting(picture, color, name))


def of_kind(picture: Picture, kind: str) -> Noun | None:
    """ "animal", "shape"; None where people would differ about what counts."""
    if any(t.kind in DISPUTED.get(kind, ()) for t in picture.things):
        return None
    one, many = KIND_WORDS.get(kind, (kind, plural(kind)))
    return Noun(one, many, tuple(i for i, t in enumerate(picture.things) if t.kind == kind))


def anything(picture: Picture, rng: np.random.Generator) -> Noun:
    one = "object" if rng.random() < 0.75 else "thing"
    return Noun(one, one + "s", tuple(range(len(picture.things))))


def colored(picture: Picture, color: str, rng: np.random.Generator) -> Noun:
    """ "red shape"; "red object" only where every object has one colour."""
    one = "shape"
    if all(t.kind == "shape" for t in picture.things) and rng.random() < 0.5:
        one = "object" if rng.random() < 0.7 else "thing"
    fits = tuple(i for i, t in enumerate(picture.things) if t.kind == "shape" and t.color == color)
    return Noun(f"{color} {one}", f"{color} {one}s", fits)


def nouns_of(picture: Picture, i: int, rng: np.random.Generator) -> list[Noun]:
    """Names of an object, in random order: those that fit others too."""
    item = picture.things[i]
    found: list[Noun | None] = [named(picture, item.name)]
    if item.kind == "shape":
        assert item.color is not None
        found += [named(picture, item.name, item.color), named(picture, item.name, item.color)]
        found += [colored(picture, item.color, rng)]
    elif rng.random() < 0.35:
        found.append(of_kind(picture, item.kind))
    order = rng.permutation(len(found))
    return [noun for k in order if (noun := found[k]) is not None]


def only(picture: Picture, i: int, rng: np.random.Generator, forms: str = "any") -> Noun | None:
    """A name that fits object i alone. forms: "any", or "name": not by its colour, or "color": not by its name."""
    item = picture.things[i]
    if forms == "name":
        found = [named(picture, item.name)]
        kind = of_kind(picture, item.kind)
        found += [kind] if kind is not None and rng.random() < 0.3 else []
        found = [found[k] for k in rng.permutation(len(found))]
    elif forms == "color":
        found = [colored(picture, item.color, rng)] if item.kind == "shape" and item.color else []
        found += [anything(picture, rng)] if len(picture.things) == 1 else []
    else:
        found = nouns_of(picture, i, rng)
    return next((noun for noun in found if noun.fits == (i,)), None)


def some(picture: Picture, rng: np.random.Generator) -> Noun:
    """A name that fits at least one object."""
    return nouns_of(picture, int(rng.integers(len(picture.things))), rng)[0]


def absent(picture: Picture, rng: np.random.Generator) -> Noun:
    """A name that fits no object; often nearly one that does. Never a pair that training does not show."""
    while True:
        noun = _guess(picture, rng)
        if noun is not None and not noun.fits:
            return noun


def _guess(picture: Picture, rng: np.random.Generator) -> Noun | None:
    form = rng.random()
    shapes = [t for t in picture.things if t.kind == "shape"]
    if form < 0.3 and shapes:
        color = str(shapes[rng.integers(len(shapes))].color)
        name = shapes[rng.integers(len(shapes))].name
        if rng.random() < 0.4:
            name = str(rng.choice(SHAPES))
        elif rng.random() < 0.4:
            color = str(rng.choice(list(COLORS)))
        return None if (color, name) in UNSEEN_PAIRS else named(picture, name, color)
    if form < 0.4:
        return colored(picture, str(rng.choice(list(COLORS))), rng)
    if form < 0.55:
        return of_kind(picture, str(rng.choice(KINDS)))
    if form < 0.72:
        return named(picture, str(rng.choice(SHAPES)))
    near = [t for t in picture.things if t.kind != "shape"]
    if near and rng.random() < 0.6:  # another of the same kind
        return named(picture, str(rng.choice(list(ICONS[near[rng.integers(len(near))].kind]))))
    return named(picture, str(rng.choice(OBJECTS)))


def listed(items: list[Item]) -> str:
    """An answer that names them from left to right."""
    return ", ".join(t.called for t in sorted(items, key=lambda t: t.x)) or "nothing"
