"""Every method on every set of tokens: one table of methods and one of tokens (tests/methods.py) drive all of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.pruners.plan import Plan
from fsr.tokens import Role, Selection, VisualTokens
from tests import plan_reader
from tests.looping import each
from tests.methods import METHODS, TOKENS, in_dtype, random_tokens, same

each_method = pytest.mark.parametrize(  # with other parameters than the usual ones a method is slow
    ("name", "parameters"),
    [pytest.param(*m[1:], id=m[0], marks=pytest.mark.slow if "," in m[0] else ()) for m in METHODS],
)
of_every_method = each("name, parameters", [m[1:] for m in METHODS], ids=[m[0] for m in METHODS])
each_tokens = each("tokens", [make_() for make_ in TOKENS.values()], ids=list(TOKENS))


@each_method
@each_tokens
def test_every_budget_keeps_exactly_that_many_tokens_those_of_the_plan(
    tokens: VisualTokens, name: str, parameters: dict[str, Any]
) -> None:
    n, pruner = len(tokens), make(name, **parameters)
    plan = pruner.plan(tokens)
    read = json.loads(json.dumps(plan.to_json(), allow_nan=False))
    for budget in range(1, n + 1):
        s = pruner(tokens, budget)
        agrees(plan, read, budget, s)
        expected = budget if pruner.exact_count else int((plan.roles(budget) >= Role.KEPT).sum())
        assert s.method == name
        beside = len(s.sent) - len(s.kept)  # what is sent and is no token of the grid
        assert s.budget == len(s.sent) == expected + (0 if pruner.exact_count else beside)
        assert len(s.kept) == len(s.embeddings)
        assert s.kept.dtype == torch.int64
        assert s.kept.tolist() == sorted(set(s.kept.tolist()))
        assert s.kept.tolist() == (s.roles >= Role.KEPT).nonzero()[:, 0].tolist()
        assert s.roles.dtype == torch.uint8
        assert s.embeddings.dtype == tokens.embeddings.dtype
        assert s.embeddings.isfinite().all()
        assert all(score.shape == (n,) and score.isfinite().all() for score in s.scores.values())
        assert all(math.isfinite(fact) for fact in s.facts.values())


def agrees(plan: Plan, read: dict[str, Any], budget: int, s: Selection) -> None:
    """The plan, and what a reader of its JSON makes of it, with the selection."""
    without_refine = torch.where(s.roles == Role.MERGED, int(Role.DROPPED), s.roles)
    assert plan.roles(budget).dtype == torch.uint8
    assert torch.equal(plan.roles(budget), without_refine)
    refined, anchors = plan.refined(budget)
    assert torch.equal(refined, s.roles)
    assert anchors is None or torch.equal(anchors, torch.where(s.roles == Role.MERGED, s.anchor, anchors))
    roles, anchor, weight = plan_reader.read(read, budget)
    assert roles == s.roles.tolist()
    if read["kind"] != "table":
        assert anchor == s.anchor.tolist()
        assert weight == pytest.approx(s.weight.tolist(), abs=1e-5)


@each_method
@each_tokens
def test_provenance_is_whole(tokens: VisualTokens, name: str, parameters: dict[str, Any]) -> None:
    n = len(tokens)
    for budget in {1, (n + 1) // 2, max(1, n - 2), n}:
        s = make(name, **parameters)(tokens, budget)
        scanned = (s.roles == Role.SCAN).nonzero()[:, 0].tolist()
        merged = (s.roles == Role.MERGED).nonzero()[:, 0].tolist()
        anchors = scanned or sorted({int(s.anchor[i]) for i in merged})
        for i in range(n):
            anchored = s.roles[i] < Role.KEPT and bool(scanned or i in merged)
            assert (int(s.anchor[i]) in anchors) == anchored
            assert (s.anchor[i] == -1) == (not anchored)
            assert bool(s.similarity[i].isnan()) == (not anchored)
            if s.roles[i] == Role.DROPPED:
                assert s.weight[i] == 0
        groups: dict[int, list[int]] = {}
        for i in merged:
            groups.setdefault(int(s.anchor[i]), []).append(i)
        if name == "prumerge":
            continue  # its weights are no shares: tests/test_pruner_prumerge.py
        for at, j in enumerate(s.kept.tolist()):
            group = [j, *groups.pop(j, [])]
            assert float(s.weight[group].sum()) == pytest.approx(1, abs=1e-5)
            mean = (s.weight[group, None] * tokens.embeddings[group].float()).sum(dim=0)
            if len(group) == 1:
                assert torch.equal(s.embeddings[at], tokens.embeddings[j])
            else:
                length = 2 if name == "visionzip" and "mean_with_target" not in parameters else 1  # a sum as released
                assert torch.allclose(s.embeddings[at].float(), length * mean, rtol=1e-2, atol=1e-2)
        assert not groups


@of_every_method
@each_tokens
def test_the_same_input_gives_the_same_selection(tokens: VisualTokens, name: str, parameters: dict[str, Any]) -> None:
    for budget in {1, (len(tokens) + 1) // 2, len(tokens)}:
        first = make(name, **parameters)(tokens, budget)
        assert same(first, make(name, **parameters)(replace(tokens), budget))


@of_every_method
@each_tokens
def test_a_plan_refuses_a_budget_outside_its_tokens(
    tokens: VisualTokens, name: str, parameters: dict[str, Any]
) -> None:
    plan = make(name, **parameters).plan(tokens)
    for budget in (0, -1, len(tokens) + 1):
        with pytest.raises(InvalidInput, match=f"from 1 to {len(tokens)}"):
            plan.roles(budget)


@of_every_method
@each("budget", [0, -3, 31, 1000, 4.0, "8", True, None])
def test_a_budget_must_be_a_whole_number_of_tokens(name: str, parameters: dict[str, Any], budget: Any) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 30"):
        make(name, **parameters)(random_tokens(0), budget)


@each_method
def test_half_precision_decides_as_its_float32_values_do(name: str, parameters: dict[str, Any]) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        half = in_dtype(dtype)
        names = ("embeddings", "features", "saliency", "relevance", "keys", "last_keys", "last_saliency")
        single = replace(half, **{n: getattr(half, n).float() for n in names})
        for budget in range(1, 31):
            a, b = make(name, **parameters)(half, budget), make(name, **parameters)(single, budget)
            assert torch.equal(a.roles, b.roles)
            assert torch.equal(a.anchor, b.anchor)
            assert torch.allclose(a.embeddings.float(), b.embeddings, rtol=1e-2, atol=1e-2)


@of_every_method
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


@of_every_method
def test_gradients_are_neither_needed_nor_kept(name: str, parameters: dict[str, Any]) -> None:
    tokens = random_tokens(0)
    learnt = replace(tokens, embeddings=tokens.embeddings.clone().requires_grad_())
    s = make(name, **parameters)(learnt, 9)
    assert same(s, make(name, **parameters)(tokens, 9))
    assert not s.embeddings.requires_grad


@of_every_method
def test_the_input_is_left_alone(name: str, parameters: dict[str, Any]) -> None:
    tokens, before = random_tokens(0), random_tokens(0)
    make(name, **parameters)(tokens, 9)
    make(name, **parameters).plan(tokens).to_json()
    for field in ("embeddings", "features", "saliency", "relevance", "keys", "last_keys", "last_saliency", "summary"):
        assert torch.equal(getattr(tokens, field), getattr(before, field))
