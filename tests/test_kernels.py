"""Greedy loops on a device: the Triton kernels and their PyTorch loops pick what the CPU picks, and wait for nothing.

Where there is a GPU the kernels are compiled; elsewhere Triton's interpreter runs them on the CPU. What is compared is
in `fsr.check.device`, for `python -m fsr bench gpu` asks the same of a card.
"""

from __future__ import annotations

import contextlib
from types import ModuleType

import pytest
import torch

from fsr.bench import released
from fsr.check import device
from fsr.kernels import NONE, loops
from fsr.pruners.cdpruner import filled, most_diverse
from fsr.similarity import exact_products
from tests.looping import each

pytest.importorskip("triton")
from fsr.kernels import compiled

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BOTH = (compiled, loops)


@each("way", BOTH)
@pytest.mark.slow
def test_farthest_points_are_those_of_the_cpu(way: ModuleType) -> None:
    assert device.farthest_points(way, DEVICE) == []


@each("way", [*BOTH, released])
def test_several_groups_go_at_once(way: ModuleType) -> None:
    assert device.groups(way, DEVICE) == []


@each("way", BOTH)
@pytest.mark.slow
def test_the_most_diverse_are_those_of_the_cpu(way: ModuleType) -> None:
    assert device.most_diverse_tokens(way, DEVICE) == []


@each("way", [*BOTH, released])
def test_a_panel_leaves_what_the_next_one_needs(way: ModuleType) -> None:
    assert device.panel_state(way, DEVICE) == []


def test_what_diversity_leaves_open_is_filled_once() -> None:
    r = torch.rand(90, generator=torch.Generator().manual_seed(9)) + 1e-3
    order = most_diverse(device.whole(device.features(1, 90, 7)), r, 40)
    assert NONE in order
    found = filled(order, r).tolist()
    assert len(set(found)) == 40
    assert found[:7] == order[:7].tolist()


def test_equal_tokens_are_found_on_a_device_as_on_the_cpu() -> None:
    assert device.equal_tokens(DEVICE) == []


def test_similarities_are_exact_to_a_few_steps() -> None:
    assert device.exact_rows(DEVICE) == []


@each("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_selections_are_those_of_the_cpu(dtype: torch.dtype) -> None:
    assert device.selections(DEVICE, dtype) == []


def test_nothing_in_a_selection_waits() -> None:
    assert device.waits(DEVICE) == []


def test_a_difference_is_told() -> None:
    class Wrong:
        @staticmethod
        def farthest(*given):
            return loops.farthest(*given).flip(0)

        @staticmethod
        def panel(*given):
            return loops.panel(*given).flip(0)

    assert "groups, 7 picks: number 0 is 103, on the CPU 77" in device.groups(Wrong, DEVICE)
    assert device.most_diverse_tokens(Wrong, DEVICE)


def allowed() -> list[str]:
    """What products of float32 may be rounded to, as both of PyTorch's ways tell it."""
    found = [getattr(torch.backends.cuda.matmul, "fp32_precision", "")]
    with contextlib.suppress(RuntimeError):  # the other way was used
        found.append(torch.get_float32_matmul_precision())
    return found


@pytest.mark.parametrize("newer", [False, True])
def test_products_are_exact_whatever_the_user_allows(newer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if newer and not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        pytest.skip("this torch has one way to allow TF32")
    try:
        if newer:
            torch.backends.cuda.matmul.fp32_precision = "tf32"
        else:
            torch.set_float32_matmul_precision("high")
        before = allowed()
        with exact_products():
            assert "tf32" not in allowed()
            assert "high" not in allowed()
        assert allowed() == before
    finally:
        torch.set_float32_matmul_precision("highest")
