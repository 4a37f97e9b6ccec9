"""PruMerge+ against the algorithm written again in loops, and the rules of ours where it is silent."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fsr.pruners import make
from fsr.tokens import Role, VisualTokens
from tests.looping import each
from tests.methods import random_tokens, two_frames
from tests.references import CLEAR, Margin, by_value, cosine
from tests.test_pruner_visionzip import ALL, with_projector

DROPPED, MERGED, KEPT = int(Role.DROPPED), int(Role.MERGED), int(Role.KEPT)


class Reference:
    """One picture. kept: ascending. state: token -> what it becomes. rest: the extra token, or None.

    taken: kept token -> the tokens it takes in, most similar first.
    """

    def __init__(self, tokens: VisualTokens, neighbours: int, grid: bool = True, top: int | None = None) -> None:
        self.margin = Margin()
        a, keys, x = tokens.last_saliency.double().tolist(), tokens.last_keys.tolist(), tokens.features.double()
        n = len(a)
        q1, q3 = np.percentile(a, 25), np.percentile(a, 75)
        fence = q3 + 1.5 * (q3 - q1)
        for value in a:
            self.margin.between(value, fence)
        self.outliers = sum(value > fence for value in a) if top is None else top
        kept = by_value(a)[: self.outliers]
        if grid:
            ratio = self.outliers / n
            d = int(int(1 / ratio + 1e-9) / 3)
            kept += [i for i in range(0, n - 1, d) if i not in kept]
        self.kept, self.taken, self.state = sorted(kept), {}, {}
        for i in self.kept:
            near = sorted((j for j in range(n) if j != i), key=lambda j: -cosine(keys[i], keys[j]))
            if 0 < neighbours < len(near):
                edge = [cosine(keys[i], keys[j]) for j in near[neighbours - 1 : neighbours + 1]]
                self.margin.between(*edge)
            self.taken[i] = near[:neighbours]
            self.state[i] = tokens.project(x[i][None] + sum(a[j] * x[j][None] for j in self.taken[i]))[0]
        pruned = [j for j in range(n) if j not in self.kept]
        self.rest = tokens.project(sum(a[j] * x[j][None] for j in pruned)) if pruned else None


def with_outliers(seed: int) -> VisualTokens:
    """A picture with a few tokens of very high attention."""
    tokens = with_projector(random_tokens(seed, 5, 5 + seed % 8, width=8), seed)
    n, generator = len(tokens), torch.Generator().manual_seed(seed)
    attention = 0.01 * (1 + torch.rand(n, generator=generator))
    attention[torch.randperm(n, generator=generator)[: 1 + seed % 5]] *= 3 + 3 * torch.rand(1, generator=generator)
    return replace(tokens, last_saliency=attention)


def agrees(tokens: VisualTokens, ours, theirs: Reference) -> None:
    n = len(tokens)
    assert ours.kept.tolist() == theirs.kept
    expected = torch.stack([theirs.state[i] for i in theirs.kept])
    assert torch.allclose(ours.embeddings.double(), expected, atol=1e-5)
    assert (ours.after is None) == (theirs.rest is None)
    if theirs.rest is not None:
        assert torch.allclose(ours.after.double(), theirs.rest, atol=1e-5)
    for j in range(n):
        takers = [i for i in theirs.kept if j in theirs.taken[i]]
        if j in theirs.kept:
            assert (int(ours.roles[j]), int(ours.anchor[j]), float(ours.weight[j])) == (KEPT, -1, 1)
        elif takers:
            best = max(cosine(tokens.last_keys[i].tolist(), tokens.last_keys[j].tolist()) for i in takers)
            assert ours.roles[j] == MERGED
            assert int(ours.anchor[j]) in takers
            assert float(ours.similarity[j]) == pytest.approx(best, abs=1e-5)
            assert ours.weight[j] == tokens.last_saliency[j]
        else:
            assert (int(ours.roles[j]), int(ours.anchor[j]), float(ours.weight[j])) == (DROPPED, -1, 0)


@each("grid", [True, False])
def test_it_is_the_algorithm(grid: bool) -> None:
    clear = 0
    for seed in range(110):
        tokens, neighbours = with_outliers(seed), 1 + seed % 12
        theirs = Reference(tokens, neighbours, grid)
        if theirs.margin.gap < CLEAR / 10:
            continue
        clear += 1
        ours = make("prumerge", grid=grid, neighbours=neighbours)(tokens, 1 + seed % 20)
        agrees(tokens, ours, theirs)
        assert ours.budget == len(ours.sent)
        assert ours.facts["n_top"] == theirs.outliers
    assert clear > 90


def test_to_a_budget_it_keeps_the_highest_and_the_rest_makes_one() -> None:
    for seed in range(40):
        tokens, budget = with_outliers(seed), 2 + seed % 20
        theirs = Reference(tokens, 5, grid=False, top=budget - 1)
        ours = make("prumerge", adaptive=False, neighbours=5)(tokens, budget)
        if theirs.margin.gap > CLEAR / 10:
            agrees(tokens, ours, theirs)
        assert len(ours.sent) == budget
    tokens = with_outliers(0)
    one = make("prumerge", adaptive=False)(tokens, 1)
    assert one.kept.tolist() == [int(tokens.last_saliency.argmax())]
    assert one.after is None
    assert torch.equal(make("prumerge", adaptive=False)(tokens, 25).sent, tokens.embeddings)


def test_the_budget_does_not_count_unless_it_is_asked_to() -> None:
    tokens = with_outliers(3)
    first = make("prumerge")(tokens, 1)
    for budget in (2, len(tokens)):
        other = make("prumerge")(tokens, budget)
        assert torch.equal(first.sent, other.sent)
        assert torch.equal(first.roles, other.roles)
    assert 1 < len(first.sent) < len(tokens)
    assert len(make("prumerge").plan(tokens).to_json()["budgets"]) == 1
    assert not make("prumerge").takes_budget
    assert make("prumerge", adaptive=False).takes_budget


def test_without_outliers_one_token_and_its_grid_are_kept() -> None:
    tokens = replace(with_outliers(0), last_saliency=torch.full((25,), 0.04))
    s = make("prumerge")(tokens, 1)
    assert s.kept.tolist() == [0, 8, 16]  # 25 // 1 // 3 = 8, and never the last token
    assert make("prumerge", grid=False)(tokens, 1).kept.tolist() == [0]


@each(("n", "high", "step"), [(24, 5, 1), (24, 2, 4), (24, 1, 8), (2, 1, 1), (1, 1, 1)])
def test_the_step_of_the_grid_is_never_0(n: int, high: int, step: int) -> None:
    tokens = random_tokens(0, 1, n)
    attention = torch.full((n,), 0.01)
    attention[-high:] = 1.0
    kept = make("prumerge")(replace(tokens, last_saliency=attention), 1).kept.tolist()
    assert kept == sorted({*range(0, n - 1, step), *range(n - high, n)})


def test_neighbours_may_be_kept_tokens_and_merge_their_first_states() -> None:
    """Two kept tokens take in each other as they were."""
    tokens = replace(
        random_tokens(0, 1, 12),
        features=torch.eye(12),
        embeddings=torch.eye(12),
        project=lambda x: x,
        last_keys=torch.cat([torch.ones(2, 3), -torch.ones(10, 3) + 0.1 * torch.randn(10, 3)]),
        last_saliency=torch.tensor([0.5, 0.4, *[0.01] * 10]),
    )
    s = make("prumerge", grid=False, neighbours=1)(tokens, 1)
    assert s.kept.tolist() == [0, 1]
    expected = torch.zeros(2, 12)
    expected[0, :2] = torch.tensor([1.0, 0.4])
    expected[1, :2] = torch.tensor([0.5, 1.0])
    assert torch.allclose(s.embeddings, expected)
    assert torch.allclose(s.after, torch.tensor([[0.0, 0.0, *[0.01] * 10]]))
    assert (s.roles[2:] == DROPPED).all()


def test_every_frame_by_itself_and_nothing_outside_the_grid() -> None:
    tokens = with_projector(two_frames())
    newline = tokens.layout.row < 0
    s = make("prumerge", neighbours=4)(tokens, 1)
    assert not s.roles[newline].any()
    assert s.facts["n_rest"] == len(s.after) == 2
    for frame in range(2):
        of_frame = ((tokens.layout.frame == frame) & ~newline).nonzero()[:, 0]
        names = ("embeddings", "features", "last_keys", "last_saliency")
        alone = replace(
            random_tokens(0, 3, 4), keys=None, **{name: getattr(tokens, name)[of_frame] for name in names},
            project=tokens.project,
        )  # fmt: skip
        one = make("prumerge", neighbours=4)(alone, 1)
        assert torch.equal(s.roles[of_frame], one.roles)
        assert torch.equal(s.after[frame], one.after[0])
        assert torch.equal(s.embeddings[tokens.layout.frame[s.kept] == frame], one.embeddings)
        anchored = one.anchor >= 0
        assert torch.equal(s.anchor[of_frame][anchored], of_frame[one.anchor[anchored]])


def test_to_a_budget_tokens_outside_the_grid_come_last() -> None:
    tokens = two_frames()
    newline = tokens.layout.row < 0
    for budget in range(1, 31):
        s = make("prumerge", adaptive=False)(tokens, budget)
        assert len(s.sent) == budget
        kept = [int((s.roles[newline & (tokens.layout.frame == f)] == KEPT).sum()) for f in range(2)]
        assert kept == [max(0, share - 12) for share in (15 * budget // 30, budget - 15 * budget // 30)]


def test_substitutes() -> None:
    tokens = with_outliers(4)
    assert make("prumerge")(tokens, 1).facts["last_layer"] == 1
    by_saliency = make("prumerge")(replace(tokens, last_saliency=None, saliency=tokens.last_saliency), 1)
    assert by_saliency.facts["last_layer"] == 0
    assert torch.equal(by_saliency.sent, make("prumerge")(tokens, 1).sent)
    by_features = make("prumerge")(replace(tokens, last_keys=None), 1)
    assert torch.equal(by_features.sent, make("prumerge")(replace(tokens, last_keys=tokens.features), 1).sent)
    after_projector = make("prumerge", grid=False, neighbours=2)(replace(tokens, project=None), 1)
    assert after_projector.facts["pre_projector"] == 0
    pruned = (after_projector.roles < KEPT).nonzero()[:, 0]
    expected = (tokens.last_saliency[pruned, None] * tokens.embeddings[pruned]).sum(0)
    assert torch.allclose(after_projector.after[0], expected, atol=1e-5)


def test_no_neighbours_leave_the_kept_tokens_as_they_are() -> None:
    tokens = with_outliers(4)
    s = make("prumerge", neighbours=0)(tokens, 1)
    assert torch.equal(s.embeddings, tokens.embeddings[s.kept])
    assert not (s.roles == MERGED).any()


def test_ties_go_to_the_lower_index() -> None:
    tokens = replace(with_outliers(4), last_keys=torch.ones(45, 3))
    s = make("prumerge", grid=False, neighbours=3)(tokens, 1)
    taken = {j for i in s.kept.tolist() for j in [k for k in range(5) if k != i][:3]} - set(s.kept.tolist())
    assert (s.roles == MERGED).nonzero()[:, 0].tolist() == sorted(taken)
    assert set(s.anchor[s.roles == MERGED].tolist()) <= set(s.kept.tolist())


@each("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_merged_in_single(dtype: torch.dtype) -> None:
    tokens = with_outliers(5)
    half = replace(tokens, embeddings=tokens.embeddings.to(dtype), features=tokens.features.to(dtype))
    a, b = make("prumerge")(half, 1), make("prumerge")(tokens, 1)
    assert a.sent.dtype == dtype
    assert torch.equal(a.anchor, b.anchor)
    assert torch.allclose(a.sent.float(), b.sent, atol=0.05)


def test_the_model_reads_the_grid_and_then_the_rest(tiny_vlm, picture) -> None:
    upside_down = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)  # captures stay with the shared model's media
    encoding = tiny_vlm.encode(tiny_vlm.encode_media([upside_down], needs=ALL), "what is it?", ALL)
    s = make("prumerge", neighbours=4)(encoding.tokens, 9)
    assert (s.facts["last_layer"], s.facts["pre_projector"], s.facts["n_rest"]) == (1, 1, 1)
    n, first = len(s.sent), int(encoding.visual[0])
    embeds = tiny_vlm.language_inputs(encoding, s)["inputs_embeds"][0]
    assert len(embeds) == len(encoding.prompt) - 25 + n
    assert torch.equal(embeds[first : first + n - 1], s.embeddings)
    assert torch.equal(embeds[first + n - 1], s.after[0])
    *_, last = tiny_vlm.generate(encoding, s, 3)
    assert last.cost.visual_tokens == n
    assert math.isfinite(last.cost.kv_bytes)
