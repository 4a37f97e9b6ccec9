"""Measure every method at every budget, with both shares of it, on test clips that training cannot reach.

Clips have 8 frames of 144 visual tokens. The newline that the class puts behind them is no visual token: no method
sees it and no budget counts it, so that "full" is 1152.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from fsr import pruners, vlm
from fsr.bench.accuracy import Key, Measured, majority, mean, nested, report, run
from fsr.pruners import Pruner
from fsr.pruners.frames import SHARES, PerGroup, with_share
from fsr.shapes.clip_questions import CLIP_TYPES, ask_clip, correct_clip
from fsr.shapes.clips import FRAMES, WAYS, Clip, draw_clip, moments, random_clip, random_events
from fsr.shapes.questions import Question
from fsr.shapes.scenes import UNSEEN_PAIRS, generator

T = TypeVar("T")
SECONDS = 4.0  # a clip lasts
APART = ":per_group"  # behind the name of a method that shares its budget equally among frames
ANSWERS = {"happens": ("yes", "no"), "direction": tuple(WAYS), "count": ("0", "1", "2", "3")}  # each as often
ABOUT_ONE = ("color", "shape", "direction", "turns")


@dataclass(frozen=True)
class ClipCase:
    clip: Clip
    question: Question
    small: bool | None = None

    def encode(self, model: vlm.VLM, needs: frozenset[str]) -> vlm.Encoding:
        frames = [Image.fromarray(frame) for frame in draw_clip(self.clip, FRAMES)]
        times = [SECONDS * t for t in moments(FRAMES)]
        return model.encode(model.encode_media(frames, times, needs), self.question.text, needs)

    def right(self, answer: str) -> bool:
        return correct_clip(self.question, answer)


def clip_cases(stream: str, seed: int, count: int, unseen: bool = False) -> Iterator[ClipCase]:
    """`count` cases: types in turn; yes and no, the four ways and the counts from 0 to 3 in turn; 2 to 4 objects.

    unseen: every clip holds a colour-shape pair that training never shows, and the question is about it alone.
    """
    for i in range(count):
        rng = generator(stream, 200 + seed, i, int(unseen))
        kinds = ABOUT_ONE if unseen else CLIP_TYPES
        kind = kinds[i % len(kinds)]
        answers = ANSWERS.get(kind)
        yield _case(rng, kind, answers[i // len(kinds) % len(answers)] if answers else None, unseen)


def _case(rng: np.random.Generator, kind: str, answer: str | None, unseen: bool) -> ClipCase:
    while True:
        count = int(rng.integers(2, 5))
        events, overtaking = random_events(rng, count)
        clip = random_clip(rng, count, events, overtaking=overtaking, unseen=unseen)
        question = ask_clip(clip, kind, rng, answer)
        if question is not None and not (unseen and not _about_unseen(clip, question)):
            return ClipCase(clip, question)


def _about_unseen(clip: Clip, question: Question) -> bool:
    return question.subject is not None and clip.actors[question.subject].thing.pair in UNSEEN_PAIRS


def in_both_shares(methods: Sequence[str]) -> dict[str, Pruner]:
    """The methods under their names, and again with `APART` behind it where frames can have equal shares."""
    made = {name: pruners.make(name) for name in methods}
    apart = {
        name + APART: with_share(pruner, "per_group")
        for name, pruner in made.items()
        if name != "full" and pruner.stage == "before" and not pruner.across_frames
    }
    return made | {name: pruner for name, pruner in apart.items() if isinstance(pruner, PerGroup)}


def of_share(measured: Measured, share: str) -> Measured:
    """What was measured with one share; full and blind belong to both."""

    def kept(values: dict[Key, T]) -> dict[Key, T]:
        return {
            (name.removesuffix(APART), budget): value
            for (name, budget), value in values.items()
            if name.endswith(APART) == (share == "per_group") or name in ("full", "blind", "majority")
        }

    return Measured(
        right=kept(measured.right),
        k_focus=measured.k_focus if share == "global" else [],
        own_count=measured.own_count if share == "global" else {},
        unended=kept(measured.unended),
        encode_ms=measured.encode_ms,
        select_ms=kept(measured.select_ms),
        answer_ms=kept(measured.answer_ms),
    )


def evaluate_clips(
    model: vlm.VLM,
    questions: int,
    seed: int,
    methods: list[str],
    budgets: list[int],
    stream: str,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The same shape as for pictures, of the share `global`, and both shares under `by_share`."""
    todo = list(clip_cases(stream, seed, questions))
    measured = run(model, todo, in_both_shares(methods), budgets, say)
    measured.right["majority", 0] = majority(todo, clip_cases("train", 0, 1200))
    shares = {share: of_share(measured, share) for share in SHARES}
    out = report(todo, shares["global"], budgets, CLIP_TYPES)
    out["cost"] = shares["global"].cost()
    out["by_share"] = {}
    for share, of in shares.items():
        one = report(todo, of, budgets, CLIP_TYPES)
        one["cost"] = of.cost()
        out["by_share"][share] = {k: v for k, v in one.items() if k not in ("questions", "small_subjects")}
    apart = list(clip_cases(stream, seed, max(questions // 5, len(ABOUT_ONE)), unseen=True))
    unseen = run(model, apart, [m for m in methods if m in ("full", "fsr")] or methods[:1], budgets, say)
    accuracy = nested({k: mean(v) for k, v in unseen.right.items()})
    out["unseen_pairs"] = {"questions": len(apart), "types": list(ABOUT_ONE), "accuracy": accuracy}
    return out
