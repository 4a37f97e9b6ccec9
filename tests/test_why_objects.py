"""On scenes whose answer lies on one object: the tokens that an answer rests on most are that object's."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from PIL import Image

import fsr.vlm
from fsr.pruners import make
from fsr.shapes.questions import ask, correct
from fsr.shapes.scenes import coverage, draw, generator, random_scene
from fsr.vlm.answers import greedy_answer
from fsr.why import influence

KINDS = ("color", "shape", "digit", "where")
SCENES = 120


@pytest.fixture(scope="module")
def shapes_vlm():
    return fsr.vlm.load("shapes")


@pytest.mark.slow
@pytest.mark.parametrize(("budget", "first", "three"), [(16, 0.5, 0.9), (64, 0.75, 0.9)])
def test_the_most_influential_tokens_lie_on_the_object_of_the_answer(shapes_vlm, budget, first, three, record_property):
    """Of the correct answers of validation scenes. At 64 tokens the most influential one lay on the object in
    73 of 89 cases, one of the three most influential in 81, where a lot would draw 24 % and 50 %; at 16 tokens, half of
    which are the object's own, in 55 and 81 of 88, by lot 53 % and 85 %. Most answers are so sure that no single token
    moves them by more than a thousandth of a nat."""
    top, among, lot = [], [], []
    for i in range(SCENES):
        rng = generator("validation", 7, i)
        scene = random_scene(rng, 3 + i % 4)
        question = ask(scene, KINDS[i % len(KINDS)], rng)
        if question is None:
            continue
        media = shapes_vlm.encode_media([Image.fromarray(draw(scene))])
        encoding = shapes_vlm.encode(media, question.text)
        selection = make("fsr")(encoding.tokens, budget)
        ids = greedy_answer(shapes_vlm, encoding, 16, selection=selection)
        if not correct(question, shapes_vlm.text(ids)):
            continue
        *_, found = influence(shapes_vlm, encoding, selection, ids)
        covered = coverage(scene)[question.subject].reshape(-1)
        on = [bool(np.any(covered[[one.token, *one.absorbed]] > 0)) for one in found.ranked]
        own = int((covered[selection.kept.numpy()] > 0).sum())
        top.append(on[0])
        among.append(any(on[:3]))
        lot.append(1 - comb(budget - own, 3) / comb(budget, 3))
    record_property(
        "measured",
        f"on the object at {budget} tokens: the most influential {sum(top)} of {len(top)}, one of three {sum(among)}; "
        f"three drawn by lot {100 * np.mean(lot):.0f} %",
    )
    assert len(top) >= 20
    assert np.mean(top) >= first, f"{sum(top)} of {len(top)}"
    assert np.mean(among) >= three, f"{sum(among)} of {len(among)}"
