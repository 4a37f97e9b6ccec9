"""Greedy loops on a device: the Triton kernels and their PyTorch loops pick what the CPU picks, and wait for nothing.

Where there is a GPU the kernels are compiled; elsewhere Triton's interpreter runs them on the CPU.
"""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor

from fsr.kernels import NONE, loops
from fsr.pruners.cdpruner import NOISE, filled, most_diverse
from fsr.scan import scan_order
from fsr.similarity import (
    STEPS,
    TAKEN,
    AllSimilarities,
    Similarities,
    exact_products,
    first_equal,
    first_equal_on_device,
)
from fsr.tokens import unit_rows
from tests.looping import each

pytest.importorskip("triton")
from fsr.kernels import compiled

pytestmark = pytest.mark.gpu
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BOTH = (compiled, loops)


def features(seed: int, n: int, d: int = 16, kinds: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """kinds: of so many different tokens; 0: all differ."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(kinds or n, d, generator=generator)
    return (x[torch.randint(kinds, (n,), generator=generator)] if kinds else x).to(dtype)


def whole(x: Tensor) -> Similarities:
    return Similarities(unit_rows(x), first_equal(x)).complete()


def start(rows: Tensor, focus: list[int]) -> Tensor:
    nearest = rows[focus].amax(dim=0) if focus else torch.full((len(rows),), -TAKEN)
    return nearest.index_fill_(0, torch.tensor(focus, dtype=torch.int64), TAKEN)


CASES = {
    "one token": (features(0, 1), [], 1),
    "two equal ones": (features(0, 1).repeat(2, 1), [1], 1),
    "all equal": (features(0, 1).repeat(70, 1), [3], 69),
    "all as far from each other": (torch.eye(100), [7], 60),
    "half precision": (features(1, 300, dtype=torch.bfloat16), [5, 9], 200),
    "few kinds": (features(2, 257, kinds=12), [5], 256),
    "a zero token": (features(3, 33).index_fill_(0, torch.tensor([4, 30]), 0.0), [], 33),
    "no power of two": (features(4, 577, 24), list(range(0, 577, 9)), 128),
    "many": (features(5, 8192, 8), [8191], 12),
}


@each("x, focus, count", CASES.values(), CASES)
def test_farthest_points_are_those_of_the_cpu(x: Tensor, focus: list[int], count: int) -> None:
    similarities = whole(x)
    rows = similarities.matrix()
    expected, least = scan_order(similarities, focus, count)
    for how in BOTH:
        nearest = start(rows, focus)[None].to(DEVICE)
        order = how.farthest(rows.to(DEVICE), nearest, [count])
        assert order[0].tolist() == expected.tolist()
        assert float(nearest.min()) == float(least)


def test_several_groups_go_at_once() -> None:
    similarities, counts = whole(features(6, 200, kinds=90)), [0, 1, 50, 7, 170]
    rows, focus = similarities.matrix(), [[0], [3, 8], [], [199], list(range(30))]
    for how in BOTH:
        nearest = torch.stack([start(rows, some) for some in focus]).to(DEVICE)
        order = how.farthest(rows.to(DEVICE), nearest, counts)
        assert order.shape == (5, 170)
        for one, some, count, left in zip(order, focus, counts, nearest, strict=True):
            expected, least = scan_order(similarities, some, count)
            assert one.tolist() == expected.tolist() + [NONE] * (170 - count)
            assert float(left.min()) == float(least)


def diverse(how: object, x: Tensor, r: Tensor, count: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The whole order of `most_diverse` on a device, with this way of finding a panel."""
    monkeypatch.setattr("fsr.pruners.cdpruner.panel", how.panel)  # type: ignore[attr-defined]
    return most_diverse(on_device(x), r.to(DEVICE), count).tolist()


def on_device(x: Tensor) -> Similarities:
    """As `similarities_of` makes them on a GPU, of the rows of the CPU, so that picks can be compared one by one."""
    same = AllSimilarities(unit_rows(x).to(DEVICE), first_equal(x).to(DEVICE))
    same._matrix = whole(x).matrix().to(DEVICE)
    return same


DIVERSE = {
    "one token": (features(0, 1), 1),
    "all equal": (features(0, 1).repeat(70, 1), 5),
    "the rank is used up": (features(1, 90, 7), 40),
    "few kinds": (features(2, 120, 40, kinds=25), 60),
    "half precision": (features(3, 150, 64, dtype=torch.float16), 100),
    "three panels": (features(4, 260, 96), 80),
}


@each("x, count", DIVERSE.values(), DIVERSE)
@each("uniform", [True, False])
def test_the_most_diverse_are_those_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, x: Tensor, count: int, uniform: bool
) -> None:
    r = torch.ones(len(x)) if uniform else torch.rand(len(x), generator=torch.Generator().manual_seed(9)) + 1e-3
    expected = most_diverse(whole(x), r, count)
    for how in BOTH:
        assert diverse(how, x, r, count, monkeypatch) == expected.tolist()
    assert sorted(set(filled(expected, r).tolist())) == sorted(filled(expected, r).tolist())


def test_a_panel_leaves_what_the_next_one_needs() -> None:
    similarities, r = whole(features(7, 64, 32)), torch.rand(64, generator=torch.Generator().manual_seed(1)) + 0.1
    found = []
    for how in BOTH:
        given = [similarities.first, r.square(), torch.full((64,), float(STEPS)), torch.zeros(9, 64)]
        given = [x.to(DEVICE) for x in given]
        order = how.panel(similarities.matrix().to(DEVICE), *given, NOISE)
        found.append([order, *given[1:]])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one.float(), other.float(), rtol=1e-5, atol=STEPS * 1e-6)
    order, weight, u, factor = found[0]
    assert (weight == 0).nonzero()[:, 0].tolist() == sorted(order.tolist())
    assert torch.allclose(u, STEPS - factor.square().sum(dim=0), atol=STEPS * 1e-5)


@each("dtype", [torch.float32, torch.float16, torch.bfloat16])
@each("n, kinds", [(1, 0), (2, 1), (300, 0), (300, 40), (50, 1)])
def test_equal_tokens_are_found_on_a_device_as_on_the_cpu(dtype: torch.dtype, n: int, kinds: int) -> None:
    x = features(n, n, 77, kinds, dtype)
    x[n // 2] = 0
    x[n // 3, -1] += 1  # equal in all columns but one
    assert first_equal_on_device(x.to(DEVICE)).tolist() == first_equal(x).tolist()


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
