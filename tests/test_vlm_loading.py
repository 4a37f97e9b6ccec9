"""What is offered, which family a configuration is, and the memory check before weights are read."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import LlavaForConditionalGeneration, LlavaOnevisionForConditionalGeneration

import fsr.vlm
from fsr.bench.architectures import ARCHITECTURES
from fsr.errors import FsrError
from fsr.vlm import memory
from fsr.vlm.catalogue import CATALOGUE
from fsr.vlm.checkpoint import Checkpoint
from fsr.vlm.clip_text import clip_parameters
from fsr.vlm.llava_onevision import LlavaOnevision
from fsr.vlm.llava_video import LlavaVideo
from fsr.vlm.placement import Placement
from tests.tiny_families import save_onevision


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_onevision(tmp_path_factory.mktemp("loading") / "tiny")


def test_every_listed_checkpoint_says_what_it_needs():
    listed = [m for m in fsr.vlm.available() if "/" in m["id"]]
    assert len(listed) == len(CATALOGUE)
    assert all(m["title"] and m["licence"] and 0.4 < m["needs_gb"] < 30 for m in listed)
    sizes = {m["id"]: m["needs_gb"] for m in listed}
    assert sizes["llava-hf/llava-1.5-7b-hf"] == 14.1


def test_weights_are_counted_without_being_made(folder):
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    assert memory.weight_bytes(type(model), model.config, torch.float32) == held
    assert memory.weight_bytes(type(model), model.config, torch.bfloat16) == held // 2


def test_a_model_that_does_not_fit_says_what_would(folder, monkeypatch):
    half = Checkpoint.of(str(folder), dtype="bf16").needs.device
    monkeypatch.setattr(memory, "free_bytes", lambda device: half)
    words = r"^tiny needs about 0\.0 GB in float32, 0\.0 GB of it for its weights, and cpu has 0\.0 GB free; "
    with pytest.raises(FsrError, match=words + r"dtype bfloat16 would fit\.$"):
        fsr.vlm.load(str(folder), name="tiny")
    whole = Checkpoint.of(str(folder), name="tiny")
    others = {"A small one": 10, "A larger one": half / 5, "Too large": half}
    assert whole.misfit(others=others).endswith("dtype bfloat16 or A larger one would fit.")
    assert whole.misfit(freed=whole.needs.device) == "", "once another model has made room"
    monkeypatch.setattr(memory, "free_bytes", lambda device: 50_000)
    with pytest.raises(FsrError, match="choose a smaller model"):
        fsr.vlm.load(str(folder), dtype="bf16")


def test_all_that_a_model_needs_is_counted():
    """The real shape of LLaVA-1.5 7B, which is not made; on a GPU and on the CPU."""
    one = ARCHITECTURES["llava-1.5-7b"]
    config, _ = one.make(one, dict(one.text))
    counts = memory.parameters_of(LlavaForConditionalGeneration, config)
    clip = clip_parameters("openai/clip-vit-large-patch14-336", config)
    assert (memory.largest_prompt(config), sum(clip.values())) == (576, 427_944_193)  # as its authors count it
    gpu = memory.needs_of(config, counts, Placement(torch.device("cuda"), torch.float16), clip)
    assert gpu.weights == 2 * sum(counts.values()) == pytest.approx(14.1e9, rel=0.01)
    assert gpu.relevance == pytest.approx(4 * 123.7e6, rel=0.01)
    assert gpu.cache == (576 + memory.TEXT) * 2 * 32 * 4096 * 2
    assert gpu.weights + gpu.relevance + gpu.cache < gpu.device < 1.15 * gpu.weights
    assert gpu.passing == 4 * sum(clip.values()), "one tensor after the other goes to the GPU, but CLIP as a whole"
    cpu = memory.needs_of(config, counts, Placement(torch.device("cpu"), torch.float32), clip)
    assert (cpu.weights, cpu.cache, cpu.passing) == (2 * gpu.weights, 2 * gpu.cache, 0)


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("llava-next-7b", 2880),
        ("llava-video-7b", 7290),
        ("qwen2.5-vl-3b", 12288),
        ("smolvlm2-256m", 2048),
        ("gemma-3-4b", 256),
        ("internvl3.5-1b", 8192),
    ],
)
def test_the_largest_prompt_of_other_families(name, tokens):
    one = ARCHITECTURES[name]
    assert memory.largest_prompt(one.make(one, dict(one.text))[0]) == tokens


def test_the_memory_that_weights_pass_through_is_checked_as_well(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10 * 10**9 if device.type == "cuda" else 10**9)
    gpu = Placement(torch.device("cuda"), torch.float16)
    assert memory.misfit("it", memory.Needs(weights=8 * 10**9, passing=10**8), gpu) == ""
    told = memory.misfit("it", memory.Needs(weights=8 * 10**9, passing=2 * 10**9), gpu)
    assert told == "it passes 2.0 GB through the memory of this machine on its way to cuda, and 1.0 GB of it are free"


def test_free_memory_is_known_here():
    free = memory.free_bytes(torch.device("cpu"))
    assert free is not None
    assert 10_000_000 < free < 10**14


def test_llava_video_is_told_by_its_name_or_by_the_facts_beside_it(folder, tmp_path):
    assert type(fsr.vlm.load(str(folder))) is LlavaOnevision
    named = shutil.copytree(folder, tmp_path / "My-LLaVA-Video-7B-hf")
    assert type(fsr.vlm.load(str(named))) is LlavaVideo
    (folder / "fsr.json").write_text(json.dumps({"family": "llava_video"}))
    assert type(fsr.vlm.load(str(folder))) is LlavaVideo
    (folder / "fsr.json").unlink()


def test_loading_draws_no_bars_of_transformers(capfd):
    """The server's log stays clean: neither the model's weights nor those of its CLIP draw one."""
    assert fsr.vlm.load("shapes").relevance_model is not None
    assert capfd.readouterr().err == ""
