"""Patches left out in front of the vision tower: the same as hiding them from everything that attends, in the whole
picture; and that nothing of their pixels is read."""

from __future__ import annotations

import sys

import pytest
import torch
from PIL import Image, ImageDraw
from transformers import LlavaForConditionalGeneration

import fsr
import fsr.vlm
from fsr.bench.measure import Allowance, measure
from fsr.check.device import hooks_of
from fsr.pruners import make
from fsr.pruners.forced import Forced
from fsr.pruners.whatif import with_forced
from fsr.vlm.llava import patch_pixels, pictured
from tests.test_vlm_captures import QUESTION, siglip
from tests.tiny import PATCH, SIDE, save_tiny
from tests.tiny_families import noise

NEEDS = frozenset({"pixels", "encode_some"})
TOWERS = {
    "CLIP": {},
    "CLIP, [CLS] kept": {"vision_feature_select_strategy": "full"},
    "two layers": {"vision_feature_layer": [-3, -2]},
    "SigLIP": {"vision_feature_select_strategy": "full", "siglip": True},
}


@pytest.fixture(scope="module", params=TOWERS)
def folder(request, tmp_path_factory):
    options = dict(TOWERS[request.param])
    if options.pop("siglip", False):
        options["vision"] = siglip()
    return save_tiny(tmp_path_factory.mktemp("some") / "one", clip=False, **options)


def hidden_by_a_mask(folder, pixels, gone, monkeypatch):
    """(T, D): the whole picture's embeddings where nothing attends to those that are gone, (T,) bool."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    module = sys.modules[type(model.model.vision_tower).__module__]
    plain = module.eager_attention_forward

    def masked(attending, query, key, value, _mask, *args, **options):
        return plain(attending, query, key, value, torch.where(gone, -torch.inf, 0.0), *args, **options)

    monkeypatch.setattr(module, "eager_attention_forward", masked)
    with torch.no_grad():
        return model.eval().model.get_image_features(pixel_values=pixels).pooler_output[0]


def test_leaving_out_is_hiding_from_all_that_attend(folder, monkeypatch):
    vlm, picture = fsr.vlm.load(str(folder)), noise(SIDE, SIDE, 3)
    tokens = vlm.encode(vlm.encode_media([picture], needs=NEEDS), QUESTION, NEEDS).tokens
    hooks = hooks_of(vlm.model)  # with those that transformers puts there in the first pass
    everything = torch.arange(len(tokens))
    assert torch.allclose(tokens.encode_some(everything)[0], tokens.embeddings, atol=1e-6)
    kept = torch.tensor([0, 1, 2, 7, 8, 13, 19, 24])
    found, ms = tokens.encode_some(kept)
    extra = vlm.tower.extra
    gone = torch.ones(25 + vlm.tower.has_cls, dtype=torch.bool)
    gone[kept + int(vlm.tower.has_cls) - extra] = False
    gone[: int(vlm.tower.has_cls)] = False  # [CLS] is always there
    expected = hidden_by_a_mask(folder, vlm.pixels([picture]), gone, monkeypatch)[kept]
    assert torch.allclose(found, expected, atol=1e-5)
    assert (found - tokens.embeddings[kept]).abs().max() > 1e-3, "they have not seen the others"
    assert ms > 0
    assert hooks_of(vlm.model) == hooks


def test_pixels_of_what_is_left_out_are_not_read_and_frames_are_apart(tiny_vlm):
    frames = [noise(SIDE, SIDE, seed) for seed in (1, 2)]
    painted = [frame.copy() for frame in frames]
    painted[0].paste((255, 0, 255), (PATCH, PATCH, 3 * PATCH, 2 * PATCH))  # tokens 6 and 7
    both = [
        tiny_vlm.encode(tiny_vlm.encode_media(some, needs=NEEDS), QUESTION, NEEDS).tokens for some in (frames, painted)
    ]
    kept = torch.tensor([0, 3, 5, 8, 30, 44])
    one, other = (tokens.encode_some(kept)[0] for tokens in both)
    assert torch.equal(one, other)
    assert not torch.equal(both[0].embeddings[kept[:4]], both[1].embeddings[kept[:4]])
    alone = tiny_vlm.encode(tiny_vlm.encode_media(frames[1:], needs=NEEDS), QUESTION, NEEDS).tokens
    assert torch.allclose(one[4:], alone.encode_some(kept[4:] - 25)[0], atol=1e-6)
    pixels = tiny_vlm.pixels(frames[:1])
    assert torch.equal(pictured(patch_pixels(pixels, PATCH), SIDE), pixels)
    assert pictured(patch_pixels(pixels, PATCH), SIDE + 3).shape == (1, 3, SIDE + 3, SIDE + 3)


@pytest.fixture(scope="module")
def drawn():
    picture = Image.new("RGB", (SIDE, SIDE), (200, 180, 90))
    ImageDraw.Draw(picture).rectangle((PATCH, PATCH, 3 * PATCH - 1, 3 * PATCH - 1), fill=(10, 60, 200))
    return picture


def test_pixelprune_reads_what_the_tower_made_of_the_kept_patches_alone(tiny_vlm, drawn):
    encoding = tiny_vlm.encode(tiny_vlm.encode_media([drawn], needs=NEEDS), QUESTION, NEEDS)
    tokens = encoding.tokens
    for pruner in (make("pixelprune"), with_forced(make("pixelprune"), Forced((24,), (0,)))):
        found = pruner(tokens, 5)
        assert 0 < found.facts["n_not_encoded"] == 25 - len(found.kept)
        assert torch.equal(found.embeddings, tokens.encode_some(found.kept)[0])
        assert not torch.allclose(found.embeddings, tokens.embeddings[found.kept], atol=1e-3)
    measured = measure(tiny_vlm, encoding, {"pixelprune": (make("pixelprune"), 5)}, 2, Allowance(), lambda: 1e6)
    costs = measured.costs()
    assert costs["full"].encode_ms == 1e6
    assert costs["pixelprune"].encode_ms < 1e5, "its own pass of the tower"
    assert costs["pixelprune"].spread["encode_ms"]


def test_a_script_gets_it_too(tiny_vlm, drawn):
    model, processor = tiny_vlm.model, tiny_vlm.processor
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}],
        add_generation_prompt=True,
    )
    inputs = processor(text=text, images=drawn, return_tensors="pt")
    with fsr.prune(model, processor, method="pixelprune", budget=5) as pruned:
        model.generate(**inputs, max_new_tokens=2)
    assert pruned.selection.facts["n_not_encoded"] > 0
