"""Training on the world: batches that are a function of their step, weights that grow, stages that learn and resume."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from transformers import LlavaForConditionalGeneration

from fsr.errors import FsrError
from fsr.shapes.questions import Question
from fsr.shapes.scenes import GRID, UNSEEN_PAIRS
from fsr.world import icons
from fsr.world.words import words
from tests.world_icons import discs
from training import world_data as data
from training import world_train
from training.batches import IGNORE, PREFIX, looked_at, next_listed
from training.icons import svg_like
from training.muon import Muon
from training.world_data import Mix

ASSETS = Path(__file__).parents[1] / "assets" / "shapes"


@pytest.fixture
def drawn_icons(monkeypatch: pytest.MonkeyPatch) -> None:
    every = discs()
    monkeypatch.setattr(icons, "artist", lambda name: every)


MIX = Mix(20, 8, 6, sizes=((4, 9, 64),), room=96, looks=0.3)


def test_a_batch_is_a_function_of_its_step(drawn_icons):
    once, again, other = (data.batch("together", step, MIX) for step in (2, 2, 3))
    assert torch.equal(once.pixels, again.pixels)
    assert torch.equal(once.packed.ids, again.packed.ids)
    assert not torch.equal(once.pixels, other.pixels)
    assert once.pixels.shape == (6, 3, 8 * 14, 8 * 14)


def test_labels_name_every_object_where_it_lies(drawn_icons):
    found = data.batch("seeing", 5, replace(MIX, room=0)).labels
    named = found.heads["name"]
    for k in range(len(named)):
        there = {int(n) for n in named[k] if n > 0}
        assert there == {int(n) + 1 for n in found.names[k].nonzero()}
        assert int((found.heads["middle"][k] == 1).sum()) == int(found.count[k])
        assert abs(float(found.attention[k].sum()) - 1) < 1e-3
    assert ((found.heads["color"] == IGNORE) | (found.heads["color"] >= 0)).all()
    for gaze, names in zip(found.gazes, data.GAZES, strict=True):
        assert gaze.shape[1:] == (len(names), data.QUERIES, 1 + 64)
        assert ((gaze.sum(-1) - 1).abs().lt(1e-3) | (gaze.sum(-1) == 0)).all()


def test_prompts_differ_in_length_and_position_and_no_token_is_left_out(drawn_icons):
    starts = set()
    for step in range(12):
        of = data.batch("together", step, MIX)
        rows, size, room = MIX.window(step)
        assert of.packed.ids.shape == (size, room)
        assert of.ahead.shape == (size, len(PREFIX) + rows * rows)
        assert (of.ahead[:, 1:] > of.ahead[:, :-1]).all()
        first = int(of.packed.position[0, 0])
        assert first > int(of.ahead.max())
        starts.add((rows, first))
    assert {rows for rows, _ in starts} == {8, 4}
    assert {first for _, first in starts} >= {len(PREFIX) + 64, len(PREFIX) + GRID * GRID}


def test_answers_look_at_the_objects_in_question(drawn_icons):
    of = data.batch("together", 1, MIX)
    answered = of.packed.target != IGNORE
    for wanted in of.looks:
        rows = wanted.sum(-1)
        assert (rows[~answered] == 0).all()
        assert (rows[answered] <= 1.001).all()
        assert (rows[answered] > 0).float().mean() > 0.8


def test_a_list_looks_at_the_next_object_at_a_comma():
    question = Question("list", "what objects are there", "dog, red star, cat", (4, 1, 2))
    looked = [next_listed(question, t) for t in range(7)]
    assert looked == [(4,), (1,), (1,), (1,), (2,), (2,), ()]


def test_of_two_sizes_the_one_in_the_answer_is_looked_at_or_for_yes_and_no_one_after_the_other():
    bigger = Question("size", "which is bigger , the dog or the cat", "cat", (2, 0), 0)
    than = Question("size", "is the dog bigger than the cat", "no", (2, 0), 2)
    assert looked_at(bigger, 0) == ((0,), (0,))
    assert looked_at(than, 0) == ((2,), (0,))


def test_no_training_question_names_an_unseen_pair(drawn_icons):
    rng = data.generator("train", 10, 98)
    for _ in range(25):
        drawn = data.random_drawn(rng, data.Window(), 0.0, 0.5)
        for question, _ in zip(data.questions(drawn, rng, (1.0,) * 11), range(10), strict=False):
            assert not any(f"{c} {s}" in question.text + question.answer for c, s in UNSEEN_PAIRS)


def test_a_mean_of_weights_is_halfway():
    now, before = torch.tensor([1.0, 4.0]), torch.tensor([3.0, 0.0])
    world_train.average([now], [before])
    assert now.tolist() == [2.0, 2.0]


def test_stages_in_the_wrong_order_are_one_sentence(tmp_path):
    options = argparse.Namespace(first="rereading", last="pointing", work=tmp_path / "work")
    with pytest.raises(FsrError, match="--first rereading comes after --last pointing; the order is seeing, reading,"):
        world_train.main(options)
    assert not options.work.exists()


def test_weights_grow_by_the_new_words_and_keep_the_old():
    from training.world_model import start_clip, start_llava

    old, new = LlavaForConditionalGeneration.from_pretrained(ASSETS, dtype=torch.float32), start_llava(ASSETS)
    before, after = (m.get_input_embeddings().weight for m in (old, new))
    assert len(after) == len(words()) == new.config.text_config.vocab_size
    assert torch.equal(after[: len(before)], before)
    assert len(start_clip(ASSETS).text_model.embeddings.token_embedding.weight) == len(words())


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has it since 2.9")
def test_muon_steps_as_torchs_does():
    torch.manual_seed(0)
    ours, theirs = ([nn.Parameter(torch.randn(*shape)) for shape in ((6, 9), (6, 9), (12, 5))] for _ in range(2))
    for a, b in zip(ours, theirs, strict=True):
        b.data.copy_(a.data)
    mine = Muon(ours, lr=0.1, weight_decay=0.1)
    torchs = torch.optim.Muon(theirs, lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        mine.step()
        torchs.step()
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=0.02), "torch's is computed in bfloat16"


@pytest.mark.slow
def test_all_stages_learn_save_and_resume(drawn_icons, tmp_path, monkeypatch):
    from fsr import vlm

    plan = {
        "seeing": (Mix(3, 4, 4),),
        "reading": (Mix(3, 4, 4, room=64, looks=0.3, labels=False),),
        "together": (Mix(3, 4, 4, sizes=((6, 2, 64),), every=2, room=64),),
        "again": (Mix(3, 4, 4),),
        "longer": (Mix(3, 4, 4, room=64, looks=0.3),),
        "pointing": (Mix(3, 6, 4, labels=False),),
        "rereading": (Mix(3, 4, 4, room=64, looks=0.3, labels=False),),
    }
    assert list(plan) == list(world_train.PLAN) == list(world_train.RATES)
    monkeypatch.setattr(world_train, "PLAN", plan)
    paths = {"start": ASSETS, "work": tmp_path / "work", "out": tmp_path / "out"}
    options = argparse.Namespace(**paths, first="seeing", last="rereading", scale=1.0, seed=0, workers=0, compile=False)
    assert world_train.main(options) == 0
    logged = [json.loads(line) for line in (tmp_path / "work" / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in logged] == list(plan)
    assert all(line["step"] == 3 for line in logged)
    assert world_train.main(options) == 0, "again: nothing is left to do"
    assert len((tmp_path / "work" / "log.jsonl").read_text().splitlines()) == len(logged)
    rest = argparse.Namespace(**vars(options) | {"first": "again", "last": "pointing", "work": tmp_path / "rest"})
    assert world_train.main(rest) == 0
    logged = [json.loads(line) for line in (tmp_path / "rest" / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in logged] == ["again", "longer", "pointing"]
    model = vlm.load(str(tmp_path / "out"))
    assert len(model.encode_media([Image.new("RGB", (336, 336))]).layout) == GRID * GRID


def test_an_icon_is_found_as_its_set_spells_it():
    of_set = {
        "width": 16,
        "icons": {name: {"body": f"<!-- {name} -->"} for name in ("redapple", "pizza-1", "dog-face")},
    }
    assert "redapple" in svg_like(of_set, "red-apple")
    assert "pizza-1" in svg_like(of_set, "pizza")
    assert "dog-face" in svg_like(of_set, "dog-face")
    assert svg_like(of_set, "cat-face") is None
