"""Which layers prune, and to how many tokens, so that the average over all layers is the budget."""

from __future__ import annotations

import pytest

from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.pruners.schedule import scaled, total
from fsr.pruners.sparsevlm import ROWS
from tests.looping import each
from tests.references import reads
from tests.test_inside import INSIDE


@each(
    ("method", "budget", "expected"),
    [
        ("fastv", 306, [(2, 288)]),  # K = 2, R = 50 %
        ("fastv", 171, [(2, 144)]),  # R = 75 %
        ("pyramiddrop", 270, [(8, 288), (16, 144), (24, 72)]),
        ("dart", 160, [(2, 132)]),  # 4 + 8 * 16
        ("sparsevlm", 192, [(2, 300), (6, 200), (15, 110)]),
        ("sparsevlm", 128, [(2, 303), (6, 110), (15, 36)]),
        ("sparsevlm", 96, [(2, 238), (6, 48), (15, 26)]),
        ("sparsevlm", 64, [(2, 66), (6, 30), (15, 17)]),
    ],
)
def test_the_papers_own_counts_come_out_at_32_layers(method, budget, expected):
    assert make(method).schedule(576, 32, budget) == expected


@each("method", INSIDE)
@each(("n", "layers"), [(576, 32), (576, 5), (25, 3), (196, 28), (9, 6), (7, 2)])
def test_schedules_average_the_budget(method, n, layers):
    pruner, refused = make(method), []
    for budget in [*range(1, n, max(1, n // 40)), n]:
        try:
            stages = pruner.schedule(n, layers, budget)
        except InvalidInput as error:
            assert not refused or refused[-1][0] < budget
            refused.append((budget, str(error)))
            continue
        assert abs(sum(reads(method, n, layers, stages)) / layers - budget) < 1
        counts = [count for _, count in stages]
        assert [n, *counts] == sorted([n, *counts], reverse=True)
        assert counts[-1] >= 1
    assert [count for _, count in stages] == [n] * len(stages)
    least = int(refused[-1][1].rpartition(" from ")[2].partition(" to ")[0])
    assert pruner.schedule(n, layers, least)
    with pytest.raises(InvalidInput, match=f"choose a budget from {least} to {n}"):
        pruner.schedule(n, layers, least - 1)


def test_published_sparsevlm_budgets_average_their_names():
    found = {k: sum(reads("sparsevlm", 576, 32, make("sparsevlm").schedule(576, 32, k))) / 32 for k in ROWS}
    assert {k: round(v, 1) for k, v in found.items()} == {64: 64.8, 96: 96.9, 128: 128.6, 192: 192.0}


def test_layers_scale_with_depth():
    assert scaled((8, 16, 24), 32) == [8, 16, 24]
    assert scaled((2, 6, 15), 40) == [2, 8, 19]
    assert scaled((2, 6, 15), 5) == [1, 2, 3]
    assert scaled((8, 16, 24), 3) == [1, 2]
    with pytest.raises(InvalidInput, match="at least 2"):
        scaled((2,), 1)
    assert total(10, 4, [(1, 5), (3, 2)]) == 10 + 5 + 5 + 2
    assert make("fastv", layer=16).schedule(576, 32, 306) == [(16, 36)]
