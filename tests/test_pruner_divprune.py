"""DivPrune against loops over distances, and where tokens are repeated or many."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from fsr.pruners import make
from tests import references
from tests.looping import each
from tests.methods import random_tokens, repeated_tokens, same
from tests.references import Margin


def most_isolated(cosines: list[list[float]], margin: Margin) -> int:
    """The token whose nearest other token is farthest away."""
    n = len(cosines)
    if n == 1:
        return 0
    apart = [min(1 - cosines[i][j] for j in range(n) if j != i) for i in range(n)]
    order = references.by_value(apart)
    if n > 2:  # two tokens are as far from each other as the other way round
        margin.between(apart[order[0]], apart[order[1]])
    return order[0]


def test_picks_equal_the_reference() -> None:
    compared = 0
    for seed in range(300):
        generator = torch.Generator().manual_seed(seed)
        n, width, kind = (int(torch.randint(1, 20, (1,), generator=generator)) for _ in range(3))
        tokens = random_tokens(seed, 1, n, 1 + width)
        if kind % 3 == 0:
            low_rank = tokens.embeddings[:, :2] @ torch.randn(2, 8, generator=generator)
            tokens = replace(tokens, embeddings=low_rank, question=None)
        if kind % 3 == 1:
            tokens = replace(tokens, embeddings=tokens.embeddings.half())
        budget = int(torch.randint(1, n + 1, (1,), generator=generator))
        rows, margin = tokens.embeddings.double().tolist(), Margin()
        cosines = [[references.cosine(a, b) for b in rows] for a in rows]
        first = most_isolated(cosines, margin)
        expected = [first, *references.scan(cosines, [first], budget - 1, margin)]
        if margin.gap < references.CLEAR:
            continue
        s = make("divprune")(tokens, budget)
        assert s.kept.tolist() == sorted(expected)
        assert s.facts["covering_radius"] == pytest.approx(references.radius(cosines, expected), abs=2e-3)
        assert torch.equal(s.embeddings, tokens.embeddings[s.kept])
        compared += 1
    assert compared > 120


@each("n", [255, 256, 257, 600, 1100])
def test_the_first_pick_among_many(n: int) -> None:
    for seed in range(3):
        tokens = random_tokens(seed, 1, n, 24)
        unit = torch.nn.functional.normalize(tokens.embeddings.double(), dim=1)
        nearest = (unit @ unit.T).fill_diagonal_(-1).amax(dim=1)
        assert make("divprune")(tokens, 1).kept.tolist() == [int(nearest.argmin())]


def test_repeated_tokens_come_last_and_never_twice() -> None:
    tokens = repeated_tokens()
    kinds = len(tokens.embeddings.unique(dim=0))
    for budget in range(1, 31):
        s = make("divprune")(tokens, budget)
        assert len(s.kept.unique()) == budget
        assert len(s.embeddings.unique(dim=0)) == min(budget, kinds)
        assert (s.facts["covering_radius"] == 0) == (budget >= kinds)


def test_a_lone_token_is_the_first_and_ties_go_to_the_lower_index() -> None:
    x = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    tokens = replace(random_tokens(0, 1, 5, 3), embeddings=x)
    assert make("divprune").plan(tokens).to_json()["rank"] == [1, 3, 0, 2, 4]


def test_neither_saliency_nor_the_question_matter() -> None:
    tokens = random_tokens(0)
    blind = replace(tokens, saliency=None, relevance=None, features=None)
    assert same(make("divprune")(tokens, 9), make("divprune")(blind, 9))


def test_budgets_nest() -> None:
    for tokens in (random_tokens(4), random_tokens(5, 1, 29), repeated_tokens()):
        kept = [set(make("divprune")(tokens, k).kept.tolist()) for k in range(1, len(tokens) + 1)]
        assert all(a < b for a, b in pairwise(kept))
