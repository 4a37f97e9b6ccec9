"""Rules of methods inside the language model on their own; what is asked of them, and what a trace holds of it."""

from __future__ import annotations

import json

import pytest
import torch

from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.pruners.inside import LayersPlan
from fsr.pruners.sparsevlm import cluster_means, raters, recycled
from fsr.trace import answer_record, build_trace
from fsr.trace.validation import Checker, TraceError
from tests import plan_reader
from tests.inside_references import LAYERS, clustered
from tests.methods import random_tokens
from tests.references import reads
from tests.test_inside import INSIDE, QUESTION, N, opened, run
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    return opened(save_tiny(tmp_path_factory.mktemp("deep") / "llama", layers=LAYERS))


@pytest.fixture(scope="module")
def encoding(vlm, picture):
    return vlm.encode(vlm.encode_media([picture]), QUESTION)


# -- the rules on their own


def test_clusters_with_ties_go_to_the_lower_index():
    equal = torch.ones(12, 5)
    means, centres, parts = cluster_means(equal, 2)
    assert centres.tolist() == [0, 1]
    assert torch.equal(means, equal[:2])
    assert torch.allclose(parts @ equal, means)
    few = torch.randn(2, 5)
    assert torch.equal(cluster_means(few, 2)[0], few)


@pytest.mark.parametrize(("points", "clusters"), [(9, 1), (23, 3), (40, 5)])
def test_clusters_equal_loops(points, clusters):
    x = torch.randn(points, 6, generator=torch.Generator().manual_seed(points))
    assert torch.allclose(cluster_means(x, clusters)[0], torch.stack(clustered(x, clusters)), atol=1e-6)


def test_all_text_rates_where_no_word_stands_out():
    assert raters(torch.randn(4, 3), torch.ones(5, 3)).tolist() == [0, 1, 2, 3, 4]
    assert raters(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [3.0, 0.0], [0.0, 0.0]])).tolist() == [1]


def test_recycling_counts():
    assert [recycled(p) for p in (1, 3, 10, 276)] == [(1, 1), (1, 1), (4, 1), (83, 9)]


# -- the request and what comes of it


@pytest.mark.parametrize("bad", [0, 26, -1, 2.5, True, "8", None])
@pytest.mark.parametrize("method", INSIDE)
def test_budgets_are_checked(encoding, method, bad):
    with pytest.raises(InvalidInput, match="whole number from 1 to 25"):
        make(method)(encoding.tokens, bad)


def test_a_budget_that_the_depth_does_not_allow_is_refused_at_the_call(vlm, encoding):
    with pytest.raises(InvalidInput, match=r"FastV cannot average 3 of 25 visual tokens over 7 layers.*from 5 to 25"):
        vlm.generate(encoding, make("fastv")(encoding.tokens, 3), 2)
    with pytest.raises(InvalidInput, match="for 30 visual tokens, the prompt has 25"):
        vlm.generate(encoding, make("fastv")(random_tokens(0), 12), 2)


@pytest.mark.parametrize("method", INSIDE)
def test_there_is_no_plan_before_the_model_has_read(encoding, method):
    with pytest.raises(InvalidInput, match="inside the language model"):
        make(method).plan(encoding.tokens)
    selection = make(method)(encoding.tokens, 12)
    assert selection.kept is None
    for look in (lambda: selection.roles, lambda: selection.alive(0), lambda: LayersPlan.of([selection])):
        with pytest.raises(InvalidInput):
            look()


@pytest.mark.parametrize("method", INSIDE)
def test_the_selection_says_what_was_alive_where(vlm, encoding, method):
    selection, step = run(vlm, encoding, method, 13)
    stages = selection.pruner.schedule(N, LAYERS, 13)
    assert selection.layers == LAYERS
    assert selection.alive(0).all()
    assert torch.equal(selection.alive(LAYERS - 1).nonzero()[:, 0], selection.kept)
    assert selection.counts == reads(method, N, LAYERS, stages)
    assert selection.facts["average"] == selection.average == sum(selection.counts) / LAYERS
    assert step.cost.visual_tokens == round(selection.average)
    if method != "sparsevlm":
        assert [int(selection.alive(i).sum()) for i in range(LAYERS)] == selection.counts
    first = stages[0]
    gone = selection.depth == first[0]
    if method in ("fastv", "pyramiddrop"):
        assert selection.scores[~gone].min() >= selection.scores[gone].max()
    with pytest.raises(InvalidInput, match="layer must be"):
        selection.alive(LAYERS)


def test_layers_travel_in_a_trace(vlm, encoding):
    selections = [run(vlm, encoding, "pyramiddrop", budget, 2)[0] for budget in (21, 13)]
    plan = LayersPlan.of(selections)
    record = json.loads(json.dumps(plan.to_json()))
    assert (record["kind"], record["layers"], record["budgets"]) == ("layers", LAYERS, [13, 21])
    Checker("plan").plan(record, N, "plan")
    for budget in range(1, N + 1):
        roles = plan.roles(budget)
        assert plan_reader.read(record, budget)[0] == roles.tolist()
        assert torch.equal(roles, selections[budget <= 17].roles)
    answer = answer_record("pyramiddrop", 13, run(vlm, encoding, "pyramiddrop", 13, 2)[1])
    trace = build_trace(vlm, encoding, {"pyramiddrop": (make("pyramiddrop"), plan)}, {"pyramiddrop@13": answer})
    assert type(trace).from_json(trace.to_json()).methods["pyramiddrop"]["plan"] == record


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"layers": 0}, "layers must be a whole number from 1"),
        ({"budgets": [21, 13]}, "budgets must be ascending"),
        ({"budgets": [13]}, "depth must be a list of 1 entries"),
        ({"budgets": [13, 26]}, "from 1 to 25"),
        ({"depth": [[1] * N, [8] * N]}, "from 0 to 7"),
        ({"depth": [[1] * N, [1] * 24]}, "a list of 25 entries"),
        ({"more": 1}, "unknown key 'more'"),
    ],
)
def test_tampered_layers_are_refused(change, sentence):
    record = {"kind": "layers", "layers": LAYERS, "budgets": [13, 21], "depth": [[7] * N, [3] * N]}
    Checker("plan").plan(record, N, "plan")
    with pytest.raises(TraceError, match=sentence):
        Checker("plan").plan({**record, **change}, N, "plan")
