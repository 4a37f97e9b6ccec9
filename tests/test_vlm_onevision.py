"""LLaVA-OneVision against the unmodified transformers model: mosaics made smaller, several pictures, frames."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate
from transformers import LlavaOnevisionForConditionalGeneration

import fsr.vlm
from fsr.pruners import make
from fsr.vlm import without_picture
from tests.proofs import proves
from tests.tiny_families import QUESTION, TILE, TILE_CELLS, answer, covered, greedy, noise, save_onevision

N = TILE_CELLS**2
# picture -> rows, cols of the mosaic without padding, and of its tokens
GRIDS = {
    (310, 310): ((21, 21), (14, 14)),
    (390, 130): ((7, 21), (7, 21)),
    (130, 390): ((21, 7), (21, 7)),
    (400, 210): ((12, 21), (10, 18)),
}
TIMES = (0.0, 0.5, 1.0)
CASES = [*GRIDS, "several", "video"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_onevision(tmp_path_factory.mktemp("onevision") / "tiny-onevision")


@pytest.fixture(scope="module")
def vlm(folder):
    return fsr.vlm.load(str(folder))


@pytest.fixture(scope="module")
def model(folder):
    return LlavaOnevisionForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def chat(vlm, kind, n):
    content = [{"type": kind}] * n + [{"type": "text", "text": QUESTION}]
    return vlm.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def frames_of(name):
    if name == "video":
        return [noise(200, 130, seed) for seed in range(3)], TIMES
    return ([noise(300, 100), noise(100, 200, 2)] if name == "several" else [noise(*name)]), None


def case(vlm, name):
    """An encoding and the processor's own inputs for it."""
    frames, times = frames_of(name)
    if name == "video":
        inputs = vlm.processor(text=chat(vlm, "video", 1), videos=[frames], return_tensors="pt")
    else:
        inputs = vlm.processor(text=chat(vlm, "image", len(frames)), images=[frames], return_tensors="pt")
    return vlm.encode(vlm.encode_media(frames, times=times), QUESTION), dict(inputs)


def packed(model, name, inputs):
    """(S, D): the unmodified model's tokens and newlines."""
    with torch.no_grad():
        if name == "video":
            return model.get_video_features(inputs["pixel_values_videos"]).pooler_output[0]
        features = model.get_image_features(
            inputs["pixel_values"], inputs["image_sizes"], batch_num_images=inputs["batch_num_images"]
        )
        return torch.cat(list(features.pooler_output))


def rows_of(name):
    """How many tokens every row has, and whether a newline closes it, written down independently."""
    if name == "video":
        return [(3 * 16, True)]
    if name == "several":
        return [(N, True), (N, True)]
    rows, cols = GRIDS[name][1]
    return [(N, False)] + [(cols, True)] * rows


@proves(family="llava_onevision", media="name")
@pytest.mark.parametrize("name", CASES, ids=str)
def test_all_tokens_kept_are_the_unmodified_model(vlm, model, name):
    encoding, inputs = case(vlm, name)
    assert encoding.prompt.tolist() == inputs["input_ids"][0].tolist()
    assert len(encoding.tokens) == sum(n for n, _ in rows_of(name))
    with torch.no_grad():
        expected = model(**inputs).logits[0]
    everything = make("full")(encoding.tokens, len(encoding.tokens))
    for selection in (None, everything):
        assert (vlm.logits(encoding, selection) - expected).abs().max() <= 1e-5
    assert answer(vlm, encoding, everything) == greedy(model, inputs)


@proves("kept", "positions", family="llava_onevision")
@pytest.mark.parametrize("name", CASES, ids=str)
@pytest.mark.parametrize(("method", "budget"), [("fsr", 24), ("random", 1)])
def test_pruned_inputs_equal_those_built_by_hand(vlm, model, name, method, budget):
    encoding, inputs = case(vlm, name)
    selection = make(method)(encoding.tokens, budget)
    kept = {int(i): row for i, row in zip(selection.kept, selection.embeddings, strict=True)}
    features, sequence, token, place = packed(model, name, inputs), [], 0, 0
    for n, closed in rows_of(name):
        row = [kept[i] for i in range(token, token + n) if i in kept]
        sequence.append(row + ([features[place + n]] if row and closed else []))
        token, place = token + n, place + n + closed
    assert place == len(features)
    ids = inputs["input_ids"][0]
    mark = vlm.model.config.video_token_id if name == "video" else vlm.model.config.image_token_id
    table = model.get_input_embeddings().weight.detach()
    visual = torch.stack([x for row in sequence for x in row])
    places = (ids == mark).nonzero().flatten()
    assert int(places[-1] - places[0]) + 1 == len(places)
    embeds = torch.cat([table[ids[: places[0]]], visual, table[ids[places[-1] + 1 :]]])[None]
    with torch.no_grad():
        expected = model(inputs_embeds=embeds).logits[0]
    assert (vlm.logits(encoding, selection) - expected).abs().max() <= 1e-5
    assert answer(vlm, encoding, selection) == greedy(model, {"inputs_embeds": embeds})


@proves("saliency", family="llava_onevision")
@pytest.mark.parametrize("name", [(390, 130), (400, 210), "several", "video"], ids=str)
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_saliency_equals_eager_attention(folder, name, implementation):
    """Attention received in the last layer, laid out and made smaller by hand."""
    vlm = fsr.vlm.load(str(folder))
    vlm.model.model.vision_tower.config._attn_implementation = implementation
    encoding, inputs = case(vlm, name)
    eager = LlavaOnevisionForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    pixels = inputs["pixel_values_videos"][0] if name == "video" else inputs["pixel_values"].flatten(0, 1)
    with torch.no_grad():
        attention = eager.model.vision_tower(pixels, output_attentions=True).attentions[-1]
    tiles = attention.mean(dim=(1, 2)).view(-1, TILE_CELLS, TILE_CELLS)
    if name == "video":
        expected = interpolate(tiles[:, None], [4, 4], mode="bilinear").flatten()
    elif name == "several":
        expected = tiles.flatten()
    else:
        (rows, cols), shape = GRIDS[name]
        down, across = {(390, 130): (1, 3), (400, 210): (2, 3)}[name]
        whole = torch.cat(
            [torch.cat([tiles[1 + r * across + c] for c in range(across)], dim=1) for r in range(down)], dim=0
        )
        top = (down * TILE_CELLS - rows) // 2
        whole = whole[top : top + rows]
        assert whole.shape == (rows, cols)
        small = whole if shape == (rows, cols) else interpolate(whole[None, None], list(shape), mode="bilinear")[0, 0]
        expected = torch.cat([tiles[0].flatten(), small.flatten()])
    assert torch.allclose(encoding.tokens.saliency, expected, atol=1e-6)
    assert expected.max() > 1.5 * expected.min()


@proves("places", family="llava_onevision")
@pytest.mark.parametrize("name", [*list(GRIDS)[:3], (400, 210), "several", "video"], ids=str)
def test_rectangles_are_where_paint_shows(vlm, monkeypatch, name):
    """Paint one token's rectangle: in the embedding layer, that token changes most of its grid."""
    embedding = vlm.model.model.vision_tower.embeddings.patch_embedding

    def conv(pixels, wanted=frozenset()):
        with torch.no_grad():
            out = embedding(pixels).flatten(2).transpose(1, 2).flatten(0, 1)
        return {"embeddings": out, "features": out, "saliency": out[:, 0]}

    monkeypatch.setattr(vlm, "_read", conv)
    frames, times = frames_of(name)
    plain = vlm._encode_frames(frames, "", times)
    checked, layout = 0, plain.layout
    picture_of = [i if len(frames) > 1 else 0 for i in range(len(layout.grids))]
    for frame, grid in enumerate(layout.grids):
        of_frame = (layout.frame == frame).nonzero().flatten()
        for i in of_frame[:: max(1, len(of_frame) // 24)].tolist():
            box = covered(grid, layout.rect[i])
            if box is None:
                continue
            painted = [f.copy() for f in frames]
            painted[picture_of[frame]].paste((255, 0, 255), box)
            change = (vlm._encode_frames(painted, "", times).embeddings - plain.embeddings).norm(dim=-1)[of_frame]
            assert int(of_frame[change.argmax()]) == i
            checked += 1
    assert checked >= 12


def test_a_rest_of_the_picture_that_no_patch_reads_is_not_seen(vlm):
    layout = vlm.encode_media([noise(390, 130)]).layout
    base = layout.grids[0]
    assert base.seen[2] == pytest.approx(390 * 98 / TILE)
    assert base.seen[3] == pytest.approx(130 * 98 / TILE)


def test_frames_change_their_own_tokens_only(vlm):
    frames, times = frames_of("video")
    plain = vlm.encode_media(frames, times=times)
    changed = vlm.encode_media([frames[0], noise(200, 130, 50), frames[2]], times=times)
    moved = (plain.embeddings - changed.embeddings).norm(dim=-1) > 1e-6
    assert moved.nonzero().flatten().tolist() == list(range(16, 32))
    assert plain.key != vlm.encode_media(frames).key  # the same frames as pictures are another media


def test_no_picture_is_no_newline(vlm):
    encoding, _ = case(vlm, "video")
    assert vlm.logits(encoding, without_picture(encoding)).shape[0] == len(encoding.prompt) - 49


def test_sdpa_and_eager_choose_the_same(folder):
    chosen = []
    for implementation in ("sdpa", "eager"):
        vlm = fsr.vlm.load(str(folder))
        vlm.model.model.vision_tower.config._attn_implementation = implementation
        chosen.append(make("fsr")(case(vlm, (400, 210))[0].tokens, 20).kept.tolist())
    assert chosen[0] == chosen[1]


def test_what_is_left_out_is_said(vlm):
    assert vlm.provides == {"saliency"}
    assert "not aligned" in vlm.pathways["relevance"]
    assert "layer 3 of 3" in vlm.pathways["saliency"]
