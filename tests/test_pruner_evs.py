"""EVS against its formula in plain Python, and on clips: what stays is dropped, each frame keeps what is new in it."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY, make
from fsr.pruners.forced import Forced
from fsr.pruners.frames import with_share
from fsr.pruners.whatif import with_forced
from fsr.tokens import Grid, Layout, VisualTokens
from tests import references
from tests.looping import each
from tests.methods import CLIPS, random_tokens, two_frames
from tests.test_pruners import agrees


def clip_of(seed: int, frames: int, rows: int, cols: int, still: float, width: int = 6) -> VisualTokens:
    """Random frames, of whose tokens the share `still` is that of the frame before."""
    generator, n = torch.Generator().manual_seed(seed), rows * cols
    x = torch.randn(frames, n, width, generator=generator)
    for f in range(1, frames):
        stays = torch.rand(n, generator=generator) < still
        x[f, stays] = x[f - 1, stays]
    one = Layout.of_grid(rows, cols)
    layout = Layout(
        torch.arange(frames).repeat_interleave(n), one.row.repeat(frames), one.col.repeat(frames),
        one.rect.repeat(frames, 1), one.grids * frames,
    )  # fmt: skip
    saliency = torch.rand(frames * n, generator=generator)
    return VisualTokens(x.reshape(frames * n, width), layout, saliency=saliency)


def test_it_selects_as_the_formula_does() -> None:
    compared = 0
    for seed in range(200):
        draw = random.Random(seed)
        frames, rows, cols = draw.randint(2, 6), draw.randint(1, 4), draw.randint(1, 4)
        tokens = clip_of(seed, frames, rows, cols, draw.choice([0.0, 0.3, 0.8, 1.0]))
        size, vectors, margin = rows * cols, tokens.embeddings.double().tolist(), references.Margin()
        changes = []
        for i, v in enumerate(vectors):
            if i < size:
                changes.append(255.0)
            else:
                old = vectors[i - size]
                changes.append(0.0 if v == old else 1 - references.cosine(v, old))
        order = sorted(range(len(vectors)), key=lambda i: (-changes[i], i))
        for a, b in pairwise(order):
            if changes[a] != changes[b]:
                margin.between(changes[a], changes[b])
        if margin.gap < references.CLEAR:
            continue
        compared += 1
        assert make("evs").plan(tokens).rank.argsort().tolist() == order
        s = make("evs")(tokens, draw.randint(1, len(vectors)))
        assert s.facts["n_unchanged"] == sum(c == 0 for c in changes)
        assert s.kept.tolist() == sorted(order[: s.budget])
    assert compared > 120


def test_the_first_frame_is_whole_and_a_still_frame_keeps_nothing_until_all_that_moves_is_kept() -> None:
    tokens = clip_of(1, 4, 3, 4, 0.0)
    x = tokens.embeddings.reshape(4, 12, -1).clone()
    x[2] = x[1]
    tokens = replace(tokens, embeddings=x.reshape(48, -1))
    by_frame = [
        torch.bincount(tokens.layout.frame[make("evs")(tokens, k).kept], minlength=4).tolist() for k in (20, 36)
    ]
    assert by_frame[0][0] == 12
    assert by_frame[1] == [12, 12, 0, 12]


def test_newlines_stay_where_they_were_first_and_other_grids_are_first_frames() -> None:
    tokens = two_frames()
    changes = make("evs")(tokens, 5).scores["change"]
    assert changes[:15].tolist() == [255] * 15
    assert changes[15:][tokens.layout.row[15:] < 0].tolist() == [0, 0, 0]
    tiles = replace(tokens.layout.grids[1], part="tiles")
    with pytest.raises(InvalidInput, match="a picture has none"):
        make("evs")(replace(tokens, layout=replace(tokens.layout, grids=(tokens.layout.grids[0], tiles))), 5)


def test_a_single_picture_is_refused_with_a_sentence_and_so_is_a_share_of_each_frame() -> None:
    said = "EVS compares each frame of a clip with the one before it, and a picture has none."
    for ask in (lambda t: make("evs")(t, 3), make("evs").plan):
        with pytest.raises(InvalidInput, match=said):
            ask(random_tokens(0))
    with pytest.raises(InvalidInput, match="all frames together"):
        with_share(make("evs"), "per_group")


@each("kind", list(CLIPS))
@each("name", [name for name, kind in REGISTRY.items() if kind.across_frames])
def test_methods_of_clips_keep_exactly_the_budget_and_their_plan_says_which(name: str, kind: str) -> None:
    tokens = CLIPS[kind]()
    plan = make(name).plan(tokens)
    read = json.loads(json.dumps(plan.to_json(), allow_nan=False))
    for budget in range(1, len(tokens) + 1):
        s = make(name)(tokens, budget)
        assert len(s.kept.unique()) == s.budget == budget
        agrees(plan, read, budget, s)


def test_forced_tokens_come_first_and_the_order_goes_on() -> None:
    tokens = clip_of(3, 3, 2, 3, 0.2)
    order = make("evs").plan(tokens).rank.argsort().tolist()
    found = with_forced(make("evs"), Forced((order[-1],), (order[0], order[8])))(tokens, 9)
    assert found.kept.tolist() == sorted([order[-1], *order[1:8], order[9]])


def test_frames_of_another_size_are_compared_with_none() -> None:
    a, b = Layout.of_grid(2, 2), Layout.of_grid(1, 3)
    grids = (Grid(2, 2, 2, 2, (0, 0, 2, 2)),) * 2 + b.grids
    layout = Layout(
        torch.tensor([0] * 4 + [1] * 4 + [2] * 3), torch.cat([a.row, a.row, b.row]), torch.cat([a.col, a.col, b.col]),
        torch.cat([a.rect, a.rect, b.rect]), grids,
    )  # fmt: skip
    tokens = VisualTokens(torch.randn(11, 4, generator=torch.Generator().manual_seed(0)), layout)
    assert (make("evs")(tokens, 4).scores["change"] == 255).tolist() == [True] * 4 + [False] * 4 + [True] * 3
