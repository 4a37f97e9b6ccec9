"""Beyond a number of tokens not all rows of similarities are held at once; what is chosen does not change by that."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.focus import focus_count
from fsr.pruners.base import rank_of
from fsr.pruners.fsr import Focus, FocusScanRefine
from fsr.pruners.plan import NestedPlan
from fsr.scan import LARGEST_BATCH, scan_order
from fsr.similarity import ALL_UP_TO, ROWS, Similarities, first_equal
from fsr.tokens import Layout, VisualTokens, unit_rows
from tests.looping import each

N = 700


def features(seed: int) -> Tensor:
    """Tokens of which some are equal, as newline tokens are."""
    x = torch.randn(N, 24, generator=torch.Generator().manual_seed(seed))
    x[::50] = x[0]
    return x


def similarities(x: Tensor, all_up_to: int) -> Similarities:
    return Similarities(unit_rows(x), first_equal(x), all_up_to)


def held(s: Similarities) -> int:
    return sum(s.get(i) is not None for i in range(N) if int(s.first[i]) == i)


def focus(seed: int, cap: float = 1.0) -> Focus:
    phi = torch.rand(N, generator=torch.Generator().manual_seed(seed)) ** 9
    return Focus({"priority": phi}, phi.sort(descending=True, stable=True).indices, focus_count(phi, 0.9), cap)


@each("seed", range(3))
@each("cap", [1.0, 0.05])
def test_the_three_stages_choose_the_same_tokens(seed: int, cap: float) -> None:
    pruner, x = FocusScanRefine(), features(seed)
    for budget in (10, 200, 690):
        whole, few = similarities(x, N), similarities(x, 200)
        a, b = (pruner._choose(s, focus(seed, cap), budget) for s in (whole, few))
        assert torch.equal(a.roles, b.roles)
        assert torch.equal(a.anchor, b.anchor)
        assert torch.equal(a.merged, b.merged)
        assert torch.allclose(a.similarity, b.similarity, atol=2**-21, rtol=0, equal_nan=True)
        assert few.most == 57
        assert held(few) <= max(few.most, LARGEST_BATCH)
        assert budget < 100 or few.computed > few.most  # rows were let go of


def test_the_plan_of_all_budgets_is_the_same() -> None:
    x, phi = features(0), torch.rand(N, generator=torch.Generator().manual_seed(7))
    order = phi.sort(descending=True, stable=True).indices
    histories = []
    for all_up_to in (N, 200):
        s = similarities(x, all_up_to)
        scan, _ = scan_order(s, order[:20].tolist(), N - 20)
        scan_rank = torch.full((N,), -1)
        scan_rank[scan] = torch.arange(len(scan))
        histories.append((scan, NestedPlan(rank_of(order), 20, scan_rank, 1.0, phi, s).history))
        assert held(s) <= max(s.most, LARGEST_BATCH)
    (scan, history), (other_scan, other) = histories
    assert torch.equal(scan, other_scan)
    assert history["anchor"] == other["anchor"]
    assert history["rank"] == other["rank"]
    assert history["similarity"] == pytest.approx(other["similarity"], abs=2**-21)


def test_no_more_rows_are_held_than_are_allowed() -> None:
    s = similarities(features(0), 200)
    for at in range(0, N, 20):
        rows = s.rows(range(at, min(N, at + 20)))
        assert rows.shape == (min(N, at + 20) - at, N)
        assert held(s) <= s.most == 57
        assert not bool(s.settled.all())
    again = s.rows([0, 650, 1])  # let go of long ago, held, let go of
    assert torch.equal(again, torch.cat([s.rows([i]) for i in (0, 650, 1)]))


def test_blocks_are_the_rows_in_order() -> None:
    for all_up_to in (N, 200):
        s, x = similarities(features(1), all_up_to), similarities(features(1), N)
        wanted = torch.randperm(N, generator=torch.Generator().manual_seed(3)).tolist()
        found = list(s.blocks(wanted))
        assert {len(rows) for rows in found[:-1]} == {min(ROWS, s.most)}
        assert (torch.cat(found) - x.rows(wanted)).abs().max() <= 2
        assert list(s.blocks([])) == []


def test_the_limit_is_that_of_ten_thousand_tokens() -> None:
    assert ALL_UP_TO == 10_000
    unit = torch.ones(1, 1)
    assert Similarities(unit.expand(10_000, 1)).most == 10_000
    assert Similarities(unit.expand(12_500, 1)).most == 8_000


def test_a_method_that_needs_all_pairs_says_so_beyond_the_limit() -> None:
    n = ALL_UP_TO + 1
    tokens = VisualTokens(torch.ones(n, 1), Layout.of_grid(1, n))
    with pytest.raises(InvalidInput, match="at most 10000 visual tokens, not 10001"):
        tokens.gram("projected")


@pytest.mark.parametrize("gathered", [1, 150, 400, 2048])
def test_what_is_left_of_a_matrix_is_filled_in_around_what_is_known(gathered, monkeypatch) -> None:
    """Rows that were computed one way keep their values; the others are symmetric to them."""
    monkeypatch.setattr("fsr.similarity.GATHERED", gathered)
    x = features(2)
    s = similarities(x, N)
    known = s.rows([3, 699, 40, 50, 100])  # the last two are equal tokens
    rows = s.complete().rows(range(N))
    assert torch.equal(rows[[3, 699, 40, 50, 100]], known)
    rest = [i for i in range(N) if i not in (3, 699, 40) and i % 50]
    assert torch.equal(rows[rest][:, [3, 699, 40]], known[:3, rest].T)
    assert torch.equal(rows, rows.T)
    assert (rows - similarities(x, N).complete().rows(range(N))).abs().max() <= 2
