"""FastVID against its rules in plain Python: segments, shares, densities and groups, each looked at one by one."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from fsr.pruners import make
from fsr.pruners.frames import divided
from fsr.tokens import Role
from tests import references
from tests.looping import each
from tests.methods import random_tokens, still_clip
from tests.test_pruner_evs import clip_of


def mean_of(vectors):
    return [math.fsum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def segments_of(vectors, size, fewest, tau, margin):
    means = [mean_of(vectors[at : at + size]) for at in range(0, len(vectors), size)]
    alike = [references.cosine(a, b) for a, b in pairwise(means)]
    order = sorted(range(len(alike)), key=lambda i: (alike[i], i))
    for a, b in pairwise(order):
        margin.between(alike[a], alike[b])
    for t in alike:
        margin.between(t, tau)
    cuts = set(order[: fewest - 1]) | {i for i, t in enumerate(alike) if t < tau}
    found = [[0]]
    for f in range(1, len(means)):
        if f - 1 in cuts:
            found.append([])
        found[-1].append(f)
    return found


def densities(vectors, tokens, margin):
    """Token -> density x separation, among these tokens of one frame."""
    width = len(vectors[0])
    apart = {(i, j): math.dist(vectors[i], vectors[j]) / math.sqrt(width) for i in tokens for j in tokens}
    dense = {}
    for i in tokens:
        nearest = sorted(apart[i, j] for j in tokens)[:4]
        dense[i] = math.exp(-math.fsum(d * d for d in nearest) / len(nearest))
    for a, b in pairwise(sorted(dense.values())):
        margin.between(a, b)
    score = {}
    for i in tokens:
        denser = [apart[i, j] for j in tokens if dense[j] > dense[i]]
        score[i] = dense[i] * (min(denser) if denser else max(apart.values()))
    return score


def slow(vectors, saliency, size, frames, budget, fewest, tau, share, step, margin):
    """salient, {anchor: merged tokens}, segments"""
    segments = segments_of(vectors, size, fewest, tau, margin)
    each_frame = divided([size] * frames, budget)
    salient, groups = [], {}
    for segment in segments:
        context = {f: int(share * each_frame[f] + 1e-9) for f in segment}
        total, keep = sum(context.values()), {f: each_frame[f] - context[f] for f in segment}
        holders = [f for k, f in enumerate(segment) if (len(segment) - 1 - k) % step == 0]
        held = divided(
            [size - keep[f] if f in holders else 0 for f in segment], min(total, sum(size - keep[f] for f in holders))
        )
        more = divided([size - keep[f] - h for f, h in zip(segment, held, strict=True)], total - sum(held))
        anchors, rest = [], []
        for f, count, extra in zip(segment, held, more, strict=True):
            own = sorted(range(f * size, (f + 1) * size), key=lambda i: (-saliency[i], i))
            salient += own[: keep[f] + extra]
            others = sorted(own[keep[f] + extra :])
            score = densities(vectors, others, margin) if count else {}
            ranked = sorted(others, key=lambda i: (-score.get(i, 0), i))
            if 0 < count < len(ranked):
                margin.between(score[ranked[count - 1]], score[ranked[count]])
            anchors += ranked[:count]
            rest += others
        for i in rest:
            if anchors and i not in anchors:
                near = sorted(anchors, key=lambda j: (-references.cosine(vectors[i], vectors[j]), j))
                if len(near) > 1:
                    margin.between(*(references.cosine(vectors[i], vectors[j]) for j in near[:2]))
                groups.setdefault(near[0], []).append(i)
        for j in anchors:
            groups.setdefault(j, [])
    return salient, groups, segments


def test_it_selects_and_merges_as_the_rules_do() -> None:
    compared = across = 0
    for seed in range(200):
        draw = random.Random(seed)
        frames, rows, cols = draw.randint(1, 7), draw.randint(1, 4), draw.randint(1, 4)
        tokens = clip_of(seed, frames, rows, cols, 0.0)
        size = rows * cols
        fewest, tau, share, step = (
            draw.randint(1, frames),
            draw.choice([-1.0, 0.3]),
            draw.choice([0, 0.4, 0.7, 1]),
            draw.randint(1, 4),
        )
        budget, beta, margin = (
            draw.randint(1, frames * size - 1) if frames * size > 1 else 1,
            draw.choice([0.5, 0.6, 1.0]),
            references.Margin(),
        )
        if budget == frames * size:
            continue
        vectors = tokens.embeddings.double().tolist()
        salient, groups, segments = slow(
            vectors, tokens.saliency.tolist(), size, frames, budget, fewest, tau, share, step, margin
        )
        if margin.gap < references.CLEAR:
            continue
        compared += 1
        s = make("fastvid", segments=fewest, tau=tau, context=share, step=step, beta=beta)(tokens, budget)
        assert s.kept.tolist() == sorted([*salient, *groups]), seed
        assert len(s.kept) == budget
        merged = {i: j for j, group in groups.items() for i in group}
        assert {i: int(s.anchor[i]) for i in (s.roles == Role.MERGED).nonzero()[:, 0].tolist()} == merged
        assert (s.facts["n_segments"], s.facts["n_anchors"]) == (len(segments), len(groups))
        assert s.facts["n_across"] == sum(i // size != j // size for i, j in merged.items())
        across += s.facts["n_across"] > 0
        for at, j in enumerate(s.kept.tolist()):
            if groups.get(j):
                mean = torch.tensor(mean_of([vectors[i] for i in (j, *groups[j])])).float()
                assert torch.allclose(s.embeddings[at], beta * tokens.embeddings[j] + (1 - beta) * mean, atol=1e-5)
    assert compared > 120
    assert across > 30


def test_frames_keep_different_numbers_and_a_still_clip_is_one_segment() -> None:
    tokens = still_clip()
    s = make("fastvid")(tokens, 9)
    assert s.facts["n_segments"] == 1
    by_frame = torch.bincount(tokens.layout.frame[s.kept], minlength=3).tolist()
    assert by_frame == [2, 2, 5]  # three each, one of them an anchor: all anchors are in the last frame
    assert s.facts["n_across"] > 0


@each("budget", [1, 5, 29, 30])
def test_a_picture_is_one_frame(budget: int) -> None:
    tokens = random_tokens(2)
    s = make("fastvid")(tokens, budget)
    assert len(s.kept) == budget
    assert s.facts["n_across"] == 0
    assert s.facts["n_segments"] == 1


def test_tiles_are_never_merged_into_one_another() -> None:
    tokens = clip_of(3, 2, 3, 4, 0.9)
    grids = tuple(replace(grid, part="tiles") for grid in tokens.layout.grids)
    found = make("fastvid", tau=-1.0)(replace(tokens, layout=replace(tokens.layout, grids=grids)), 8)
    assert make("fastvid", tau=-1.0)(tokens, 8).facts["n_segments"] == 1
    assert (found.facts["n_segments"], found.facts["n_across"]) == (2, 0)


def test_without_features_frames_are_compared_by_embeddings() -> None:
    tokens = clip_of(5, 4, 2, 3, 0.5)
    with_ = replace(tokens, features=tokens.embeddings.clone())
    assert make("fastvid")(tokens, 9).kept.tolist() == make("fastvid")(with_, 9).kept.tolist()
    with pytest.raises(Exception, match="saliency"):
        make("fastvid")(replace(tokens, saliency=None), 9)
