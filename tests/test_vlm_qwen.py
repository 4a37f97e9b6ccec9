"""Qwen2.5-VL against the unmodified transformers model: windows, mRoPE positions, several pictures, videos."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl
from transformers.vision_utils import get_vision_window_index

import fsr.vlm
from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.vlm import without_picture
from fsr.vlm.qwen2_5_vl import received, window_order
from tests.proofs import proves
from tests.tiny_families import QUESTION, answer, covered, greedy, noise, save_qwen

SIZES = [(140, 140), (270, 90), (90, 270)]
TIMES = (0.0, 1.5, 3.0, 4.5, 6.0)  # five frames: the last stands alone and is doubled


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_qwen(tmp_path_factory.mktemp("qwen") / "tiny-qwen")


@pytest.fixture(scope="module")
def vlm(folder):
    return fsr.vlm.load(str(folder))


@pytest.fixture
def model(folder):
    """A fresh copy: the class remembers position offsets from call to call."""
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def chat(vlm, kind, n):
    content = [{"type": kind}] * n + [{"type": "text", "text": QUESTION}]
    return vlm.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def case(vlm, name):
    """An encoding and the processor's own inputs for it."""
    if name == "video":
        frames = [noise(100, 160, seed) for seed in range(len(TIMES))]
        inputs = vlm.processor(
            text=chat(vlm, "video", 1),
            videos=[frames],
            video_metadata=[{"fps": 1 / 1.5, "total_num_frames": len(TIMES), "frames_indices": range(len(TIMES))}],
            do_sample_frames=False,
            return_tensors="pt",
        )
        return vlm.encode(vlm.encode_media(frames, times=TIMES), QUESTION), dict(inputs)
    frames = [noise(270, 90), noise(90, 150, 2), noise(140, 140, 3)] if name == "several" else [noise(*name)]
    inputs = vlm.processor(text=chat(vlm, "image", len(frames)), images=frames, return_tensors="pt")
    return vlm.encode(vlm.encode_media(frames), QUESTION), dict(inputs)


CASES = [*SIZES, "several", "video"]


@proves(family="qwen2_5_vl", media="name")
@pytest.mark.parametrize("name", CASES, ids=str)
def test_all_tokens_kept_are_the_unmodified_model(vlm, model, name):
    encoding, inputs = case(vlm, name)
    assert encoding.prompt.tolist() == inputs["input_ids"][0].tolist()
    with torch.no_grad():
        expected = model(**inputs).logits[0]
    everything = make("full")(encoding.tokens, len(encoding.tokens))
    for selection in (None, everything):
        assert (vlm.logits(encoding, selection) - expected).abs().max() <= 1e-5
    assert answer(vlm, encoding, everything) == greedy(model, inputs)


def test_grids_are_larger_than_a_window_and_not_square(vlm):
    layouts = [vlm.encode_media([noise(*size)]).layout for size in SIZES]
    assert [(g.rows, g.cols) for one in layouts for g in one.grids] == [(5, 5), (3, 10), (10, 3)]
    video = case(vlm, "video")[0].media
    assert len(video.layout.grids) == 3
    assert video.seconds == 3.0


@proves("kept", "positions", family="qwen2_5_vl")
@pytest.mark.parametrize("name", CASES, ids=str)
@pytest.mark.parametrize("budget", [1, 9])
def test_dropped_tokens_are_as_good_as_masked(vlm, model, name, budget):
    """The unmodified model at the original positions, the dropped places hidden from attention, for ten tokens."""
    encoding, inputs = case(vlm, name)
    selection = make("random")(encoding.tokens, budget)
    hidden = torch.ones(len(encoding.prompt), dtype=torch.long)
    hidden[encoding.visual] = 0
    hidden[encoding.visual[selection.kept]] = 1
    grids = {k: inputs[k] for k in ("image_grid_thw", "video_grid_thw") if k in inputs}
    seconds = inputs.get("second_per_grid_ts")
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"], mm_token_type_ids=inputs["mm_token_type_ids"], second_per_grid_ts=seconds, **grids
    )
    pixels = {k: inputs[k] for k in ("pixel_values", "pixel_values_videos") if k in inputs} | grids
    ids, answered = inputs["input_ids"], []
    with torch.no_grad():
        for step in range(10):
            mask = torch.cat([hidden, torch.ones(step, dtype=torch.long)])[None]
            logits = model(ids, position_ids=positions, attention_mask=mask, use_cache=False, **pixels).logits[0]
            if step == 0:
                pruned = vlm.logits(encoding, selection)
                assert torch.allclose(pruned, logits[hidden.bool()], atol=1e-5, rtol=1e-5)
            token = int(logits[-1].argmax())
            if token == 3:
                break
            answered.append(token)
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
            positions = torch.cat([positions, positions.amax(dim=(0, 2), keepdim=True).expand(3, 1, 1) + 1], dim=2)
    assert answer(vlm, encoding, selection) == answered
    assert len(answered) > 3


def test_merged_tokens_stand_at_their_anchor(vlm, model):
    """By hand: cut embeddings and positions, and transformers' own generate continues them."""
    encoding, inputs = case(vlm, (270, 90))
    selection = make("fsr")(encoding.tokens, 7)
    assert not torch.equal(selection.embeddings, encoding.tokens.embeddings[selection.kept])
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"], mm_token_type_ids=inputs["mm_token_type_ids"], image_grid_thw=inputs["image_grid_thw"]
    )
    first = int(encoding.visual[0])
    keep = [*range(first), *(first + i for i in selection.kept.tolist()), *range(first + 30, len(encoding.prompt))]
    table = model.get_input_embeddings().weight
    ids = inputs["input_ids"][0]
    embeds = torch.cat([table[ids[:first]], selection.embeddings, table[ids[first + 30 :]]])[None].detach()
    given = {"inputs_embeds": embeds, "position_ids": positions[:, :, keep]}
    with torch.no_grad():
        expected = model(**given).logits[0]
    assert (vlm.logits(encoding, selection) - expected).abs().max() <= 1e-5
    model.model.rope_deltas = None
    assert answer(vlm, encoding, selection) == greedy(model, given)


@proves("saliency", family="qwen2_5_vl")
@pytest.mark.parametrize("name", [(270, 90), "several", "video"], ids=str)
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_saliency_equals_the_models_own_attention(folder, monkeypatch, name, implementation):
    """The weights that transformers' eager attention computes in the last full-attention block."""
    vlm = fsr.vlm.load(str(folder))
    vlm.model.model.visual.config._attn_implementation = implementation
    tokens, inputs = case(vlm, name)[0].tokens, case(vlm, name)[1]
    eager = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    weights, plain = [], modeling_qwen2_5_vl.eager_attention_forward

    def recording(module, *args, **options):
        out = plain(module, *args, **options)
        if module is eager.model.visual.blocks[2].attn:
            weights.append(out[1])
        return out

    monkeypatch.setattr(modeling_qwen2_5_vl, "eager_attention_forward", recording)
    grid = inputs["video_grid_thw"] if name == "video" else inputs["image_grid_thw"]
    pixels = inputs["pixel_values_videos"] if name == "video" else inputs["pixel_values"]
    with torch.no_grad():
        hidden = eager.model.visual(pixels, grid_thw=grid).last_hidden_state
    got = (
        torch.cat([w[0].mean(dim=(0, 1)) for w in weights]).view(-1, 4).mean(dim=1)
    )  # per merged token, windows' order
    windows, _ = get_vision_window_index(grid, spatial_merge_size=2, window_size=56, patch_size=14)
    assert not torch.equal(windows, torch.arange(len(windows)))
    expected = got[windows.argsort()]
    assert torch.allclose(tokens.saliency, expected, atol=1e-6)
    assert torch.allclose(tokens.features, hidden.view(-1, 4, 32).mean(dim=1)[windows.argsort()], atol=1e-5)
    assert tokens.saliency.max() > 2 * tokens.saliency.min()


def test_sdpa_and_eager_choose_the_same(folder):
    chosen = []
    for implementation in ("sdpa", "eager"):
        vlm = fsr.vlm.load(str(folder))
        vlm.model.model.visual.config._attn_implementation = implementation
        tokens = case(vlm, (270, 90))[0].tokens
        chosen.append(make("fsr")(tokens, 8).kept.tolist())
    assert chosen[0] == chosen[1]


def test_attention_in_chunks_is_the_same():
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(50, 4, 8, generator=generator) for _ in range(2))
    whole = (torch.einsum("nhd,mhd->hnm", q, k) * 8**-0.5).softmax(dim=-1).mean(dim=(0, 1))
    for at_once in (1, 7, 50, 64):
        assert torch.allclose(received(q, k, at_once), whole, atol=1e-7)


@pytest.mark.parametrize("grids", [[[1, 10, 6]], [[1, 8, 8]], [[3, 10, 14], [1, 2, 2], [2, 6, 22]]])
@pytest.mark.parametrize("window", [28, 56, 112])
def test_window_order_is_that_of_transformers(grids, window):
    grids = torch.tensor(grids)
    expected, _ = get_vision_window_index(grids, spatial_merge_size=2, window_size=window, patch_size=14)
    assert torch.equal(window_order(grids, 2, window // 28), expected)


@proves("places", family="qwen2_5_vl")
@pytest.mark.parametrize("size", SIZES)
def test_rectangles_are_where_paint_shows(vlm, size):
    """Paint one token's rectangle: in the embedding layer, the patches of that token change most."""
    picture = noise(*size)
    media = vlm.encode_media([picture])
    plain, checked = patches(vlm, picture), 0
    for i in range(len(media.embeddings)):
        box = covered(media.layout.grids[0], media.layout.rect[i])
        assert box is not None  # nothing is cut off
        painted = picture.copy()
        painted.paste((255, 0, 255), box)
        change = (patches(vlm, painted) - plain).norm(dim=-1).view(-1, 4).sum(dim=1)
        assert int(change.argmax()) == i
        checked += 1
    assert checked >= 25


def patches(vlm, picture):
    """(patches, C): the embedding layer's output; four patches in a row are one merged token, tokens as in raster."""
    pixels, _ = vlm._pictures([picture])
    with torch.no_grad():
        return vlm.model.model.visual.patch_embed(pixels)


def test_frames_of_a_video_pair_up(vlm):
    """A change of the fourth frame reaches the tokens of the second step in time only."""
    frames = [noise(100, 160, seed) for seed in range(len(TIMES))]
    plain = vlm.encode_media(frames, times=TIMES)
    changed = vlm.encode_media([*frames[:3], noise(100, 160, 77), frames[4]], times=TIMES)
    moved = (plain.embeddings - changed.embeddings).norm(dim=-1) > 1e-6
    assert moved.nonzero().flatten().tolist() == (plain.layout.frame == 1).nonzero().flatten().tolist()


def test_the_model_is_left_as_it_was(vlm):
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in vlm.model.modules())
    encoding, _ = case(vlm, (140, 140))
    vlm.encode_media([noise(140, 140, 9)])
    answer(vlm, encoding, make("fsr")(encoding.tokens, 3), 3)
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in vlm.model.modules())
    assert vlm.model.model.rope_deltas is None


def test_what_is_left_out_is_said(vlm):
    assert vlm.provides == {"saliency"}
    assert vlm.pathways["relevance"].startswith("none: ")
    assert "block 3 of 4" in vlm.pathways["saliency"]


def test_blind_and_batched_answers(vlm):
    encoding, _ = case(vlm, "several")
    blind = without_picture(encoding)
    requests = [(encoding, None), (encoding, make("fsr")(encoding.tokens, 5)), (encoding, blind)]
    expected = [list(vlm.generate(e, s, 6))[-1].text for e, s in requests]
    assert vlm.generate_batch(requests, 6) == expected


def test_impossible_frames_are_one_sentence(vlm):
    with pytest.raises(InvalidInput, match="one size"):
        vlm.encode_media([noise(100, 100), noise(100, 110)], times=(0.0, 1.0))
    with pytest.raises(InvalidInput, match="refuses the picture"):
        vlm.encode_media([Image.new("RGB", (2100, 10))])
    with pytest.raises(InvalidInput, match="2 seconds, one a frame"):
        vlm.encode_media([noise(100, 100)] * 2, times=(1.0, 0.5))


def test_given_answers_are_scored_at_the_same_positions(vlm):
    encoding, _ = case(vlm, (270, 90))
    selection = make("fsr")(encoding.tokens, 6)
    ids = answer(vlm, encoding, selection, 6)
    assert vlm.forced(encoding, selection, ids).argmax(dim=-1).tolist() == ids
