"""VisionZip against the algorithm written again in loops, and the rules of ours where it is silent."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from fsr.pruners import make
from fsr.tokens import Layout, Role, VisualTokens
from fsr.vlm.media import CAPTURES
from tests.looping import each
from tests.methods import random_tokens, two_frames
from tests.references import CLEAR, Margin, by_value, cosine

KEPT, MERGED = int(Role.KEPT), int(Role.MERGED)
ALL = CAPTURES | {"project", "saliency", "relevance"}


def with_projector(tokens: VisualTokens, seed: int = 0) -> VisualTokens:
    """Tokens whose embeddings are a nonlinear projection of their features."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(tokens.features.shape[1], tokens.embeddings.shape[1], generator=generator, dtype=torch.float64)

    def project(x):
        return torch.tanh(x.double() @ weight / 4).to(x.dtype)

    return replace(tokens, embeddings=project(tokens.features), project=project)


class Reference:
    """One picture. `groups`: target -> the tokens merged into it. `vectors`: what is sent of the grid, by token."""

    def __init__(self, tokens: VisualTokens, budget: int, share: float, true_mean: bool) -> None:
        self.margin = Margin()
        saliency, keys = tokens.saliency.tolist(), tokens.keys.tolist()
        n, features = len(saliency), tokens.features.double()
        n_context = int(share * budget + 0.5)
        n_dominant = budget - n_context
        self.cls = n_dominant >= 2
        order = by_value(saliency)
        self.dominant = sorted(order[: n_dominant - self.cls])
        rest = [i for i in range(n) if i not in self.dominant]
        self.groups: dict[int, list[int]] = {}
        if n_context:
            step = max(1, len(rest) // n_context)
            self.groups = {rest[i * step]: [] for i in range(n_context)}
            for i in rest:
                if i not in self.groups:
                    near = sorted(self.groups, key=lambda t: -cosine(keys[i], keys[t]))
                    if len(near) > 1:
                        self.margin.between(cosine(keys[i], keys[near[0]]), cosine(keys[i], keys[near[1]]))
                    self.groups[near[0]].append(i)
        self.vectors = {i: tokens.embeddings[i].double() for i in [*self.dominant, *self.groups]}
        for target, members in self.groups.items():
            if members:
                total = sum(features[i] for i in members)
                one = (features[target] + total) / (1 + len(members)) if true_mean else None
                state = features[target] + total / len(members) if one is None else one
                self.vectors[target] = tokens.project(state[None])[0]


@each("true_mean", [False, True])
@each("share", [10 / 64, 0.4])
def test_it_is_the_algorithm(share: float, true_mean: bool) -> None:
    pruner = make("visionzip", contextual_share=share, mean_with_target=true_mean)
    clear = 0
    for seed in range(80):
        tokens = with_projector(random_tokens(seed, 4, 3 + seed % 6, width=8), seed)
        n = len(tokens)
        budget = 1 + (7 * seed) % (n - 1)
        ours, theirs = pruner(tokens, budget), Reference(tokens, budget, share, true_mean)
        if theirs.margin.gap < CLEAR:
            continue
        clear += 1
        assert ours.kept.tolist() == sorted(theirs.vectors)
        assert (ours.before is not None) == theirs.cls
        if theirs.cls:
            assert torch.equal(ours.before, tokens.summary)
        assert len(ours.sent) == budget
        expected = torch.stack([theirs.vectors[i] for i in ours.kept.tolist()])
        assert torch.allclose(ours.embeddings.double(), expected, atol=1e-5)
        assert torch.allclose(ours.sent[int(theirs.cls) :].double(), expected, atol=1e-5)
        for target, members in theirs.groups.items():
            assert (ours.anchor == target).nonzero()[:, 0].tolist() == members
            for i in members:
                expected = cosine(tokens.keys[i].tolist(), tokens.keys[target].tolist())
                assert float(ours.similarity[i]) == pytest.approx(expected, abs=1e-5)
                assert ours.roles[i] == MERGED
    assert clear > 60


def test_sixty_four_tokens_are_cls_and_53_and_10() -> None:
    s = make("visionzip")(random_tokens(0, 24, 24), 64)
    assert len(s.before) == 1
    assert s.facts == {"n_cls": 1, "n_dominant": 53, "n_contextual": 10, "n_merged": 576 - 63, "pre_projector": 0}
    for budget, dominant, contextual in ((128, 107, 20), (192, 161, 30)):
        facts = make("visionzip")(random_tokens(0, 24, 24), budget).facts
        assert (facts["n_dominant"], facts["n_contextual"]) == (dominant, contextual)


def test_a_target_is_itself_plus_the_mean_or_the_mean_of_all() -> None:
    tokens = with_projector(random_tokens(1))
    tokens = replace(tokens, project=lambda x: 2 * x[:, :12], embeddings=2 * tokens.features[:, :12])
    for mean_with_target in (False, True):
        s = make("visionzip", mean_with_target=mean_with_target)(tokens, 10)
        for at, j in enumerate(s.kept.tolist()):
            members = (s.anchor == j).nonzero()[:, 0]
            if len(members):
                whole = tokens.features[j] + tokens.features[members].sum(0)
                released = tokens.features[j] + tokens.features[members].mean(0)
                state = whole / (1 + len(members)) if mean_with_target else released
                assert torch.allclose(s.embeddings[at], 2 * state[:12], atol=1e-5)
                assert float(s.weight[j]) == pytest.approx(1 / (1 + len(members)) if mean_with_target else 0.5)


@each(("budget", "cls", "kept", "targets"), [(1, 0, 1, 0), (2, 1, 1, 0), (3, 1, 2, 0), (4, 1, 3, 1)])
def test_the_smallest_budgets(budget: int, cls: int, kept: int, targets: int) -> None:
    tokens = random_tokens(0)
    s = make("visionzip")(tokens, budget)
    assert (s.facts["n_cls"], len(s.kept), s.facts["n_contextual"]) == (cls, kept, targets)
    assert int(tokens.saliency.argmax()) in s.kept
    everything = make("visionzip", contextual_share=1.0)(tokens, budget)
    assert (everything.facts["n_cls"], everything.facts["n_contextual"]) == (0, budget)


def test_a_budget_of_all_tokens_changes_none_and_sends_no_cls() -> None:
    for tokens in (with_projector(random_tokens(0)), two_frames()):
        s = make("visionzip")(tokens, 30)
        assert s.before is None
        assert torch.equal(s.sent, tokens.embeddings)


def test_tokens_outside_the_grid_are_last_and_never_merged() -> None:
    tokens = two_frames()
    newline = tokens.layout.row < 0
    for budget in range(1, 31):
        s = make("visionzip")(tokens, budget)
        n_cls = s.facts["n_cls"]
        assert n_cls == (2 if 5 <= budget < 30 else 0)
        assert int((s.roles[newline] == KEPT).sum()) == max(0, budget - n_cls - 24)
        assert not (s.roles[newline] == MERGED).any()
        assert n_cls == 0 or torch.equal(s.before, tokens.summary)


def test_a_picture_without_a_grid_is_a_row() -> None:
    tokens = random_tokens(0)
    off = torch.full_like(tokens.layout.row, -1)
    layout = Layout(tokens.layout.frame, off, off, tokens.layout.rect * torch.nan, tokens.layout.grids)
    a, b = make("visionzip")(replace(tokens, layout=layout), 12), make("visionzip")(tokens, 12)
    assert torch.equal(a.roles, b.roles)


def test_substitutes() -> None:
    tokens = with_projector(random_tokens(3))
    assert make("visionzip")(tokens, 12).facts["pre_projector"] == 1
    without_keys = make("visionzip")(replace(tokens, keys=None), 12)
    by_features = make("visionzip")(replace(tokens, keys=tokens.features), 12)
    assert torch.equal(without_keys.anchor, by_features.anchor)
    no_cls = make("visionzip")(replace(tokens, summary=None), 12)
    assert no_cls.before is None
    assert len(no_cls.kept) == len(no_cls.sent) == 12
    for missing in ({"project": None}, {"features": None}):
        s = make("visionzip")(replace(tokens, **missing), 12)
        assert s.facts["pre_projector"] == 0
        j = int(s.anchor.max())
        members = (s.anchor == j).nonzero()[:, 0]
        expected = tokens.embeddings[j] + tokens.embeddings[members].mean(0)
        assert torch.allclose(s.embeddings[s.kept.tolist().index(j)], expected, atol=1e-5)


def test_equal_keys_go_to_the_first_target() -> None:
    tokens = replace(random_tokens(0), keys=torch.ones(30, 6))
    s = make("visionzip", contextual_share=0.5)(tokens, 10)
    anchors = s.anchor[s.roles == MERGED].unique()
    assert len(anchors) == 1
    assert s.facts["n_contextual"] == 5
    assert (s.similarity[s.roles == MERGED] == 1).all()
    rest = [i for i in range(30) if i not in by_value(tokens.saliency.tolist())[: s.facts["n_dominant"]]]
    assert int(anchors) == rest[0]
    lonely = [at for at, j in enumerate(s.kept.tolist()) if j != int(anchors)]
    assert torch.equal(s.embeddings[lonely], tokens.embeddings[s.kept[lonely]])  # targets alone stay as they are


@each("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_merged_in_single(dtype: torch.dtype) -> None:
    tokens = with_projector(random_tokens(5))
    half = replace(tokens, **{name: getattr(tokens, name).to(dtype) for name in ("embeddings", "features", "summary")})
    a, b = make("visionzip")(half, 12), make("visionzip")(tokens, 12)
    assert a.sent.dtype == dtype
    assert torch.equal(a.anchor, b.anchor)
    assert torch.allclose(a.sent.float(), b.sent, atol=0.05)


# -- on a model


@pytest.fixture(scope="module")
def encoding(tiny_vlm, picture):
    upside_down = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)  # captures stay with the shared model's media
    return tiny_vlm.encode(tiny_vlm.encode_media([upside_down], needs=ALL), "what is it?", ALL)


def test_all_tokens_give_the_unpruned_logits(tiny_vlm, encoding) -> None:
    full = tiny_vlm.logits(encoding)
    assert torch.equal(tiny_vlm.logits(encoding, make("visionzip")(encoding.tokens, 25)), full)


def test_the_model_reads_cls_first_then_the_grid(tiny_vlm, encoding) -> None:
    tokens, s = encoding.tokens, make("visionzip")(encoding.tokens, 12)
    assert s.facts == {"n_cls": 1, "n_dominant": 9, "n_contextual": 2, "n_merged": 14, "pre_projector": 1}
    embeds = tiny_vlm.language_inputs(encoding, s)["inputs_embeds"][0]
    first = int(encoding.visual[0])
    assert len(embeds) == len(encoding.prompt) - 25 + 12
    assert torch.equal(embeds[first], tokens.summary[0])
    assert torch.equal(embeds[first + 1 : first + 12], s.embeddings)
    *_, last = tiny_vlm.generate(encoding, s, 3)
    assert last.cost.visual_tokens == 12
    assert math.isfinite(last.cost.kv_bytes)
