"""2 x 2 pooling against means taken in plain Python."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
import torch

from fsr.pruners import REGISTRY, make
from fsr.tokens import Layout, Role, VisualTokens
from tests import plan_reader, references
from tests.looping import each
from tests.methods import random_tokens, same, two_frames


def blocks_of(layout: Layout) -> list[list[int]]:
    """The tokens of every block, ascending; a token outside the grid is a block of its own."""
    blocks: dict[Any, list[int]] = {}
    for i, (frame, row, col) in enumerate(
        zip(layout.frame.tolist(), layout.row.tolist(), layout.col.tolist(), strict=True)
    ):
        blocks.setdefault((frame, row // 2, col // 2) if row >= 0 else i, []).append(i)
    return sorted(blocks.values())


def check(tokens: VisualTokens, budget: int) -> None:
    s, blocks = make("pool2x2")(tokens, budget), blocks_of(tokens.layout)
    vectors = tokens.embeddings.double().tolist()
    assert s.kept.tolist() == [block[0] for block in blocks]
    assert s.facts == {"n_merged": len(tokens) - len(blocks), "n_anchors": sum(len(b) > 1 for b in blocks)}
    for at, (first, *others) in enumerate(blocks):
        block = [first, *others]
        mean = [math.fsum(vectors[i][d] for i in block) / len(block) for d in range(len(vectors[0]))]
        assert s.embeddings[at].tolist() == pytest.approx(mean, abs=1e-6)
        assert s.weight[block].tolist() == pytest.approx([1 / len(block)] * len(block))
        assert s.anchor[block].tolist() == [-1] + [first] * len(others)
        assert s.roles[block].tolist() == [Role.KEPT] + [Role.MERGED] * len(others)
        for i in others:
            assert float(s.similarity[i]) == pytest.approx(references.cosine(vectors[i], vectors[first]), abs=1e-5)


@each(
    ("rows", "cols", "count"),
    [(24, 24, 144), (5, 6, 9), (6, 5, 9), (5, 5, 9), (1, 7, 4), (7, 1, 4), (1, 1, 1), (2, 2, 1), (3, 1, 2)],
)
def test_every_block_becomes_its_mean(rows: int, cols: int, count: int) -> None:
    tokens = random_tokens(rows * cols, rows, cols, 4)
    check(tokens, 1)
    assert len(make("pool2x2")(tokens, rows * cols).kept) == count


def test_tokens_outside_the_grid_are_kept_and_frames_are_apart() -> None:
    tokens = two_frames()
    check(tokens, 3)
    s = make("pool2x2")(tokens, 3)
    newline = (tokens.layout.row < 0).nonzero()[:, 0]
    assert len(s.kept) == 2 * 4 + len(newline)
    assert torch.isin(newline, s.kept).all()


def test_hundreds_of_layouts_in_any_order() -> None:
    for seed in range(200):
        draw = random.Random(seed)
        grid = random_tokens(seed, draw.randint(1, 6), draw.randint(1, 6), 3)
        order = torch.tensor(draw.sample(range(len(grid)), draw.randint(1, len(grid))))
        old = grid.layout
        outside = torch.rand(len(order), generator=torch.Generator().manual_seed(seed)) < 0.1
        row, col = old.row[order].masked_fill(outside, -1), old.col[order].masked_fill(outside, -1)
        frame = torch.arange(len(order)) * 2 // len(order)
        layout = Layout(frame, row, col, old.rect[order].masked_fill(outside[:, None], torch.nan), old.grids * 2)
        check(VisualTokens(grid.embeddings[order], layout), draw.randint(1, len(order)))


def test_the_budget_changes_nothing_and_the_plan_says_so() -> None:
    tokens, pruner = random_tokens(0), make("pool2x2")
    assert not REGISTRY["pool2x2"].exact_count
    assert all(same(pruner(tokens, 1), pruner(tokens, budget)) for budget in (2, 9, 30))
    record = json.loads(json.dumps(pruner.plan(tokens).to_json()))
    assert record["budgets"] == [9]
    assert record["packing"] == "nibble"
    for budget in (1, 9, 30):
        assert plan_reader.read(record, budget)[0] == pruner(tokens, budget).roles.tolist()
        assert torch.equal(pruner.plan(tokens).roles(budget) == Role.KEPT, pruner(tokens, budget).roles == Role.KEPT)
