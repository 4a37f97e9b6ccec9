"""MMTok against its formulas in plain Python: every coverage taken anew for every candidate of every pick."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.pruners.forced import Forced
from fsr.pruners.whatif import with_forced
from tests import references
from tests.looping import each
from tests.methods import random_tokens, repeated_tokens, two_frames


def softmaxed(rows, tau):
    exps = [[math.exp(x / tau) for x in row] for row in rows]
    return [[x / math.fsum(row) for x in row] for row in exps]


def similar(tokens, alpha=0.5, tau_text=0.02, tau_picture=0.2):
    """P over T and alpha Q over N, one under the other."""
    asked, read, seen = (x.double().tolist() for x in (tokens.question, tokens.embeddings, tokens.features))
    p = softmaxed([[references.cosine(a, b) for b in read] for a in asked], tau_text)
    q = softmaxed([[references.cosine(a, b) for b in seen] for a in seen], tau_picture)
    return [[x / len(p) for x in row] for row in p] + [[alpha * x / len(q) for x in row] for row in q]


def coverage(rows, kept):
    return math.fsum(max((row[j] for j in kept), default=0.0) for row in rows)


def picked(rows, kept, count, margin, closed=()):
    kept = list(kept)
    while len(kept) < count:
        free = [j for j in range(len(rows[0])) if j not in kept and j not in closed]
        values = {j: coverage(rows, [*kept, j]) for j in free}
        first, *others = sorted(free, key=lambda j: (-values[j], j))
        if others:
            margin.between(values[first], values[others[0]])
        kept.append(first)
    return kept


def test_it_selects_as_the_formulas_do() -> None:
    compared = 0
    for seed in range(120):
        draw, margin = random.Random(seed), references.Margin()
        tokens = random_tokens(seed, draw.randint(1, 4), draw.randint(1, 5), draw.randint(2, 8))
        if seed % 3 == 0:
            tokens = replace(tokens, embeddings=tokens.embeddings.half(), features=tokens.features.half())
        values = {
            "alpha": draw.choice([0.0, 0.5, 3.0]),
            "tau_text": draw.choice([0.02, 0.5]),
            "tau_picture": draw.choice([0.1, 0.2]),
        }
        rows, budget = similar(tokens, **values), draw.randint(1, len(tokens))
        expected = picked(rows, [], budget, margin)
        if margin.gap < references.CLEAR:
            continue
        compared += 1
        found = make("mmtok", **values)(tokens, budget)
        assert found.kept.tolist() == sorted(expected)
        part = rows[: len(tokens.question)]
        most = coverage(part, range(len(tokens)))
        assert found.facts["question_covered"] == pytest.approx(coverage(part, expected) / most, abs=1e-4)
    assert compared > 50


@each("seed", range(12))
def test_around_what_is_forced(seed: int) -> None:
    tokens, draw, margin = random_tokens(seed), random.Random(seed), references.Margin()
    some = draw.sample(range(30), 8)
    inside, outside = tuple(some[: seed % 4]), tuple(some[4:])
    expected = picked(similar(tokens), inside, 9, margin, outside)
    if margin.gap > references.CLEAR / 10:
        assert with_forced(make("mmtok"), Forced(inside, outside))(tokens, 9).kept.tolist() == sorted(expected)


def test_a_token_is_told_with_what_it_adds_when_it_is_picked() -> None:
    tokens, pruner = random_tokens(5), make("mmtok")
    rows, order = similar(tokens), pruner.plan(tokens).rank.argsort().tolist()
    why, asked = pruner.why(tokens, pruner.plan(tokens))["every"], len(tokens.question)
    whole = coverage(rows, order)
    for place, token in enumerate(order):
        gains = [
            coverage(part, order[: place + 1]) - coverage(part, order[:place]) for part in (rows[:asked], rows[asked:])
        ]
        assert why["score"][token] == pytest.approx(sum(gains) / whole, rel=0.02, abs=1e-4)
        if sum(gains) > 1e-3:
            assert why["relevance"][token] == pytest.approx(gains[0] / sum(gains), rel=0.02, abs=1e-3)


def test_budgets_nest_and_the_question_decides() -> None:
    for tokens in (random_tokens(4), repeated_tokens(), two_frames()):
        kept = [set(make("mmtok")(tokens, k).kept.tolist()) for k in range(1, len(tokens) + 1)]
        assert all(a < b for a, b in pairwise(kept))
    tokens = random_tokens(6)
    for wanted in (3, 17):
        asked = replace(tokens, question=tokens.embeddings[wanted : wanted + 1] * 7)
        assert make("mmtok")(asked, 1).kept.tolist() == [wanted]


def test_it_needs_the_question_in_the_language_models_space() -> None:
    tokens = random_tokens(0)
    with pytest.raises(InvalidInput, match="MMTok needs question"):
        make("mmtok")(replace(tokens, question=None), 3)
    for wrong in (torch.randn(4, 11), torch.randn(0, 12), torch.randn(12), torch.ones(4, 12, dtype=torch.int64)):
        with pytest.raises(InvalidInput, match=r"question must be \(T, 12\) in floating point"):
            replace(tokens, question=wrong)
    with pytest.raises(InvalidInput, match="question holds NaN"):
        replace(tokens, question=torch.full((1, 12), torch.nan))
