"""The embedded model's scenes, questions, tokenizer, weights and commands."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel, LlavaForConditionalGeneration, LlavaProcessor

from fsr.bench.accuracy import OWN, bootstrap, cases, versus_fsr
from fsr.cli.bench.accuracy import costs, summary
from fsr.cli.main import main
from fsr.shapes.questions import TYPES, ask, correct
from fsr.shapes.scenes import (
    COLORS,
    GRID,
    LARGEST,
    PATCH,
    SHAPES,
    SIDE,
    SMALLEST,
    UNSEEN_PAIRS,
    Window,
    coverage,
    draw,
    generator,
    random_scene,
)
from fsr.shapes.vocabulary import build_tokenizer
from tests.looping import each
from training import batches

ASSETS = Path(__file__).parents[1] / "assets" / "shapes"
MB = 1_000_000


def scenes(count: int, stream: str = "train", **options):
    rng = generator(stream, 7)
    return [random_scene(rng, int(rng.integers(1, 9)), **options) for _ in range(count)]


# ---------------------------------------------------------------------------------------------------------- scenes


def test_a_scene_is_a_function_of_its_stream_and_seed_alone():
    once, again = (draw(random_scene(generator("train", 3), 5)) for _ in range(2))
    assert (once == again).all()
    assert once.shape == (SIDE, SIDE, 3)
    assert once.dtype == np.uint8


def test_no_seed_of_one_stream_reaches_a_scene_of_another():
    drawn = {s: {random_scene(generator(s, seed), 4) for seed in range(200)} for s in ("train", "validation", "test")}
    assert not drawn["train"] & drawn["test"]
    assert not drawn["validation"] & drawn["test"]
    assert not drawn["train"] & drawn["validation"]


def test_training_scenes_hold_no_unseen_pair_but_every_color_and_shape():
    pairs = {t.pair for s in scenes(600) for t in s.things}
    assert not pairs & UNSEEN_PAIRS
    assert {c for c, _ in pairs} == set(COLORS)
    assert {s for _, s in pairs} == set(SHAPES)


def test_sizes_run_from_under_two_patches_to_a_third_of_the_picture():
    sides = [max(t.width, t.height) for s in scenes(600) for t in s.things]
    areas = [t.width * t.height / PATCH**2 for s in scenes(600) for t in s.things]
    assert min(areas) < 2
    assert min(sides) > SMALLEST * 0.9
    assert SIDE / 3 * 0.9 < max(sides) <= LARGEST


def test_objects_do_not_touch_and_lie_inside():
    for scene in scenes(200):
        covered = coverage(scene)
        assert (covered.sum(0) <= 1.001).all()
        for t in scene.things:
            assert t.width / 2 <= t.x <= SIDE - t.width / 2
            assert t.height / 2 <= t.y <= SIDE - t.height / 2


def test_coverage_is_the_area_that_was_painted():
    """Against the picture itself: pixels nearer to the object's colour than to anything else there."""
    errors = []
    for scene in scenes(60):
        image = draw(scene).astype(float)
        for t, covered in zip(scene.things, coverage(scene), strict=True):
            if t.digit is None:
                painted = np.abs(image - t.rgb).max(2) < 30
                patches = painted.reshape(GRID, PATCH, GRID, PATCH).mean((1, 3)) * (covered > 0)
                errors.append(abs(patches.sum() - covered.sum()) / covered.sum())
    assert np.median(errors) < 0.08


def test_a_window_shows_only_its_own_patches():
    scene = random_scene(generator("train", 1), 3, Window(5, 9, 8, 12))
    assert draw(scene).shape == (8 * PATCH, 12 * PATCH, 3)
    for t in scene.things:
        assert 9 * PATCH <= t.x <= 21 * PATCH
        assert 5 * PATCH <= t.y <= 13 * PATCH


# ------------------------------------------------------------------------------------------------------- questions


def test_every_question_and_answer_is_in_the_vocabulary():
    tokenizer, rng = build_tokenizer(), generator("train", 11)
    for scene in scenes(150):
        for kind in TYPES:
            q = ask(scene, kind, rng)
            if q is not None:
                ids = tokenizer(f"{q.text} {q.answer}")["input_ids"]
                assert tokenizer.unk_token_id not in ids, q
                assert ids[1:] == [*batches.token_ids(q.text), *batches.token_ids(q.answer)]


@each(
    ("text", "unknown"),
    [
        ("What COLOUR is the Star", 0),
        ("what color is the star?", 0),
        ("is there a gray square?", 0),
        ("what is the elephant doing?", 2),
    ],
)
def test_spelling_and_capitals_do_not_matter_and_strange_words_are_unknown(text, unknown):
    tokenizer = build_tokenizer()
    assert tokenizer(text)["input_ids"].count(tokenizer.unk_token_id) == unknown


def test_a_list_decodes_with_its_commas():
    tokenizer = build_tokenizer()
    ids = tokenizer("red star, blue circle", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == "red star, blue circle"


def test_answers_agree_with_the_scene():
    """Each answer again from the scene's objects alone, by other means."""
    rng = generator("train", 13)
    seen = Counter()
    for scene in scenes(400):
        for kind in TYPES:
            q = ask(scene, kind, rng)
            if q is None:
                continue
            seen[kind] += 1
            text = q.text.rstrip("?").replace("colour", "color")
            said = text.split()
            color = next((w for w in said if w in COLORS), None)
            names = {s: s for s in SHAPES} | {s + "s": s for s in SHAPES} | {"crosses": "cross"}
            shape = next((names[w] for w in said if w in names), None)
            fits = [t for t in scene.things if color in (None, t.color) and shape in (None, t.shape)]
            if kind == "exists":
                negated = "no" in said
                assert (q.answer == "yes") == (bool(fits) != negated), (q, scene)
            elif kind == "count":
                assert int(q.answer) == len(fits)
            elif kind == "list":
                assert Counter(q.answer.split(", ")) == Counter(" ".join(t.pair) for t in scene.things)
            else:
                assert len(fits) == 1, (q, scene)
                t = fits[0]
                if kind in ("color", "shape"):
                    assert q.answer == getattr(t, kind)
                elif kind == "digit":
                    assert q.answer == str(t.digit)
                elif kind == "where":
                    assert ("left" in q.answer) == (t.x < SIDE / 3)
                    assert ("bottom" in q.answer) == (t.y > 2 * SIDE / 3)
                elif q.answer != "nothing":
                    there = [o for o in scene.things if " ".join(o.pair) == q.answer]
                    side = next(w for w in said if w in ("left", "right", "above", "below", "under"))
                    ahead = {"left": t.x - 1e9, "right": t.x, "above": -1e9, "below": t.y, "under": t.y}[side]
                    upto = {"left": t.x, "right": 1e9, "above": t.y, "below": 1e9, "under": 1e9}[side]
                    assert any(ahead < (o.x if side in ("left", "right") else o.y) < upto for o in there)
    assert all(seen[kind] > 100 for kind in TYPES)


def test_a_list_may_come_in_any_order_but_whole():
    scene = next(s for s in scenes(50) if len({t.pair for t in s.things}) == 3 and len(s.things) == 3)
    q = ask(scene, "list", generator("train", 1))
    parts = q.answer.split(", ")
    assert correct(q, ", ".join(reversed(parts)))
    assert not correct(q, ", ".join(parts[:-1]))
    assert not correct(q, ", ".join([*parts[:-1], parts[0]]))


def test_test_cases_are_balanced():
    todo = list(cases("test", 123456, 960))
    counts = Counter(c.question.type for c in todo)
    assert set(counts.values()) == {960 // len(TYPES)}
    exists = Counter(c.question.answer for c in todo if c.question.type == "exists")
    assert exists["yes"] == exists["no"]
    objects = Counter(len(c.scene.things) for c in todo)
    assert all(80 < objects[n] < 165 for n in range(1, 9)), objects
    small = [c.scene.things[c.question.subject].small for c in todo if c.question.subject is not None]
    assert np.mean(small) >= 1 / 3
    assert not {t.pair for c in todo for t in c.scene.things} & UNSEEN_PAIRS


def test_cases_apart_are_about_unseen_pairs():
    for case in cases("test", 1, 60, unseen=True):
        assert case.scene.things[0].pair in UNSEEN_PAIRS


def test_the_bootstrap_covers_a_known_mean():
    rng = np.random.default_rng(0)
    inside = 0
    for i in range(100):
        low, high = bootstrap(rng.random(200) < 0.7, seed=i)
        inside += low <= 0.7 <= high
    assert 88 <= inside <= 100


def test_a_difference_inside_its_paired_interval_is_a_tie():
    """Two methods that are right equally often: one on the same questions but one, one on others."""
    ours = np.arange(200) % 2 == 0
    close, apart = ours.copy(), ~ours
    close[0] = False
    right = {
        ("fsr", 64): ours,
        ("close", 64): close,
        ("worse", 64): ours & (np.arange(200) % 8 > 0),
        ("apart", 64): apart,
    }
    right |= {("full", 576): ours, ("close", 32): close, ("blind", 0): apart}
    found = versus_fsr(right)
    assert set(found) == {"close", "worse", "apart"}
    assert set(found["close"]) == {"64"}, "there is no FSR at 32 tokens to compare with"
    low, high = found["close"]["64"]
    assert -2 <= low <= -0.5 <= high == 0
    low, high = found["worse"]["64"]
    assert low < -12.5 < high < 0, "in percent points, method minus FSR"
    low, high = found["apart"]["64"]
    assert low < -10 < 10 < high, "not paired by question it would be zero"


def test_the_table_marks_ties_and_names_own_counts():
    half, sure = [0.4, 0.6], [1.0, 1.0]
    result = {
        "accuracy": {"full": {"576": 1.0}, "fsr": {"64": 0.5, "32": 0.5}, "own": {"144": 0.5}, "deep": {"64": 0.5}},
        "interval": {
            "full": {"576": sure},
            "fsr": {"64": half, "32": half},
            "own": {"144": half},
            "deep": {"64": half},
        },
        "own_count": {"own": 143.7},
        "versus_fsr": {"deep": {"64": [-3.0, 0.0]}},
    }
    lines = summary(result).split("\n")
    assert lines[0] == "| method | 64 tokens | 32 tokens |"
    assert lines[2:6] == [
        "| fsr | 50.0 (40.0 to 60.0) | 50.0 (40.0 to 60.0) |",
        "| deep | 50.0 (40.0 to 60.0) = |  |",
        "| own (144 tokens, its own number) | 50.0 (40.0 to 60.0) | |",
        "| full (576 tokens) | 100.0 (100.0 to 100.0) | |",
    ]
    assert lines[-1].startswith("= a tie")
    result["versus_fsr"]["deep"]["64"] = [-3.0, -0.1]
    assert "=" not in summary(result)


@pytest.mark.slow
def test_batches_over_methods_and_budgets_answer_as_one_by_one():
    from fsr import pruners, vlm
    from fsr.bench.accuracy import run

    model, todo = vlm.load("shapes"), list(cases("validation", 21, 6))
    found = run(model, todo, ["fsr", "pool2x2", "fastv"], [128, 32])
    assert set(found.right) == {("fsr", 128), ("fsr", 32), ("pool2x2", 144), ("fastv", 128), ("blind", 0)}
    assert found.own_count == {"pool2x2": 144.0}
    assert OWN not in {b for _, b in found.right}
    for (name, budget), right in found.right.items():
        if name == "blind":
            continue
        for case, was_right in zip(todo, right, strict=True):
            encoding = model.encode(model.encode_media([case.picture]), case.question.text)
            *_, last = model.generate(encoding, pruners.make(name)(encoding.tokens, budget), 48)
            assert correct(case.question, last.text) == was_right
    cost = found.cost()
    assert cost["encode_ms"] > 0
    assert all(ms > 0 for row in cost["answer_ms"].values() for ms in row.values())
    assert cost["select_ms"]["fsr"]["128"] > 0
    assert "fastv" in costs({"cost": cost})


# --------------------------------------------------------------------------------------------------------- weights


def test_weights_are_small_half_precision_shards():
    shards = list(ASSETS.rglob("*.safetensors"))
    assert shards
    assert sum(p.stat().st_size for p in shards) <= 20 * MB
    assert max(p.stat().st_size for p in ASSETS.rglob("*") if p.is_file()) <= 9 * MB
    stored = LlavaForConditionalGeneration.from_pretrained(ASSETS, dtype="auto")
    assert {p.dtype for p in stored.parameters()} == {torch.float16}


def test_no_tracked_file_is_large():
    listed = subprocess.run(["git", "ls-files"], cwd=ASSETS.parents[1], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    sizes = {p: (ASSETS.parents[1] / p).stat().st_size for p in listed.stdout.split("\n") if p}
    assert not {p: s for p, s in sizes.items() if s > 9 * MB}


@pytest.fixture(scope="module")
def llava():
    return LlavaForConditionalGeneration.from_pretrained(ASSETS, dtype=torch.float32).eval()


def test_plain_transformers_answers_a_question(llava):
    processor = LlavaProcessor.from_pretrained(ASSETS)
    case = next(c for c in cases("validation", 5, 1))
    talk = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": case.question.text}]}]
    prompt = processor.apply_chat_template(talk, add_generation_prompt=True)
    inputs = processor(images=case.picture, text=prompt, return_tensors="pt")
    assert (inputs["input_ids"] == llava.config.image_token_id).sum() == GRID * GRID
    out = llava.generate(**inputs, max_new_tokens=8, do_sample=False)
    answer = processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer.strip() in COLORS


def test_clip_shares_the_vision_tower(llava):
    clip = CLIPModel.from_pretrained(ASSETS / "clip", dtype=torch.float32)
    theirs = clip.vision_model.state_dict()
    for name, value in llava.model.vision_tower.state_dict().items():
        assert torch.equal(value, theirs[name]), name
    assert clip.config.text_config.eos_token_id != 2


@pytest.mark.parametrize(
    ("questions", "least"), [(16, 0.75), pytest.param(48, 0.88, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_it_answers_validation_questions(questions, least, monkeypatch):
    from fsr import vlm
    from fsr.bench import accuracy
    from fsr.bench.accuracy import run

    todo = list(cases("validation", 9, questions))
    found = run(vlm.load("shapes"), todo, ["full", "fsr"], [64])
    assert found.right["full", GRID * GRID].mean() >= least
    assert found.right["blind", 0].mean() < 0.5
    assert len(found.k_focus) == questions
    assert found.unended == dict.fromkeys(found.right, 0)
    monkeypatch.setattr(accuracy, "MAX_NEW_TOKENS", 1)
    assert run(vlm.load("shapes"), todo[:2], ["fsr"], [64]).unended["fsr", 64] == 2


@pytest.mark.slow
def test_the_evaluation_command_prints_its_json(capsys):
    command = ["bench", "accuracy", "--questions", "16", "--stream", "validation"]
    assert main([*command, "--methods", "full,fsr,random", "--budgets", "64,32", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["questions"] == 16
    assert set(result["accuracy"]) == {"full", "fsr", "random", "blind", "majority"}
    assert set(result["accuracy"]["fsr"]) == {"64", "32"}
    assert set(result["by_type"]) == set(TYPES)
    assert result["unseen_pairs"]["questions"] == 6
    assert set(result["versus_fsr"]) == {"random"}
    assert result["cost"]["answer_ms"]["fsr"]["64"] > 0
    low, high = result["interval"]["fsr"]["64"]
    assert low <= result["accuracy"]["fsr"]["64"] <= high


@each(
    ("arguments", "sentence"),
    [
        (["--budgets", "0"], "budget 0"),
        (["--budgets", "many"], "whole numbers"),
        (["--methods", "magic"], "magic"),
        (["--questions", "3"], "at least"),
    ],
)
def test_the_evaluation_command_refuses_nonsense_in_one_sentence(capsys, arguments, sentence):
    assert main(["bench", "accuracy", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_pictures_reach_training_as_the_processor_prepares_them():
    processor = LlavaProcessor.from_pretrained(ASSETS).image_processor
    scene = random_scene(generator("train", 2), 4)
    theirs = processor(Image.fromarray(draw(scene)), return_tensors="pt")["pixel_values"]
    assert torch.allclose(batches.pixels([scene]), theirs, atol=1e-5)
