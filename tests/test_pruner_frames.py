"""A budget shared by frames: every frame is what it would be alone, and one plan for all of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch

from fsr.check.device import SCORES, VECTORS
from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY, RankPlan, TablePlan, make
from fsr.pruners.frames import PerGroup, anchors_from_other_frames, divided, schedule, split, with_share
from fsr.tokens import Grid, Layout, Role, VisualTokens
from tests import plan_reader
from tests.looping import each
from tests.methods import METHODS, random_tokens, same

FRAMED = [m for m in METHODS if REGISTRY[m[1]].exact_count and REGISTRY[m[1]].stage == "before"]
each_method = each(("name", "parameters"), [m[1:] for m in FRAMED], ids=[m[0] for m in FRAMED])


def frame_of(seed: int, last: bool) -> VisualTokens:
    """One frame of 3 x 3 tokens; the last one has a newline token behind it, as in LLaVA-OneVision."""
    some = random_tokens(100 + seed, 2, 5)
    col = torch.tensor([0, 1, 2] * 3 + [-1])
    row = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, -1])
    rect = torch.stack([col, row, col + 1, row + 1], dim=1).float().masked_fill(col[:, None] < 0, torch.nan)
    grid = Grid(3, 3, 3, 3, (0.0, 0.0, 3.0, 3.0))
    n = 10 if last else 9
    layout = Layout(torch.zeros(n, dtype=torch.int64), row[:n], col[:n], rect[:n], (grid,))
    some = replace(some, question=random_tokens(100, 2, 5).question)  # one question about all frames
    return replace(some, layout=layout, **{name: getattr(some, name)[:n] for name in (*VECTORS, *SCORES)})


def clip_of(frames: list[VisualTokens]) -> VisualTokens:
    joined = {name: torch.cat([getattr(f, name) for f in frames]) for name in (*VECTORS, *SCORES, "summary")}
    layout = Layout(
        frame=torch.cat([torch.full_like(f.layout.row, i) for i, f in enumerate(frames)]),
        row=torch.cat([f.layout.row for f in frames]),
        col=torch.cat([f.layout.col for f in frames]),
        rect=torch.cat([f.layout.rect for f in frames]),
        grids=tuple(f.layout.grids[0] for f in frames),
    )
    return VisualTokens(layout=layout, question=frames[0].question, **joined)


FRAMES = [frame_of(i, last=i == 2) for i in range(3)]
CLIP = clip_of(FRAMES)  # 9 + 9 + 10 tokens
STARTS = (0, 9, 18)
SOME = (1, 2, 3, 5, 8, 13, 21, 27, 28)  # budgets


@each_method
@pytest.mark.slow
def test_every_frame_is_what_it_would_be_alone(name, parameters):
    pruner = make(name, **parameters)
    for budget in SOME:
        s = with_share(pruner, "per_group")(CLIP, budget)
        assert (s.method, s.budget) == (name, budget)
        kept, embeddings, sent_before, sent_after = [], [], [], []
        for frame, start, count in zip(FRAMES, STARTS, divided([9, 9, 10], budget), strict=True):
            rows = slice(start, start + len(frame))
            if count == 0:
                assert not s.roles[rows].any()
                assert (s.anchor[rows] == -1).all()
                assert s.similarity[rows].isnan().all()
                assert not s.weight[rows].any()
                continue
            alone = pruner(frame, count)
            assert torch.equal(s.roles[rows], alone.roles)
            assert torch.equal(s.weight[rows], alone.weight)
            assert torch.equal(s.similarity[rows].nan_to_num(), alone.similarity.nan_to_num())
            assert s.anchor[rows].tolist() == [a + start if a >= 0 else -1 for a in alone.anchor.tolist()]
            for key, score in alone.scores.items():
                assert torch.equal(s.scores[key][rows], score)
            kept += [i + start for i in alone.kept.tolist()]
            embeddings.append(alone.embeddings)
            sent_before += [] if alone.before is None else [alone.before]
            sent_after += [] if alone.after is None else [alone.after]
        assert s.kept.tolist() == kept == sorted(kept)
        assert torch.equal(s.embeddings, torch.cat(embeddings))
        assert len(s.sent) == budget
        for found, parts in ((s.before, sent_before), (s.after, sent_after)):
            assert (found is None) == (not parts)
            assert found is None or torch.equal(found, torch.cat(parts))
        assert all(score.shape == (28,) and score.isfinite().all() for score in s.scores.values())


@each_method
def test_the_plan_agrees_with_the_selection_at_every_budget(name, parameters):
    pruner = with_share(make(name, **parameters), "per_group")
    plan = pruner.plan(CLIP)
    assert isinstance(plan, RankPlan if isinstance(pruner.pruner.plan(FRAMES[0]), RankPlan) else TablePlan)
    read = json.loads(json.dumps(plan.to_json(), allow_nan=False))
    for budget in SOME:
        roles = pruner(CLIP, budget).roles
        assert torch.equal(plan.roles(budget), torch.where(roles == Role.MERGED, int(Role.DROPPED), roles))
        assert plan_reader.read(read, budget)[0] == roles.tolist()
    for budget in (0, 29):
        with pytest.raises(InvalidInput, match="from 1 to 28"):
            plan.roles(budget)
        with pytest.raises(InvalidInput, match="from 1 to 28"):
            pruner(CLIP, budget)


def test_one_frame_is_the_same_in_either_mode():
    one = random_tokens(3)
    for budget in (1, 7, 30):
        assert same(with_share(make("fsr"), "per_group")(one, budget), make("fsr")(one, budget))


def test_frames_may_lie_among_each_other():
    """Tokens that are not stored frame after frame keep their places."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(28, generator=generator)
    fields = {name: getattr(CLIP, name)[order] for name in (*VECTORS, *SCORES)}
    layout = replace(
        CLIP.layout, **{name: getattr(CLIP.layout, name)[order] for name in ("frame", "row", "col", "rect")}
    )
    mixed = replace(CLIP, layout=layout, **fields)
    pruner = with_share(make("saliency"), "per_group")
    a, b = pruner(CLIP, 11), pruner(mixed, 11)
    assert sorted(order[b.kept].tolist()) == a.kept.tolist()
    assert torch.equal(b.embeddings, mixed.embeddings[b.kept])
    assert torch.equal(pruner.plan(mixed).roles(11), b.roles)


@each("sizes", [[4], [5, 5], [3, 3, 3], [196] * 8, [1, 7, 2], [13] * 31 + [14]])
def test_frames_share_evenly_and_never_lose_a_token_as_the_budget_grows(sizes):
    before, total = [0] * len(sizes), sum(sizes)
    for budget in range(1, total + 1):
        now = divided(sizes, budget)
        assert sum(now) == budget
        assert all(0 <= b <= a <= size for b, a, size in zip(before, now, sizes, strict=True))
        room = [a for a, size in zip(now, sizes, strict=True) if a < size]
        assert not room or max(now) - min(room) <= 1
        before = now
    assert Counter(schedule(sizes).tolist()) == dict(enumerate(sizes))


def test_a_remainder_is_spread_over_time():
    assert schedule([2] * 8).tolist() == [0, 4, 2, 6, 1, 5, 3, 7] * 2


def test_facts_are_those_of_all_frames():
    s = with_share(make("fsr", rho=0.3), "per_group")(CLIP, 12)
    alone = [make("fsr", rho=0.3)(frame, 4).facts for frame in FRAMES]
    for name in ("k_focus", "n_focus", "k_scan", "n_merged", "n_anchors"):
        assert s.facts[name] == sum(facts[name] for facts in alone)
    assert s.facts["covering_radius"] == max(facts["covering_radius"] for facts in alone)
    assert s.facts["n_focus"] + s.facts["k_scan"] == 12
    fewest = with_share(make("fsr", rho=0.3), "per_group")(CLIP, 1).facts
    assert (fewest["k_focus"], fewest["n_focus"]) == (s.facts["k_focus"], 1)


def test_the_mode_is_checked():
    with pytest.raises(InvalidInput, match="one of global, per_group, not 'each'"):
        with_share(make("fsr"), "each")
    inside = next(name for name, cls in REGISTRY.items() if cls.stage == "inside")
    with pytest.raises(InvalidInput, match="inside the language model"):
        with_share(make(inside), "per_group")
    for mode, name in (("global", "fsr"), ("global", inside), ("per_group", "full"), ("per_group", "pool2x2")):
        pruner = make(name)
        assert with_share(pruner, mode) is pruner


def test_it_describes_itself_as_the_method_it_runs():
    pruner = with_share(make("fsr", alpha=2.0, relevance_sign=-1), "per_group")
    assert isinstance(pruner, PerGroup)
    assert (pruner.name, pruner.label, pruner.stage) == ("fsr", "FSR", "before")
    assert pruner.requires == make("fsr").requires
    assert (pruner.parameters()["alpha"], pruner.relevance_sign) == (2.0, -1)
    with pytest.raises(InvalidInput, match="needs saliency"):
        pruner(replace(CLIP, saliency=None), 4)


def test_splitting_copies_no_embedding():
    for (index, frame), start in zip(split(CLIP), STARTS, strict=True):
        assert index.tolist() == list(range(start, start + len(frame)))
        assert frame.embeddings.data_ptr() == CLIP.embeddings[start:].data_ptr()
        assert len(frame.layout.grids) == len(frame.summary) == 1
        assert not frame.layout.frame.any()


def test_temporal_merging_is_counted():
    still = replace(CLIP, embeddings=torch.cat([FRAMES[0].embeddings] * 3 + [torch.ones(1, 12)]))
    across = 0
    for seed in range(5):
        noise = torch.randn(28, 12, generator=torch.Generator().manual_seed(seed))
        tokens = replace(still, embeddings=still.embeddings + 0.1 * noise)
        s = make("fsr", rho=0.2)(tokens, 12)
        found = anchors_from_other_frames(s, CLIP.layout)
        expected = [0] * 28
        for i, role in enumerate(s.roles.tolist()):
            j = int(s.anchor[i])
            if role == Role.MERGED and CLIP.layout.frame[i] != CLIP.layout.frame[j]:
                expected[j] += 1
        assert found.tolist() == expected
        across += sum(expected)
        per_frame = with_share(make("fsr", rho=0.2), "per_group")(tokens, 12)
        assert per_frame.facts["n_merged"] > 0
        assert not anchors_from_other_frames(per_frame, CLIP.layout).any()
    assert across > 0
