"""CDPruner against Gram-Schmidt in loops and against determinants; ranks that are used up; many tokens."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from fsr.pruners import make
from fsr.tokens import Layout, VisualTokens
from tests.looping import each
from tests.methods import random_tokens, repeated_tokens, same

NOTHING_NEW = 2**-13  # a squared length outside the span of the picks that counts as rounding
UNSURE = 1e-5  # errors of float32 in such a length


def quality(tokens: VisualTokens, sign: int) -> list[float]:
    if tokens.relevance is None:
        return [1.0] * len(tokens)
    q = [sign * x for x in tokens.relevance.double().tolist()]
    low, high = min(q), max(q)
    return [1.0 if low == high else (x - low + 1e-6) / (high - low) for x in q]


def units(x: Tensor) -> list[list[float]]:
    rows = x.double().tolist()
    return [[v / math.sqrt(math.fsum(w * w for w in row)) for v in row] for row in rows]


def reference(tokens: VisualTokens, sign: int, budget: int) -> tuple[list[int], int, bool]:
    """Picks, how many of them are filled by relevance, and whether float32 can tell every best from its second.

    What is left of every unit vector is kept, and what points along a pick is taken away: no kernel, no Cholesky.
    """
    r, rest, picks = quality(tokens, sign), units(tokens.embeddings), list[int]()
    kinds, length, clear = tokens.embeddings.tolist(), [1.0] * len(r), True
    left = list(range(len(r)))
    while len(picks) < budget:
        new = [i for i in left if length[i] > NOTHING_NEW]
        if not new:
            break
        best = max(new, key=lambda i: (r[i] ** 2 * length[i], -i))
        for i in left:
            gain, most = r[i] ** 2 * (length[i] + UNSURE), r[best] ** 2 * (length[best] - UNSURE)
            told_apart = (kinds[i], r[i]) != (kinds[best], r[best]) and (picks or tokens.relevance is not None)
            unsure = gain >= most and told_apart and length[i] > NOTHING_NEW / 2
            clear = clear and (i == best or not unsure) and abs(length[i] - NOTHING_NEW) > NOTHING_NEW / 2
        picks.append(best)
        left.remove(best)
        along = [x / math.sqrt(length[best]) for x in rest[best]]
        for i in left:
            part = math.fsum(x * y for x, y in zip(rest[i], along, strict=True))
            rest[i] = [x - part * y for x, y in zip(rest[i], along, strict=True)]
            length[i] = math.fsum(x * x for x in rest[i])
    filled = budget - len(picks)
    return picks + sorted(left, key=lambda i: (-r[i], i))[:filled], filled, clear


def case(seed: int) -> tuple[VisualTokens, int, int]:
    """Tokens of any rank, some of them repeated, some in half precision, some without relevance; sign and budget."""
    generator = torch.Generator().manual_seed(seed)
    cols, width, sign, kind = (int(torch.randint(1, 25, (1,), generator=generator)) for _ in range(4))
    tokens = random_tokens(seed, 1, cols, 2 + width // 2)
    x = tokens.embeddings
    if kind % 4 == 0:
        x = x[:, :3] @ torch.randn(3, x.shape[1], generator=generator) if x.shape[1] > 3 else x
    if kind % 4 == 1:
        x = x[torch.randint(cols, (cols,), generator=generator)]
    if kind % 4 == 2:
        x = x.half()
    tokens = replace(tokens, embeddings=x, relevance=None if kind % 5 == 0 else tokens.relevance)
    return tokens, 1 if sign % 2 else -1, int(torch.randint(1, cols + 1, (1,), generator=generator))


def test_picks_equal_the_reference() -> None:
    compared = filled_somewhere = 0
    for seed in range(400):
        tokens, sign, budget = case(seed)
        expected, filled, clear = reference(tokens, sign, budget)
        if not clear:
            continue
        s = make("cdpruner", relevance_sign=sign)(tokens, budget)
        assert s.kept.tolist() == sorted(expected)
        assert s.facts["n_filled"] == filled
        assert s.facts["relevance_used"] == (tokens.relevance is not None)
        assert torch.equal(s.embeddings, tokens.embeddings[s.kept])
        compared += 1
        filled_somewhere += filled > 0
    assert compared > 250
    assert filled_somewhere > 50


@each("seed", range(20))
def test_every_pick_makes_the_determinant_as_large_as_one_token_can(seed: int) -> None:
    tokens = random_tokens(seed, 1, 9, 10)
    x, r = torch.tensor(units(tokens.embeddings)), torch.tensor(quality(tokens, 1))
    kernel = r[:, None] * (x @ x.T) * r

    def volume(chosen: list[int]) -> float:
        return float(torch.linalg.slogdet(kernel.double()[chosen][:, chosen]).logabsdet)

    rank = make("cdpruner").plan(tokens).to_json()["rank"]
    order = sorted(range(9), key=rank.__getitem__)
    for t in range(8):  # the least relevant token is the last
        largest = max(volume([*order[:t], i]) for i in range(9) if i not in order[:t])
        assert volume(order[: t + 1]) == pytest.approx(largest, abs=1e-3)


def shortfalls(tokens: VisualTokens, order: list[int]) -> tuple[Tensor, Tensor]:
    """In float64, of every pick: how far its gain is below the best, over r^2; and its squared length outside."""
    x = torch.nn.functional.normalize(tokens.embeddings.double(), dim=1)
    r = torch.tensor(quality(tokens, 1)).double()
    length, factor = torch.ones(len(x)).double(), torch.zeros(len(order), len(x)).double()
    short, own = torch.zeros(2, len(order)).double()
    for t, j in enumerate(order):
        gain = (r**2 * length).index_fill(0, torch.tensor(order[:t], dtype=torch.int64), 0)
        short[t], own[t] = (gain.max() - gain[j]) / r[j] ** 2, length[j]
        factor[t] = (x @ x[j] - factor[:t].T @ factor[:t, j]) / length[j].sqrt()
        length = length - factor[t] ** 2
    return short, own


@each(("n", "width", "count"), [(300, 400, 300), (900, 500, 200), (1200, 1300, 400)])
def test_many_picks_stay_exact(n: int, width: int, count: int) -> None:
    tokens = random_tokens(1, 1, n, width)
    rank = make("cdpruner").plan(tokens).to_json()["rank"]
    order = sorted(range(n), key=rank.__getitem__)[:count]
    short, own = shortfalls(tokens, order)
    assert short[:-1].max() < 2e-5
    assert own.min() > NOTHING_NEW


def test_few_rows_are_computed_and_a_budget_is_the_beginning_of_a_larger_one() -> None:
    tokens = random_tokens(2, 1, 1400, 200)  # beyond what is shared among methods
    rank = make("cdpruner").plan(tokens).rank
    for budget in (1, 64, 65, 130, 199):
        s = make("cdpruner")(tokens, budget)
        assert torch.equal(s.kept, (rank < budget).nonzero()[:, 0])
        assert s.facts["rows_computed"] <= 2 * budget + 64


def test_the_rank_is_used_up_once_and_relevance_fills_the_rest() -> None:
    for width in (1, 5, 16):
        generator = torch.Generator().manual_seed(width)
        tokens = random_tokens(3, 10, 20, 64)
        low_rank = tokens.embeddings[:, :width] @ torch.randn(width, 64, generator=generator)
        tokens = replace(tokens, embeddings=low_rank)
        kept = [make("cdpruner")(tokens, k) for k in (width, 60, 200)]
        assert [s.facts["n_filled"] for s in kept] == [0, 60 - width, 200 - width]
        filled = set(kept[1].kept.tolist()) - set(kept[0].kept.tolist())
        left = [i for i in tokens.relevance.argsort(descending=True).tolist() if i not in kept[0].kept]
        assert filled == set(left[: 60 - width])


def test_of_equal_tokens_the_first_is_kept() -> None:
    for n in (5, 8, 31, 100):
        some = random_tokens(n, 1, n, 128)
        twice = torch.arange(n).repeat(2)
        tokens = VisualTokens(some.embeddings[twice], Layout.of_grid(2, n), relevance=some.relevance[twice])
        for change in ({}, {"relevance": None}):
            assert make("cdpruner")(replace(tokens, **change), n).kept.tolist() == list(range(n))


def test_one_token_is_the_most_relevant_one() -> None:
    for seed in range(20):
        tokens = random_tokens(seed)
        assert make("cdpruner")(tokens, 1).kept.tolist() == [int(tokens.relevance.argmax())]
        assert make("cdpruner", relevance_sign=-1)(tokens, 1).kept.tolist() == [int(tokens.relevance.argmin())]


def test_without_relevance_it_is_a_plain_point_process_and_says_so() -> None:
    tokens = replace(random_tokens(0), relevance=None)
    s = make("cdpruner")(tokens, 8)
    assert s.facts["relevance_used"] == 0
    assert s.scores == {}
    assert same(s, make("cdpruner")(replace(tokens, relevance=torch.full((30,), 0.3)), 8))
    assert 0 in s.kept


def test_relevance_is_used_with_the_sign_of_the_model_unless_told_otherwise() -> None:
    tokens = random_tokens(0)
    flipped = replace(tokens, relevance_sign=-1)
    plus, minus = make("cdpruner")(tokens, 6), make("cdpruner")(flipped, 6)
    assert not same(plus, minus)
    assert same(minus, make("cdpruner", relevance_sign=-1)(tokens, 6))
    assert torch.allclose(plus.scores["relevance"], 1 - minus.scores["relevance"], atol=1e-6)


def test_budgets_nest() -> None:
    for tokens in (random_tokens(4), repeated_tokens()):
        kept = [set(make("cdpruner")(tokens, k).kept.tolist()) for k in range(1, 31)]
        assert all(a < b for a, b in pairwise(kept))
