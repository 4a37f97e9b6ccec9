"""VisPruner against the algorithm written again in plain Python: lists, loops and float64."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.similarity import STEPS
from fsr.tokens import Role
from tests import plan_reader, references
from tests.looping import each
from tests.methods import random_tokens


def duplicates_removed(
    cosines: list[list[float]], order: list[int], count: int, margin: references.Margin
) -> tuple[list[int], dict[int, float]]:
    """The tokens left, and for each removed one the cosine to its nearest counterpart."""
    left, removed = list(order), {}
    if count == 0:
        return [], {}
    while len(left) > count:
        even = [token for place, token in enumerate(left) if place % 2 == 0]
        odd = [token for place, token in enumerate(left) if place % 2 == 1]
        nearest = {a: max(cosines[a][b] for b in odd) for a in even}
        ranked = sorted(even, key=lambda a: (-nearest[a], a))
        for a, b in pairwise(ranked):
            if nearest[a] != nearest[b]:
                margin.between(nearest[a], nearest[b])
        r = min(8, len(even), len(left) - count)
        removed |= {a: nearest[a] for a in ranked[:r]}
        left = ranked[r:] + odd
    return left, removed


def selected(cosines, saliency, budget, rho, margin) -> tuple[list[int], list[int], dict[int, float]]:
    order = references.by_value(saliency)
    n_important = int(rho * budget)
    left, removed = duplicates_removed(cosines, order[n_important:], budget - n_important, margin)
    return order[:n_important], left, removed


@pytest.mark.slow
@each("kinds", [0, 5], ids=["no ties", "few kinds of token"])
def test_it_selects_as_the_formulas_do(kinds: int) -> None:
    compared = 0
    for seed in range(200):
        draw = random.Random(seed)
        tokens = random_tokens(seed, draw.randint(1, 6), draw.randint(1, 9), 6)
        n = len(tokens)
        kind = torch.tensor([draw.randrange(min(n, kinds)) if kinds else i for i in range(n)])
        tokens = replace(tokens, features=tokens.features[kind], embeddings=tokens.embeddings[kind])
        similarity, rho = draw.choice(["encoder", "projected"]), draw.choice([0, 0.25, 0.5, 0.75, 1])
        vectors = (tokens.features if similarity == "encoder" else tokens.embeddings).double().tolist()
        # one cosine for each pair of distinct tokens: so that equal tokens tie here as they do in the library
        first = [vectors.index(v) for v in vectors]
        cosines = [[1.0 if a == b else references.cosine(vectors[a], vectors[b]) for b in first] for a in first]
        for budget in {1, draw.randint(1, n), draw.randint(1, n), n}:
            margin = references.Margin()
            important, diverse, removed = selected(cosines, tokens.saliency.tolist(), budget, rho, margin)
            if margin.gap < references.CLEAR:
                continue
            compared += 1
            s = make("vispruner", rho=rho, similarity=similarity)(tokens, budget)
            assert s.kept.tolist() == sorted(important + diverse)
            assert s.facts == {"n_important": len(important), "n_diverse": len(diverse)}
            assert s.scores["important"].nonzero()[:, 0].tolist() == sorted(important)
            expected = [removed.get(i, 0.0) for i in range(n)]
            assert s.scores["redundancy"].tolist() == pytest.approx(expected, abs=1e-5)
    assert compared > 350


def test_looking_up_neighbours_finds_what_looking_at_all_finds() -> None:
    tokens = random_tokens(11, 17, 18, 5)
    n = len(tokens)
    cosines = tokens.gram("encoder").rows(range(n)).tolist()
    for budget in (1, 40, 151):
        important, diverse, removed = selected(cosines, tokens.saliency.tolist(), budget, 0.5, references.Margin())
        s = make("vispruner")(tokens, budget)
        assert s.kept.tolist() == sorted(important + diverse)
        assert [s.scores["redundancy"][i] * STEPS for i in removed] == list(removed.values())


def test_an_example_by_hand() -> None:
    """Eight tokens at angles; the list of others is 1..7, of odd length: the release fails there."""
    angle = torch.tensor([0.0, 10, 11, 40, 90, 92, 150, 155]).deg2rad()
    features = torch.stack([angle.cos(), angle.sin()], dim=1)
    saliency = torch.linspace(1, 0.1, 8)
    tokens = replace(random_tokens(0, 2, 4), features=features, saliency=saliency)
    # K = 3: token 0 is important. Round: 1, 3, 5, 7 against 2, 4, 6; nearest 1, 29, 2, 5 degrees away; |even| = 4
    # go, 2, 4, 6 stay. Round: 2, 6 against 4; 79 and 60 degrees away: one too many, 6 goes.
    s = make("vispruner")(tokens, 3)
    assert s.kept.tolist() == [0, 2, 4]
    assert s.scores["redundancy"][6] == pytest.approx(0.5, abs=1e-6)
    assert s.scores["redundancy"][3] == pytest.approx(0.87462, abs=1e-5)


def test_equal_tokens_are_removed_by_index() -> None:
    one = random_tokens(0, 1, 6)
    tokens = replace(one, features=one.features[torch.zeros(6, dtype=torch.int64)], saliency=torch.ones(6))
    # 0, 2, 4 go; then 1 and 5 of 1, 3, 5
    assert make("vispruner")(tokens, 1).kept.tolist() == [3]
    # of 0, 2, 4 the lowest two go
    assert make("vispruner", rho=0)(tokens, 4).kept.tolist() == [1, 3, 4, 5]


@each(("rho", "budget", "expected"), [(0.5, 5, 2), (0.75, 64, 48), (0.29, 100, 29), (1, 7, 7)])
def test_the_share_of_important_tokens_is_rounded_down(rho: float, budget: int, expected: int) -> None:
    assert make("vispruner", rho=rho)(random_tokens(0, 10, 12), budget).facts["n_important"] == expected


def test_all_similarities_are_computed_once_for_all_budgets() -> None:
    tokens = random_tokens(0)
    make("vispruner")(tokens, 3)
    gram = tokens.gram("encoder")
    make("vispruner", rho=0.2)(tokens, 9)
    make("vispruner").plan(tokens).to_json()
    assert tokens.gram("encoder") is gram
    assert gram.computed == len(tokens)


def test_a_table_of_many_tokens_holds_some_budgets() -> None:
    tokens, pruner = random_tokens(3, 20, 20, 4), make("vispruner")
    plan = pruner.plan(tokens)
    record = json.loads(json.dumps(plan.to_json()))
    assert record["packing"] == "bit"
    assert 30 < len(record["budgets"]) < 60
    for budget in (1, 11, 44, 89, 133, 400):
        assert budget in record["budgets"]
        assert plan_reader.read(record, budget)[0] == pruner(tokens, budget).roles.tolist()
    assert 300 not in record["budgets"]
    assert torch.equal(plan.roles(300), pruner(tokens, 300).roles)
    shown = plan_reader.read(record, 300)[0]
    assert shown.count(Role.KEPT) == max(b for b in record["budgets"] if b <= 300)


def test_it_says_that_the_encoders_features_are_missing() -> None:
    with pytest.raises(InvalidInput, match="VisPruner needs features"):
        make("vispruner")(replace(random_tokens(0), features=None), 3)
