"""Device maps, 4 bit, and what both need: the same answers wherever the weights lie, and one sentence otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlavaConfig

import fsr.vlm
from fsr.errors import FsrError, InvalidInput
from fsr.pruners import make
from fsr.vlm import memory, placement
from fsr.vlm.memory import Needs, needs_of, parameters_of, placed_bytes
from fsr.vlm.placement import Placement
from fsr.vlm.progress import LoadProgress, LoadStopped
from tests.tiny import save_tiny
from tests.tiny_families import answer, save_next, save_onevision, save_qwen

REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
SAVERS = {"llava": save_tiny, "llava_next": save_next, "qwen2_5_vl": save_qwen, "llava_onevision": save_onevision}


def halves(model, offloaded):
    """A map that keeps one half of a model, "language" or "vision", on the disk and reads it when it is needed."""
    inner = {name: name.startswith("language") == (offloaded == "language") for name, _ in model.model.named_children()}
    return {f"model.{name}": "disk" if away else "cpu" for name, away in inner.items()} | {
        "lm_head": "cpu",
        **({"model.image_newline": "cpu"} if hasattr(model.model, "image_newline") else {}),
    }


@pytest.mark.filterwarnings("ignore:The following device_map keys")
@pytest.mark.parametrize("family", SAVERS)
@pytest.mark.slow
def test_a_model_in_two_places_sees_selects_and_answers_the_same(family, tmp_path, picture):
    folder = str(SAVERS[family](tmp_path / family))
    plain = fsr.vlm.load(folder)
    expected = plain.encode(plain.encode_media([picture]), "what is it?")
    budget = len(expected.tokens) // 2
    for offloaded in ("language", "vision"):
        spread = fsr.vlm.load(folder, device_map=halves(plain.model, offloaded))
        away = [name for name, p in spread.model.named_parameters() if p.is_meta]
        assert away
        assert all(name.startswith("model.language") == (offloaded == "language") for name in away)
        encoding = spread.encode(spread.encode_media([picture]), "what is it?")
        assert torch.equal(encoding.tokens.saliency, expected.tokens.saliency)
        for method in ("fsr", "sparsevlm"):
            chosen = [make(method)(e.tokens, budget) for e in (expected, encoding)]
            assert answer(spread, encoding, chosen[1], 4) == answer(plain, expected, chosen[0], 4)


def test_one_device_as_a_map_and_auto_where_there_is_only_the_cpu(tiny_folder, tiny_vlm, picture):
    for options in ({"device_map": {"": "cpu"}}, {"device": "auto"}):
        vlm = fsr.vlm.load(str(tiny_folder), **options)
        assert vlm.device.type == "cpu" or torch.cuda.is_available()
        encoding = vlm.encode(vlm.encode_media([picture]), "what?")
        same = tiny_vlm.encode(tiny_vlm.encode_media([picture]), "what?")
        assert torch.allclose(vlm.logits(encoding).cpu(), tiny_vlm.logits(same), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cpu", "device_map": "auto"}, "give a device or a device_map, not both"),
        ({"device": "auto", "device_map": {"": "cpu"}}, None),
        ({"device_map": "everywhere"}, "device_map must be one of auto, balanced"),
        ({"device": "cpu", "dtype": "4bit"}, "4bit needs a CUDA GPU; on the cpu use bfloat16 or float32"),
        ({"dtype": "5bit"}, "dtype must be one of float32, .*4bit, not '5bit'"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(options, words):
    if words is None:
        assert placement.placed(LlamaConfig(), **options).device_map == {"": "cpu"}
        return
    with pytest.raises(FsrError, match=words):
        placement.placed(LlamaConfig(), **options)


def test_a_checkpoint_that_tells_its_numbers_with_its_language_model_is_read_in_them():
    config = LlavaConfig(text_config=LlamaConfig(dtype="float16"))
    assert config.dtype is None
    assert placement._numbers(None, torch.device("cuda"), config) == torch.float16
    assert placement._numbers(None, torch.device("cpu"), config) == torch.float32


def test_weights_go_straight_to_a_gpu_and_what_that_needs_is_required(monkeypatch):
    """Not once through the memory of the host, which may be smaller."""
    gpu = Placement(torch.device("cuda", 1), torch.float16)
    assert gpu.options() == {"dtype": torch.float16, "device_map": {"": torch.device("cuda", 1)}}
    assert "accelerate" in [name for one in REQUIREMENTS.read_text().splitlines() for name in one.split(">=")[:1]]
    counts = {"one": 3_000_000_000, "other": 4_000_000_000}
    config = LlavaConfig(text_config=LlamaConfig())
    assert needs_of(config, counts, gpu, {}).passing == 2 * counts["other"]
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    assert needs_of(config, counts, gpu, {}).passing == 2 * sum(counts.values())


def test_packages_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(FsrError, match="needs the package accelerate, which is not installed: pip install accelerate"):
        placement.placed(LlamaConfig(), device_map="auto")
    with pytest.raises(FsrError, match="needs bitsandbytes and accelerate, not installed here: pip install bits"):
        placement._check_four_bit(torch.device("cuda"))


def test_the_memory_check_knows_4_bit_and_all_devices_together(tiny_vlm, monkeypatch):
    counts = parameters_of(type(tiny_vlm.model), tiny_vlm.model.config)
    layers = sum(n for name, n in counts.items() if name.startswith("model.language_model.layers."))
    rest = sum(counts.values()) - layers
    half = Placement(torch.device("cpu"), torch.float16)
    small = Placement(torch.device("cpu"), torch.float16, four_bit=True)
    assert 0 < layers < sum(counts.values())
    assert placed_bytes(counts, half) == 2 * (layers + rest)
    assert placed_bytes(counts, small) == round(0.5625 * layers + 2 * rest)
    monkeypatch.setattr(memory, "free_together", lambda: 10)
    told = memory.misfit("it", Needs(100), Placement(torch.device("cpu"), torch.float16, "auto"))
    assert told.endswith("in float16, 0.0 GB of it for its weights, and all devices together have 0.0 GB free")


def test_reading_is_told_in_bytes_and_can_be_stopped(tiny_folder, tiny_vlm):
    seen = []
    fsr.vlm.load(str(tiny_folder), progress=seen.append)
    size = sum(p.numel() * p.element_size() for p in tiny_vlm.model.parameters())
    assert [s.total for s in seen] == [size] * len(seen)
    assert [s.done for s in seen] == sorted(s.done for s in seen)
    assert (seen[0].done, seen[-1].done) == (0, size)
    assert len({s.done for s in seen}) > 50

    def stop(step):
        if step.done > size // 2:
            raise LoadStopped

    with pytest.raises(LoadStopped):
        fsr.vlm.load(str(tiny_folder), progress=stop)
    seen.clear()
    fsr.vlm.load(str(tiny_folder))
    assert seen == []  # no hook is left behind


def test_progress_is_said_in_one_unit():
    assert str(LoadProgress("LLaVA-1.5 7B", "weights", 3_200_000_000, 14_100_000_000, 3)) == (
        "Loading LLaVA-1.5 7B: 3.2 of 14.1 GB, 3 files"
    )
    assert str(LoadProgress("x", "download", 0, 512)) == "Downloading x: 0 of 512 bytes"


def test_a_name_takes_the_place_of_the_path(tiny_folder, tmp_path):
    assert fsr.vlm.load(str(tiny_folder), name="ours").id == "ours"
    (tmp_path / "config.json").write_text((tiny_folder / "config.json").read_text())
    with pytest.raises(FsrError) as caught:
        fsr.vlm.load(str(tmp_path), name="ours")
    assert str(tmp_path) not in str(caught.value)
    assert "ours" in str(caught.value)


def test_an_option_of_another_family_is_refused(tiny_folder):
    with pytest.raises(InvalidInput, match="mode is a setting of LLaVA-NeXT; ours is a 'llava' model"):
        fsr.vlm.load(str(tiny_folder), mode="paper", name="ours")
