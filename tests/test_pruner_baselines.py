"""Random, uniform grid, top saliency and top relevance."""

from __future__ import annotations

from dataclasses import replace

import torch

from fsr.pruners import make
from fsr.tokens import Layout, VisualTokens
from tests.looping import each
from tests.methods import random_tokens, same, two_frames


def test_scores_rank_tokens_and_ties_go_to_the_lower_index() -> None:
    tokens = replace(
        random_tokens(0, 1, 6),
        saliency=torch.tensor([0.1, 0.4, 0.4, 0.2, 0.4, 0.0]),
        relevance=torch.tensor([0.2, 0.1, 0.2, 0.1, 0.3, 0.2]),
    )
    assert [make("saliency")(tokens, k).kept.tolist() for k in (1, 2, 4)] == [[1], [1, 2], [1, 2, 3, 4]]
    assert [make("relevance")(tokens, k).kept.tolist() for k in (1, 2, 3)] == [[4], [0, 4], [0, 2, 4]]
    assert make("relevance", relevance_sign=-1)(tokens, 2).kept.tolist() == [1, 3]


def test_random_follows_its_seed() -> None:
    tokens = random_tokens(0)
    assert not same(make("random", seed=0)(tokens, 9), make("random", seed=1)(tokens, 9))
    counts = torch.zeros(30)
    for seed in range(300):
        counts[make("random", seed=seed)(tokens, 10).kept] += 1
    assert counts.min() > 60
    assert counts.max() < 140


@each(("rows", "cols"), [(24, 24), (10, 30), (30, 10), (1, 50), (2, 30), (7, 13)])
def test_a_grid_is_even_in_rows_and_columns(rows: int, cols: int) -> None:
    tokens = random_tokens(0, rows, cols, 2)
    for budget in range(1, rows * cols + 1):
        kept = make("grid")(tokens, budget).kept
        assert len(kept.unique()) == budget
        row, col = tokens.layout.row[kept], tokens.layout.col[kept]
        in_row = row.bincount(minlength=rows)
        assert in_row[in_row > 0].max() - in_row[in_row > 0].min() <= 1
        used = (in_row > 0).nonzero()[:, 0]
        assert len(used) == 1 or used.diff().max() - used.diff().min() <= 1
        for r in used.tolist():
            steps = col[row == r].diff()
            assert len(steps) == 0 or steps.max() - steps.min() <= 1
    if rows == cols:
        square = make("grid")(tokens, 64).kept
        assert len(tokens.layout.row[square].unique()) == len(tokens.layout.col[square].unique()) == 8


def test_a_grid_serves_frames_alike_and_newlines_last() -> None:
    tokens = two_frames()
    for budget in range(1, 31):
        kept = make("grid")(tokens, budget).kept
        newline = tokens.layout.row[kept] < 0
        assert newline.sum() == max(0, budget - 24)
        in_frame = tokens.layout.frame[kept[~newline]].bincount(minlength=2)
        assert abs(int(in_frame[0] - in_frame[1])) <= 1


def test_a_grid_that_is_no_rectangle_is_spread_along_its_order() -> None:
    whole = random_tokens(0, 4, 5)
    layout = Layout(*(getattr(whole.layout, f)[:17] for f in ("frame", "row", "col", "rect")), whole.layout.grids)
    tokens = VisualTokens(whole.embeddings[:17], layout)
    for budget in range(1, 18):
        assert len(make("grid")(tokens, budget).kept) == budget
