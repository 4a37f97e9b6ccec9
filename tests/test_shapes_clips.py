"""The clip model: drawn clips, questions about them, batches, weights, the adapter for its tower, the commands."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from transformers import CLIPModel, LlavaForConditionalGeneration, LlavaOnevisionForConditionalGeneration

import fsr.vlm
from fsr.bench.clip_accuracy import clip_cases, in_both_shares
from fsr.cli.main import main
from fsr.pruners import make
from fsr.shapes.clip_questions import CLIP_TYPES, ask_clip, correct_clip
from fsr.shapes.clips import APART, FRAMES, SMALLEST, Actor, Clip, draw_clip, moments, random_clip, random_events
from fsr.shapes.questions import Question
from fsr.shapes.scenes import SIDE, UNSEEN_PAIRS, Thing, Window, generator
from fsr.shapes.vocabulary import VIDEO, build_tokenizer, words
from tests.looping import each
from training import clip_batches as data
from training.answering import packed_blocks, question_mask
from training.batches import prefix_ids
from training.clip_model import build_onevision, build_pointer, save_clips
from training.clip_train import CLIPS, phases, pooled, see_clips
from training.seeing import lower_blocks

ROOT = Path(__file__).parents[1]
PICTURES, ASSETS = ROOT / "assets" / "shapes", ROOT / "assets" / "shapes-video"
TIMES = [0.5 * i for i in range(FRAMES)]
trained = pytest.mark.skipif(not (ASSETS / "config.json").is_file(), reason="the clip model is not in assets/")


def clips(count: int, stream: str = "validation") -> list[Clip]:
    rng = generator(stream, 31)
    made = []
    for _ in range(count):
        n = int(rng.integers(2, 5))
        events, overtaking = random_events(rng, n)
        made.append(random_clip(rng, n, events, overtaking=overtaking))
    return made


def thing(shape: str, color: str, x: float, y: float, rgb: tuple[int, int, int] = (222, 36, 40)) -> Thing:
    return Thing(shape, color, x, y, 60.0, 60.0, rgb)


# ------------------------------------------------------------------------------------------------------------ clips


def test_no_seed_of_one_stream_reaches_a_clip_of_another():
    drawn = {stream: set(clips(150, stream)) for stream in ("train", "validation", "test")}
    assert drawn["train"] == set(clips(150, "train"))
    assert not drawn["train"] & drawn["test"]
    assert not drawn["validation"] & drawn["test"]
    assert not drawn["train"] & drawn["validation"]


def test_what_happens_can_be_told_apart():
    for clip in clips(300):
        pairs = [(c, a.thing.shape) for a in clip.actors for c in a.colors]
        assert len(set(pairs)) == len(pairs)
        assert not set(pairs) & UNSEEN_PAIRS
        when = sorted(a.appears or a.vanishes or a.turns for a in clip.actors if a.event not in (None, "move"))
        assert all(b - a >= APART for a, b in pairwise(when))
        for actor in clip.actors:
            assert max(actor.thing.width, actor.thing.height) >= SMALLEST
            if actor.to is not None:
                assert np.hypot(actor.to[0] - actor.thing.x, actor.to[1] - actor.thing.y) >= SIDE / 6


def test_objects_never_touch_and_stay_inside():
    for clip in clips(120):
        for time in moments(15):
            things = clip.scene(time).things
            for i, t in enumerate(things):
                assert t.width / 2 <= t.x <= SIDE - t.width / 2
                assert t.height / 2 <= t.y <= SIDE - t.height / 2
                for o in things[:i]:
                    assert abs(t.x - o.x) > (t.width + o.width) / 2 or abs(t.y - o.y) > (t.height + o.height) / 2


def test_frames_show_what_happens_and_nothing_else():
    still = Actor(thing("star", "red", 60, 60))
    late = Actor(thing("circle", "red", 160, 160), appears=0.5)
    gone = Actor(thing("square", "red", 270, 60), vanishes=0.5)
    mover = Actor(thing("ring", "red", 60, 280), to=(260, 280))
    frames = draw_clip(Clip((still, late, gone, mover), Window(), 3), 9)
    assert frames.shape == (9, SIDE, SIDE, 3)
    assert frames.dtype == np.uint8
    red = (np.abs(frames.astype(int) - (222, 36, 40)).max(-1) < 6).astype(int)
    shown = {name: red[:, y, x].tolist() for name, (x, y) in {"late": (160, 160), "gone": (270, 60)}.items()}
    assert shown == {"late": [0] * 4 + [1] * 5, "gone": [1] * 4 + [0] * 5}
    across = [np.nonzero(frame[250:310].any(0))[0].mean() for frame in red]
    assert np.allclose(np.diff(across), 25, atol=1), "it moves at an even speed"
    assert (frames[:, :120, :120] == frames[:1, :120, :120]).all(), "what stands still is the same in every frame"


def test_the_faster_object_begins_behind_and_ends_ahead():
    found = [clip for clip in clips(300) if clip.overtaking]
    assert len(found) > 20
    for clip in found:
        fast, slow = (clip.actors[i] for i in clip.overtaking)
        assert fast.way == slow.way
        axis = 0 if fast.way in ("left", "right") else 1
        sign = 1 if fast.way in ("right", "down") else -1
        ahead = [
            sign * ((f.x, f.y)[axis] - (s.x, s.y)[axis]) for f, s in ((a.at(t) for a in (fast, slow)) for t in (0, 1))
        ]
        assert ahead[0] < -SIDE / 12
        assert ahead[1] > SIDE / 12


# -------------------------------------------------------------------------------------------------------- questions


def test_every_question_and_answer_is_in_the_vocabulary_which_begins_with_the_picture_model_s():
    tokenizer = build_tokenizer(clips=True)
    assert words(clips=True)[: len(words())] == words()
    assert tokenizer.convert_tokens_to_ids(VIDEO) == len(words())
    rng = np.random.default_rng(0)
    asked = [q for clip in clips(120) for kind in CLIP_TYPES if (q := ask_clip(clip, kind, rng))]
    assert {q.type for q in asked} == set(CLIP_TYPES)
    for q in asked:
        ids = tokenizer(f"{q.text} {q.answer}", add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids, q


EXAMPLE = Clip(
    (
        Actor(thing("circle", "red", 60, 60), to=(200, 60)),
        Actor(thing("star", "blue", 60, 280), appears=0.3),
        Actor(thing("square", "green", 160, 180), appears=0.6),
        Actor(thing("ring", "pink", 290, 280), vanishes=0.5),
        Actor(thing("cross", "teal", 290, 180), turns=0.5, turned=thing("cross", "white", 290, 180)),
    ),
    Window(),
    1,
)
EXPECTED = {
    ("direction", "red circle"): {"right"},
    ("moves", ""): {"red circle", "red"},
    ("disappears", ""): {"pink ring", "pink"},
    ("turns", "turn"): {"white"},
    ("turns", "what changes"): {"teal cross"},
    ("order", "last object to appear"): {"green", "green square"},
    ("order", "first object to appear"): {"blue", "blue star"},
    ("count", "appear?"): {"2"},
    ("count", "first frame"): {"3"},
    ("count", "last frame"): {"4"},
    ("frame", "first frame"): {"red circle, pink ring, teal cross", "red circle, teal cross, pink ring"},
    ("frame", "last frame"): {"blue star, green square, red circle, white cross"},
    ("happens", "does anything disappear"): {"yes"},
    ("happens", "does the green square move"): {"no"},
}


@each(("kind", "words_of_it"), EXPECTED)
def test_answers_agree_with_the_clip(kind, words_of_it):
    rng = np.random.default_rng(1)
    asked = [q for _ in range(600) if (q := ask_clip(EXAMPLE, kind, rng)) and words_of_it in q.text]
    found = {q.answer for q in asked if "dis" not in q.text or "dis" in words_of_it or kind == "disappears"}
    assert found
    assert found <= EXPECTED[kind, words_of_it]


def test_ambiguous_questions_are_not_asked():
    rng = np.random.default_rng(1)
    assert not any(ask_clip(EXAMPLE, "appears", rng) for _ in range(50)), "two objects appear"
    assert not any(ask_clip(EXAMPLE, "overtakes", rng) for _ in range(50))
    asked = [q for _ in range(300) if (q := ask_clip(EXAMPLE, "color", rng))]
    assert asked
    assert not any("cross" in q.text for q in asked), "the cross has two colours"


def test_objects_of_a_frame_may_come_in_any_order_but_whole():
    question = Question("frame", "what is in the first frame?", "red circle, blue star", (0, 1))
    assert correct_clip(question, "blue star, red circle")
    assert not correct_clip(question, "red circle")
    assert not correct_clip(question, "red star, blue circle")


def test_test_cases_are_balanced():
    todo = list(clip_cases("test", 5, 96))
    assert Counter(c.question.type for c in todo) == dict.fromkeys(CLIP_TYPES, 8)
    by = {kind: Counter(c.question.answer for c in todo if c.question.type == kind) for kind in CLIP_TYPES}
    assert by["happens"] == {"yes": 4, "no": 4}
    assert by["direction"] == dict.fromkeys(("left", "right", "up", "down"), 2)
    assert by["count"] == dict.fromkeys("0123", 2)
    for case in clip_cases("test", 5, 12, unseen=True):
        assert case.clip.actors[case.question.subject].thing.pair in UNSEEN_PAIRS


# ------------------------------------------------------------------------------------------- batches and training


def test_tokens_know_what_has_happened_by_their_time():
    known = data.label_clips([EXAMPLE]).heads
    way, first, gone = (known[name].view(FRAMES, -1) for name in ("way", "first", "gone_shape"))
    right = data.WAY_ID["right"]
    assert not (way[0] == right).any()
    assert (way[-1] == right).any()
    at = int(290 / 28) + 12 * int(180 / 28)
    white, teal = data.COLOR_ID["white"], data.COLOR_ID["teal"]
    assert known["color"].view(FRAMES, -1)[[0, 7], at].tolist() == [teal, white]
    assert first[[0, 7], at].tolist() == [teal, teal]
    at = int(290 / 28) + 12 * int(280 / 28)
    assert gone[:, at].tolist() == [0] * 4 + [data.SHAPE_ID["ring"]] * 4


def test_the_last_third_of_the_steps_sees_full_clips():
    steps = [p.rows for p in CLIPS for _ in range(p.steps)]
    assert set(steps[-len(steps) // 3 :]) == {24}
    assert sum(p.steps for p in phases("clips", 0.1)) == pytest.approx(len(steps) / 10, abs=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The clip model before its training, saved as the trained one is."""
    torch.manual_seed(0)
    picture = LlavaForConditionalGeneration.from_pretrained(PICTURES, dtype=torch.float32)
    clip = CLIPModel.from_pretrained(PICTURES / "clip", dtype=torch.float32)
    folder = tmp_path_factory.mktemp("clips") / "model"
    save_clips(folder, build_onevision(picture), build_pointer(clip), {"positions": "original", "relevance_sign": 1})
    return folder


@pytest.fixture(scope="module")
def vlm(folder):
    return fsr.vlm.load(str(folder))


@pytest.fixture(scope="module")
def encoding(vlm):
    frames = [Image.fromarray(frame) for frame in draw_clip(EXAMPLE)]
    needs = frozenset({"saliency", "relevance"})
    return vlm.encode(vlm.encode_media(frames, TIMES, needs), "what color does the cross turn?", needs)


@torch.no_grad()
def plain_logits(vlm, frames, question):
    """Transformers alone: its processor, its pooling, its newline."""
    content = [{"type": "video"}, {"type": "text", "text": question}]
    chat = vlm.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = vlm.processor(text=chat, videos=[frames], return_tensors="pt")
    assert int((inputs["input_ids"] == vlm.model.config.video_token_id).sum()) == data.TOKENS + 1
    return vlm.model(**inputs).logits[0]


def test_the_adapter_reads_a_clip_as_transformers_does(vlm, encoding):
    assert len(encoding.tokens) == data.TOKENS == 1152
    frames = [Image.fromarray(frame) for frame in draw_clip(EXAMPLE)]
    expected = plain_logits(vlm, frames, encoding.question)
    assert torch.allclose(vlm.logits(encoding), expected, atol=1e-4)
    everything = make("random")(encoding.tokens, data.TOKENS)
    assert torch.allclose(vlm.logits(encoding, everything), expected, atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_training_reads_a_clip_as_transformers_does(vlm):
    rng = np.random.default_rng(3)
    packed = data.pack_clips([EXAMPLE], rng, 64, dict.fromkeys(CLIP_TYPES, 1.0))
    model, tower = vlm.model, vlm.model.model.vision_tower
    features = see_clips(tower, lambda x: lower_blocks(tower, x.float()), [EXAMPLE])
    visual = pooled(model.model.multi_modal_projector(features), 24)
    table, before = model.get_input_embeddings(), prefix_ids()[None]
    x = torch.cat([table(before), visual, model.model.image_newline[None, None], table(packed.ids)], 1)
    ahead = before.shape[1] + data.TOKENS + 1
    position = torch.cat([torch.arange(3)[None], data.positions([EXAMPLE]), packed.position], 1)
    assert position[0, :ahead].tolist() == list(range(ahead))
    hidden, _ = packed_blocks(model.model.language_model, x, question_mask(packed, ahead), position)
    ids = packed.ids[0, packed.block[0] == 1]  # the second question, which must not see the first
    text = vlm.tokenizer.decode(ids).partition(" assistant")[0]
    expected = plain_logits(vlm, [Image.fromarray(f) for f in draw_clip(EXAMPLE)], text)
    n = vlm.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"].shape[1]
    got = model.lm_head(hidden[0, packed.block[0] == 1])[:n]
    asked = expected[ahead : ahead + n]
    assert (got - asked).abs().max() < 0.05 * asked.abs().max(), "bf16 in the tower"
    assert torch.equal(got.argmax(-1), asked.argmax(-1))


def test_frames_that_are_the_same_go_through_the_tower_once():
    which, back = data.distinct_frames([EXAMPLE, Clip(EXAMPLE.actors[1:2], Window(), 1)])
    assert which.tolist() == [*range(8), 8, 11], "something moves in the first; in the second one thing appears"
    assert back.tolist() == [*range(8), *[8] * 3, *[9] * 5]
    frames = draw_clip(Clip(EXAMPLE.actors[1:2], Window(), 1))
    assert (frames[:3] == frames[0]).all()
    assert (frames[3:] == frames[3]).all()


def test_a_window_keeps_its_places_in_the_full_clip():
    rng = np.random.default_rng(2)
    clip = random_clip(rng, 2, ["move"], Window(4, 6, 12, 12))
    full = data.positions([Clip((), Window(), 1)])[0, :-1].view(FRAMES, 12, 12)
    assert torch.equal(data.positions([clip])[0, :-1].view(FRAMES, 6, 6), full[:, 2:8, 3:9])
    assert data.positions([clip])[0, -1] == len(full.flatten()) + 3


# ------------------------------------------------------------------------------------- the adapter, a tower with CLS


@torch.no_grad()
def test_saliency_is_the_pooled_attention_from_cls(folder, vlm, encoding):
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    pixels = vlm.video_pixels([Image.fromarray(frame) for frame in draw_clip(EXAMPLE)])
    attention = model.model.vision_tower(pixels, output_attentions=True).attentions[-2].mean(1)[:, 0, 1:]
    expected = attention.view(FRAMES, 12, 2, 12, 2).mean((2, 4)).flatten()
    assert torch.allclose(encoding.tokens.saliency, expected, atol=1e-6)
    assert "[CLS]" in vlm.pathways["saliency"]


@torch.no_grad()
def test_relevance_is_the_cosine_in_the_space_of_the_clip_beside_it(folder, vlm, encoding):
    clip = CLIPModel.from_pretrained(folder / "clip", dtype=torch.float32)
    pixels = vlm.video_pixels([Image.fromarray(frame) for frame in draw_clip(EXAMPLE)])
    hidden = clip.vision_model(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    hidden = hidden.view(FRAMES, 12, 2, 12, 2, -1).mean((2, 4)).flatten(0, 2)
    patches = clip.visual_projection(clip.vision_model.post_layernorm(hidden))
    ids = vlm.tokenizer(f"{encoding.question}</s>", return_tensors="pt")["input_ids"]
    asked = clip.text_projection(clip.text_model(input_ids=ids).pooler_output)
    expected = torch.nn.functional.cosine_similarity(patches, asked)
    assert torch.allclose(encoding.tokens.relevance, expected, atol=1e-5)
    assert vlm.relevance_sign == 1


def test_kept_tokens_stand_at_their_original_positions(vlm, encoding):
    selection = make("random")(encoding.tokens, 50)
    inputs = vlm.language_inputs(encoding, selection)
    place = torch.cat([torch.arange(3), 3 + selection.kept, torch.arange(3 + data.TOKENS, len(encoding.prompt))])
    assert inputs["position_ids"][0].tolist() == place.tolist()
    x = vlm.language_inputs(encoding, None)["inputs_embeds"]
    seen = torch.zeros(x.shape[1], dtype=torch.bool)
    seen[place] = True
    mask = torch.ones(len(seen), len(seen), dtype=torch.bool).tril() & (
        seen[None] | torch.eye(len(seen), dtype=torch.bool)
    )
    with torch.no_grad():
        expected = vlm.model(inputs_embeds=x, attention_mask=mask[None, None], use_cache=False).logits[0, seen]
    assert torch.allclose(vlm.logits(encoding, selection), expected, atol=1e-4)


def test_methods_with_an_exact_count_are_run_in_both_shares():
    assert list(in_both_shares(["full", "fsr", "prumerge", "fastv"])) == [
        "full",
        "fsr",
        "prumerge",
        "fastv",
        "fsr:per_group",
    ]


# --------------------------------------------------------------------------------------------------- trained weights


@trained
def test_weights_are_small_half_precision_shards():
    files = sorted(ASSETS.rglob("*.safetensors"))
    assert sum(f.stat().st_size for f in files) <= 20e6
    assert max(f.stat().st_size for f in files) <= 8.1e6
    for file in files:
        with safe_open(file, "pt") as weights:
            assert {weights.get_tensor(name).dtype for name in weights.keys()}  # noqa: SIM118 == {torch.float16}


@pytest.fixture(scope="module")
def embedded():
    return fsr.vlm.load("shapes-video")


@trained
@pytest.mark.parametrize(("questions", "below"), [(4, 0.4), pytest.param(24, 0.15, marks=pytest.mark.slow)])
def test_it_answers_validation_questions(embedded, questions, below):
    from fsr.bench.accuracy import run
    from fsr.bench.clip_accuracy import in_both_shares

    measured = json.loads((ASSETS / "evaluation.json").read_text())["accuracy"]["full"]["1152"]
    todo = list(clip_cases("validation", 9, questions))
    found = run(embedded, todo, in_both_shares(["full", "fsr"]), [230])
    assert found.right["full", data.TOKENS].mean() >= measured - below
    assert found.right["blind", 0].mean() < found.right["full", data.TOKENS].mean() - 0.2
    assert len(found.right["fsr:per_group", 230]) == questions


@trained
def test_the_tower_is_the_one_of_its_clip(embedded):
    assert embedded.relevance_model.exact


@trained
@pytest.mark.slow
def test_the_evaluation_command_prints_its_json(capsys):
    command = ["bench", "accuracy", "--clips", "--questions", "12", "--stream", "validation"]
    assert main([*command, "--methods", "full,fsr", "--budgets", "230", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["accuracy"]["full"]) == {"1152"}
    assert set(result["by_share"]) == {"global", "per_group"}
    assert set(result["by_share"]["per_group"]["accuracy"]) == {"full", "fsr", "blind", "majority"}
    assert result["by_share"]["global"]["accuracy"]["fsr"] == result["accuracy"]["fsr"]
    assert set(result["by_type"]) == set(CLIP_TYPES)
    assert len(result["k_focus"]["quantiles_5_25_50_75_95"]) == 5
    assert result["unseen_pairs"]["questions"] == 4


@trained
@pytest.mark.slow
def test_the_command_line_answers_about_a_clip(tmp_path, capsys):
    path = tmp_path / "clip.mp4"
    out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (SIDE, SIDE))
    for frame in draw_clip(EXAMPLE, 40):
        out.write(frame[..., ::-1].copy())
    out.release()
    command = ["answer", str(path), "what color is the circle?", "--model", "shapes-video"]
    assert main([*command, "--budget", "230", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["visual_tokens"] == 1152
    assert record["answers"]["full"]["text"]
    assert "note" not in record
