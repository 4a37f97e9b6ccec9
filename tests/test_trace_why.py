"""What a trace tells about one token: why it was kept or dropped, and what it is like."""

from __future__ import annotations

import base64
import copy
import json

import numpy as np
import pytest
import torch

from fsr.pruners import REGISTRY, for_pictures, make
from fsr.pruners.cdpruner import residuals
from fsr.similarity import STEPS
from fsr.tokens import Role
from fsr.trace.record import Trace, TraceError, build_trace
from fsr.trace.sketch import sketched
from tests.looping import each
from tests.methods import random_tokens


@pytest.fixture(scope="module")
def record(tiny_vlm, picture):
    """A trace with every method that plans, as it comes from a file."""
    needs = frozenset().union(*(kind.requires for kind in REGISTRY.values()))
    encoding = tiny_vlm.encode(tiny_vlm.encode_media([picture], None, needs), "where is the star?", needs)
    plans = {name: (p := make(name), p.plan(encoding.tokens)) for name in for_pictures()}
    return json.loads(build_trace(tiny_vlm, encoding, plans).to_json())


def why_of(name: str, tokens):
    pruner = make(name)
    return pruner.why(tokens, pruner.plan(tokens))


def test_what_is_new_in_a_picked_token_is_what_least_squares_leaves():
    unit = torch.nn.functional.normalize(torch.randn(20, 7, generator=torch.Generator().manual_seed(1)), dim=1)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    found = residuals((unit @ unit.T * STEPS).round(), order)
    vectors = unit[order].double().numpy()
    for place, token in enumerate(order.tolist()):
        before = vectors[:place].T
        left = vectors[place]
        if place:
            left = left - before @ np.linalg.lstsq(before, left, rcond=None)[0]
        assert found[token] == pytest.approx(0 if place >= 7 else left @ left, abs=1e-4)


def test_cdpruner_picks_in_the_order_of_the_gain_that_it_tells():
    tokens = random_tokens(3)
    why, plan = why_of("cdpruner", tokens)["every"], make("cdpruner").plan(tokens)
    gain = torch.tensor(why["relevance"]) ** 2 * torch.tensor(why["residual"])
    in_order = gain[plan.rank.argsort()]
    assert bool((in_order[:-1] >= in_order[1:] - 1e-2).all())


def test_a_duplicate_is_told_with_the_cosine_it_was_removed_for():
    tokens = random_tokens(4)
    why, cosines = why_of("vispruner", tokens), tokens.gram("encoder").matrix() / STEPS
    for budget, of, cosine in zip(why["budgets"], why["at"]["of"], why["at"]["cosine"], strict=True):
        selection = make("vispruner")(tokens, budget)
        gone = selection.roles == int(Role.DROPPED)
        assert [token >= 0 for token in of] == gone.tolist()
        assert cosine == pytest.approx(selection.scores["redundancy"].tolist(), abs=1e-3)
        pairs = gone.nonzero()[:, 0]
        assert cosines[pairs, torch.tensor(of)[pairs]].tolist() == pytest.approx(
            torch.tensor(cosine)[pairs].tolist(), abs=1e-3
        )


@each("name", ["visionzip", "prumerge", "fastvid"])
def test_what_absorbed_a_token_is_told(name):
    tokens = random_tokens(5)
    why = why_of(name, tokens)
    for budget, of in zip(why["budgets"], why["at"]["of"], strict=True):
        selection = make(name)(tokens, budget)
        assert of == selection.anchor.tolist()
        if name == "prumerge":
            outliers = torch.tensor(why["at"]["outlier"][0]).bool()
            assert int(outliers.sum()) == selection.facts["n_top"]
            assert set(outliers.nonzero()[:, 0].tolist()) <= set(selection.kept.tolist())


def test_a_sketch_holds_cosines_as_exactly_as_it_says():
    tokens = random_tokens(6)
    sketch = sketched(tokens)["sketch"]
    values = np.frombuffer(base64.b64decode(sketch["values"]), "<i2").reshape(len(tokens), sketch["dims"])
    rows = torch.nn.functional.normalize(torch.tensor(values.astype("float32")), dim=1)
    exact = tokens.gram("projected").matrix() / STEPS
    assert float((rows @ rows.T - exact).abs().max()) <= sketch["error"] + 1e-3
    assert sketched(tokens) == {"sketch": sketch}


def test_a_trace_without_any_of_it_is_read_too(record):
    old = copy.deepcopy(record)
    del old["tokens"]["sketch"]
    for method in old["methods"].values():
        method.pop("why", None)
    assert Trace.from_json(old).methods.keys() == record["methods"].keys()
    assert {name for name, method in record["methods"].items() if "why" in method} == {
        "cdpruner", "vispruner", "agilepruner", "mmtok", "visionzip", "prumerge", "fastvid",
    }  # fmt: skip


TAMPERED = {
    "an unknown column": (("methods", "cdpruner", "why", "every", "script"), [0] * 25, "unknown key"),
    "too few numbers": (("methods", "cdpruner", "why", "every", "residual"), [0.5], "25 entries"),
    "a token that is not there": (("methods", "vispruner", "why", "at", "of"), [[25] * 25] * 4, "-1 to 24"),
    "a row too many": (("methods", "vispruner", "why", "at", "of"), [[0] * 25] * 99, "entries"),
    "markup for a number": (("methods", "cdpruner", "why", "every", "residual"), ["<b>"] * 25, "finite number"),
    "no reasons at all": (("methods", "cdpruner", "why"), [], "must be an object"),
    "a sketch of another size": (("tokens", "sketch", "dims"), 24, "two bytes"),
    "a sketch that is no base64": (("tokens", "sketch", "values"), "<script>", "base64"),
}


@each("path, value, said", TAMPERED.values(), ids=TAMPERED)
def test_what_was_tampered_with_is_refused(record, path, value, said):
    bad = copy.deepcopy(record)
    place = bad
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(TraceError, match=said):
        Trace.from_json(bad)
