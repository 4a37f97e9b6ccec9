"""Stage 1 against loops over Python floats, and its decisions one by one."""

from __future__ import annotations

import pytest
import torch

from fsr.focus import capped_count, focus_count, focus_order, min_max, priority
from tests import references
from tests.looping import each


@each("seed", range(200))
def test_focus_equals_the_reference(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = int(torch.randint(1, 40, (1,), generator=generator))
    saliency, relevance = torch.rand(n, generator=generator), torch.randn(n, generator=generator)
    alpha, beta = (float(x) for x in 4 * torch.rand(2, generator=generator))
    rho = float(torch.rand(1, generator=generator)) or 1.0
    s_hat, r_hat = references.min_max(saliency.tolist()), references.min_max(relevance.tolist())
    expected = references.priority(s_hat, r_hat, alpha, beta)

    phi = priority(min_max(saliency), min_max(relevance), alpha, beta)

    assert phi.dtype == torch.float32
    assert phi.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert focus_order(phi, saliency).tolist() == references.by_value((phi if phi.any() else saliency).tolist())
    margin = references.Margin()
    count = references.focus_count(phi.tolist(), rho, margin)
    if margin.gap > references.CLEAR:
        assert focus_count(phi, rho) == count


@each("value", [0.0, 0.25, -3.0])
def test_a_constant_score_becomes_ones(value: float) -> None:
    assert min_max(torch.full((5,), value)).tolist() == [1.0] * 5


@each("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_any_precision_are_normalised_in_float32(dtype: torch.dtype) -> None:
    out = min_max(torch.tensor([1.0, 2.0, 5.0], dtype=dtype))
    assert out.dtype == torch.float32
    assert out.tolist() == [0.0, 0.25, 1.0]


def test_alpha_zero_leaves_saliency_even_where_relevance_is_zero() -> None:
    saliency, relevance = torch.tensor([0.5, 1.0, 0.0]), torch.tensor([0.0, 0.3, 1.0])
    assert priority(saliency, relevance, 0.0, 1.0).tolist() == saliency.tolist()
    assert priority(saliency, None, 3.0, 1.0).tolist() == saliency.tolist()


def test_ties_in_priority_go_to_the_lower_index() -> None:
    phi = torch.tensor([0.5, 1.0, 0.5, 1.0, 0.5])
    assert focus_order(phi, phi).tolist() == [1, 3, 0, 2, 4]


def test_without_any_priority_focus_is_the_most_salient_token() -> None:
    saliency = torch.tensor([0.1, 0.9, 1.0, 1.0])
    assert focus_order(torch.zeros(4), saliency).tolist() == [2, 3, 1, 0]
    assert focus_count(torch.zeros(4), 0.9) == 1


@each("n", [1, 2, 3, 10, 50, 64, 100, 200])
def test_equal_priorities_take_exactly_the_share_rho(n: int) -> None:
    for hundredths in range(1, 101):
        assert focus_count(torch.ones(n), hundredths / 100) == -(-hundredths * n // 100)


@each(
    ("phi", "rho", "count"),
    [
        ([1.0, 0.0, 0.0], 1.0, 1),  # tokens of no priority are never needed
        ([0.5, 0.25, 0.25], 0.5, 1),  # reaching rho Z exactly is enough
        ([0.5, 0.25, 0.25], 0.75, 2),
        ([0.25, 0.5, 0.25], 1.0, 3),
        ([1.0, 1e-30, 0.0], 1.0, 1),  # below what a sum can hold
    ],
)
def test_focus_count_on_cases_done_by_hand(phi: list[float], rho: float, count: int) -> None:
    assert focus_count(torch.tensor(phi), rho) == count


def test_the_cap_rounds_up_and_never_adds() -> None:
    for hundredths in range(1, 101):
        for budget in (1, 2, 3, 7, 10, 30, 50, 100):
            expected = -(-hundredths * budget // 100)
            assert capped_count(1000, hundredths / 100, budget) == expected
            assert capped_count(3, hundredths / 100, budget) == min(3, expected)
    assert capped_count(5, 1e-6, 1) == 1
