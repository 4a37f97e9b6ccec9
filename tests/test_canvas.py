"""The canvas' JavaScript against the library: the same roles, anchors and weights at every budget."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from fsr.pruners import make
from fsr.tokens import Layout, Role, VisualTokens
from fsr.trace.validation import Checker, TraceError
from tests import javascript
from tests.looping import each

run = partial(javascript.run, ("plan", "budget", "format", "views", "geometry", "spread"))


def tokens_of(seed: int, rows: int = 7, cols: int = 9, repeats: bool = False) -> VisualTokens:
    generator = torch.Generator().manual_seed(seed)
    n = rows * cols
    embeddings = torch.randn(n, 12, generator=generator)
    if repeats:  # ties in similarity: the lower index must win on both sides
        embeddings = embeddings[torch.randint(0, 6, (n,), generator=generator)]
    saliency = torch.rand(n, generator=generator) ** 4
    relevance = torch.rand(n, generator=generator)
    return VisualTokens(embeddings, Layout.of_grid(rows, cols), saliency=saliency, relevance=relevance)


VIEWS = """({ plan: p, n, budgets }) => budgets.map((k) => {
  const view = plan.viewAt(p, n, k);
  const { anchor, similarity, weight, absorbed } = view.refine;
  return { budget: view.budget, roles: [...view.roles], anchor: [...anchor], weight: [...weight],
           similarity: [...similarity].map((x) => Number.isNaN(x) ? null : x), absorbed: [...absorbed] };
})"""


@each(
    ("seed", "repeats", "parameters"),
    [
        (0, False, {}),
        (1, False, {"kappa": 0.5}),
        (2, False, {"kappa": 3.0, "rho": 0.5}),
        (3, True, {}),
        (4, True, {"kappa": 0.7, "alpha": 0.5}),
        (5, False, {"kappa": 0}),
    ],
)
def test_javascript_refines_exactly_as_the_library_at_every_budget(seed, repeats, parameters):
    tokens = tokens_of(seed, repeats=repeats)
    n, pruner = len(tokens), make("fsr", **parameters)
    budgets = list(range(1, n + 1))
    shown = run(VIEWS, {"plan": pruner.plan(tokens).to_json(), "n": n, "budgets": budgets})
    for budget, view in zip(budgets, shown, strict=True):
        selection = pruner(tokens, budget)
        assert view["roles"] == selection.roles.tolist(), budget
        assert view["anchor"] == selection.anchor.tolist(), budget
        assert view["weight"] == pytest.approx(selection.weight.tolist(), abs=1e-6), budget
        similar = [x for x in view["similarity"] if x is not None]
        assert similar == pytest.approx(selection.similarity[~selection.similarity.isnan()].tolist(), abs=1e-6)
        assert sum(view["absorbed"]) == int((selection.roles == Role.MERGED).sum())


@each(("seed", "parameters"), [(6, {"focus_cap": 0.5}), (7, {"focus_cap": 0.3, "kappa": 2.0})])
def test_a_table_of_roles_knows_who_absorbed_whom(seed, parameters):
    tokens = tokens_of(seed)
    n, pruner = len(tokens), make("fsr", **parameters)
    record = pruner.plan(tokens).to_json()
    assert record["kind"] == "table"
    budgets = record["budgets"]
    assert 1 < len(budgets) < n
    Checker("test").plan(record, n, "plan")
    for budget, view in zip(budgets, run(VIEWS, {"plan": record, "n": n, "budgets": budgets}), strict=True):
        selection = pruner(tokens, budget)
        merged = selection.roles == Role.MERGED
        assert view["roles"] == selection.roles.tolist(), budget
        assert torch.tensor(view["anchor"])[merged].tolist() == selection.anchor[merged].tolist(), budget
        assert view["weight"] == pytest.approx(selection.weight.tolist(), abs=1e-6), budget
    with pytest.raises(TraceError, match="must name a kept token for every merged one"):
        Checker("test").plan(record | {"anchors": record["anchors"][1:] + record["anchors"][:1]}, n, "plan")


@each("name", ["random", "grid", "saliency", "relevance", "full", "holov", "pool2x2"])
def test_javascript_paints_every_other_method_as_the_library_selects(name):
    tokens = tokens_of(7)
    n, pruner = len(tokens), make(name)
    budgets = list(range(1, n + 1))
    shown = run(VIEWS, {"plan": pruner.plan(tokens).to_json(), "n": n, "budgets": budgets})
    for budget, view in zip(budgets, shown, strict=True):
        assert view["roles"] == pruner(tokens, budget).roles.tolist(), budget


MOVED = """({ plan: p, n, moves }) => moves.map(([k, by]) => {
  const state = { trace: { tokens: { n }, methods: { fsr: { plan: p } } }, method: "fsr", mode: "one", budget: k };
  budget.moveBudget({ state, set: (patch) => Object.assign(state, patch) }, by);
  return state.budget;
})"""


def test_a_table_of_some_budgets_snaps_to_the_nearest_that_is_not_above():
    plan = make("fsr", focus_cap=0.5).plan(tokens_of(8, 2, 3)).to_json()
    plan = {**plan, "budgets": [1, 4, 6], "roles": [plan["roles"][0], plan["roles"][3], plan["roles"][5]]}
    snapped = run("({ plan: p }) => [0, 1, 2, 3, 5, 9].map((k) => plan.snapBudget(p, 6, k))", {"plan": plan})
    assert snapped == [1, 1, 1, 1, 4, 6]
    steps = run(
        "({ plan: p }) => [[4, 5], [4, 3], [1, 0], [6, 7]].map(([a, b]) => plan.nextBudget(p, 6, a, b))", {"plan": plan}
    )
    assert steps == [6, 1, 1, 6], "one step by key always reaches the next budget of the table"

    def moved(n, budgets, moves):
        return run(MOVED, {"plan": plan | {"budgets": budgets}, "n": n, "moves": moves})

    by_key = moved(6, [1, 4, 6], [[5, -1], [5, 1], [1, 8], [5, -8], [6, 8]])
    assert by_key == [1, 6, 6, 1, 6], "from the budget on screen, which is 4 where 5 was wished"
    assert moved(60, [1, 4, 30], [[4, 8]]) == [30], "eight would not be enough"
    notes = run(
        "({ plan: p }) => [p, { ...p, budgets: [4] }, { ...p, budgets: [1, 2, 3, 4, 5, 6] }, { kind: 'rank' }, null]"
        ".map((p) => plan.budgetNote(p, 6))",
        {"plan": plan},
    )
    assert notes == [
        "Planned at 3 of 6 budgets: shown is the nearest that is not above yours.",
        "This method keeps 4 tokens, whatever the budget.",
        "", "", "",
    ]  # fmt: skip


@each("name", ["fsr", "random", "grid", "holov"])
def test_the_entry_budget_is_the_first_that_keeps_the_token(name):
    tokens = tokens_of(9, 4, 5)
    pruner = make(name)
    entry = run("({ plan: p, n }) => [...plan.entryBudgets(p, n)]", {"plan": pruner.plan(tokens).to_json(), "n": 20})
    kept = {k: set(pruner(tokens, k).kept.tolist()) for k in range(1, 21)}
    assert entry == [min(k for k in kept if i in kept[k]) for i in range(20)]


def test_ticks_stand_at_the_papers_budgets():
    assert run("(data) => data.map(plan.paperBudgets)", [576, 2880, 25, 2]) == [
        [64, 128, 192], [320, 640, 960], [3, 6, 8], [1],
    ]  # fmt: skip


def test_numbers_have_three_significant_digits_and_a_unit():
    shown = run(
        """(data) => [format.sig3(0.012345), format.sig3(1234.5), format.sig3(0), format.sig3(null),
        format.milliseconds(41.234), format.bytes(4718592), format.flops(9.042e12), format.percent(64 / 576),
        format.ratio(41.2, 9.8, "faster", "slower"), format.ratio(9.8, 41.2, "faster", "slower"),
        format.ratio(5, 5.01), format.ratio(0, 3)].map((s) => s.replaceAll("\\u202f", " "))""",
        None,
    )
    assert shown == [
        "0.0123", "1235", "0", "–", "41.2 ms", "4.50 MiB", "9.04 TFLOPs", "11.1 %",
        "4.20 × faster", "4.20 × slower", "same", "",
    ]  # fmt: skip


@each(
    ("left", "right", "expected"),
    [
        ("a red star", "a blue star", {"left": [2, 5], "right": [2, 6]}),
        ("yes", "yes", None),
        ("  yes ", "yes", None),
        ("yes", "yes it is", {"left": None, "right": [4, 6]}),
        ("", "no", {"left": None, "right": [0, 2]}),
    ],
    ids=["another word", "equal", "only blanks differ", "one goes on", "one is empty"],
)
def test_the_first_difference_is_found_word_by_word(left, right, expected):
    assert run("([a, b]) => format.firstDifference(a, b)", [left, right]) == expected
