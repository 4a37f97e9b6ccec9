"""LLaVA-NeXT against the unmodified transformers model: tiles, padding left out, newlines, and the papers' protocol."""

from __future__ import annotations

import pytest
import torch
from transformers import LlavaNextForConditionalGeneration

import fsr.vlm
from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.vlm import without_picture
from tests.proofs import proves
from tests.tiny_families import QUESTION, SIZES, answer, covered, greedy, noise, save_next

GRIDS = {
    (120, 120): (10, 10),
    (300, 100): (5, 15),
    (100, 300): (15, 5),
    (160, 100): (6, 10),
}  # rows, cols without padding


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_next(tmp_path_factory.mktemp("next") / "tiny-next", clip=True)


@pytest.fixture(scope="module")
def vlm(folder):
    return fsr.vlm.load(str(folder))


@pytest.fixture(scope="module")
def paper(folder):
    return fsr.vlm.load(str(folder), mode="paper")


@pytest.fixture(scope="module")
def model(folder):
    return LlavaNextForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def inputs_of(vlm, frames):
    """The processor's own inputs."""
    content = [{"type": "image"}] * len(frames) + [{"type": "text", "text": QUESTION}]
    text = vlm.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return dict(vlm.processor(images=frames, text=text, return_tensors="pt"))


def encoded(vlm, *frames):
    return vlm.encode(vlm.encode_media(list(frames)), QUESTION)


def by_hand(features, rows, cols, selection):
    """What the language model reads for one picture, written out row by row. features: (S, D) with newlines."""
    kept = {int(i): row for i, row in zip(selection.kept, selection.embeddings, strict=True)}
    sequence = [kept[i] for i in range(25) if i in kept]
    for r in range(rows):
        row = [kept[25 + r * cols + c] for c in range(cols) if 25 + r * cols + c in kept]
        sequence += row + ([features[25 + r * (cols + 1) + cols]] if row else [])
    return torch.stack(sequence)


@proves("pictures", family="llava_next")
@pytest.mark.parametrize("size", SIZES)
def test_all_tokens_kept_are_the_unmodified_model(vlm, model, size):
    picture = noise(*size)
    encoding, inputs = encoded(vlm, picture), inputs_of(vlm, [picture])
    rows, cols = GRIDS[size]
    assert len(encoding.tokens) == 25 + rows * cols  # padding and newlines are no visual tokens
    assert encoding.prompt.tolist() == inputs["input_ids"][0].tolist()
    with torch.no_grad():
        expected = model(**inputs).logits[0]
    everything = make("full")(encoding.tokens, len(encoding.tokens))
    for selection in (None, everything):
        assert (vlm.logits(encoding, selection) - expected).abs().max() <= 1e-5
    assert answer(vlm, encoding, everything) == greedy(model, inputs)


@proves("kept", family="llava_next")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("method", "budget"), [("fsr", 1), ("fsr", 17), ("random", 40)])
def test_pruned_inputs_equal_those_built_by_hand(vlm, model, size, method, budget):
    picture = noise(*size)
    encoding, inputs = encoded(vlm, picture), inputs_of(vlm, [picture])
    selection = make(method)(encoding.tokens, budget)
    with torch.no_grad():
        features = model.get_image_features(inputs["pixel_values"], inputs["image_sizes"]).pooler_output[0]
        visual = by_hand(features, *GRIDS[size], selection)
        ids = inputs["input_ids"][0]
        first, last = (ids == 4).nonzero().flatten()[[0, -1]].tolist()
        table = model.get_input_embeddings().weight
        embeds = torch.cat([table[ids[:first]], visual, table[ids[last + 1 :]]])[None]
        expected = model(inputs_embeds=embeds).logits[0]
    assert (vlm.logits(encoding, selection) - expected).abs().max() <= 1e-5
    assert answer(vlm, encoding, selection) == greedy(model, {"inputs_embeds": embeds})


@proves("positions", family="llava_next")
def test_dropped_tokens_are_as_good_as_masked(vlm, model):
    """Independent of how inputs are built: the unmodified model with the dropped places hidden from attention."""
    picture = noise(160, 100)
    encoding, inputs = encoded(vlm, picture), inputs_of(vlm, [picture])
    kept = make("random")(encoding.tokens, 30)
    mask = torch.ones_like(inputs["input_ids"])
    image = (inputs["input_ids"][0] == 4).nonzero().flatten()
    mask[0, image] = 0
    cols = GRIDS[(160, 100)][1]
    for i in kept.kept.tolist():
        place = i if i < 25 else 25 + (i - 25) // cols * (cols + 1) + (i - 25) % cols
        mask[0, image[place]] = 1
        if i >= 25:
            mask[0, image[25 + (i - 25) // cols * (cols + 1) + cols]] = 1
    assert answer(vlm, encoding, kept) == greedy(model, {**inputs, "attention_mask": mask})


@proves("saliency", family="llava_next")
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_saliency_equals_eager_attention_tile_by_tile(folder, implementation):
    picture = noise(160, 100)
    eager = LlavaNextForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    vlm = fsr.vlm.load(str(folder))
    vlm.model.model.vision_tower.config._attn_implementation = implementation
    tokens = encoded(vlm, picture).tokens
    pixels = inputs_of(vlm, [picture])["pixel_values"][0]
    assert len(pixels) == 5
    with torch.no_grad():
        out = eager.model.vision_tower(pixels, output_attentions=True, output_hidden_states=True)
    tiles = out.attentions[-2][:, :, 0, 1:].mean(dim=1)  # (5, 25)
    assert torch.allclose(tokens.saliency[:25], tiles[0], atol=1e-5)
    for i in range(25, len(tokens)):
        r, c = int(tokens.layout.row[i]) + 2, int(tokens.layout.col[i])  # two rows of padding were left out
        tile, at = 1 + r // 5 * 2 + c // 5, r % 5 * 5 + c % 5
        assert abs(float(tokens.saliency[i] - tiles[tile, at])) < 1e-5
        assert torch.allclose(tokens.features[i], out.hidden_states[-2][tile, 1 + at], atol=1e-5)
    assert tokens.saliency.max() > 2 * tokens.saliency.min()


@proves("places", family="llava_next")
@pytest.mark.parametrize("mode", ["native", "paper"])
@pytest.mark.parametrize("size", SIZES)
def test_rectangles_are_where_paint_shows(vlm, paper, mode, size):
    """Paint one token's rectangle: in the embedding layer, that token changes most of its grid."""
    subject = vlm if mode == "native" else paper
    picture = noise(*size)
    media = subject.encode_media([picture])
    layout = media.layout
    plain = patches(subject, picture)
    checked = 0
    for frame, grid in enumerate(layout.grids):
        of_frame = (layout.frame == frame).nonzero().flatten()
        for i in of_frame[:: max(1, len(of_frame) // 12)].tolist():
            box = covered(grid, layout.rect[i])
            if box is None:
                continue
            painted = picture.copy()
            painted.paste((255, 0, 255), box)
            change = (patches(subject, painted) - plain).norm(dim=-1)[of_frame]
            assert int(of_frame[change.argmax()]) == i
            checked += 1
    assert checked >= 12


def patches(vlm, picture):
    """(N, C): the tower's patch embeddings in the order of the visual tokens."""
    pixels = vlm.tile_pixels(picture)
    vision = vlm.model.model.vision_tower
    with torch.no_grad():
        flat = vision.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2).flatten(0, 1)
    order = fsr.vlm.anyres.mosaic(picture.size, vlm.pinpoints, vlm.tiles, vlm.mode == "native")[1]
    return flat[torch.cat([torch.arange(25), 25 + order.flatten()])]


@proves("several", family="llava_next")
def test_several_pictures_follow_each_other(vlm, model):
    frames = [noise(160, 100), noise(100, 300, seed=2)]
    encoding, inputs = encoded(vlm, *frames), inputs_of(vlm, frames)
    assert len(encoding.tokens.layout.grids) == 4
    with torch.no_grad():
        expected = model(**inputs).logits[0]
    assert (vlm.logits(encoding) - expected).abs().max() <= 1e-5
    selection = make("fsr")(encoding.tokens, 20)
    assert len(answer(vlm, encoding, selection)) == 10


def test_no_picture_is_no_newline(vlm):
    encoding = encoded(vlm, noise(160, 100))
    blind = without_picture(encoding)
    assert vlm.logits(encoding, blind).shape[0] == int((encoding.prompt != 4).sum())


@proves("relevance", family="llava_next")
def test_relevance_is_that_of_the_same_patch(vlm):
    tokens = encoded(vlm, noise(160, 100)).tokens
    clip = vlm.relevance_model
    expected = clip.patches(tokens.features) @ clip.text(QUESTION).T
    assert torch.allclose(tokens.relevance, expected.mean(dim=1), atol=1e-6)
    assert tokens.relevance_sign == -1


# -- the papers' protocol


@pytest.mark.parametrize("size", SIZES)
def test_paper_mode_is_five_tiles_and_no_newline(paper, model, size):
    """By hand: tiles of 2 x 2, no padding left out, in raster order of the whole mosaic."""
    picture = noise(*size)
    encoding = encoded(paper, picture)
    assert len(encoding.tokens) == 5 * 25
    assert int((encoding.prompt == 4).sum()) == 125
    pixels = paper.processor.image_processor(images=[picture], image_grid_pinpoints=[[140, 140]], return_tensors="pt")[
        "pixel_values"
    ][0]
    with torch.no_grad():
        hidden = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        tiles = model.model.multi_modal_projector(hidden)
        raster = [tiles[1 + r // 5 * 2 + c // 5, r % 5 * 5 + c % 5] for r in range(10) for c in range(10)]
        visual = torch.cat([tiles[0], torch.stack(raster)])
        assert torch.allclose(encoding.tokens.embeddings, visual, atol=1e-5)
        ids = encoding.prompt
        first = int((ids == 4).nonzero()[0])
        for selection in (None, make("fsr")(encoding.tokens, 32)):
            part = visual if selection is None else selection.embeddings
            table = model.get_input_embeddings().weight
            embeds = torch.cat([table[ids[:first]], part, table[ids[first + 125 :]]])[None]
            assert (paper.logits(encoding, selection) - model(inputs_embeds=embeds).logits[0]).abs().max() <= 1e-5
            assert answer(paper, encoding, selection) == greedy(model, {"inputs_embeds": embeds})


def test_unknown_modes_are_refused(folder):
    with pytest.raises(InvalidInput, match="native, paper"):
        fsr.vlm.load(str(folder), mode="fast")
