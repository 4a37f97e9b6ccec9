"""Stage 3 against the running mean of Eq. 9 taken one token after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fsr.refine import group_weights, merge, merge_count, merged_tokens, nearest_anchor
from fsr.similarity import STEPS, Similarities, first_equal
from fsr.tokens import unit_rows
from tests import references
from tests.looping import each
from tests.references import Margin


def steps(x: Tensor) -> Similarities:
    return Similarities(unit_rows(x), first_equal(x))


@pytest.mark.parametrize("together", [2, 1024])
def test_refine_equals_the_reference(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsr.refine.TOGETHER", together)
    compared = 0
    for seed in range(300):
        generator = torch.Generator().manual_seed(seed)
        n = int(torch.randint(3, 26, (1,), generator=generator))
        k = int(torch.randint(1, n + 1, (1,), generator=generator))
        n_scan = int(torch.randint(1, k + 1, (1,), generator=generator))
        x, phi = torch.randn(n, 7, generator=generator), torch.rand(n, generator=generator)
        phi[torch.rand(n, generator=generator) < 0.3] = 0.0
        kept = torch.randperm(n, generator=generator)[:k]
        scanned, kappa = kept[:n_scan], float(torch.randint(0, 7, (1,), generator=generator)) / 2
        vectors = x.double().tolist()
        cosines = [[references.cosine(a, b) for b in vectors] for a in vectors]
        margin = Margin()
        expected = references.refine(vectors, cosines, phi.tolist(), kept.tolist(), scanned.tolist(), kappa, margin)
        if margin.gap < references.CLEAR:
            continue
        compared += 1

        anchor, similarity = nearest_anchor(steps(x), scanned)
        dropped = torch.tensor([i for i in range(n) if i not in kept.tolist()], dtype=torch.int64)
        merged = merged_tokens(similarity, kept, merge_count(kappa, n_scan, len(dropped)))
        weight = group_weights(phi, merged, anchor)
        in_order = kept.sort().values
        out = merge(x, in_order, merged, anchor, weight)

        assert anchor[dropped].tolist() == [expected.anchor[i] for i in dropped.tolist()]
        assert (similarity[dropped] / STEPS).tolist() == pytest.approx(list(expected.similarity.values()), abs=1e-6)
        assert merged.tolist() == expected.merged
        assert {i: w for i, w in enumerate(weight.tolist()) if i in expected.weight} == pytest.approx(expected.weight)
        assert not weight[[i for i in range(n) if i not in expected.weight]].any()
        for row, i in zip(out.double(), in_order.tolist(), strict=True):
            assert row.tolist() == pytest.approx(expected.vectors.get(i, vectors[i]), abs=1e-5)
    assert compared > 250


@each(
    ("kappa", "n_scan", "n_dropped", "count"),
    [(1.0, 5, 9, 5), (1.0, 5, 3, 3), (0.5, 5, 9, 2), (0.0, 5, 9, 0), (5.0, 2, 9, 9), (0.1, 30, 99, 3), (0.7, 10, 9, 7)],
)
def test_merge_count_rounds_down(kappa: float, n_scan: int, n_dropped: int, count: int) -> None:
    assert merge_count(kappa, n_scan, n_dropped) == count


def test_ties_between_anchors_and_between_dropped_tokens_go_to_the_lower_index() -> None:
    x = torch.randn(1, 40).repeat(6, 1)
    anchor, similarity = nearest_anchor(steps(x), torch.tensor([5, 2, 3]))
    assert anchor.tolist() == [2] * 6
    assert merged_tokens(similarity, torch.tensor([2, 3, 5]), 2).tolist() == [0, 1]


def test_a_group_without_priority_keeps_its_anchor() -> None:
    x = torch.eye(4)
    anchor, merged = torch.tensor([-1, 0, 0, 3]), torch.tensor([1, 2])
    weight = group_weights(torch.tensor([0.0, 0.0, 0.0, 1.0]), merged, anchor)
    assert weight.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert torch.equal(merge(x, torch.tensor([0, 3]), merged, anchor, weight), x[[0, 3]])


def test_tiny_priorities_are_shared_as_well_as_large_ones() -> None:
    phi = torch.tensor([3e-40, 1e-40, 0.0])
    weight = group_weights(phi, torch.tensor([1, 2]), torch.tensor([-1, 0, 0]))
    assert weight.tolist() == pytest.approx([0.75, 0.25, 0.0], rel=1e-3)


@each("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_averaged_in_float32(dtype: torch.dtype) -> None:
    x = torch.full((300, 1), 1.0, dtype=dtype)
    x[0] = 0.5
    anchor, merged = torch.zeros(300, dtype=torch.int64), torch.arange(1, 300)
    weight = group_weights(torch.ones(300), merged, anchor)
    out = merge(x, torch.tensor([0]), merged, anchor, weight)
    assert out.dtype == dtype
    assert out.item() == pytest.approx(299.5 / 300, rel=4e-3)
