"""What is offered, which family a configuration is, and the memory check before weights are read."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration

import fsr.vlm
from fsr.errors import FsrError
from fsr.vlm import memory
from fsr.vlm.llava_onevision import LlavaOnevision
from fsr.vlm.llava_video import LlavaVideo
from tests.tiny_families import save_onevision


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_onevision(tmp_path_factory.mktemp("loading") / "tiny")


def test_every_listed_checkpoint_says_what_it_needs():
    listed = [m for m in fsr.vlm.available() if "/" in m["id"]]
    assert len(listed) == 10
    assert all(m["title"] and m["licence"] and 1 < m["needs_gb"] < 30 for m in listed)
    sizes = {m["id"]: m["needs_gb"] for m in listed}
    assert sizes["llava-hf/llava-1.5-7b-hf"] == 14.1


def test_weights_are_counted_without_being_made(folder):
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    assert memory.weight_bytes(type(model), model.config, torch.float32) == held
    assert memory.weight_bytes(type(model), model.config, torch.bfloat16) == held // 2


@pytest.mark.parametrize(("dtype", "hint"), [("float32", "try dtype bfloat16"), ("bf16", "try a smaller model")])
def test_a_model_that_does_not_fit_is_one_sentence(folder, monkeypatch, dtype, hint):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 50_000)
    with pytest.raises(FsrError, match=rf"needs 0\.0 GB in \w+, cpu has 0\.0 GB free; {hint}"):
        fsr.vlm.load(str(folder), dtype=dtype)


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
