"""Focus-Scan-Refine as a whole: against the equations in loops, and what its parameters do."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from fsr.pruners import make
from fsr.tokens import Layout, Role, VisualTokens
from tests import plan_reader, references
from tests.looping import each
from tests.methods import METHODS, no_evidence, random_tokens, same
from tests.references import Margin

FSR = [m[1:] for m in METHODS if m[1] == "fsr"]


def fsr_reference(tokens: VisualTokens, p: dict[str, Any], budget: int) -> tuple[dict[str, Any], Margin]:
    """The whole method in loops, in the words of the paper."""
    margin = Margin()
    saliency = references.min_max(tokens.saliency.tolist())
    relevance = references.min_max([p["relevance_sign"] * r for r in tokens.relevance.tolist()])
    phi = references.priority(saliency, relevance, p["alpha"], p["beta"])
    k_focus = references.focus_count(phi, p["rho"], margin)
    focus = references.by_value(phi)[: min(k_focus, math.ceil(p["focus_cap"] * budget))]
    space = tokens.embeddings if p["similarity"] == "projected" else tokens.features
    cosines = [[references.cosine(a, b) for b in space.tolist()] for a in space.tolist()]
    scanned = references.scan(cosines, focus, budget - len(focus), margin)
    vectors = tokens.embeddings.double().tolist()
    refined = references.refine(vectors, cosines, phi, focus + scanned, scanned, p["kappa"], margin)
    return {"focus": focus, "scan": scanned, "refined": refined, "k_focus": k_focus, "vectors": vectors}, margin


def test_fsr_equals_the_reference_with_random_parameters() -> None:
    compared = 0
    for seed in range(300):
        generator = torch.Generator().manual_seed(seed)
        u = torch.rand(8, generator=generator).tolist()
        tokens = random_tokens(seed, 1 + int(4 * u[0]), 5, 6)
        parameters = {
            "alpha": 4 * u[1],
            "beta": 2 * u[2],
            "rho": 0.05 + 0.95 * u[3],
            "kappa": 3 * u[4],
            "focus_cap": 0.25 if u[5] < 0.3 else 0.5 if u[5] < 0.6 else 1.0,
            "relevance_sign": -1 if u[6] < 0.5 else 1,
            "similarity": "encoder" if u[7] < 0.3 else "projected",
        }
        budget = int(torch.randint(1, len(tokens) + 1, (1,), generator=generator))
        expected, margin = fsr_reference(tokens, parameters, budget)
        if margin.gap < references.CLEAR:
            continue
        compared += 1
        s = make("fsr", **parameters)(tokens, budget)
        refined = expected["refined"]
        assert sorted(expected["focus"]) == (s.roles == Role.FOCUS).nonzero()[:, 0].tolist()
        assert sorted(expected["scan"]) == (s.roles == Role.SCAN).nonzero()[:, 0].tolist()
        assert refined.merged == (s.roles == Role.MERGED).nonzero()[:, 0].tolist()
        assert refined.anchor == {i: a for i, a in enumerate(s.anchor.tolist()) if a >= 0}
        assert {i: float(s.weight[i]) for i in refined.weight} == pytest.approx(refined.weight, abs=1e-4)
        assert s.facts["k_focus"] == expected["k_focus"]
        assert s.facts["n_merged"] == len(refined.merged)
        assert s.facts["n_anchors"] == len({refined.anchor[i] for i in refined.merged})
        for row, i in zip(s.embeddings, s.kept.tolist(), strict=True):
            assert row.tolist() == pytest.approx(refined.vectors.get(i, expected["vectors"][i]), abs=1e-4)
    assert compared > 240


@pytest.mark.slow
@each("seed", range(40))
def test_the_page_can_refine_from_the_plan_alone(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = random_tokens(seed, 3 + seed % 5, 7)
    kind = torch.randint(len(tokens) // (1 + seed % 3), (len(tokens),), generator=generator)
    tokens = replace(tokens, embeddings=tokens.embeddings[kind])  # some of them repeated
    if seed % 4 == 0:  # all nearly equal: cosines differ in the sixth decimal
        tokens = replace(tokens, embeddings=tokens.embeddings[:1] + 0.003 * tokens.embeddings)
    pruner = make("fsr", rho=0.1 + 0.02 * seed, kappa=(0.5, 1.0, 2.0)[seed % 3])
    plan = json.loads(json.dumps(pruner.plan(tokens).to_json()))
    assert plan["kind"] == "nested"
    for budget in range(1, len(tokens) + 1):
        s = pruner(replace(tokens), budget)
        roles, anchor, weight = plan_reader.read(plan, budget)
        assert roles == s.roles.tolist()
        assert anchor == s.anchor.tolist()
        assert weight == pytest.approx(s.weight.tolist(), abs=1e-5)


def test_an_anchor_that_comes_later_takes_over_where_it_ties_with_a_lower_index() -> None:
    """Token 3 is orthogonal to tokens 1 and 0, which are scanned in this order."""
    tokens = VisualTokens(
        embeddings=torch.tensor([[1.0, -1, 2, 0], [0, 0, 0, 1], [1, 0, 0, 0], [1, 1, 0, 0]]),
        layout=Layout.of_grid(1, 4),
        saliency=torch.tensor([0.0, 0, 1, 0]),
        relevance=torch.zeros(4),
    )
    plan = make("fsr").plan(tokens).to_json()
    assert plan["scan_rank"] == [1, 0, -1, 2]
    for budget, anchor in ((2, 1), (3, 0)):
        assert make("fsr")(tokens, budget).anchor[3] == anchor
        assert plan_reader.read(plan, budget)[1][3] == anchor


@pytest.mark.slow
@each(("name", "parameters"), [*FSR, ("random", {}), ("saliency", {}), ("relevance", {})])
def test_budgets_nest_where_the_plan_says_so(name: str, parameters: dict[str, Any]) -> None:
    for seed in range(10):
        tokens, pruner = random_tokens(seed), make(name, **parameters)
        kept = [set(pruner(tokens, k).kept.tolist()) for k in range(1, 31)]
        if pruner.plan(tokens).to_json()["kind"] != "table":
            assert all(a < b for a, b in pairwise(kept))


@pytest.mark.slow
def test_with_a_cap_budgets_nest_once_focus_is_whole() -> None:
    capped, free = make("fsr", focus_cap=0.5, rho=0.5), make("fsr", focus_cap=1.0, rho=0.5)
    below = 0
    for seed in range(20):
        tokens = random_tokens(seed)
        for budget in range(1, 31):
            a, b = capped(tokens, budget), free(tokens, budget)
            if budget >= 2 * a.facts["k_focus"]:
                assert same(a, b)
            else:
                below += not same(a, b)
                assert a.facts["n_focus"] == min(a.facts["k_focus"], -(-budget // 2))
    assert below > 50


def test_focus_is_left_alone_by_refine_and_takes_no_part_in_merging() -> None:
    for seed in range(20):
        tokens = random_tokens(seed)
        s = make("fsr", rho=0.4, kappa=5.0)(tokens, 12)
        focus = s.roles[s.kept] == Role.FOCUS
        assert 0 < focus.sum() < 12
        assert torch.equal(s.embeddings[focus], tokens.embeddings[s.kept[focus]])
        assert not torch.equal(s.embeddings[~focus], tokens.embeddings[s.kept[~focus]])


def test_where_focus_takes_the_budget_nothing_is_scanned() -> None:
    s = make("fsr", rho=1.0)(random_tokens(0), 5)
    assert s.facts["n_focus"] == 5
    assert s.facts["k_scan"] == 0
    assert "covering_radius" not in s.facts
    assert (s.roles[s.kept] == Role.FOCUS).all()
    assert (s.anchor == -1).all()


def test_without_relevance_priority_is_saliency_and_focus_takes_half() -> None:
    tokens = random_tokens(0)
    blind = replace(tokens, relevance=None)
    for budget in range(1, 31):
        s = make("fsr")(blind, budget)
        assert same(s, make("fsr", alpha=0.0)(tokens, budget))
        assert same(s, make("fsr", focus_cap=0.5)(blind, budget))
        assert s.facts["n_focus"] == min(s.facts["k_focus"], -(-budget // 2))
    assert "relevance" not in s.scores
    assert torch.equal(s.scores["priority"], s.scores["saliency"])
    assert make("fsr", focus_cap=1.0)(blind, 8).facts["n_focus"] == 8


def test_without_priority_focus_is_the_most_salient_token() -> None:
    s = make("fsr")(no_evidence(), 4)
    assert (s.roles == Role.FOCUS).nonzero()[:, 0].tolist() == [11]
    assert s.facts["k_focus"] == 1


def test_relevance_is_used_with_the_sign_of_the_model_unless_told_otherwise() -> None:
    tokens = random_tokens(0)
    flipped = replace(tokens, relevance_sign=-1)
    for name in ("fsr", "relevance"):
        plus, minus = make(name)(tokens, 6), make(name)(flipped, 6)
        assert not same(plus, minus)
        assert same(minus, make(name, relevance_sign=-1)(tokens, 6))
        assert same(plus, make(name, relevance_sign=1)(flipped, 6))
        assert torch.allclose(plus.scores["relevance"], 1 - minus.scores["relevance"], atol=1e-6)


def test_a_larger_plan_is_a_table_of_some_budgets() -> None:
    tokens = random_tokens(0, 30, 40)
    plan = make("fsr", focus_cap=0.5).plan(tokens)
    read = plan.to_json()
    assert 40 <= len(read["budgets"]) <= 48
    assert read["budgets"] == sorted(set(read["budgets"]))
    assert read["budgets"][-1] == 1200
    for budget in read["budgets"][::6]:
        assert plan_reader.read(read, budget)[0] == make("fsr", focus_cap=0.5)(tokens, budget).roles.tolist()
    assert torch.equal(plan.roles(777) >= Role.KEPT, make("fsr", focus_cap=0.5)(tokens, 777).roles >= Role.KEPT)
