"""The registry, the parameters of methods, and what is refused; packed roles."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch

from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY, describe, for_pictures, make
from fsr.pruners.plan import TablePlan, pack, table_budgets, unpack
from fsr.tokens import Role
from fsr.vlm.media import CAPTURES
from tests import plan_reader
from tests.looping import each
from tests.methods import METHODS, in_dtype, random_tokens


def test_the_registry_describes_every_method() -> None:
    described = json.loads(json.dumps(describe(), allow_nan=False))
    assert [d["name"] for d in described] == list(REGISTRY)
    assert list(REGISTRY)[:6] == ["full", "fsr", "random", "grid", "saliency", "relevance"]
    for d in described:
        assert {"name", "label", "paper", "requires", "optional", "exact_count", "parameters"} <= d.keys()
        assert (
            set(d["requires"]) <= {"saliency", "relevance", "features", "question", "project", "encode_some"} | CAPTURES
        )
        assert set(d["optional"]) <= set(d["requires"])
        assert d["exact_count"] == (
            d["stage"] == "before" and d["name"] not in ("full", "pool2x2", "prumerge", "pixelprune")
        )
        for p in d["parameters"]:
            assert p["doc"]
            assert p["allowed"]
            assert make(d["name"], **{p["name"]: p["default"]}).parameters()[p["name"]] == p["default"]
    assert {m[1] for m in METHODS} == set(for_pictures())
    defaults = make("fsr").parameters()
    assert [defaults[p] for p in ("alpha", "beta", "rho", "kappa", "focus_cap")] == [3.0, 1.0, 0.9, 1.0, None]


@each(
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


@each("name", ["fsr", "saliency"])
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


@each("name", ["embeddings", "features", "saliency", "relevance"])
@each("bad", [math.nan, math.inf, -math.inf])
@each("dtype", [torch.float32, torch.float16])
def test_values_that_are_not_finite_are_refused_by_name(name: str, bad: float, dtype: torch.dtype) -> None:
    tokens = in_dtype(dtype)
    value = getattr(tokens, name).clone()
    value.view(-1)[7] = bad
    with pytest.raises(InvalidInput, match=f"{name} holds NaN or infinite values"):
        replace(tokens, **{name: value})


def test_large_finite_values_are_not_taken_for_infinite_ones() -> None:
    large = torch.full((30, 12), 6e4, dtype=torch.float16)
    assert len(replace(in_dtype(torch.float16), embeddings=large)) == 30


@each(
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


@each("n", [1, 2, 7, 8, 9, 576])
@each(("packing", "among", "per_byte"), [("nibble", [0, 1, 2, 3, 4], 2), ("bit", [0, 2], 8)])
def test_packed_roles_come_back(n: int, packing: str, among: list[int], per_byte: int) -> None:
    for _ in range(20):
        roles = torch.tensor(among, dtype=torch.uint8)[torch.randint(len(among), (n,))]
        packed = pack(roles, packing)
        assert torch.equal(unpack(packed, n, packing), roles)
        assert unpack(packed, n, packing).dtype == torch.uint8
        assert len(packed) == math.ceil(n / per_byte)
        with pytest.raises(InvalidInput, match=f"{n} packed roles take {len(packed)} bytes, not {len(packed) + 1}"):
            unpack(packed + b"\0", n, packing)


def test_the_first_token_is_in_the_lowest_bits() -> None:
    assert pack(torch.tensor([2, 0, 0, 2, 0, 0, 0, 0, 2], dtype=torch.uint8), "bit") == b"\x09\x01"
    assert pack(torch.tensor([4, 1, 3], dtype=torch.uint8), "nibble") == b"\x14\x03"


@each(("roles", "packing"), [([0, 2, 2], "bit"), ([0, 0, 0], "bit"), ([2, 1, 0], "nibble"), ([4, 0, 3], "nibble")])
def test_a_table_takes_one_bit_a_token_where_that_tells_all(roles: list[int], packing: str) -> None:
    kept = torch.full((3,), int(Role.KEPT), dtype=torch.uint8)
    plan = TablePlan(3, (2, 3), lambda budget: torch.tensor(roles, dtype=torch.uint8) if budget == 2 else kept)
    record = plan.to_json()
    assert record["packing"] == packing
    assert [plan_reader.read(record, k)[0] for k in (2, 3)] == [roles, [2, 2, 2]]
    assert plan_reader.read(record, 1)[0] == roles, "below its first budget a table shows that"


def test_every_budget_of_576_tokens_at_one_bit_each_is_a_short_record() -> None:
    size = len(json.dumps(make("grid").plan(random_tokens(0, 24, 24)).to_json()))
    assert 55_000 < size < 65_000


def test_a_table_has_every_budget_of_a_few_tokens_and_some_of_many() -> None:
    assert table_budgets(1) == (1,)
    assert table_budgets(1024) == tuple(range(1, 1025))
    for n in (1025, 2880, 6272, 100_000):
        budgets = table_budgets(n)
        assert budgets[0] == 1
        assert budgets[-1] == n
        assert 30 < len(budgets) <= 54
        assert {round(n / 36), round(n / 9), round(n / 3)} <= set(budgets)
    assert table_budgets(576, 575)[-1] == 576
    assert {16, 32, 64, 128, 192} <= set(table_budgets(576, 575))
    assert len(table_budgets(576, 575)) < 50
    assert table_budgets(576, 576) == tuple(range(1, 577))
