"""What words look at, against transformers' own eager attention; two questions about one picture."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

import fsr.vlm
from app.leases import dumps, loads
from app.request import Request
from app.service import Service
from app.settings import Settings
from app.words import Looks, look_at, questions, words
from fsr.cli.main import main
from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.tokens import Role
from fsr.vlm.decode import following
from fsr.vlm.inside import text_model
from fsr.why.attention import answer_attention, on_picture, thirds
from fsr.why.words import words_of
from tests.looping import each
from tests.tiny import in_memory, save_tiny
from tests.tiny_checkpoints import save_gemma3, save_internvl, save_qwen3, save_qwen3_5, save_smolvlm
from tests.tiny_families import noise, save_onevision, save_qwen

QUESTION = "What is left of the ring?"
SAID = "a red ring, on it."
CLOSE = 1e-5
FAMILIES = ("llava", "qwen", "onevision", "llava-video", "qwen3", "qwen3_5", "smolvlm", "gemma3", "internvl")


@pytest.fixture(scope="module")
def vlms(tmp_path_factory):
    root = tmp_path_factory.mktemp("looking")
    save_tiny(root / "llava", layers=4)
    save_qwen(root / "qwen")
    save_onevision(root / "llava-video")  # a conversion is told by its name
    shutil.copytree(root / "llava-video", root / "onevision")
    save_qwen3(root / "qwen3")
    save_smolvlm(root / "smolvlm")
    save_gemma3(root / "gemma3")
    save_qwen3_5(root / "qwen3_5")
    save_internvl(root / "internvl")
    return {name: fsr.vlm.load(str(root / name)) for name in FAMILIES}


def encoded(vlm, name):
    frames = [noise(150, 100, seed) for seed in range(2)]
    times = (0.0, 1.0) if name in ("llava-video", "qwen", "qwen3", "qwen3_5") else None
    captures = vlm.captures
    return vlm.encode(
        vlm.encode_media(frames if times else frames[:1], times, captures),
        QUESTION,
        captures | {"saliency", "relevance", "project"},
    )


def ids_of(vlm, text=SAID):
    return vlm.tokenizer(text, add_special_tokens=False)["input_ids"]


@contextmanager
def eager(vlm):
    """The model runs transformers' eager attention while the block does."""
    before = vlm.model.config._attn_implementation
    assert before != "eager"
    vlm.model.set_attn_implementation("eager")
    yield
    vlm.model.set_attn_implementation(before)


def whole(vlm, encoding, selection, ids):
    """(L, A, S) of one pass over prompt and answer, as the model itself gives it: rows before every answer token."""
    inputs = vlm.language_inputs(encoding, selection)
    inputs.pop("attention_mask", None)
    prompt = inputs.pop("inputs_embeds")
    said = vlm.model.get_input_embeddings()(torch.tensor([ids]))
    if "position_ids" in inputs:
        after = following(inputs, 1, len(ids))["position_ids"]
        inputs["position_ids"] = torch.cat([inputs["position_ids"], after], dim=-1)
    if "token_type_ids" in inputs:
        inputs["token_type_ids"] = torch.nn.functional.pad(inputs["token_type_ids"], (0, len(ids)))
    with torch.no_grad():
        out = vlm.decoder.model(inputs_embeds=torch.cat([prompt, said], dim=1), output_attentions=True, **inputs)
    return torch.stack([a[0].mean(dim=0)[prompt.shape[1] - 1 : -1] for a in out.attentions])


def places(vlm, encoding, selection):
    """Where each visual embedding stands, found by what is sent and not by counting."""
    if "mm_encoder_outputs" in vlm.language_inputs(encoding, selection):  # rows are put in their places by the model
        read = torch.arange(len(encoding.prompt)) if selection is None else vlm.source(encoding, selection)
        return torch.isin(read, encoding.visual).nonzero()[:, 0]
    sent = encoding.tokens.embeddings if selection is None else selection.sent
    prompt = vlm.language_inputs(encoding, selection)["inputs_embeds"][0]
    found = [(prompt == row).all(dim=1).nonzero()[0, 0] for row in sent.to(prompt)]
    return torch.stack(found)


def by_word(rows, words):
    return torch.stack([rows[:, word.start : word.stop].mean(dim=1) for word in words])


@pytest.mark.parametrize("family", FAMILIES)
@each("method", [None, "fsr", "visionzip", "random"])
def test_it_is_the_eager_attention_of_the_model(vlms, family, method):
    vlm = vlms[family]
    if method == "visionzip" and "summary" not in vlm.captures:
        return
    encoding, ids = encoded(vlm, family), ids_of(vlm)
    selection = method and make(method)(encoding.tokens, 8)
    found = answer_attention(vlm, encoding, selection, ids)
    with eager(vlm):
        rows = whole(vlm, encoding, selection, ids)
    expected = by_word(rows, found.words)[..., places(vlm, encoding, selection)]
    extra = 0 if selection is None or selection.before is None else len(selection.before)
    kept = torch.arange(len(encoding.tokens)) if selection is None else selection.kept
    assert found.tokens.tolist() == kept.tolist()
    assert (found.attention - expected[..., extra:]).abs().max() < CLOSE
    assert (found.share - expected.sum(dim=-1)).abs().max() < CLOSE
    assert found.attention.std() > 1e-4, "all alike would show nothing"


@pytest.mark.parametrize("family", ["llava", pytest.param("qwen3", marks=pytest.mark.slow)])
@each("method", ["fastv", "sparsevlm", "pyramiddrop"])
def test_inside_the_language_model_each_layer_shows_what_it_read(vlms, family, method):
    """Against the weights that the eager layers hand back while they prune; of one picture."""
    vlm = vlms[family]
    encoding, ids = encoded(vlm, "llava"), ids_of(vlm)
    budget = round(0.64 * len(encoding.tokens))
    found = answer_attention(vlm, encoding, make(method)(encoding.tokens, budget), ids)
    weights = {}
    layers = text_model(vlm.decoder.model).layers
    handles = [
        layer.self_attn.register_forward_hook(lambda *args, at=at: weights.setdefault(at, []).append(args[-1][1]))
        for at, layer in enumerate(layers)
    ]
    again = make(method)(encoding.tokens, budget)
    with eager(vlm):
        vlm.forced(encoding, again, ids)
    [handle.remove() for handle in handles]
    for at in range(len(layers)):
        prompt, answer = (w[0].mean(dim=0) for w in weights[at])
        length = prompt.shape[1]
        rows = torch.cat([prompt[-1:], answer[:, :length]])[None]
        expected = by_word(rows, found.words)[:, 0]
        alive = again.alive(at)
        assert found.tokens[found.alive[at]].tolist() == alive.nonzero()[:, 0].tolist()
        first = int(encoding.visual[0])
        seen = expected[:, first : first + again.counts[at]]
        of_grid = seen[:, : int(alive.sum())]
        assert (found.attention[:, at][:, found.alive[at]] - of_grid).abs().max() < CLOSE
        assert (found.share[:, at] - seen.sum(dim=1)).abs().max() < CLOSE
        assert (found.attention[:, at][:, ~found.alive[at]] == 0).all()
    assert not found.alive.all()


def test_nothing_is_left_behind_and_layers_can_be_chosen(vlms):
    vlm = vlms["llava"]
    encoding, ids = encoded(vlm, "llava"), ids_of(vlm)
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in vlm.decoder.model.modules()]
    every = answer_attention(vlm, encoding, None, ids)
    some = answer_attention(vlm, encoding, None, ids, [3, 1])
    assert torch.equal(some.attention, every.attention[:, [3, 1]])
    assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in vlm.decoder.model.modules()]
    for layers in ([], [4], [True], [1.0]):
        with pytest.raises(InvalidInput, match="from 0 to 3"):
            answer_attention(vlm, encoding, None, ids, layers)


def test_many_rows_are_computed_in_parts(vlms, monkeypatch):
    vlm = vlms["llava"]
    encoding, ids = encoded(vlm, "llava"), ids_of(vlm)
    at_once = answer_attention(vlm, encoding, None, ids).attention
    monkeypatch.setattr("fsr.why.attention.NUMBERS_AT_ONCE", 1)
    assert (answer_attention(vlm, encoding, None, ids).attention - at_once).abs().max() < 1e-6


def test_words_are_made_of_their_tokens(tiny_vlm, word_vlm):
    ids = ids_of(tiny_vlm, " a Märchen, 東京")
    words = words_of(tiny_vlm, [*ids, 3])
    assert [w.text for w in words] == ["a", "Märchen,", "東", "京"]
    assert [tiny_vlm.tokenizer.decode(ids[w.start : w.stop]).strip() for w in words] == [w.text for w in words]
    assert [w.text for w in words_of(word_vlm, ids_of(word_vlm, "red circle, blue"))][:2] == ["red", "circle,"]
    for bad in ([], [3], [10**6], [True]):
        with pytest.raises(InvalidInput):
            words_of(tiny_vlm, bad)


@each("method", ["fsr", "pool2x2", "visionzip", "prumerge"])
def test_merged_tokens_show_their_part_of_their_anchor(vlms, method):
    vlm = vlms["llava"]
    encoding = encoded(vlm, "llava")
    selection = make(method)(encoding.tokens, 10)
    attention = torch.rand(2, 3, len(selection.kept))
    shown = on_picture(attention, selection.kept, selection, len(encoding.tokens))
    assert (shown.sum(dim=-1) - attention.sum(dim=-1)).abs().max() < CLOSE
    merged = (selection.roles == int(Role.MERGED)).nonzero()[:, 0]
    assert len(merged)
    for token in merged.tolist():
        anchor = int(selection.anchor[token])
        ratio = float(selection.weight[token] / selection.weight[anchor])
        assert shown[..., token] == pytest.approx((ratio * shown[..., anchor]).numpy(), rel=1e-3, abs=1e-7)
    gone = selection.roles == int(Role.DROPPED)
    assert (shown[..., gone] == 0).all()


@each("layers", [1, 2, 3, 4, 7, 32])
def test_thirds_hold_every_layer_once(layers):
    groups = thirds(layers)
    assert groups.pop("all") == list(range(layers))
    assert [i for group in groups.values() for i in group] == list(range(layers)) or layers < 3
    assert all(groups.values())


# -- the app


@pytest.fixture
def service(tiny_folder, tiny_vlm):
    made = Service(Settings(model=str(tiny_folder), max_new_tokens=9), look=in_memory(tiny_vlm))
    yield made
    made.close()


@pytest.fixture
def asked(service, picture, tmp_path):
    picture.save(tmp_path / "picture.png")
    opened = service.open_media(tmp_path / "picture.png")
    return Request(opened.id, "what is it?", "fsr", 8, {}, service.settings.first)


def test_what_crosses_is_what_was_found(service, asked, tiny_vlm):
    *_, last = words(service, asked)
    assert (last.phase, list(last.looks)) == ("done", ["full", "method"])
    tiny = service.work(asked).encoded(asked)
    selection = make("fsr")(tiny.tokens, 8)
    for side, chosen in (("full", None), ("method", selection)):
        look = loads(dumps(last.looks[side]))  # as from a leased process
        *_, step = tiny_vlm.generate(tiny, chosen, 9)
        found = answer_attention(tiny_vlm, tiny, chosen, step.token_ids)
        shown = on_picture(found.attention, found.tokens, chosen, 25)
        assert look.text == step.text
        for group, layers in (("all", [0, 1, 2]), ("last", [2]), ("2", [1])):
            packed, expected = look.map(group), shown[:, layers].mean(dim=1).numpy()
            levels = [np.frombuffer(base64.b64decode(row), np.uint8) for row in packed["levels"]]
            values = np.array(packed["scale"])[:, None] * (np.array(levels) / 255.0) ** 2
            assert np.abs(values - expected).max() < 0.012 * expected.max()
            assert packed["share"] == pytest.approx(found.share[:, layers].mean(dim=1).numpy(), abs=1e-3)
    silent = look_at(service.work(asked), tiny, None, [next(iter(tiny_vlm.decoder.eos))])
    assert (silent.text, silent.words, silent.map("last")) == ("", (), {"scale": [], "share": [], "levels": []})
    for group in ("4", "0", "most", None, "-1"):
        with pytest.raises(InvalidInput, match="first, middle, last or a number from 1 to 3"):
            look.map(group)


def test_what_is_known_is_not_read_again_and_a_stop_ends_it(service, asked, monkeypatch):
    *_, last = words(service, asked)
    looked = []
    monkeypatch.setattr("app.words.look_at", lambda *args: looked.append(args[2]) or last.looks["method"])
    list(words(service, asked, known={"full": last.looks["full"]}))
    assert [selection.method for selection in looked] == ["fsr"]
    stop = threading.Event()
    phases = []
    for step in words(service, asked, stop):
        phases.append(step.phase)
        if step.phase == "looking":
            stop.set()
    assert phases[-1] == "stopped"
    held = Looks(nbytes=1)
    held.put("a", last.looks["full"])
    held.put("b", last.looks["full"])
    assert held.get("a") is None
    assert held.get("b") is not None


def test_two_questions_of_one_picture(service, asked, tiny_vlm, monkeypatch):
    towers = []
    read = type(tiny_vlm)._encode_frames
    monkeypatch.setattr(type(tiny_vlm), "_encode_frames", lambda *a, **k: towers.append(1) or read(*a, **k))
    tiny_vlm.forget()
    *_, last = questions(service, asked, "where is the cat?")
    assert len(towers) == 1, "the picture is encoded once"
    pair = last.pair
    encodings = [service.work(asked).encoded(replace(asked, question=q)) for q in pair["questions"]]
    chosen = [make("fsr")(e.tokens, 8) for e in encodings]
    assert [list(k) for k in pair["kept"]] == [s.kept.tolist() for s in chosen]
    assert pair["kept"][0] != pair["kept"][1]
    assert pair["both"] == len({*pair["kept"][0]} & {*pair["kept"][1]})
    for i in range(2):
        for name, selection in (("own", chosen[i]), ("other", chosen[1 - i]), ("full", None)):
            *_, step = tiny_vlm.generate(encodings[i], selection, 9)
            assert pair["answers"][i][name]["text"] == step.text
        packed = pair["maps"][i]["relevance"]
        levels = np.frombuffer(base64.b64decode(packed["levels"]), np.uint8) / 255
        expected = (encodings[i].tokens.relevance_sign * encodings[i].tokens.relevance).numpy()
        assert packed["low"] + levels * (packed["high"] - packed["low"]) == pytest.approx(expected, abs=2e-3)
    *_, blind = questions(service, replace(asked, method="random"), "where is the cat?")
    assert (blind.pair["does_read"], blind.pair["iou"]) == (False, 1.0)
    assert blind.pair["maps"][0]["priority"] is None


@each(
    "method, other, said",
    [("fsr", " what is it? ", "same"), ("fsr", "", "empty"), ("fastv", "where?", "before it"), ("x", "y", "method")],
)
def test_what_cannot_be_asked_is_refused(service, asked, method, other, said):
    with pytest.raises(InvalidInput, match=said):
        list(questions(service, replace(asked, method=method), other))


def test_the_command_gives_every_words_attention(tiny_folder, picture, tmp_path, capsys):
    picture.save(tmp_path / "a.png")
    tell = ["words", str(tmp_path / "a.png"), "what?", "--model", str(tiny_folder), "--max-new-tokens", "6"]
    assert main([*tell, "--budget", "8", "--layers", "last", "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record["answers"]) == ["full", "fsr"]
    for answer in record["answers"].values():
        for word in answer["words"]:
            assert sum(word["attention"]) == pytest.approx(word["share"], abs=0.01)
    assert main([*tell, "--layers", "9"]) == 2
    assert "from 1 to 3" in capsys.readouterr().err
