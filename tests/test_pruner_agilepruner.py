"""AgilePruner against its equations in plain Python, and against a singular value decomposition."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from fsr.pruners import make
from fsr.pruners.agilepruner import effective_rank
from fsr.pruners.forced import Forced
from fsr.pruners.whatif import with_forced
from tests import references
from tests.looping import each
from tests.methods import equal_tokens, random_tokens, repeated_tokens


def rank_by_svd(features: torch.Tensor) -> float:
    centred = features.double() - features.double().mean(dim=0)
    values = torch.linalg.svdvals(centred).tolist()
    shares = [v / math.fsum(values) for v in values]
    return math.exp(-math.fsum(q * math.log(q) for q in shares if q > 0))


def thinned(vectors, saliency, erank, average, most, margin) -> tuple[list[int], dict[int, int]]:
    """Tokens in the order in which they are kept, and who removed whom."""
    order = references.by_value(saliency)
    removed: dict[int, int] = {}
    taken = []
    for i in order:
        if i in removed:
            continue
        taken.append(i)
        tau = min((order.index(i) + 1) * (erank / average) * 0.01, most)
        for j in order:
            if j in taken or j in removed:
                continue
            distance = 1 - (1.0 if vectors[i] == vectors[j] else references.cosine(vectors[i], vectors[j]))
            if vectors[i] != vectors[j]:
                margin.between(distance, tau)
            if distance < tau:
                removed[j] = i
    return taken + [i for i in order if i in removed], removed


@pytest.mark.slow
@each("kinds", [0, 5], ids=["no ties", "few kinds of token"])
def test_it_selects_as_the_equations_do(kinds: int) -> None:
    compared = some_removed = 0
    for seed in range(200):
        draw = random.Random(seed)
        tokens = random_tokens(seed, draw.randint(1, 6), draw.randint(1, 9), draw.randint(2, 8))
        n = len(tokens)
        kind = torch.tensor([draw.randrange(min(n, kinds)) if kinds else i for i in range(n)])
        tokens = replace(tokens, embeddings=tokens.embeddings[kind])
        average, most = draw.choice([0.05, 0.5, 3.0, 90.0]), draw.choice([0.0, 0.25, 0.9])
        pruner, margin = make("agilepruner", erank_avg=average, tau_max=most), references.Margin()
        erank = rank_by_svd(tokens.embeddings) if len(tokens.embeddings.unique(dim=0)) > 1 else 1.0
        expected, removed = thinned(
            tokens.embeddings.double().tolist(), tokens.saliency.tolist(), erank, average, most, margin
        )
        if margin.gap < references.CLEAR:
            continue
        compared += 1
        some_removed += bool(removed)
        assert pruner.plan(tokens).rank.argsort().tolist() == expected
        for budget in {1, draw.randint(1, n), n}:
            s = pruner(tokens, budget)
            assert s.kept.tolist() == sorted(expected[:budget])
            assert s.facts == {"erank": pytest.approx(erank, rel=1e-4), "n_removed": len(removed)}
        why = pruner.why(tokens, pruner.plan(tokens))["every"]
        assert why["of"] == [removed.get(i, -1) for i in range(n)]
    assert compared > 120
    assert some_removed > 60


def test_the_effective_rank_is_that_of_the_singular_values() -> None:
    for seed, (n, d) in enumerate([(30, 12), (12, 30), (1, 5), (200, 3)]):
        features = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
        expected = 1.0 if n == 1 else rank_by_svd(features)
        assert float(effective_rank(features)) == pytest.approx(expected, rel=1e-4)
    assert float(effective_rank(torch.ones(9, 4))) == 1.0
    line = torch.linspace(-1, 1, 20)[:, None] * torch.ones(1, 6)
    assert float(effective_rank(line)) == pytest.approx(1, abs=1e-4)


def test_a_richer_picture_is_spread_further_and_a_plain_one_kept_by_saliency() -> None:
    tokens = random_tokens(5, 8, 8, 6)
    removed = [make("agilepruner", erank_avg=a)(tokens, 9).facts["n_removed"] for a in (1e6, 30.0, 3.0, 0.3)]
    assert removed[0] == 0
    assert all(a <= b for a, b in pairwise(removed))
    assert removed[-1] > 0
    assert make("agilepruner", tau_max=0.0)(tokens, 9).kept.tolist() == make("saliency")(tokens, 9).kept.tolist()


def test_copies_wait_until_every_kind_is_kept() -> None:
    tokens = repeated_tokens()
    kinds = len(tokens.embeddings.unique(dim=0))
    kept = make("agilepruner")(tokens, kinds)
    assert len(kept.embeddings.unique(dim=0)) == kinds
    assert make("agilepruner")(equal_tokens(), 3).facts["n_removed"] == 29


def test_forced_tokens_come_first_and_the_order_goes_on() -> None:
    tokens = random_tokens(4)
    order = make("agilepruner", erank_avg=1.0).plan(tokens).rank.argsort().tolist()
    found = with_forced(make("agilepruner", erank_avg=1.0), Forced((order[-1], order[-2]), (order[0],)))(tokens, 7)
    assert found.kept.tolist() == sorted([order[-1], order[-2], *order[1:6]])
