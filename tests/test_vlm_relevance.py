"""Relevance against plain transformers, long questions in whole chunks, and models that have none."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import AutoTokenizer, CLIPModel

import fsr.vlm
from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.vlm import clip_text
from tests.looping import each
from tests.proofs import proves
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def clip(tiny_folder):
    return CLIPModel.from_pretrained(tiny_folder / "clip", dtype=torch.float32).eval()


def cosine(clip, pixels, ids) -> torch.Tensor:
    """Eq. 2 written with the CLIP model alone, its own vision tower included."""
    with torch.no_grad():
        hidden = clip.vision_model(pixels, output_hidden_states=True).hidden_states[-2][0, 1:]
        patches = clip.visual_projection(clip.vision_model.post_layernorm(hidden))
        text = clip.text_projection(clip.text_model(torch.tensor([ids])).pooler_output)
    return torch.nn.functional.cosine_similarity(patches, text)


@proves("relevance", family="llava")
def test_relevance_is_the_clip_cosine(tiny_folder, tiny_vlm, picture, clip):
    ids = AutoTokenizer.from_pretrained(tiny_folder / "clip")("the black ring?", add_special_tokens=False)["input_ids"]
    expected = cosine(clip, tiny_vlm.pixels([picture]), [2, *ids, 3])
    tokens = tiny_vlm.encode(tiny_vlm.encode_media([picture]), "the black ring?").tokens
    assert torch.allclose(tokens.relevance, expected, atol=1e-5)
    assert tokens.relevance.std() > 0.01


def test_another_question_gives_another_map(tiny_vlm, picture):
    media = tiny_vlm.encode_media([picture])
    one, two = (tiny_vlm.encode(media, q).tokens.relevance for q in ("circle", "square"))
    assert (one - two).abs().max() > 0.01


def test_long_questions_are_averaged_over_whole_chunks(tiny_folder, tiny_vlm, picture, clip):
    question = "is the red star left of the blue circle or not?"
    ids = AutoTokenizer.from_pretrained(tiny_folder / "clip")(question, add_special_tokens=False)["input_ids"]
    chunks = tiny_vlm.relevance_model.chunks(question)
    assert len(chunks) == 3  # 47 ids, 18 a chunk
    assert [i for c in chunks for i in c[1:-1]] == ids
    assert all(c[0] == 2 and c[-1] == 3 and len(c) <= 20 for c in chunks)
    expected = torch.stack([cosine(clip, tiny_vlm.pixels([picture]), c) for c in chunks]).mean(dim=0)
    relevance = tiny_vlm.encode(tiny_vlm.encode_media([picture]), question).tokens.relevance
    assert torch.allclose(relevance, expected, atol=1e-5)


def test_every_chunk_counts(tiny_vlm, picture):
    media = tiny_vlm.encode_media([picture])
    start, end = "x" * 18, "y" * 18
    whole = tiny_vlm.encode(media, start + end).tokens.relevance
    for changed in ("z" * 18 + end, start + "z" * 18):
        assert (tiny_vlm.encode(media, changed).tokens.relevance - whole).abs().max() > 1e-3


@each(("length", "chunks"), [(1, 1), (18, 1), (19, 2), (36, 2), (37, 3)])
def test_chunks_are_as_few_as_fit(tiny_vlm, length, chunks):
    assert len(tiny_vlm.relevance_model.chunks("a" * length)) == chunks


def test_special_tokens_in_a_question_do_not_end_it(tiny_vlm):
    chunk = tiny_vlm.relevance_model.chunks("a</s>b<image>")[0]
    assert chunk.count(3) == 1
    assert 4 not in chunk


def test_pooling_is_at_the_last_place_whatever_the_eos_id(tiny_vlm, clip):
    """transformers pools at the largest id where eos_token_id is 2; the id of a byte would win there."""
    ids = tiny_vlm.relevance_model.chunks("zz")[0]
    clip.text_model.eos_token_id = 2
    wrong = clip.text_projection(clip.text_model(torch.tensor([ids])).pooler_output)
    clip.text_model.eos_token_id = 3
    right = clip.text_projection(clip.text_model(torch.tensor([ids])).pooler_output)
    ours = tiny_vlm.relevance_model.text("zz")[0]
    assert torch.allclose(ours, torch.nn.functional.normalize(right[0], dim=0), atol=1e-6)
    assert not torch.allclose(ours, torch.nn.functional.normalize(wrong[0], dim=0), atol=1e-2)


def test_the_vision_encoder_of_clip_is_not_kept(tiny_vlm):
    kept = vars(tiny_vlm.relevance_model).values()
    parameters = sum(p.numel() for m in kept if isinstance(m, torch.nn.Module) for p in m.parameters())
    clip = CLIPModel.from_pretrained(tiny_vlm.id + "/clip")
    assert parameters < sum(p.numel() for p in clip.parameters()) - sum(
        p.numel() for p in clip.vision_model.encoder.parameters()
    )


def test_without_clip_there_is_no_relevance_and_it_says_so(tmp_path, picture):
    vlm = fsr.vlm.load(str(save_tiny(tmp_path / "alone", clip=False)))
    tokens = vlm.encode(vlm.encode_media([picture]), "what?").tokens
    assert tokens.relevance is None
    assert vlm.pathways["relevance"].startswith("none: no CLIP model")
    assert vlm.provides == {"saliency"}
    assert len(make("fsr")(tokens, 6).kept) == 6
    with pytest.raises(InvalidInput, match="needs relevance"):
        make("relevance")(tokens, 6)


def test_a_clip_of_other_shape_is_refused_with_the_reason(tiny_folder, tmp_path, picture):
    folder = tmp_path / "mixed"
    shutil.copytree(tiny_folder, folder)
    clip = CLIPModel.from_pretrained(folder / "clip")
    clip.config.vision_config.num_hidden_layers = 2
    CLIPModel(clip.config).save_pretrained(folder / "clip")
    vlm = fsr.vlm.load(str(folder))
    assert vlm.pathways["relevance"].startswith("none: ")
    assert "does not belong to this checkpoint" in vlm.pathways["relevance"]
    assert vlm.encode(vlm.encode_media([picture]), "what?").tokens.relevance is None


def test_a_tower_that_was_trained_further_is_named(tiny_folder, tmp_path):
    folder = tmp_path / "tuned"
    shutil.copytree(tiny_folder, folder)
    clip = CLIPModel.from_pretrained(folder / "clip")
    with torch.no_grad():
        clip.vision_model.encoder.layers[1].mlp.fc1.weight.add_(0.1)
    clip.save_pretrained(folder / "clip")
    assert "trained further" in fsr.vlm.load(str(folder)).pathways["relevance"]
    assert "trained further" not in fsr.vlm.load(str(tiny_folder)).pathways["relevance"]


def test_a_damaged_clip_folder_does_not_stop_the_model(tiny_folder, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_folder, folder)
    (folder / "clip" / "model.safetensors").write_bytes(b"nothing")
    words = fsr.vlm.load(str(folder)).pathways["relevance"]
    assert words.startswith("none: ")
    assert "cannot be loaded" in words


@pytest.fixture
def alone(tiny_folder, tmp_path):
    """A checkpoint without `clip/` inside; its CLIP lies elsewhere."""
    folder = shutil.copytree(tiny_folder, tmp_path / "alone")
    (folder / "clip").rename(tmp_path / "elsewhere")
    return folder


def test_clip_can_lie_elsewhere(alone, tmp_path, tiny_vlm, picture):
    (alone / "fsr.json").write_text(json.dumps({"clip": str(tmp_path / "elsewhere")}))
    vlm = fsr.vlm.load(str(alone))
    ours, beside = (v.encode(v.encode_media([picture]), "star").tokens.relevance for v in (vlm, tiny_vlm))
    assert torch.equal(ours, beside)
    assert str(tmp_path / "elsewhere") in vlm.pathways["relevance"]


def test_a_known_tower_looks_for_its_clip_and_says_when_it_is_not_here(alone, monkeypatch, picture):
    monkeypatch.setitem(clip_text.KNOWN_CLIP, (32, 4, 70, 14), "nobody-at-all/clip")
    vlm = fsr.vlm.load(str(alone))
    assert vlm.pathways["relevance"].startswith("none: nobody-at-all/clip is not on this machine")
    assert vlm.provides == {"saliency"}
    assert vlm.encode(vlm.encode_media([picture]), "star").tokens.relevance is None


def test_clip_is_loaded_when_a_question_first_needs_it(tiny_folder, picture):
    plain = fsr.vlm.load(str(tiny_folder))
    loads = []

    def loader():
        loads.append(1)
        return plain.relevance_model

    parts = {"id": "x", "title": "x", "clip": loader, "clip_source": "y"}
    vlm = type(plain)(plain.model, plain.processor, **parts)
    media = vlm.encode_media([picture])
    vlm.encode(media, "star", frozenset({"saliency"}))
    assert not loads
    for _ in range(2):
        assert vlm.encode(media, "star").tokens.relevance is not None
    assert len(loads) == 1
