"""HoloV against all of its formulas, variance term included, in plain Python."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from fsr.pruners import make
from fsr.tokens import VisualTokens
from tests import references
from tests.looping import each
from tests.methods import random_tokens


def cut(n: int, parts: int) -> list[list[int]]:
    """The sequence in `parts` chunks; the first n mod parts have one token more."""
    chunks, at = [], 0
    for p in range(parts):
        size = n // parts + (p < n % parts)
        chunks.append(list(range(at, at + size)))
        at += size
    return chunks


def scores(chunk: list[int], attention: list[float], cosines: list[list[float]], alpha: float) -> list[float]:
    """1000 a_i + alpha v_i of one chunk. One token alone: v is its attention, as its mean is in every other chunk."""
    n, scaled = len(chunk), [1000 * attention[i] for i in chunk]
    if n == 1:
        return [(1 + alpha) * scaled[0]]
    variance = []
    for i in chunk:
        row = [0.0 if i == j else cosines[i][j] for j in chunk]
        mu = math.fsum(row) / (n - 1)
        variance.append(math.fsum((s - mu) ** 2 for s in row) / (n - 1))
    factor = (math.fsum(scaled) / n) / (math.fsum(variance) / n + 1e-6)
    return [a + alpha * v * factor for a, v in zip(scaled, variance, strict=True)]


def shared_out(means: list[float], room: list[int], budget: int, margin: references.Margin) -> list[int]:
    counts = [0] * len(means)
    while sum(counts) < budget:
        left = budget - sum(counts)
        free = [p for p in range(len(means)) if counts[p] < room[p]]
        total = math.fsum(means[p] for p in free) + 1e-6
        given = {}
        for p in free:
            exact = means[p] / total * left
            if len(free) > 1:
                margin.between(exact, round(exact))
            given[p] = math.floor(exact)
        remainder = left - sum(given.values())
        ranked = sorted(free, key=lambda p: (-means[p], p))
        if 0 < remainder < len(ranked):
            margin.between(means[ranked[remainder - 1]] / total, means[ranked[remainder]] / total)
        for p in ranked[:remainder]:
            given[p] += 1
        for p in free:
            counts[p] = min(room[p], counts[p] + given[p])
    return counts


def cosines_of(tokens: VisualTokens) -> list[list[float]]:
    vectors = tokens.embeddings.double().tolist()
    return [[references.cosine(a, b) for b in vectors] for a in vectors]


def selected(
    tokens: VisualTokens,
    cosines: list[list[float]],
    budget: int,
    alpha: float,
    parts: int | None,
    diverse: bool,
    margin: references.Margin,
) -> tuple[list[int], list[int], list[list[int]]]:
    """The tokens kept, how many of each chunk, and the chunks."""
    n, attention = len(tokens), tokens.saliency.tolist()
    chunks = cut(n, min(n, max(1, int(1024 / 576 * n / budget)) if parts is None else parts))
    value = [scores(chunk, attention, cosines, alpha) for chunk in chunks]
    means = [math.fsum(v) / len(v) for v in value]
    counts = shared_out(means, [len(c) for c in chunks], budget, margin)
    kept = []
    for chunk, score, count in zip(chunks, value, counts, strict=True):
        by = score if diverse else [attention[i] for i in chunk]
        order = references.by_value(by)
        if diverse and 0 < count < len(order):
            margin.between(by[order[count - 1]], by[order[count]])
        kept += [chunk[i] for i in order[:count]]
    return sorted(kept), counts, chunks


@each("diverse", [False, True], ids=["as released", "as the paper means it"])
def test_it_selects_as_the_formulas_do(diverse: bool) -> None:
    compared = full = 0
    for seed in range(200):
        draw = random.Random(seed)
        tokens = random_tokens(seed, draw.randint(1, 5), draw.randint(1, 9), 6)
        n = len(tokens)
        if seed % 3 == 0:  # nearly all attention on a few tokens in a row
            at = draw.randrange(n)
            tokens = replace(tokens, saliency=tokens.saliency * 0.01 + (torch.arange(n) // 4 == at // 4).float())
        alpha, parts = draw.choice([0.0, 0.09, 1.0, 10.0]), draw.choice([None, None, 1, 4, 16])
        cosines = cosines_of(tokens)
        for budget in {1, draw.randint(1, n), n}:
            margin = references.Margin()
            kept, counts, chunks = selected(tokens, cosines, budget, alpha, parts, diverse, margin)
            if margin.gap < 1e-4:
                continue
            compared += 1
            full += any(count == len(chunk) for count, chunk in zip(counts, chunks, strict=True)) and budget < n
            s = make("holov", alpha=alpha, chunks=parts, diverse=diverse)(tokens, budget)
            assert s.kept.tolist() == kept
            assert s.facts["n_chunks"] == len(chunks)
            shares = {round(float(s.scores["share"][c[0]]) * budget) for c in chunks}
            assert shares == set(counts)
    assert compared > 400
    assert full > 50


@each(("budget", "chunks"), [(64, 16), (128, 8), (192, 5), (576, 1), (1, 576), (1024 // 3, 3)])
def test_the_number_of_chunks_follows_the_budget(budget: int, chunks: int) -> None:
    assert make("holov")(random_tokens(0, 24, 24, 2), budget).facts["n_chunks"] == chunks
    assert make("holov", chunks=16)(random_tokens(0, 24, 24, 2), budget).facts["n_chunks"] == 16


@each("budget", [1, 7, 16, 29])
def test_the_variance_has_no_effect_as_released(budget: int) -> None:
    tokens = random_tokens(4)
    kept = [make("holov", alpha=alpha)(tokens, budget).kept.tolist() for alpha in (0, 0.09, 1, 10)]
    assert kept == [kept[0]] * 4
    without = replace(tokens, embeddings=torch.randn(30, 12, generator=torch.Generator().manual_seed(9)))
    assert make("holov")(without, budget).kept.tolist() == kept[0]


def test_the_variance_decides_as_the_paper_means_it() -> None:
    tokens = random_tokens(4)
    kept = {tuple(make("holov", alpha=alpha, diverse=True)(tokens, 9).kept.tolist()) for alpha in (0, 1, 10)}
    assert len(kept) > 1
    assert tuple(make("holov")(tokens, 9).kept.tolist()) in kept, "without the variance both are the same"


def test_a_chunk_that_is_full_hands_on_its_surplus() -> None:
    saliency = torch.full((36,), 0.001)
    saliency[:9] = 1.0
    saliency[20] = 0.01
    tokens = replace(random_tokens(0, 6, 6), saliency=saliency)
    s = make("holov", chunks=4)(tokens, 20)
    kept = s.kept.tolist()
    assert kept[:9] == list(range(9)), "the first chunk is kept whole"
    assert len(kept) == 20, "the release keeps 9 to 12 and pads with zeros"
    # of the 11 left a quarter, a half and a quarter: 2, 5 and 2, and the two that remain to the third and the second
    assert [sum(c * 9 <= i < c * 9 + 9 for i in kept) for c in range(4)] == [9, 3, 6, 2]
    assert 20 in kept
    assert s.facts == {"n_chunks": 4, "n_full": 1}


def test_equal_attention_gives_every_chunk_its_first_tokens() -> None:
    tokens = replace(random_tokens(0), saliency=torch.full((30,), 0.3))
    # P = floor(16 / 9 * 30 / 7) = 7 chunks of 5, 5, 4, 4, 4, 4, 4
    for parameters in ({}, {"diverse": True, "alpha": 0.0}):
        assert make("holov", **parameters)(tokens, 7).kept.tolist() == [0, 5, 10, 14, 18, 22, 26]
    assert make("holov", chunks=4)(tokens, 2).kept.tolist() == [0, 8]


def test_equal_tokens_tie_with_the_variance() -> None:
    some = random_tokens(0)
    zero = torch.zeros(30, dtype=torch.int64)
    tokens = replace(some, embeddings=some.embeddings[zero], saliency=torch.full((30,), 0.3))
    s = make("holov", diverse=True, chunks=3)(tokens, 6)
    assert s.kept.tolist() == [0, 1, 10, 11, 20, 21]
    assert len(s.scores["score"].unique()) == 1


def test_no_attention_anywhere_is_shared_out_in_turn() -> None:
    tokens = replace(random_tokens(0), saliency=torch.zeros(30))
    assert make("holov", chunks=3)(tokens, 7).kept.tolist() == [0, 1, 2, 10, 11, 20, 21]


@each(
    ("parameters", "sentence"),
    [
        ({"chunks": 0}, r"chunks must be a whole number at least 1 and at most 1024 \(or None\)"),
        ({"chunks": 2.0}, "chunks must be a whole number"),
        ({"alpha": -1}, "alpha must be a number at least 0"),
        ({"diverse": 1}, "diverse must be one of False, True"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make("holov", **parameters)
