"""Where tokens are taught to look: the targets, and the loss against attention as transformers computes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from fsr.shapes.clip_questions import CLIP_TYPES
from fsr.shapes.clips import FRAMES, moments
from fsr.shapes.questions import TYPES
from fsr.shapes.scenes import coverage
from tests.looping import each
from training import batches
from training import clip_batches as data
from training.answering import look_loss, packed_blocks, question_mask

SINK = 0
FIRST = len(batches.PREFIX)


@pytest.fixture(scope="module")
def clips():
    return data.random_clips(5, 0, 24, 24, 4)


def owner_of(scene, row):
    """The object on which most of a row lies."""
    covered = coverage(scene).reshape(len(scene.things), -1) > 0
    return int((covered * row[FIRST:].numpy()).sum(1).argmax())


def test_answers_about_a_picture_look_at_what_they_are_about():
    scenes, rng = batches.random_scenes(4, 9, 6, 20, 20)
    packed = batches.pack(scenes, rng, 256, dict.fromkeys(TYPES, 1.0))
    first, then = batches.looks(packed, scenes)
    for wanted in (first, then):
        assert torch.allclose(wanted.sum(-1), packed.share, atol=1e-5), "rows weigh as much as their token"
    met = set()
    for k, question, place, size in packed.asked:
        scene, share = scenes[k], packed.share[k, place]
        if question.type in ("count", "exists"):
            assert torch.equal(first[k, place], then[k, place])
            assert first[k, place, SINK] == (0 if question.about else share), "no share that tells the number"
        elif question.type == "relation":
            assert owner_of(scene, first[k, place]) == question.subject
            if question.answer == "nothing":
                assert then[k, place, SINK] == share
            else:
                assert " ".join(scene.things[owner_of(scene, then[k, place])].pair) == question.answer
        elif question.type == "list":
            named = [i for i in range(size - 1) if i % 3 == 0]
            seen = [" ".join(scene.things[owner_of(scene, first[k, place + i])].pair) for i in named]
            assert ", ".join(seen) == question.answer
            commas = [owner_of(scene, first[k, place + i - 1]) for i in named[1:]]
            assert commas == [owner_of(scene, first[k, place + i]) for i in named[1:]], "a comma looks at the next"
            assert first[k, place + size - 1, SINK] == share, "nothing comes after the last"
        else:
            assert owner_of(scene, first[k, place]) == owner_of(scene, then[k, place]) == question.subject
        met.add(question.type)
    assert met == set(TYPES)


@each("names", [data.GAZES, data.SPREAD_GAZES])
def test_tokens_of_a_clip_look_at_their_object_and_place_before(clips, names):
    made = clips[0][:6]
    known = data.label_clips(made)
    queries, wanted = data.gazes(known, np.random.default_rng(0), names)
    cells = data.CELLS**2
    assert wanted.shape == (len(made), len(names), data.QUERIES, FRAMES * cells)
    origins = 0
    for k in range(len(made)):
        for row, token in enumerate(queries[k].tolist()):
            for head, name in enumerate(names):
                seen = np.flatnonzero(wanted[k, head, row])
                assert (seen <= token).all(), "no token sees a later one"
                if name == "start":
                    assert seen.tolist() == [token % cells]
                elif name == "places":
                    assert (seen % cells == token % cells).all()
                    assert len(seen) == max(token // cells, 1), "in every frame before"
                elif name == "before":
                    assert seen.tolist() == [token - cells if token >= cells else token]
                elif len(seen):
                    owner = max(known.owner[k, token], known.gone[k, token])
                    shown = np.flatnonzero(known.owner[k] == owner)
                    shown = shown[shown <= token]
                    first = shown[shown // cells == shown[0] // cells]
                    assert seen.tolist() == (first if name == "origin" else shown).tolist()
                    assert wanted[k, head, row].sum() == pytest.approx(1)
                    origins += 1
    assert origins > 300


def test_answers_about_a_clip_look_at_the_frame_that_shows_it(clips):
    made, rng = clips
    packed = data.pack_clips(made, rng, 320, dict.fromkeys(CLIP_TYPES, 1.0))
    cells, met = data.CELLS**2, set()
    (first, then), spread = data.looks(packed, made), data.looks(packed, made, spread=True)
    for wanted in (first, then, *spread):
        assert torch.allclose(wanted.sum(-1), packed.share, atol=1e-5), "rows weigh as much as their token"
    for k, question, place, _ in packed.asked:
        frames = np.unique(np.flatnonzero(first[k, place, FIRST:]) // cells)
        if question.type in ("moves", "turns", "disappears", "appears", "direction"):
            assert frames.tolist() == [FRAMES - 1]
            actor = made[k].actors[question.subject]
            at = actor.at(moments()[-1])
            cell = int(at.y // 28) * data.CELLS + int(at.x // 28)
            assert first[k, place, FIRST + (FRAMES - 1) * cells + cell] > 0, "where it is, or was"
            if question.type == "disappears":
                gone = [f for f, t in enumerate(moments()) if not actor.shown(t)]
                everywhere = np.flatnonzero(spread[0][k, place, FIRST:])
                assert np.unique(everywhere // cells).tolist() == gone
        elif "first frame" in question.text and question.about:
            assert frames.tolist() == [0]
        elif question.type == "order":
            assert then[k, place, FIRST:].count_nonzero() < first[k, place, FIRST:].count_nonzero()
        met.add(question.type)
    assert met == set(CLIP_TYPES)


@torch.no_grad()
def test_the_loss_is_nought_where_heads_look_as_wanted_and_the_divergence_elsewhere():
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    llama = LlamaModel(LlamaConfig(**shape, vocab_size=8, attn_implementation="eager"))
    ahead, length = 7, 5
    x, position = torch.randn(2, ahead + length, 32), torch.arange(ahead + length).expand(2, -1)
    none = torch.zeros(2, length, dtype=torch.int64)
    packed = batches.Packed(none, none, none, none, none, none, [])
    mask = question_mask(packed, ahead)
    out = llama(inputs_embeds=x, position_ids=position, output_attentions=True, output_hidden_states=True)
    hidden, inputs = packed_blocks(llama, x, mask, position, (0, 2))
    assert torch.allclose(hidden, out.last_hidden_state[:, ahead:], atol=1e-5)
    assert torch.allclose(inputs[1], out.hidden_states[2], atol=1e-5)
    place = torch.arange(ahead, ahead + length).expand(2, -1)
    real = out.attentions[2][:, :2, ahead:]
    assert look_loss(llama, 2, inputs[1], position, place, mask, real) == pytest.approx(0, abs=1e-5)
    sink = torch.zeros_like(real[..., :1]) + 0.25  # rows may weigh less than one
    expected = -real[..., 0].log().mean()
    assert look_loss(llama, 2, inputs[1], position, place, mask, sink) == pytest.approx(expected.item(), abs=1e-4)
