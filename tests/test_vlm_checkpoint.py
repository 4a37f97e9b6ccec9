"""Loading: what is chosen by default, and one sentence for everything that can be missing."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, SiglipImageProcessor, SiglipVisionConfig

import fsr.vlm
from fsr.errors import FsrError, InvalidInput
from fsr.media.pictures import load_image
from fsr.pruners import make
from fsr.vlm import checkpoint
from fsr.vlm.source import reason
from tests.looping import each
from tests.tiny import save_tiny


@pytest.fixture
def copy(tiny_folder, tmp_path):
    """A checkpoint that a test may damage."""
    return shutil.copytree(tiny_folder, tmp_path / "copy")


@pytest.fixture
def offline(monkeypatch):
    """Any attempt to reach another machine fails the test."""

    def refuse(*_args, **_options):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_a_directory_loads_without_any_network(offline, tiny_folder):
    vlm = fsr.vlm.load(str(tiny_folder))
    assert (vlm.dtype, vlm.device.type) == (torch.float32, "cpu")
    assert vlm.provides == {"saliency", "relevance"}
    assert not vlm.model.training


def test_stored_half_precision_comes_back_as_float32(copy):
    model = fsr.vlm.load(str(copy)).model.half()
    model.save_pretrained(copy)
    assert json.loads((copy / "config.json").read_text())["dtype"] == "float16"
    vlm = fsr.vlm.load(str(copy))
    assert {p.dtype for p in vlm.model.parameters()} == {torch.float32}
    assert vlm.pathways["relevance"].endswith("the CLIP model stored beside it")  # equal within half precision
    assert fsr.vlm.load(str(copy), dtype="fp16").dtype == torch.float16
    assert fsr.vlm.load(str(copy), dtype=torch.bfloat16).dtype == torch.bfloat16


def test_title_and_sign_come_from_the_facts_beside_the_weights(tiny_vlm, word_vlm):
    assert (word_vlm.title, word_vlm.relevance_sign) == ("Tiny words", 1)
    assert (tiny_vlm.title, tiny_vlm.relevance_sign) == ("tiny-llava", -1)  # the CLIP towers of LLaVA


@pytest.mark.parametrize("facts", ["{", "[]", '{"relevance_sign": 0}', '{"relevance_sign": "minus"}'])
def test_wrong_facts_are_named(copy, facts):
    (copy / "fsr.json").write_text(facts)
    with pytest.raises(FsrError, match=r"fsr\.json"):
        fsr.vlm.load(str(copy))


@pytest.mark.parametrize(
    "name", ["", "nothing", "./nothing", "/no/such/place", "a/b/c", "../no-such-folder", "owner/na me", "~/none"]
)
def test_names_that_are_nothing(name):
    with pytest.raises(FsrError, match="there is no model"):
        fsr.vlm.load(name)


def test_a_directory_without_a_checkpoint(tmp_path):
    with pytest.raises(FsrError, match=r"holds no config\.json"):
        fsr.vlm.load(str(tmp_path))


def test_a_missing_embedded_model_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "EMBEDDED", tmp_path / "shapes")
    with pytest.raises(FsrError, match="make train-shapes"):
        fsr.vlm.load("shapes")
    assert {"id": "shapes", "title": checkpoint.NAMES["shapes"], "here": False} in fsr.vlm.available()


def test_another_family_is_named(tmp_path):
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(FsrError, match="'llama' model; supported are llava"):
        fsr.vlm.load(str(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_damaged_files_are_one_sentence(copy, name):
    (copy / name).write_bytes(b"\x00 not what it should be")
    with pytest.raises(FsrError, match="cannot be loaded") as caught:
        fsr.vlm.load(str(copy))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "processor_config.json"])
def test_missing_files_are_one_sentence(copy, name):
    (copy / name).unlink()
    with pytest.raises(FsrError) as caught:
        fsr.vlm.load(str(copy))
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_in_the_files_are_not_made_up(copy):
    weights = load_file(copy / "model.safetensors")
    gone = next(name for name in weights if "multi_modal_projector" in name)
    del weights[gone]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FsrError, match=r"lacks weights, for example .*multi_modal_projector"):
        fsr.vlm.load(str(copy))


def cut_off(path):
    """As a download that was broken off leaves it."""
    path.write_bytes(path.read_bytes()[:-100])


@each(
    ("damage", "words"),
    [
        (
            lambda folder: cut_off(folder / "model-00002-of-00003.safetensors"),
            "of-00003.safetensors is damaged or was cut",
        ),
        (
            lambda folder: (folder / "model-00002-of-00003.safetensors").unlink(),
            "lacks a file of its weights, model-0000",
        ),
        (
            lambda folder: shutil.copy(
                folder / "model-00001-of-00003.safetensors", folder / "model-00002-of-00003.safetensors"
            ),
            "lacks weights, for ex",
        ),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("[]"), "is no index of weights"),
        (
            lambda folder: [path.unlink() for path in folder.glob("model*")],
            "has no weights: none of its files is called",
        ),
        (lambda folder: pickled(folder, cut=True), r"pytorch_model\.bin is damaged or was cut off"),
    ],
    ids=["cut off", "gone", "another's", "no index", "none", "an old kind of file"],
)
def test_damaged_weights_are_found_before_any_is_read(tiny_vlm, tiny_folder, tmp_path, damage, words):
    folder = shutil.copytree(tiny_folder, tmp_path / f"tiny-{len(words)}")
    (folder / "model.safetensors").unlink()
    tiny_vlm.model.save_pretrained(folder, max_shard_size="250KB")
    checkpoint.Checkpoint.of(str(folder)).fetch()
    damage(folder)
    with pytest.raises(FsrError, match=words) as caught:
        checkpoint.Checkpoint.of(str(folder), name="tiny").fetch()
    assert str(caught.value).startswith("tiny ")
    assert str(folder) not in str(caught.value)


def pickled(folder, cut=False):
    """The same weights as torch.save writes them."""
    weights = {}
    for file in folder.glob("model*.safetensors"):
        weights |= load_file(file)
        file.unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    if cut:
        cut_off(folder / "pytorch_model.bin")


def test_weights_of_an_old_kind_are_still_read(copy, tiny_vlm):
    pickled(copy)
    assert torch.equal(fsr.vlm.load(str(copy)).model.lm_head.weight, tiny_vlm.model.lm_head.weight)


def error_like(kind):
    """A hub error as the client raises it, without a real response."""
    return kind.__new__(kind)


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        (GatedRepoError, "is gated"),
        (RepositoryNotFoundError, "the hub knows no model"),
        (LocalEntryNotFoundError, "is not on this machine and the hub cannot be reached"),
    ],
)
def test_hub_failures_are_told_apart(cause, sentence):
    error = OSError("many lines\nof advice")
    error.__cause__ = error_like(cause)
    assert sentence in reason("owner/name", error)


def test_other_failures_keep_their_first_line():
    assert reason("x", OSError("first line\nsecond")) == "x cannot be loaded: first line"
    assert reason("x", ValueError()) == "x cannot be loaded: ValueError"


def test_offline_and_not_cached_is_one_sentence(monkeypatch, offline):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FsrError, match="not on this machine and the hub cannot be reached"):
        fsr.vlm.load("nobody-at-all/no-such-model")


@pytest.mark.parametrize("device", ["quantum", "cuda:99", ""])
def test_devices(tiny_folder, device):
    if not device:
        assert fsr.vlm.load(str(tiny_folder), device).device.type in ("cpu", "cuda")
        return
    with pytest.raises(InvalidInput, match="cannot be used here"):
        fsr.vlm.load(str(tiny_folder), device)


def test_unknown_dtypes_are_refused(tiny_folder):
    with pytest.raises(InvalidInput, match="dtype must be one of float32"):
        fsr.vlm.load(str(tiny_folder), dtype="int8")


def test_a_siglip_tower_gives_received_attention_and_no_relevance(tmp_path, picture):
    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, image_size=70, patch_size=14
    )
    pictures = SiglipImageProcessor(size={"height": 70, "width": 70})
    folder = save_tiny(
        tmp_path / "siglip",
        clip=False,
        vision=vision,
        pictures=pictures,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    vlm = fsr.vlm.load(str(folder))
    assert vlm.pathways["saliency"].startswith("attention every patch receives in layer 3 of 3")
    assert vlm.pathways["relevance"].startswith("none: the text encoder of a siglip_vision_model")
    assert vlm.relevance_sign == 1
    media = vlm.encode_media([picture])
    tower = vlm.model.model.vision_tower
    tower.config._attn_implementation = "eager"
    expected = tower(vlm.pixels([picture]), output_attentions=True).attentions[-1][0].mean(dim=(0, 1))
    assert torch.allclose(media.saliency, expected, atol=1e-5)
    assert media.layout.grids[0].seen == (0, 0, *picture.size)
    encoding = vlm.encode(media, "what?")
    assert list(vlm.generate(encoding, make("fsr")(encoding.tokens, 5), 2))[-1].cost.visual_tokens == 5


@pytest.mark.skipif(not (checkpoint.EMBEDDED / "config.json").is_file(), reason="the embedded model is not in assets/")
def test_the_embedded_model_loads_offline_with_both_scores(offline):
    vlm = fsr.vlm.load("shapes")
    assert vlm.provides == {"saliency", "relevance"}
    assert vlm.pathways["relevance"].endswith("the CLIP model stored beside it")  # the very same tower
    star = load_image(Path(__file__).parents[1] / "assets/examples/star.png")
    encoding = vlm.encode(vlm.encode_media([star]), "what color is the star?")
    assert len(encoding.tokens) == len(encoding.visual)
    assert encoding.unknown_words == []
    assert list(vlm.generate(encoding, make("fsr")(encoding.tokens, 64), 8))[-1].text == "yellow"
