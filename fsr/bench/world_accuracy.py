"""The embedded model on pictures that others drew: five balanced test sets that nothing is trained or tuned on.

own: the renderers, artists and wordings of training. renderer: one that training never uses. artist: icons of a set
that training never shows, and questions about them. wordings: questions worded as in no training question, and typed
as people type. pairs: a colour and a shape that training never shows together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from fsr import vlm
from fsr.bench.accuracy import majority, report, run
from fsr.shapes.questions import Question
from fsr.shapes.scenes import generator
from fsr.world import icons, renderers
from fsr.world.asking import TYPES, ask, correct
from fsr.world.drawing import draw
from fsr.world.picture import Picture
from fsr.world.sampling import World, random_picture
from fsr.world.spelling import disguised

OF_SHAPES = ("color", "name", "exists", "negation", "count", "where", "relation", "size")
OF_ICONS = tuple(t for t in TYPES if t not in ("color", "digit", "unknown"))  # an artist's icon may have no one colour


@dataclass(frozen=True)
class TestSet:
    """types: of its questions, in turn. held_out: wordings. typed: as people type. pairs: about an unseen pair."""

    __test__ = False  # no class of pytest's

    world: World
    types: tuple[str, ...]
    held_out: bool = False
    typed: bool = False
    pairs: bool = False


SETS = {
    "own": TestSet(World(), TYPES),
    "renderer": TestSet(World(renderers=(renderers.HELD_OUT,)), TYPES),
    "artist": TestSet(World(artists=(icons.HELD_OUT,), icons=1.0), OF_ICONS),
    "wordings": TestSet(World(), TYPES, held_out=True, typed=True),
    "pairs": TestSet(World(unseen="one", icons=0.3), OF_SHAPES, pairs=True),
}
PLACE = {name: i for i, name in enumerate(SETS)}  # part of the data's seed: append, never reorder


@dataclass(frozen=True)
class WorldCase:
    """typed: the question as somebody typed it."""

    drawn: Picture
    question: Question
    typed: str

    @cached_property
    def picture(self) -> Image.Image:
        return Image.fromarray(draw(self.drawn))

    @property
    def small(self) -> bool | None:
        subject = self.question.subject
        return None if subject is None else self.drawn.things[subject].small

    def encode(self, model: vlm.VLM, needs: frozenset[str]) -> vlm.Encoding:
        return model.encode(model.encode_media([self.picture], needs=needs), self.typed, needs)

    def right(self, answer: str) -> bool:
        return correct(self.question, answer)


def world_cases(name: str, stream: str, seed: int, count: int) -> Iterator[WorldCase]:
    """`count` cases of a set: types in turn, objects uniform from 1 to 8, yes and no in turn."""
    of = SETS[name]
    for i in range(count):
        # 9: apart from every seed of `fsr.bench.accuracy`
        rng = generator(stream, 9, PLACE[name], seed, i)
        yield _case(rng, of, of.types[i % len(of.types)], i // len(of.types))


def _case(rng: np.random.Generator, of: TestSet, kind: str, turn: int) -> WorldCase:
    objects = int(rng.integers(1, 9))
    while True:
        drawn = random_picture(rng, objects, of.world)
        question = ask(drawn, kind, rng, of.held_out, 0 if of.pairs else None)
        if question is not None and question.answer != ("no", "yes")[turn % 2]:
            typed = disguised(question.text, rng) if of.typed else question.text
            return WorldCase(drawn, question, typed)
        if rng.random() < 0.02:  # so many objects may allow no such question
            objects = int(rng.integers(1, 9))


def evaluate_world(
    model: vlm.VLM,
    names: Sequence[str],
    questions: int,
    seed: int,
    methods: list[str],
    budgets: list[int],
    stream: str,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Under "sets" for each name what `fsr.bench.accuracy.report` makes of it, its types in the order of `TYPES`."""
    known, found = list(world_cases("own", "train", 0, 400)), {}
    for name in names:
        say(f"{name}:")
        todo = list(world_cases(name, stream, seed, questions))
        measured = run(model, todo, methods, budgets, say)
        measured.right["majority", 0] = majority(todo, known)
        found[name] = report(todo, measured, budgets, SETS[name].types) | {"cost": measured.cost()}
    return {"questions": questions, "sets": found}
