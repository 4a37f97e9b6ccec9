"""The same tokens and answers on another device, and spread over two: nothing is made or left on the wrong one."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

import fsr.vlm
from app.clips import Film
from app.request import Request
from app.service import Service
from app.settings import ROOT, Settings
from fsr.check.device import random_tokens, same_selection, selections, tokens_on
from fsr.pruners import REGISTRY, make
from tests.elsewhere import WAITS, emulated, moved
from tests.test_leases import answer, comparison, fidelity, look, untimed
from tests.tiny import in_memory, save_tiny
from tests.tiny_families import save_onevision, save_qwen

accelerate = pytest.importorskip("accelerate")
if not hasattr(torch._C, "_ensureCUDADeviceGuardSet"):
    pytest.skip("this torch lets no other device be emulated", allow_module_level=True)

SAVERS = {"llava": lambda folder: save_tiny(folder, layers=7), "qwen2_5_vl": save_qwen, "onevision": save_onevision}
METHODS = (
    "full",
    "fsr",
    "cdpruner",
    "vispruner",
    "visionzip",
    "prumerge",
    "pool2x2",
    "sparsevlm",
    "dart",
    "pyramiddrop",
)
SPREAD = ("fsr", "visionzip", "fastv", "dart", "pyramiddrop", "sparsevlm")
NEEDS = frozenset().union(*(kind.requires for kind in REGISTRY.values()))


def answers(vlm, picture, methods):
    """What each method keeps of the picture, and the first tokens of its answer."""
    vlm.decoder.eos = frozenset()
    encoding = vlm.encode(vlm.encode_media([picture], needs=NEEDS), "what is it?", NEEDS)
    found = {}
    for name in methods:
        selection = make(name)(encoding.tokens, 4 * len(encoding.tokens) // 7)
        *_, step = vlm.generate(encoding, selection, 3)
        found[name] = selection.kept.tolist(), step.token_ids
    return found


def spread(vlm, where):
    """Put every part of the model where it belongs and let accelerate carry what passes through, as a device_map does.

    where: module -> device; "": where the model is called.
    """
    from accelerate.hooks import attach_align_device_hook_on_blocks

    offload = dict.fromkeys((name for name in where if name), False)
    attach_align_device_hook_on_blocks(
        vlm.model, execution_device=where, offload=offload, skip_keys=vlm.model._skip_keys_device_placement
    )
    vlm.device = torch.device(where[""])
    if vlm.relevance_model is not None:
        clip = vlm.relevance_model
        for part in (clip.text_model, clip.text_projection, clip.post_layernorm, clip.visual_projection):
            put(part, where[""])


def put(module, device):
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        moved(module, name, device)


def places(model, far):
    """A device for every part: those in `far` on cuda:1."""
    parts = [name for name, _ in model.model.named_children() if name != "language_model"]
    inner = model.model.language_model
    names = [f"model.{name}" for name in parts] + ["lm_head"]
    names += [f"model.language_model.{name}" for name, _ in inner.named_children() if name != "layers"]
    names += [f"model.language_model.layers.{i}" for i in range(len(inner.layers))]
    return {"": "cuda:0"} | {name: "cuda:1" if name in far else "cuda:0" for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(("family", "methods"), [("llava", METHODS), ("llava", SPREAD), ("qwen2_5_vl", METHODS[:3])])
def test_other_devices_keep_and_answer_the_same(family, methods, tmp_path, picture, monkeypatch):
    folder = str(SAVERS[family](tmp_path / family))
    expected = answers(fsr.vlm.load(folder), picture, methods)
    vlm = fsr.vlm.load(folder)
    far = ()
    if methods is SPREAD:
        ends = ("model.multi_modal_projector", "lm_head", "model.language_model.norm")
        far = (*ends, *(f"model.language_model.layers.{i}" for i in range(2, 7)))
    monkeypatch.setattr("accelerate.hooks.set_module_tensor_to_device", moved)
    with emulated(monkeypatch):
        spread(vlm, places(vlm.model, far))
        assert {str(p.device) for p in vlm.model.parameters()} == ({"cuda:0", "cuda:1"} if far else {"cuda:0"})
        assert answers(vlm, picture, methods) == expected


@pytest.mark.slow
def test_every_method_selects_the_same_in_half_precision(monkeypatch):
    with emulated(monkeypatch):
        assert selections(torch.device("cuda:0"), torch.float16) == []


def shown(vlm, asked):
    """Everything that the page shows of a picture or clip, for one budget shared by all tokens and by each frame."""
    settings = Settings(model="tiny", models="", max_new_tokens=3, repeat_s=0)
    service = Service(settings, look=in_memory(vlm))
    try:
        media = service.open_media(asked, "tiny", 2)
        request = Request(media.id, "what is it?", "fsr", 8, {}, "tiny", frames=2)
        asks = [(ask, request) for ask in (look, answer, comparison, fidelity)]
        if isinstance(media, Film):
            asks = [*asks[:3], *((ask, replace(request, share="per_group")) for ask in (look, answer))]
        return [untimed(ask(service, one, threading.Event())) for ask, one in asks]
    finally:
        service.close()


@pytest.mark.parametrize("family", ["llava", "onevision"])
@pytest.mark.slow
def test_the_page_shows_the_same(family, tmp_path, picture, monkeypatch):
    """Plans, traces, answers, comparisons and curves, of a picture and of a clip."""
    folder = tmp_path / "tiny"
    SAVERS[family](folder)
    picture.save(tmp_path / "picture.png")
    asked = ROOT / "assets" / "examples" / "vanish.mp4" if family == "onevision" else tmp_path / "picture.png"
    monkeypatch.chdir(tmp_path)
    expected = shown(fsr.vlm.load(str(folder)), asked)
    vlm = fsr.vlm.load(str(folder))
    monkeypatch.setattr("accelerate.hooks.set_module_tensor_to_device", moved)
    with emulated(monkeypatch):
        spread(vlm, places(vlm.model, ()))
        alike(shown(vlm, asked), expected)


def alike(got, expected, at=""):
    """Equal but for the last digits of numbers that are no counts, for the sketch, which packs such digits, and for the
    device's name and memory."""
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), at
        for name in expected.keys() - {"device", "peak_bytes", "sketch"}:
            alike(got[name], expected[name], f"{at}.{name}")
    elif isinstance(expected, list):
        assert len(got) == len(expected), at
        for place, pair in enumerate(zip(got, expected, strict=True)):
            alike(*pair, f"{at}[{place}]")
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, rel=2e-3, abs=1e-6), at
    else:
        assert got == expected, at


MOST_WAITS = {"visionzip": 20}  # whose targets are counted; of no other loop
WAITING = (
    "fsr",
    "fsr-scan",
    "cdpruner",
    "divprune",
    "vispruner",
    "agilepruner",
    "todre",
    "mmtok",
    "holov",
    "fastvid",
    "visionzip",
    "saliency",
    "grid",
)


@pytest.mark.slow
def test_a_selection_waits_for_the_device_a_few_times_however_much_it_picks(monkeypatch):
    """The CPU and a device choose the same, and the number of waits depends on no number of tokens."""
    tokens = random_tokens(3, 6, 10)
    with emulated(monkeypatch):
        for name in WAITING:
            pruner, counted = make(name), []
            for budget in (6, 12, 40):
                away = tokens_on(tokens, "cuda:0")  # of which nothing was computed before
                WAITS.clear()
                pruner(away, budget)
                counted.append(list(WAITS))
                assert same_selection(name, tokens, away, budget) == []
            assert counted[0] == counted[1] == counted[2], name
            assert len(counted[0]) <= MOST_WAITS.get(name, 2), (name, counted[0])
            WAITS.clear()
            pruner.plan(away).to_json()
            assert len(WAITS) <= 12, (name, WAITS)
