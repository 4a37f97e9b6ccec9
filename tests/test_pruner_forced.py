"""Tokens forced in or out: every method honours them at every budget, by its rule; nothing forced changes nothing."""

from __future__ import annotations

import math

import pytest
import torch

from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY, make
from fsr.pruners.forced import Forced
from fsr.pruners.frames import PerGroup
from fsr.pruners.whatif import with_forced
from fsr.tokens import Role
from tests.looping import each
from tests.methods import METHODS, TOKENS, random_tokens, same

N = 30
BEFORE = [row for row in METHODS if REGISTRY[row[1]].stage == "before"]
WAYS = [((), (4, 9)), ((3, 17, 29), ()), ((0, 5, 11, 12), (1, 2, 28)), (tuple(range(10)), tuple(range(20, 29)))]


def forced_cases(count: int):
    """Random forced tokens, with the random tokens of the same number."""
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(N, generator=generator).tolist()
        a, b = torch.randint(0, 8, (2,), generator=generator).tolist()
        yield seed, random_tokens(seed), Forced(tuple(order[:a]), tuple(order[a : a + b]))


@each("id_, name, parameters", BEFORE, [row[0] for row in BEFORE])
@each("kind", ["random", "all tokens equal", "two frames with newline tokens"])
@each("inside, outside", WAYS[2:])
@pytest.mark.slow
def test_they_are_kept_and_never_kept_at_every_budget_and_in_the_plan(id_, name, parameters, kind, inside, outside):
    tokens, forced = TOKENS[kind](), Forced(inside, outside)
    pruner = with_forced(make(name, **parameters), forced)
    plan = pruner.plan(tokens)
    least, most = max(1, len(inside)), N - len(outside)
    for budget in sorted({least, min(most, least + 3), (least + most) // 2, most}):
        selection = pruner(tokens, budget)
        kept = set(selection.kept.tolist())
        assert set(inside) <= kept
        assert not set(outside) & kept
        assert (selection.roles[list(outside)] == int(Role.DROPPED)).all()
        if pruner.exact_count:
            assert len(selection.sent) == budget
        if pruner.takes_budget and budget in plan.budgets:
            assert torch.equal(plan.refined(budget)[0].cpu(), selection.roles.cpu())
    assert min(plan.budgets) == least or not pruner.takes_budget
    assert max(plan.budgets) == most or not pruner.takes_budget
    plan.to_json()


@each("id_, name, parameters", BEFORE, [row[0] for row in BEFORE])
def test_nothing_forced_is_the_method_itself(id_, name, parameters):
    pruner = make(name, **parameters)
    assert with_forced(pruner, Forced()) is pruner


@each("name", ["fsr", "fsr-focus", "fsr-scan", "cdpruner", "divprune", "random", "saliency"])
@each("budget", [1, 7, 20, 30])
def test_a_rule_of_its_own_with_nothing_forced_is_the_method_bit_for_bit(name, budget):
    from fsr.pruners.whatif import WithForced

    tokens = random_tokens(3)
    assert same(WithForced(make(name), Forced())(tokens, budget), make(name)(tokens, budget))


@each("name", ["random", "saliency", "relevance"])
def test_an_order_goes_on_after_what_is_forced_in(name):
    for _, tokens, forced in forced_cases(30):
        order = make(name).plan(tokens).rank.argsort().tolist()
        budget = max(1, len(forced.inside)) + 4
        free = [i for i in order if i not in forced.inside + forced.outside]
        expected = {*forced.inside, *free[: budget - len(forced.inside)]}
        assert set(with_forced(make(name), forced)(tokens, budget).kept.tolist()) == expected


def slow_fsr(tokens, budget, forced, rho=0.3, kappa=1.0):
    """The rule from its words: (role, anchor) of every token."""
    cos = (
        torch.nn.functional.normalize(tokens.embeddings.double(), dim=1)
        @ torch.nn.functional.normalize(tokens.embeddings.double(), dim=1).T
    ).tolist()
    scores = make("fsr", rho=rho)(tokens, 1).scores
    phi = scores["priority"].tolist()
    free = sorted((i for i in range(N) if i not in forced.outside), key=lambda i: (-phi[i], i))
    total, mass, k_focus = math.fsum(phi[i] for i in free), 0.0, 0
    while mass < rho * total * (1 - 1e-9):
        mass += phi[free[k_focus]]
        k_focus += 1
    focus: list[int] = []
    for i in free[: min(k_focus, budget)]:
        if len({*focus, i, *forced.inside}) <= budget:
            focus.append(i)
        else:
            break
    kept = [*focus, *(i for i in forced.inside if i not in focus)]
    scan: list[int] = []
    while len(kept) + len(scan) < budget:
        left = [i for i in free if i not in kept + scan]
        scan.append(min(left, key=lambda i: (max((cos[i][j] for j in kept + scan), default=-9), i)))
    roles, anchor = [0] * N, [-1] * N
    for i in kept:
        roles[i] = int(Role.FOCUS if i in focus else Role.KEPT)
    for i in scan:
        roles[i] = int(Role.SCAN)
    dropped = [i for i in free if not roles[i]]
    if scan:
        near = {i: max(sorted(scan), key=lambda j: cos[i][j]) for i in dropped}
        for i in sorted(dropped, key=lambda i: (-cos[i][near[i]], i))[: math.floor(kappa * len(scan) + 1e-9)]:
            roles[i], anchor[i] = int(Role.MERGED), near[i]
    return roles, anchor


def test_fsr_scans_far_from_what_is_forced_in_and_merges_nothing_that_is_forced_out():
    for seed, tokens, forced in forced_cases(80):
        least, most = max(1, len(forced.inside)), N - len(forced.outside)
        budget = least + seed % (most - least + 1)
        selection = with_forced(make("fsr", rho=0.3), forced)(tokens, budget)
        roles, anchor = slow_fsr(tokens, budget, forced)
        assert selection.roles.tolist() == roles, (seed, forced, budget)
        merged = [i for i in range(N) if roles[i] == int(Role.MERGED)]
        assert selection.anchor[merged].tolist() == [anchor[i] for i in merged]
        assert (selection.anchor[list(forced.outside)] == -1).all()


def test_cdpruner_is_greedy_on_the_process_conditioned_on_what_is_forced_in():
    for seed, tokens, forced in forced_cases(30):
        from fsr.pruners.cdpruner import quality

        r = quality(tokens.relevance).double()
        unit = torch.nn.functional.normalize(tokens.embeddings.double(), dim=1)
        kernel = r[:, None] * (unit @ unit.T) * r
        budget = min(max(1, len(forced.inside)) + 5, N - len(forced.outside))
        chosen = list(forced.inside)
        while len(chosen) < budget:
            free = [i for i in range(N) if i not in chosen and i not in forced.outside]
            logdet = [float(torch.logdet(kernel[[*chosen, i]][:, [*chosen, i]])) for i in free]
            if max(logdet) == -math.inf or math.isnan(max(logdet)):
                break
            chosen.append(free[logdet.index(max(logdet))])
        kept = with_forced(make("cdpruner"), forced)(tokens, budget).kept.tolist()
        assert set(chosen) <= set(kept), (seed, forced)


def test_divprune_starts_from_what_is_forced_in():
    for seed, tokens, forced in forced_cases(30):
        unit = torch.nn.functional.normalize(tokens.embeddings.double(), dim=1)
        cos = (unit @ unit.T).tolist()
        free = [i for i in range(N) if i not in forced.outside]
        chosen = list(forced.inside)
        if not chosen:
            chosen = [min(free, key=lambda i: (max(cos[i][j] for j in free if j != i), i))]
        budget = min(len(chosen) + 6, len(free))
        while len(chosen) < budget:
            left = [i for i in free if i not in chosen]
            chosen.append(min(left, key=lambda i: (max(cos[i][j] for j in chosen), i)))
        assert with_forced(make("divprune"), forced)(tokens, budget).kept.tolist() == sorted(chosen), (seed, forced)


@each("name", ["vispruner", "holov", "grid", "visionzip"])
def test_others_choose_among_the_rest_as_if_it_were_all(name):
    from fsr.pruners.whatif import rest_of

    for _, tokens, forced in forced_cases(20):
        count = 6
        rest = [i for i in range(N) if i not in forced.inside + forced.outside]
        alone = make(name)(rest_of(tokens, torch.tensor(rest)), count)
        selection = with_forced(make(name), forced)(tokens, count + len(forced.inside))
        expected = sorted([*forced.inside, *(rest[i] for i in alone.kept.tolist())])
        assert selection.kept.tolist() == expected


def test_with_a_share_a_group_every_group_chooses_among_its_rest():
    tokens, group = random_tokens(0), torch.arange(N) % 3
    pruner = with_forced(PerGroup(make("fsr"), group), Forced((0, 1), (2,)))
    kept = pruner(tokens, 14).kept
    assert len(kept) == 14
    assert {0, 1} <= set(kept.tolist())
    assert 2 not in kept.tolist()
    assert torch.bincount(group[kept], minlength=3).tolist() == [5, 5, 4]


@each(
    "inside, outside, budget, said",
    [
        (tuple(range(65)), (), 9, "at most 64 tokens can be forced in"),
        ((3,), (3, 4), 9, "token 3 is forced in and out"),
        ((30,), (), 9, "there is no token 30"),
        ((), tuple(range(30)), 9, "all 30 visual tokens are forced out"),
        ((1, 2, 3), (), 2, "the budget must be at least that, not 2"),
        ((), (1, 2), 29, "the budget is at most 28, not 29"),
        ((True,), (), 9, "a whole number"),
    ],
)
def test_what_cannot_be_forced_is_said(inside, outside, budget, said):
    with pytest.raises(InvalidInput, match=said):
        with_forced(make("fsr"), Forced(inside, outside))(random_tokens(0), budget)


def test_inside_the_language_model_nothing_is_forced():
    with pytest.raises(InvalidInput, match="FastV prunes inside the language model"):
        with_forced(make("fastv"), Forced((1,)))
