"""Gemma 3 where the other families have nothing: masks of pictures and of sliding windows, pan-and-scan, embeddings."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoProcessor, Gemma3ForConditionalGeneration

import fsr
import fsr.vlm
from fsr.pruners import make
from tests.proofs import proves
from tests.tiny_checkpoints import save_gemma3
from tests.tiny_families import QUESTION, answer, greedy, noise
from tests.tiny_today import FRAMES, case

WINDOW = 50  # less than two pictures, and than any prompt


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_gemma3(tmp_path_factory.mktemp("gemma") / "gemma3", window=WINDOW)


@pytest.fixture(scope="module")
def vlm(folder):
    return fsr.vlm.load(str(folder))


@pytest.fixture(scope="module")
def model(folder):
    return Gemma3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def masks(ids, picture):
    """Who may read whom, written down here: all before, all of one's own picture, and in sliding layers near ones."""
    place = torch.arange(len(ids))
    block = torch.where(picture, (~picture).cumsum(0), -1)  # words between two pictures tell them apart
    together = (block[:, None] == block) & picture[:, None]
    may = (place <= place[:, None]) | together
    near = place[:, None] - place < WINDOW
    no = torch.finfo(torch.float32).min
    return {
        name: torch.zeros(1, 1, len(ids), len(ids)).masked_fill(~allowed, no)
        for name, allowed in (("full_attention", may), ("sliding_attention", may & near))
    }


@torch.no_grad()
def by_hand(model, inputs, selection, ids, original=False):
    """(A, V) before each of the answer's tokens, of kept tokens in one piece with them."""
    prompt, token = inputs["input_ids"][0], model.config.image_token_id
    picture = prompt == token
    stays = ~picture
    stays[picture.nonzero()[:, 0][selection.kept]] = True
    read = torch.cat([prompt[stays], torch.tensor(ids[:-1], dtype=torch.long)])
    rows = model.get_input_embeddings().weight[read] * model.config.text_config.hidden_size**0.5
    rows[read == token] = selection.embeddings
    places = torch.cat([stays.nonzero()[:, 0], len(prompt) + torch.arange(len(ids) - 1)])
    given = {"position_ids": places[None]} if original else {}
    told = masks(read, read == token)
    states = model.model.language_model(inputs_embeds=rows[None], attention_mask=told, **given).last_hidden_state
    return model.lm_head(states)[0, -len(ids) :]


@proves("kept", "positions", family="gemma3")
@pytest.mark.parametrize("positions", ["contiguous", pytest.param("original", marks=pytest.mark.slow)])
def test_kept_tokens_read_each_other_both_ways_within_the_window(vlm, model, monkeypatch, positions):
    """Prompt, ten tokens, batches: with masks that were made here, in prompts longer than the window."""
    monkeypatch.setattr(vlm, "kept_positions", positions)
    encoding, inputs = case(vlm, "several")
    selections = [
        make("full")(encoding.tokens, 72),
        make("fsr")(encoding.tokens, 30),
        make("random")(encoding.tokens, 5),
    ]
    for selection in selections:
        monkeypatch.setattr(vlm.decoder, "eos", frozenset())
        ids = answer(vlm, encoding, selection, 10)
        expected = by_hand(model, inputs, selection, ids, positions == "original")
        assert ids == expected.argmax(dim=-1).tolist()
        assert (vlm.forced(encoding, selection, ids) - expected).abs().max() <= 1e-5
    assert len(encoding.prompt) - 72 + 5 > WINDOW
    known = [by_hand(model, inputs, s, ids, positions == "original").log_softmax(dim=-1) for s in selections]
    known = [float(one.gather(1, torch.tensor(ids)[:, None]).sum()) for one in known]
    forced = [one.log_prob for batch in vlm.forced_batches(encoding, selections, ids) for one in batch]
    assert forced == pytest.approx(known, abs=1e-3)


def test_the_model_would_answer_otherwise_without_being_told_which_tokens_are_a_pictures(vlm):
    encoding, _ = case(vlm, "1:1")
    selection = make("fsr")(encoding.tokens, 12)
    inputs = vlm.language_inputs(encoding, selection)
    assert int(inputs.pop("token_type_ids").sum()) == 12
    untold = vlm.decoder.logits(inputs.pop("inputs_embeds"), **inputs)
    assert (untold - vlm.logits(encoding, selection))[-1].abs().max() > 1e-2


def test_the_projector_behind_its_averages_makes_the_tokens(vlm):
    tokens = vlm.encode(vlm.encode_media([noise(160, 100)]), QUESTION, frozenset({"project"})).tokens
    assert torch.allclose(tokens.project(tokens.features), tokens.embeddings, atol=1e-6)


def test_the_frames_of_a_clip_are_so_many_pictures(vlm):
    frames, times = FRAMES["video"]
    clip, pictures = vlm.encode_media(frames, times), vlm.encode_media(frames)
    assert torch.equal(clip.embeddings, pictures.embeddings)
    assert vlm.encode(clip, QUESTION).prompt.tolist() == vlm.encode(pictures, QUESTION).prompt.tolist()
    assert not vlm.reads_clips


def test_crops_are_off_whatever_a_checkpoint_says(vlm, monkeypatch):
    for name, value in (("do_pan_and_scan", True), ("pan_and_scan_min_crop_size", 50)):
        monkeypatch.setattr(vlm.processor.image_processor, name, value)
    vlm.forget()
    assert len(vlm.encode_media([noise(300, 100)]).layout.grids) == 1


@pytest.mark.slow
def test_crops_that_a_script_asks_for_are_so_many_pictures(folder, model):
    processor = AutoProcessor.from_pretrained(folder)
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    options = {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 50, "add_special_tokens": False}
    inputs = processor(text=text, images=[noise(300, 100)], return_tensors="pt", **options)
    assert len(inputs["pixel_values"]) == 4, "the picture, and three crops of it"
    plain = greedy(model, inputs)
    with fsr.prune(model, processor, method="full", budget="100 %") as pruned:
        assert greedy(model, inputs) == plain
    assert len(pruned.tokens) == 4 * 36
    with fsr.prune(model, processor, budget=9, question=QUESTION) as pruned:
        assert len(greedy(model, inputs)) > 0
    assert len(pruned.selection.kept) == 9
