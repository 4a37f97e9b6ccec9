"""Every method on every set of tokens: one table of methods and one of tokens (tests/methods.py) drive all of it."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from fsr.pruners import REGISTRY, describe, make
from fsr.pruners.plan import pack, table_budgets, unpack
from fsr.tokens import InvalidInput, Layout, Role, Selection, VisualTokens
from tests import plan_reader, references
from tests.methods import METHODS, TOKENS, in_dtype, no_evidence, random_tokens, two_frames
from tests.references import Margin

each_method = pytest.mark.parametrize(("name", "parameters"), [m[1:] for m in METHODS], ids=[m[0] for m in METHODS])
each_tokens = pytest.mark.parametrize("tokens", [make_() for make_ in TOKENS.values()], ids=list(TOKENS))
FSR = [m[1:] for m in METHODS if m[1] == "fsr"]


def same(a: Selection, b: Selection) -> bool:
    return all(
        torch.equal(torch.nan_to_num(getattr(a, f)), torch.nan_to_num(getattr(b, f)))
        for f in ("kept", "roles", "embeddings", "anchor", "similarity", "weight")
    )


@each_method
@each_tokens
def test_every_budget_keeps_exactly_that_many_tokens(
    tokens: VisualTokens, name: str, parameters: dict[str, Any]
) -> None:
    n, pruner = len(tokens), make(name, **parameters)
    for budget in range(1, n + 1):
        s = pruner(tokens, budget)
        expected = budget if pruner.exact_count else n
        assert s.method == name
        assert s.budget == len(s.kept) == len(s.embeddings) == expected
        assert s.kept.dtype == torch.int64
        assert s.kept.tolist() == sorted(set(s.kept.tolist()))
        assert s.kept.tolist() == (s.roles >= Role.KEPT).nonzero()[:, 0].tolist()
        assert s.roles.dtype == torch.uint8
        assert s.embeddings.dtype == tokens.embeddings.dtype
        assert s.embeddings.isfinite().all()
        assert all(score.shape == (n,) and score.isfinite().all() for score in s.scores.values())
        assert all(math.isfinite(fact) for fact in s.facts.values())


@each_method
@each_tokens
def test_provenance_is_whole(tokens: VisualTokens, name: str, parameters: dict[str, Any]) -> None:
    n = len(tokens)
    for budget in {1, (n + 1) // 2, max(1, n - 2), n}:
        s = make(name, **parameters)(tokens, budget)
        scanned = (s.roles == Role.SCAN).nonzero()[:, 0].tolist()
        merged = (s.roles == Role.MERGED).nonzero()[:, 0].tolist()
        for i in range(n):
            anchored = s.roles[i] < Role.KEPT and bool(scanned)
            assert (int(s.anchor[i]) in scanned) == anchored
            assert (s.anchor[i] == -1) == (not anchored)
            assert bool(s.similarity[i].isnan()) == (not anchored)
            if s.roles[i] == Role.DROPPED:
                assert s.weight[i] == 0
        groups: dict[int, list[int]] = {}
        for i in merged:
            groups.setdefault(int(s.anchor[i]), []).append(i)
        for at, j in enumerate(s.kept.tolist()):
            group = [j, *groups.pop(j, [])]
            assert float(s.weight[group].sum()) == pytest.approx(1, abs=1e-5)
            mean = (s.weight[group, None] * tokens.embeddings[group].float()).sum(dim=0)
            if len(group) == 1:
                assert torch.equal(s.embeddings[at], tokens.embeddings[j])
            else:
                assert torch.allclose(s.embeddings[at].float(), mean, rtol=1e-2, atol=1e-2)
        assert not groups


@each_method
@each_tokens
def test_the_same_input_gives_the_same_selection(tokens: VisualTokens, name: str, parameters: dict[str, Any]) -> None:
    for budget in {1, (len(tokens) + 1) // 2, len(tokens)}:
        first = make(name, **parameters)(tokens, budget)
        assert same(first, make(name, **parameters)(replace(tokens), budget))


@each_method
@each_tokens
def test_the_plan_agrees_with_the_selection_at_every_budget(
    tokens: VisualTokens, name: str, parameters: dict[str, Any]
) -> None:
    pruner = make(name, **parameters)
    plan = pruner.plan(tokens)
    read = json.loads(json.dumps(plan.to_json(), allow_nan=False))
    for budget in range(1, len(tokens) + 1):
        s = pruner(tokens, budget)
        without_refine = torch.where(s.roles == Role.MERGED, int(Role.DROPPED), s.roles)
        assert plan.roles(budget).dtype == torch.uint8
        assert torch.equal(plan.roles(budget), without_refine)
        roles, anchor, weight = plan_reader.read(read, budget)
        assert roles == s.roles.tolist()
        if read["kind"] != "table":
            assert anchor == s.anchor.tolist()
            assert weight == pytest.approx(s.weight.tolist(), abs=1e-5)


@each_method
@each_tokens
def test_a_plan_refuses_a_budget_outside_its_tokens(
    tokens: VisualTokens, name: str, parameters: dict[str, Any]
) -> None:
    plan = make(name, **parameters).plan(tokens)
    for budget in (0, -1, len(tokens) + 1):
        with pytest.raises(InvalidInput, match=f"from 1 to {len(tokens)}"):
            plan.roles(budget)


@each_method
@pytest.mark.parametrize("budget", [0, -3, 31, 1000, 4.0, "8", True, None])
def test_a_budget_must_be_a_whole_number_of_tokens(name: str, parameters: dict[str, Any], budget: Any) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 30"):
        make(name, **parameters)(random_tokens(0), budget)


@each_method
def test_half_precision_decides_as_its_float32_values_do(name: str, parameters: dict[str, Any]) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        half = in_dtype(dtype)
        names = ("embeddings", "features", "saliency", "relevance")
        single = replace(half, **{n: getattr(half, n).float() for n in names})
        for budget in range(1, 31):
            a, b = make(name, **parameters)(half, budget), make(name, **parameters)(single, budget)
            assert torch.equal(a.roles, b.roles)
            assert torch.equal(a.anchor, b.anchor)
            assert torch.allclose(a.embeddings.float(), b.embeddings, rtol=1e-2, atol=1e-2)


@each_method
def test_inference_mode_may_be_on_or_off_in_any_order(name: str, parameters: dict[str, Any]) -> None:
    tokens, pruner = random_tokens(0), make(name, **parameters)
    with torch.inference_mode():
        inside = in_dtype(torch.float32)
        first = pruner(inside, 9)
        pruner(tokens, 9)
    assert same(first, pruner(inside, 9))
    pruner.plan(inside).to_json()
    pruner(tokens, 20)
    with torch.inference_mode():
        pruner.plan(tokens).to_json()


@each_method
def test_gradients_are_neither_needed_nor_kept(name: str, parameters: dict[str, Any]) -> None:
    tokens = random_tokens(0)
    learnt = replace(tokens, embeddings=tokens.embeddings.clone().requires_grad_())
    s = make(name, **parameters)(learnt, 9)
    assert same(s, make(name, **parameters)(tokens, 9))
    assert not s.embeddings.requires_grad


@each_method
def test_the_input_is_left_alone(name: str, parameters: dict[str, Any]) -> None:
    tokens, before = random_tokens(0), random_tokens(0)
    make(name, **parameters)(tokens, 9)
    make(name, **parameters).plan(tokens).to_json()
    for field in ("embeddings", "features", "saliency", "relevance"):
        assert torch.equal(getattr(tokens, field), getattr(before, field))


# -- Focus-Scan-Refine


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


@pytest.mark.parametrize("seed", range(40))
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


@pytest.mark.parametrize(("name", "parameters"), [*FSR, ("random", {}), ("saliency", {}), ("relevance", {})])
def test_budgets_nest_where_the_plan_says_so(name: str, parameters: dict[str, Any]) -> None:
    for seed in range(10):
        tokens, pruner = random_tokens(seed), make(name, **parameters)
        kept = [set(pruner(tokens, k).kept.tolist()) for k in range(1, 31)]
        if pruner.plan(tokens).to_json()["kind"] != "table":
            assert all(a < b for a, b in pairwise(kept))


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


# -- the other methods


def test_scores_rank_tokens_and_ties_go_to_the_lower_index() -> None:
    tokens = replace(
        random_tokens(0, 1, 6),
        saliency=torch.tensor([0.1, 0.4, 0.4, 0.2, 0.4, 0.0]),
        relevance=torch.tensor([0.2, 0.1, 0.2, 0.1, 0.3, 0.2]),
    )
    assert [make("saliency")(tokens, k).kept.tolist() for k in (1, 2, 4)] == [[1], [1, 2], [1, 2, 3, 4]]
    assert [make("relevance")(tokens, k).kept.tolist() for k in (1, 2, 3)] == [[4], [0, 4], [0, 2, 4]]
    assert make("relevance", relevance_sign=-1)(tokens, 2).kept.tolist() == [1, 3]


def test_random_follows_its_seed() -> None:
    tokens = random_tokens(0)
    assert not same(make("random", seed=0)(tokens, 9), make("random", seed=1)(tokens, 9))
    counts = torch.zeros(30)
    for seed in range(300):
        counts[make("random", seed=seed)(tokens, 10).kept] += 1
    assert counts.min() > 60
    assert counts.max() < 140


@pytest.mark.parametrize(("rows", "cols"), [(24, 24), (10, 30), (30, 10), (1, 50), (2, 30), (7, 13)])
def test_a_grid_is_even_in_rows_and_columns(rows: int, cols: int) -> None:
    tokens = random_tokens(0, rows, cols, 2)
    for budget in range(1, rows * cols + 1):
        kept = make("grid")(tokens, budget).kept
        assert len(kept.unique()) == budget
        row, col = tokens.layout.row[kept], tokens.layout.col[kept]
        in_row = row.bincount(minlength=rows)
        assert in_row[in_row > 0].max() - in_row[in_row > 0].min() <= 1
        used = (in_row > 0).nonzero()[:, 0]
        assert len(used) == 1 or used.diff().max() - used.diff().min() <= 1
        for r in used.tolist():
            steps = col[row == r].diff()
            assert len(steps) == 0 or steps.max() - steps.min() <= 1
    if rows == cols:
        square = make("grid")(tokens, 64).kept
        assert len(tokens.layout.row[square].unique()) == len(tokens.layout.col[square].unique()) == 8


def test_a_grid_serves_frames_alike_and_newlines_last() -> None:
    tokens = two_frames()
    for budget in range(1, 31):
        kept = make("grid")(tokens, budget).kept
        newline = tokens.layout.row[kept] < 0
        assert newline.sum() == max(0, budget - 24)
        in_frame = tokens.layout.frame[kept[~newline]].bincount(minlength=2)
        assert abs(int(in_frame[0] - in_frame[1])) <= 1


def test_a_grid_that_is_no_rectangle_is_spread_along_its_order() -> None:
    whole = random_tokens(0, 4, 5)
    layout = Layout(*(getattr(whole.layout, f)[:17] for f in ("frame", "row", "col", "rect")), whole.layout.grids)
    tokens = VisualTokens(whole.embeddings[:17], layout)
    for budget in range(1, 18):
        assert len(make("grid")(tokens, budget).kept) == budget


# -- the registry, parameters and input


def test_the_registry_describes_every_method() -> None:
    described = json.loads(json.dumps(describe(), allow_nan=False))
    assert [d["name"] for d in described] == list(REGISTRY)
    assert list(REGISTRY)[:6] == ["full", "fsr", "random", "grid", "saliency", "relevance"]
    for d in described:
        assert {"name", "label", "paper", "requires", "optional", "exact_count", "parameters"} <= d.keys()
        assert set(d["requires"]) <= {"saliency", "relevance", "features"}
        assert set(d["optional"]) <= set(d["requires"])
        assert d["exact_count"] == (d["name"] != "full")
        for p in d["parameters"]:
            assert p["doc"]
            assert p["allowed"]
            assert make(d["name"], **{p["name"]: p["default"]}).parameters()[p["name"]] == p["default"]
    assert {m[1] for m in METHODS} == set(REGISTRY)
    defaults = make("fsr").parameters()
    assert [defaults[p] for p in ("alpha", "beta", "rho", "kappa", "focus_cap")] == [3.0, 1.0, 0.9, 1.0, None]


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("nothing", {}, "no method 'nothing'; choose one of full, fsr"),
        ("fsr", {"gamma": 1}, "fsr has no parameter 'gamma'; its parameters are alpha"),
        ("grid", {"seed": 1}, "grid has no parameter 'seed'; it has none"),
        ("fsr", {"alpha": -0.1}, "alpha must be a number at least 0"),
        ("fsr", {"alpha": math.nan}, "alpha must be a number at least 0"),
        ("fsr", {"alpha": math.inf}, "alpha must be a number at least 0"),
        ("fsr", {"alpha": "3"}, "alpha must be a number at least 0"),
        ("fsr", {"alpha": None}, "alpha must be a number at least 0"),
        ("fsr", {"beta": True}, "beta must be a number at least 0"),
        ("fsr", {"rho": 0.0}, "rho must be a number above 0 and at most 1"),
        ("fsr", {"rho": 1.01}, "rho must be a number above 0 and at most 1"),
        ("fsr", {"kappa": -1}, "kappa must be a number at least 0"),
        ("fsr", {"focus_cap": 0}, r"focus_cap must be a number above 0 and at most 1 \(or None\)"),
        ("fsr", {"focus_cap": 1.5}, "focus_cap must be a number above 0"),
        ("fsr", {"relevance_sign": 0}, "relevance_sign must be one of None, -1, 1"),
        ("fsr", {"relevance_sign": True}, "relevance_sign must be one of None, -1, 1"),
        ("fsr", {"similarity": "pixel"}, "similarity must be one of projected, encoder"),
        ("random", {"seed": -1}, "seed must be a whole number at least 0"),
        ("random", {"seed": 0.5}, "seed must be a whole number at least 0"),
    ],
)
def test_a_wrong_name_or_parameter_is_one_clear_sentence(name: str, parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence) as caught:
        make(name, **parameters)
    assert "\n" not in str(caught.value)


def test_parameters_cannot_change_under_a_method() -> None:
    with pytest.raises(FrozenInstanceError):
        make("fsr").alpha = 1.0  # type: ignore[attr-defined, misc]


@pytest.mark.parametrize("name", ["fsr", "saliency"])
def test_a_method_says_which_score_it_lacks(name: str) -> None:
    tokens = replace(random_tokens(0), saliency=None)
    for use in (lambda p: p(tokens, 3), lambda p: p.plan(tokens)):
        with pytest.raises(InvalidInput, match="needs saliency, which was not captured"):
            use(make(name))


def test_relevance_alone_cannot_be_ranked_without_it() -> None:
    with pytest.raises(InvalidInput, match="needs relevance"):
        make("relevance")(replace(random_tokens(0), relevance=None), 3)


def test_encoder_similarity_needs_the_features() -> None:
    with pytest.raises(InvalidInput, match="needs the encoder's features"):
        make("fsr", similarity="encoder")(replace(random_tokens(0), features=None), 3)


@pytest.mark.parametrize("name", ["embeddings", "features", "saliency", "relevance"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_values_that_are_not_finite_are_refused_by_name(name: str, bad: float, dtype: torch.dtype) -> None:
    tokens = in_dtype(dtype)
    value = getattr(tokens, name).clone()
    value.view(-1)[7] = bad
    with pytest.raises(InvalidInput, match=f"{name} holds NaN or infinite values"):
        replace(tokens, **{name: value})


def test_large_finite_values_are_not_taken_for_infinite_ones() -> None:
    large = torch.full((30, 12), 6e4, dtype=torch.float16)
    assert len(replace(in_dtype(torch.float16), embeddings=large)) == 30


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"embeddings": torch.zeros(30)}, r"embeddings must be \(N, D\)"),
        ({"embeddings": torch.zeros(0, 4)}, "with N >= 1"),
        ({"embeddings": torch.zeros(29, 4)}, "layout describes 30 tokens"),
        ({"embeddings": torch.zeros(30, 4, dtype=torch.int64)}, "embeddings must be floating point"),
        ({"features": torch.zeros(29, 4)}, r"features must be \(30, C\)"),
        ({"saliency": torch.zeros(30, 1)}, r"saliency must be \(30,\)"),
        ({"relevance": torch.zeros(31)}, r"relevance must be \(30,\)"),
        ({"relevance_sign": 0}, "relevance_sign must be -1 or 1"),
    ],
)
def test_tokens_of_the_wrong_shape_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        replace(random_tokens(0), **change)


@pytest.mark.parametrize("n", [1, 2, 7, 576])
def test_packed_roles_come_back(n: int) -> None:
    roles = torch.randint(5, (n,), dtype=torch.uint8)
    assert torch.equal(unpack(pack(roles), n), roles)
    assert len(pack(roles)) == (n + 1) // 2
    with pytest.raises(InvalidInput):
        unpack(pack(roles) + b"\0", n)


def test_a_table_has_every_budget_of_a_few_tokens_and_some_of_many() -> None:
    assert table_budgets(1) == (1,)
    assert table_budgets(1024) == tuple(range(1, 1025))
    for n in (1025, 2880, 6272, 100_000):
        budgets = table_budgets(n)
        assert budgets[0] == 1
        assert budgets[-1] == n
        assert 30 < len(budgets) <= 49
