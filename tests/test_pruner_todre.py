"""ToDRE against its equations in plain Python: every sum taken anew in every step."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

import torch

from fsr.pruners import make
from fsr.pruners.forced import Forced
from fsr.pruners.whatif import with_forced
from fsr.tokens import Grid
from tests import references
from tests.looping import each
from tests.methods import random_tokens, repeated_tokens, two_frames


def added(cosines, kept, count, margin, closed=()) -> list[int]:
    kept = list(kept)
    while len(kept) < count:
        best, least, second = -1, math.inf, math.inf
        for i in range(len(cosines)):
            if i in kept or i in closed:
                continue
            total = math.fsum(cosines[i][j] for j in kept)
            if total < least:
                best, least, second = i, total, least
            else:
                second = min(second, total)
        margin.between(least, second)
        kept.append(best)
    return kept


def cosines_of(tokens):
    vectors = tokens.embeddings.double().tolist()
    return [[references.cosine(a, b) for b in vectors] for a in vectors]


def test_it_selects_as_the_equations_do() -> None:
    compared = 0
    for seed in range(250):
        draw = random.Random(seed)
        tokens = random_tokens(seed, draw.randint(1, 5), draw.randint(1, 6), draw.randint(2, 8))
        if seed % 3 == 0:
            tokens = replace(tokens, embeddings=tokens.embeddings.half())
        n, margin = len(tokens), references.Margin()
        pivot = references.by_value(tokens.saliency.tolist())[0]
        budget = draw.randint(1, n)
        expected = added(cosines_of(tokens), [pivot], budget, margin)
        if margin.gap < references.CLEAR:
            continue
        compared += 1
        assert make("todre")(tokens, budget).kept.tolist() == sorted(expected)
    assert compared > 150


@each("seed", range(30))
def test_around_what_is_forced(seed: int) -> None:
    tokens, draw, margin = random_tokens(seed), random.Random(seed), references.Margin()
    some = draw.sample(range(30), 8)
    inside, outside = tuple(some[: seed % 4]), tuple(some[4:])
    first = inside or (next(i for i in references.by_value(tokens.saliency.tolist()) if i not in outside),)
    expected = added(cosines_of(tokens), first, 12, margin, outside)
    if margin.gap > references.CLEAR:
        assert with_forced(make("todre"), Forced(inside, outside))(tokens, 12).kept.tolist() == sorted(expected)


def test_the_pivot_is_of_the_whole_picture_where_there_are_tiles() -> None:
    tokens = two_frames()
    saliency = torch.linspace(0, 1, 30)
    tokens = replace(tokens, saliency=saliency)
    assert make("todre")(tokens, 1).kept.tolist() == [29]
    whole, tiles = (Grid(4, 3, 3, 4, (0.0, 0.0, 4.0, 3.0), part) for part in ("base", "tiles"))
    tokens = replace(tokens, layout=replace(tokens.layout, grids=(whole, tiles)))
    assert make("todre")(tokens, 1).kept.tolist() == [14]


def test_budgets_nest_and_equal_tokens_go_by_index() -> None:
    for tokens in (random_tokens(4), repeated_tokens()):
        kept = [set(make("todre")(tokens, k).kept.tolist()) for k in range(1, len(tokens) + 1)]
        assert all(a < b for a, b in pairwise(kept))
    x = torch.tensor([[1.0, 0], [-1, 0], [1, 0], [-1, 0]])
    tokens = replace(random_tokens(0, 1, 4, 2), embeddings=x, saliency=torch.tensor([0.1, 0.2, 0.9, 0.3]))
    assert make("todre").plan(tokens).to_json()["rank"] == [2, 1, 0, 3]
