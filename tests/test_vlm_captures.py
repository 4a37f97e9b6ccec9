"""What VisionZip and PruMerge+ read in the vision tower, against the unmodified model's hidden states and attention."""

from __future__ import annotations

import json
import math

import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration, SiglipVisionConfig

import fsr.vlm
from app.request import Request
from app.service import Service
from app.settings import Settings
from fsr.check.device import hooks_of
from fsr.cli.main import main
from fsr.vlm.media import CAPTURES, Media, MediaCache
from tests.test_vlm_llava import other
from tests.tiny import PATCH, SIDE, in_memory, save_tiny

ALL = CAPTURES | {"project", "saliency", "relevance"}
QUESTION = "what is left of it?"


def siglip() -> SiglipVisionConfig:
    return SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
    )


def plain(folder, pixels):
    """The checkpoint as transformers runs it: the model, its hidden states and its attentions, (F, H, T, T) a layer."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    with torch.no_grad():
        seen = model.model.vision_tower(pixels, output_hidden_states=True, output_attentions=True)
    return model, seen.hidden_states, seen.attentions


def keys_and_queries(model, layer: int, hidden):
    """(F, T, C) each, of one layer, from its input."""
    block = model.model.vision_tower.encoder.layers[layer]
    with torch.no_grad():
        x = block.layer_norm1(hidden)
        return block.self_attn.k_proj(x), block.self_attn.q_proj(x)


@pytest.fixture(scope="module")
def picture(picture):
    """One that no other test encodes: captures stay with the media in the shared model's cache."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


@pytest.fixture(scope="module")
def frames(picture):
    return [picture, picture.rotate(180), *[other(20 * i) for i in range(8)]]  # more than are encoded at once


def test_captures_are_the_models_own(tiny_folder, tiny_vlm, frames):
    media = tiny_vlm.encode_media(frames, needs=ALL)
    model, hidden, _ = plain(tiny_folder, tiny_vlm.pixels(frames))
    keys, _ = keys_and_queries(model, 2, hidden[2])
    mean = sum(keys[:, 1:, 8 * h : 8 * (h + 1)] for h in range(4)) / 4
    assert media.captures["keys"].shape == (250, 8)
    assert torch.allclose(media.captures["keys"], mean.flatten(0, 1), atol=1e-5)
    last_keys, last_queries = keys_and_queries(model, 3, hidden[3])
    assert torch.allclose(media.captures["last_keys"], last_keys[:, 1:].flatten(0, 1), atol=1e-5)
    logits = torch.einsum("fc,ftc->ft", last_queries[:, 0], last_keys) / math.sqrt(32)
    whole = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    assert torch.allclose(media.captures["last_saliency"], whole[:, 1:].flatten(), atol=1e-5)
    with torch.no_grad():
        summary = model.model.multi_modal_projector(hidden[-2][:, 0])
    assert media.captures["summary"].shape == (10, 48)
    assert torch.allclose(media.captures["summary"], summary, atol=1e-5)


def test_the_keys_are_those_that_make_the_attention(tiny_folder, tiny_vlm, picture):
    """The keys of the checked layer, together with its queries, give the attention that saliency is made of."""
    model, hidden, attentions = plain(tiny_folder, tiny_vlm.pixels([picture]))
    keys, queries = keys_and_queries(model, 2, hidden[2])
    for h in range(4):
        part = slice(8 * h, 8 * (h + 1))
        row = (queries[0, 0, part] @ keys[0, :, part].T / math.sqrt(8)).softmax(dim=0)
        assert torch.allclose(row, attentions[-2][0, h, 0], atol=1e-5)
    saliency = tiny_vlm.encode_media([picture], needs=ALL).saliency
    assert torch.allclose(saliency, attentions[-2][0, :, 0, 1:].mean(dim=0), atol=1e-5)


def test_the_projector_gives_the_embeddings_of_the_features(tiny_vlm, picture):
    tokens = tiny_vlm.encode(tiny_vlm.encode_media([picture], needs=ALL), QUESTION, ALL).tokens
    assert torch.allclose(tokens.project(tokens.features), tokens.embeddings, atol=1e-6)
    assert torch.equal(tokens.project(tokens.features.double()), tokens.project(tokens.features))
    assert not tokens.project(tokens.features.clone().requires_grad_()).requires_grad


def test_several_feature_layers_are_summed_up_together(tmp_path, picture):
    folder = save_tiny(tmp_path / "two", clip=False, vision_feature_layer=[-3, -2])
    vlm = fsr.vlm.load(str(folder))
    model, hidden, _ = plain(folder, vlm.pixels([picture]))
    with torch.no_grad():
        summary = model.model.multi_modal_projector(torch.cat([hidden[-3][:, 0], hidden[-2][:, 0]], dim=-1))
    media = vlm.encode_media([picture], needs=ALL)
    assert torch.allclose(media.captures["summary"], summary, atol=1e-5)


def test_a_kept_cls_token_has_keys_and_no_attention(tmp_path, picture):
    folder = save_tiny(tmp_path / "full", clip=False, vision_feature_select_strategy="full")
    vlm = fsr.vlm.load(str(folder))
    tokens = vlm.encode(vlm.encode_media([picture], needs=ALL), QUESTION, ALL).tokens
    model, hidden, _ = plain(folder, vlm.pixels([picture]))
    last_keys, _ = keys_and_queries(model, 3, hidden[3])
    assert torch.allclose(tokens.last_keys, last_keys[0], atol=1e-5)
    assert tokens.keys.shape == (26, 8)
    assert tokens.last_saliency[0] == 0
    assert torch.allclose(tokens.summary[0], tokens.embeddings[0], atol=1e-5)


def test_without_cls_there_is_no_summary_and_the_attention_received(tmp_path, picture):
    folder = save_tiny(tmp_path / "siglip", clip=False, vision=siglip(), vision_feature_select_strategy="full")
    vlm = fsr.vlm.load(str(folder))
    passes = []
    vlm.model.model.vision_tower.register_forward_pre_hook(lambda *_: passes.append(1))
    vlm.encode_media([other(5)])
    passes.clear()
    tokens = vlm.encode(vlm.encode_media([picture], needs=ALL), QUESTION, ALL).tokens
    model, hidden, _ = plain(folder, vlm.pixels([picture]))
    keys, queries = keys_and_queries(model, 3, hidden[3])
    received = (queries[0] @ keys[0].T / math.sqrt(32)).softmax(dim=1).mean(dim=0)
    assert torch.allclose(tokens.last_saliency, received, atol=1e-5)
    assert torch.allclose(tokens.last_keys, keys[0], atol=1e-5)
    assert tokens.keys.shape == (25, 8)
    assert tokens.summary is None
    vlm.encode_media([picture], needs=ALL)  # that there is none is known
    assert len(passes) == 1


# -- one pass, and only what is asked for


@pytest.fixture
def counted(tiny_folder):
    """A VLM whose tower counts its passes, warmed up."""
    vlm = fsr.vlm.load(str(tiny_folder))
    vlm.encode_media([other(0)])
    passes = []
    vlm.model.model.vision_tower.register_forward_pre_hook(lambda *_: passes.append(1))
    return vlm, passes


def test_everything_is_captured_in_one_pass(counted, picture):
    vlm, passes = counted
    media = vlm.encode_media([picture], needs=ALL)
    assert set(media.captures) == CAPTURES
    for needs in (ALL, frozenset({"keys"}), frozenset()):
        assert vlm.encode_media([picture], needs=needs) is media
        vlm.encode(media, QUESTION, needs)
    assert len(passes) == 1


def test_a_new_need_costs_one_more_pass_and_the_old_ones_stay(counted, picture):
    vlm, passes = counted
    media = vlm.encode_media([picture])
    assert media.captures == {}
    vlm.encode(media, QUESTION)
    patches, embeddings = media.clip_patches, media.embeddings
    assert vlm.encode_media([picture], needs=frozenset({"keys", "no such thing"})) is media
    assert len(passes) == 2
    keys = media.captures["keys"]
    assert vlm.encode_media([picture], needs=frozenset({"keys", "summary"})) is media
    assert len(passes) == 3
    assert set(media.captures) == {"keys", "summary"}
    assert media.captures["keys"] is keys
    assert media.clip_patches is patches
    assert media.embeddings is embeddings
    vlm.encode_media([picture], needs=frozenset({"summary"}))
    assert len(passes) == 3


def test_tokens_hold_what_was_asked_for_and_no_more(tiny_vlm, picture):
    media = tiny_vlm.encode_media([picture], needs=ALL)
    for needs in (frozenset(), frozenset({"keys"}), frozenset({"summary", "project", "saliency"}), ALL):
        tokens = tiny_vlm.encode(media, QUESTION, needs).tokens
        for name in ALL:
            assert (getattr(tokens, name) is not None) == (name in needs)


def test_a_capture_that_was_never_made_is_missing(tiny_vlm):
    media = tiny_vlm.encode_media([other(77)])
    tokens = tiny_vlm.encode(media, QUESTION, ALL).tokens
    assert tokens.keys is None
    assert tokens.summary is None


def test_no_hook_of_a_capture_outlives_it(counted, picture):
    vlm, _ = counted
    before = hooks_of(vlm.model)
    vlm.encode_media([picture], needs=ALL)
    assert hooks_of(vlm.model) == before
    with pytest.raises(ValueError, match="Input image size"):
        vlm.tower.read(torch.zeros(1, 3, 20, 20), CAPTURES)
    assert hooks_of(vlm.model) == before


def test_half_precision_is_captured(tiny_folder, picture):
    vlm = fsr.vlm.load(str(tiny_folder), dtype="bfloat16")
    tokens = vlm.encode(vlm.encode_media([picture], needs=ALL), QUESTION, ALL).tokens
    assert tokens.summary.dtype == tokens.last_keys.dtype == tokens.project(tokens.features).dtype == torch.bfloat16
    assert tokens.keys.dtype == tokens.last_saliency.dtype == torch.float32


def test_the_command_line_captures_what_a_method_needs(picture, tiny_folder, tmp_path, capsys):
    picture.save(tmp_path / "noise.png")
    command = ["answer", str(tmp_path / "noise.png"), QUESTION, "--model", str(tiny_folder), "--only", "--json"]
    for method, facts in (("visionzip", {"n_cls": 1}), ("prumerge", {"last_layer": 1})):
        assert main([*command, "-", "--method", method, "--budget", "9", "--max-new-tokens", "2"]) == 0
        answer = json.loads(capsys.readouterr().out)["answers"][method]
        assert answer["budget"] == answer["cost"]["visual_tokens"]
        assert {"pre_projector": 1, **facts}.items() <= answer["facts"].items()


def test_the_service_captures_what_a_method_needs(picture, tiny_folder, tmp_path):
    vlm = fsr.vlm.load(str(tiny_folder))
    service = Service(Settings(model=str(tiny_folder), max_new_tokens=2), look=in_memory(vlm))
    picture.save(tmp_path / "noise.png")
    opened = service.open_media(tmp_path / "noise.png")
    for method, captures in (("fsr", set()), ("visionzip", CAPTURES), ("prumerge", CAPTURES)):
        request = Request(opened.id, QUESTION, method, 9, {}, service.settings.first)
        assert list(service.answer(request))[-1].phase == "done"
        assert set(vlm.encode_media([opened.image]).captures) == captures
    service.close()


# -- what is held


def test_captures_count_as_held(tiny_folder, picture):
    vlm = fsr.vlm.load(str(tiny_folder))
    bare = vlm.encode_media([picture]).nbytes
    assert vlm.encode_media([picture], needs=ALL).nbytes == bare + 4 * (25 * (8 + 32 + 1 + 3 * PATCH**2) + 48)


def test_the_media_cache_is_bounded_in_bytes():
    def media(key: str, n: int) -> Media:
        return Media(key, None, torch.zeros(n, 1), torch.zeros(n, 1), None, 0.0)  # 8 n bytes

    cache = MediaCache(10, nbytes=800)
    for i in range(4):
        cache.put(media(str(i), 30))
    assert [cache.get(str(i)) is not None for i in range(4)] == [False, True, True, True]
    cache.put(media("large", 1000))  # alone larger than the bound: held, nothing else is
    assert len(cache) == 1
    assert cache.get("large") is not None
    cache.put(media("small", 1))
    assert cache.get("large") is None
    held = cache.get("small")
    held.captures["keys"] = torch.zeros(50, 2)
    cache.put(media("next", 30))
    assert len(cache) == 2
    held.captures["last_keys"] = torch.zeros(50, 2)  # it grew
    cache.put(held)
    assert len(cache) == 1
    assert cache.get("small") is held


def test_the_bound_is_a_setting_of_the_model(tiny_vlm):
    parts = {"id": "x", "title": "x"}
    vlm = type(tiny_vlm)(tiny_vlm.model, tiny_vlm.processor, media_cache_bytes=30_000, **parts)
    first = vlm.encode_media([other(1)])
    assert first.nbytes < 15_000
    assert vlm.encode_media([other(1)]) is first
    vlm.encode_media([Image.new("RGB", (50, 50), (shade, 0, 0)) for shade in range(3)])
    assert vlm.encode_media([other(1)]) is not first
