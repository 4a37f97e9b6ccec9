"""The families that people run now, a row each in `tests.tiny_today.ROWS`, against the unmodified transformers models.

Ten generated tokens, `fsr.prune`, `fsr check` and every method are in the tables of the other tests.
"""

from __future__ import annotations

import sys
import threading

import pytest
import torch

import fsr.vlm
from fsr.check.reach import embedding_layer
from fsr.errors import FsrError, InvalidInput
from fsr.pruners import make
from fsr.vlm import without_picture
from fsr.why.attention import answer_attention
from tests.proofs import proves
from tests.tiny_families import QUESTION, answer, covered, noise
from tests.tiny_today import CASES, EVERY, FRAMES, ROWS, case, families


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """family -> its directory, our own reader of it, and a plain transformers model; made once each."""
    made = {}

    def of(family):
        if family not in made:
            folder = ROWS[family].save(tmp_path_factory.mktemp("today") / family)
            model = ROWS[family].kind.from_pretrained(folder, dtype=torch.float32).eval()
            made[family] = folder, fsr.vlm.load(str(folder)), model
        return made[family]

    return of


@proves(media="name")
@pytest.mark.parametrize(("family", "name"), EVERY)
def test_all_tokens_kept_are_the_unmodified_model(opened, family, name):
    _, vlm, model = opened(family)
    encoding, inputs = case(vlm, name)
    assert encoding.prompt.tolist() == inputs["input_ids"][0].tolist()
    assert [(grid.rows, grid.cols) for grid in encoding.tokens.layout.grids] == ROWS[family].grids[name]
    with torch.no_grad():
        expected = model(**inputs).logits[0]
    everything = make("full")(encoding.tokens, len(encoding.tokens))
    for selection in (None, everything):
        assert (vlm.logits(encoding, selection) - expected).abs().max() <= 1e-5


@proves("kept", "positions")
@pytest.mark.parametrize(("family", "name"), CASES)
@pytest.mark.parametrize(("method", "budget"), [("fsr", 12), ("visionzip", 10), ("random", 1)])
def test_pruned_prompts_equal_those_built_by_hand(opened, family, name, method, budget):
    """Also where tokens were merged: what a token carries is merged with the weights of the selection."""
    _, vlm, model = opened(family)
    needs = frozenset({"saliency", "features", "keys"})  # VisionZip without a projector merges embeddings
    frames, times = FRAMES[name]
    encoding = vlm.encode(vlm.encode_media(frames, times, needs), QUESTION, needs)
    selection = make(method)(encoding.tokens, budget)
    assert method == "random" or not torch.equal(selection.embeddings, encoding.tokens.embeddings[selection.kept])
    expected = ROWS[family].by_hand(model, case(vlm, name)[1], selection)
    assert (vlm.logits(encoding, selection) - expected).abs().max() <= 1e-5


@proves("saliency")
@pytest.mark.parametrize(("family", "name"), CASES)
@pytest.mark.parametrize("implementation", ["sdpa", pytest.param("eager", marks=pytest.mark.slow)])
def test_saliency_equals_the_models_own_attention(opened, monkeypatch, family, name, implementation):
    """The weights that transformers' eager attention computes."""
    row, (folder, _, _) = ROWS[family], opened(family)
    vlm = fsr.vlm.load(str(folder))
    vlm.vision.config._attn_implementation = implementation
    encoding, inputs = case(vlm, name)
    eager = row.kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    layer, weights = row.layer(eager), []
    module = sys.modules[type(layer).__module__]
    plain = module.eager_attention_forward

    def recording(attending, *args, **options):
        out = plain(attending, *args, **options)
        if attending is layer:
            weights.append(out[1])
        return out

    monkeypatch.setattr(module, "eager_attention_forward", recording)
    with torch.no_grad():
        eager(**inputs)
    expected = row.saliency(weights, inputs)
    assert torch.allclose(encoding.tokens.saliency, expected, atol=1e-6)
    assert expected.max() > 1.3 * expected.min()


@proves("places")
@pytest.mark.parametrize(("family", "name"), EVERY)
def test_rectangles_are_where_paint_shows(opened, family, name):
    """Paint one token's rectangle: in the embedding layer, that token changes most of its grid."""
    vlm, (frames, times) = opened(family)[1], FRAMES[name]
    checked = 0
    with embedding_layer(vlm):
        plain = vlm._encode_frames(frames, "", times)
        layout = plain.layout
        together = -(-len(frames) // len(layout.grids)) if times else 1  # frames in a step in time
        for frame, grid in enumerate(layout.grids):
            of_frame = (layout.frame == frame).nonzero().flatten()
            picture = grid.picture if grid.part else min((frame + 1) * together, len(frames)) - 1
            for i in of_frame[:: max(1, len(of_frame) // 16)].tolist():
                box = covered(grid, layout.rect[i])
                if box is None:
                    continue
                painted = [one.copy() for one in frames]
                painted[picture].paste((255, 0, 255), box)
                change = (vlm._encode_frames(painted, "", times).embeddings - plain.embeddings).norm(dim=-1)
                assert int(of_frame[change[of_frame].argmax()]) == i
                checked += 1
    assert checked >= 9


@pytest.mark.parametrize("family", families(ROWS))
def test_a_frame_changes_its_own_tokens_only(opened, family):
    vlm, (frames, times) = opened(family)[1], FRAMES["video"]
    plain = vlm.encode_media(frames, times=times)
    changed = vlm.encode_media([*frames[:-1], noise(*frames[-1].size, 77)], times=times)
    moved = (plain.embeddings - changed.embeddings).norm(dim=-1) > 1e-6
    last = len(plain.layout.grids) - 1
    assert moved.nonzero().flatten().tolist() == (plain.layout.frame == last).nonzero().flatten().tolist()
    assert plain.key != vlm.encode_media(frames).key  # the same frames as pictures are another media


@pytest.mark.parametrize("family", families(ROWS))
def test_the_model_is_left_as_it_was(opened, family):
    vlm = opened(family)[1]
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in vlm.model.modules())
    encoding = vlm.encode(vlm.encode_media([noise(140, 140, 9)]), QUESTION)
    for method in ("fsr", "fastv") if ROWS[family].inside else ("fsr",):
        answer(vlm, encoding, make(method)(encoding.tokens, round(0.7 * len(encoding.tokens))), 3)
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in vlm.model.modules())
    assert getattr(vlm.model.model, "rope_deltas", None) is None


@pytest.mark.parametrize("family", families(ROWS))
def test_blind_batched_and_given_answers(opened, family):
    vlm = opened(family)[1]
    encoding, _ = case(vlm, "several")
    requests = [(encoding, None), (encoding, make("fsr")(encoding.tokens, 9)), (encoding, without_picture(encoding))]
    expected = [list(vlm.generate(e, s, 6))[-1].text for e, s in requests]
    assert vlm.generate_batch(requests, 6) == expected
    ids = answer(vlm, *requests[1], 6)
    scores = [vlm.forced(encoding, selection, ids).double() for _, selection in requests]
    assert scores[1].argmax(dim=-1).tolist() == ids
    known = [float(one.log_softmax(dim=-1).gather(1, torch.tensor(ids)[:, None]).sum()) for one in scores]
    batches = vlm.forced_batches(encoding, [selection for _, selection in requests], ids)
    given = [one for batch in batches for one in batch]
    assert [one.log_prob for one in given] == pytest.approx(known, abs=1e-3)
    for one in given:
        assert len(one.token_log_probs) == len(ids)
        assert sum(one.token_log_probs) == pytest.approx(one.log_prob, abs=1e-6)
    for i, found in vlm.forced_scores(encoding, [selection for _, selection in requests[1:]], ids):
        assert torch.allclose(found.double(), scores[1 + i], atol=1e-3)


@pytest.mark.parametrize("family", families(ROWS))
def test_what_is_left_out_is_said(opened, family):
    vlm = opened(family)[1]
    assert vlm.provides == {"saliency"}
    assert vlm.pathways["relevance"].startswith("none: ")
    assert " of " in vlm.pathways["saliency"]


@pytest.mark.parametrize("family", families(ROWS))
def test_the_questions_embeddings_are_those_in_the_prompt(opened, family):
    vlm = opened(family)[1]
    media = vlm.encode_media([noise(140, 140, 9)])
    plain = vlm.encode(media, QUESTION)
    assert plain.tokens.question is None
    encoding = vlm.encode(media, QUESTION, frozenset({"question"}))
    asked, read = encoding.tokens.question, vlm.language_inputs(encoding, None)["inputs_embeds"][0]
    starts = range(len(read) - len(asked) + 1)
    assert sum(torch.equal(read[at : at + len(asked)], asked) for at in starts) == 1
    more = vlm.with_captures(plain, media, frozenset({"question"})).tokens
    assert make("mmtok")(more, 5).kept.tolist() == make("mmtok")(encoding.tokens, 5).kept.tolist()


@pytest.mark.parametrize("family", families(ROWS))
def test_an_answer_stops_when_it_is_told_to(opened, family):
    vlm, stop = opened(family)[1], threading.Event()
    encoding, _ = case(vlm, [*ROWS[family].grids][-1])
    vlm_eos, vlm.decoder.eos = vlm.decoder.eos, frozenset()
    steps = []
    for step in vlm.generate(encoding, make("fsr")(encoding.tokens, 9), 20, stop):
        steps.append(step)
        if len(steps) == 3:
            stop.set()
    vlm.decoder.eos = vlm_eos
    assert steps[-1].end == "stopped"
    assert len(steps[-1].token_ids) == 4


def test_layers_without_attention_are_said(opened):
    vlm = opened("qwen3_5")[1]
    encoding, _ = case(vlm, "1:1")
    with pytest.raises(FsrError, match="4 of these 5 layers have none, being linear"):
        vlm.generate(encoding, make("fastv")(encoding.tokens, 20), 2)
    assert answer_attention(vlm, encoding, None, [7, 8]).layers == (3,)


def test_qwen3_5_is_asked_not_to_think_aloud(opened, monkeypatch):
    vlm = opened("qwen3_5")[1]
    media = vlm.encode_media([noise(140, 140, 9)])
    plain = vlm.template(media)
    said = "{% if enable_thinking is false %}{{ '<think></think>' }}{% else %}{{ '<think>' }}{% endif %}"
    monkeypatch.setattr(vlm.processor, "chat_template", vlm.processor.chat_template + said)
    assert vlm.template(media) == (plain[0], plain[1] + "<think></think>")


def test_tiles_with_padding_are_refused_in_a_script(opened):
    vlm = opened("smolvlm")[1]
    inputs = case(vlm, "several")[1]
    inputs["pixel_attention_mask"][0, 0, -1] = 0
    with pytest.raises(InvalidInput, match="with padding"):
        vlm.media_of(inputs)


def test_a_small_picture_is_one_tile_of_internvl(opened):
    _, vlm, model = opened("internvl")
    frames = [noise(50, 50), noise(150, 50, 2)]
    parts = [{"type": "image"}] * 2 + [{"type": "text", "text": QUESTION}]
    text = vlm.processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    inputs = vlm.processor(text=text, images=frames, return_tensors="pt")
    media = vlm.encode_media(frames)
    assert media.splits == ((0, 0), (1, 3))
    with torch.no_grad():
        expected = model(**inputs).logits[0]
    assert (vlm.logits(vlm.encode(media, QUESTION)) - expected).abs().max() <= 1e-5


def test_a_script_finds_out_how_internvl_cut_its_pictures(opened):
    vlm = opened("internvl")[1]
    for name, cuts in (("3:1", ((1, 3),)), ("several", ((1, 3), (3, 2)))):
        assert vlm.media_of(case(vlm, name)[1]).splits == cuts
    assert vlm.media_of(case(vlm, "video")[1]).times == (0.0, 1.0, 2.0)
