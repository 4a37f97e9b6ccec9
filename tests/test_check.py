"""`python -m fsr check`: tiny checkpoints of every family pass, and a library that misreads them does not."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import fsr.vlm
from fsr.check import checkpoint, reach, sign
from fsr.cli.main import main
from fsr.errors import InvalidInput
from fsr.vlm import anyres, geometry, llava_onevision, matrix, tower
from tests.proofs import CALLED, proves
from tests.tiny import save_tiny
from tests.tiny_families import save_next, save_onevision, save_qwen
from tests.tiny_today import EACH, ROWS

PARITY = ["all tokens", "kept tokens", "saliency", "attention", "video"]
NAMES = [*PARITY, "layout 1:1", "layout 3:1", "layout 1:3"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("checked")
    save_tiny(root / "llava")
    save_next(root / "next")
    save_qwen(root / "qwen")
    save_onevision(root / "onevision")
    for family, row in ROWS.items():
        row.save(root / family)
    shutil.copytree(root / "onevision", root / "llava-video")  # a conversion is told by its name
    return root


SLOWLY = [pytest.param(family, marks=pytest.mark.slow) for family in ("next", "onevision")]


@pytest.fixture(scope="module")
def subject(folders):
    return checkpoint.Subject(fsr.vlm.load(str(folders / "llava"), media_cache=0))


@proves("check")
@pytest.mark.parametrize("family", ["llava", *SLOWLY, "llava-video", "qwen", *EACH])
def test_a_sound_checkpoint_passes(folders, family, capsys, tmp_path):
    sent = tmp_path / "row.json"
    assert main(["check", str(folders / family), "--json", "-", "--report", str(sent), "--by", "Ada"]) == 0
    out, err = capsys.readouterr()
    (run,) = matrix.reports(tmp_path)
    assert (run["family"], run["by"], run["passed"]) == (CALLED.get(family, family), "Ada", True)
    assert str(folders) not in sent.read_text()
    result = json.loads(out)
    assert [line for line in err.splitlines() if line.startswith("checking")] == [f"checking {n}" for n in NAMES]
    assert result["passed"]
    assert result["dtype"] == "float32"
    found = {one["name"]: one for one in result["checks"]}
    assert list(found) == NAMES
    assert found.pop("video")["status"] == ("SKIP" if family in ("llava", "next", "llava-video", "gemma3") else "PASS")
    assert {one["status"] for one in found.values()} == {"PASS"}
    rounding = 1e-5 if family not in ROWS or ROWS[family].masks else 1e-4  # linear attention adds up chunk by chunk
    assert max(found[name]["figure"] for name in PARITY[:3]) < rounding
    assert "10 of 10 tokens the same" in found["kept tokens"]["detail"]
    assert ("skipped" in result["relevance_sign"]) == (family != "llava")
    assert reach.ATTENTION not in ALL_ATTENTION_FUNCTIONS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"family": "gpt"}, "must be one of llava"),
        ({"passed": False}, "against its own checks"),
        ({"by": "x" * 300}, "at most 200 characters"),
        ({"checks": [{"name": "a", "status": "PASS", "figure": float("nan"), "limit": 1.0}]}, "a figure and a limit"),
        ({"more": 1}, "is no report"),
    ],
)
def test_what_is_no_report_is_refused_with_one_sentence(change, words):
    texts = dict.fromkeys(matrix.TEXTS, "x") | {"family": "llava"}
    good = {**texts, "passed": True, "checks": [{"name": "a", "status": "PASS", "figure": 0.0, "limit": 1.0}]}
    assert matrix.checked("good.json", good) == good
    with pytest.raises(InvalidInput, match=words):
        matrix.checked("bad.json", good | change)


@pytest.mark.slow
def test_the_embedded_model_passes_and_its_sign_is_the_better_one(capsys, monkeypatch):
    monkeypatch.setattr(sign, "PICTURES", 4)
    assert main(["check", "shapes"]) == 0
    out = capsys.readouterr().out
    assert "FAIL" not in out
    assert "in use +1, the better one" in out


def test_half_precision_has_wider_limits(folders):
    result = checkpoint.check(str(folders / "llava"), dtype="bfloat16")
    limits = {one["name"]: one["limit"] for one in result["checks"]}
    assert (limits["all tokens"], limits["saliency"], limits["attention"]) == (5e-2, 1e-1, 0.9)


def test_a_check_leaves_the_model_as_it_was(subject):
    vlm = subject.vlm
    vision = vlm.vision
    before = vision.config._attn_implementation
    for one in (checkpoint.saliency, checkpoint.attention):
        one(subject)
    checkpoint.layout(vlm, "1:1")
    assert vision.config._attn_implementation == before
    assert "_read" not in vars(vlm)


def test_wrong_saliency_is_found(subject, monkeypatch):
    right = tower.cls_attention
    monkeypatch.setattr(tower, "cls_attention", lambda q, k, heads, scale=None: right(q, k, 1, scale))
    assert checkpoint.saliency(subject).status == "FAIL"


def test_a_wrong_layout_is_found(subject, monkeypatch):
    right = geometry.layout

    def turned(*args):
        one = right(*args)
        rect = one.rect.view(5, 5, 4).transpose(0, 1).reshape(25, 4)
        return type(one)(one.frame, one.row, one.col, rect, one.grids)

    monkeypatch.setattr(geometry, "layout", turned)
    finding = checkpoint.layout(subject.vlm, "1:1")
    assert finding.status == "FAIL"
    assert finding.figure < 0.5


def test_wrong_positions_are_found_with_tokens_dropped_only(subject, monkeypatch):
    monkeypatch.setattr(subject.vlm, "kept_positions", "original")
    kept = checkpoint.Subject(subject.vlm)
    right = checkpoint.kept_tokens(kept)
    assert right.status == "PASS"  # the reference goes by what the adapter promises
    monkeypatch.setattr(kept.vlm, "masked_positions", lambda inputs, mask: (mask.cumsum(dim=1) - 1).clamp(min=0))
    assert checkpoint.kept_tokens(kept).status == "FAIL"
    assert checkpoint.all_tokens(kept).status == "PASS"


def test_tokens_in_a_wrong_order_are_found(subject, monkeypatch):
    right = type(subject.vlm).language_inputs

    def swapped(self, encoding, selection):
        inputs = right(self, encoding, selection)
        places = encoding.visual[:2].tolist()
        inputs["inputs_embeds"][:, places] = inputs["inputs_embeds"][:, places[::-1]]
        return inputs

    monkeypatch.setattr(type(subject.vlm), "language_inputs", swapped)
    assert checkpoint.all_tokens(checkpoint.Subject(subject.vlm)).status == "FAIL"


def test_a_newline_for_an_empty_row_is_found(folders, monkeypatch):
    vlm = fsr.vlm.load(str(folders / "next"), media_cache=0)
    right = anyres.with_newlines
    monkeypatch.setattr(anyres, "with_newlines", lambda rows: (lambda p, n, t: (p, n.clamp(max=-1), t))(*right(rows)))
    assert checkpoint.kept_tokens(checkpoint.Subject(vlm)).status == "FAIL"


def test_frames_in_a_wrong_order_are_found(folders, monkeypatch):
    vlm = fsr.vlm.load(str(folders / "onevision"), media_cache=0)
    assert checkpoint.video(vlm).status == "PASS"
    right = llava_onevision.LlavaOnevision.video_pixels
    monkeypatch.setattr(llava_onevision.LlavaOnevision, "video_pixels", lambda self, f: right(self, f[::-1]))
    assert checkpoint.video(vlm).status == "FAIL"


def test_a_check_that_breaks_is_a_failure_of_the_model(folders, monkeypatch, capsys):
    monkeypatch.setattr(tower, "cls_attention", lambda *args: torch.zeros(1, 3))
    assert main(["check", str(folders / "llava")]) == 1
    out = capsys.readouterr().out
    assert "FAIL  saliency" in out
    assert "ended with" in out


def test_an_object_and_its_patches_are_known():
    picture, thing = sign.scene(0)
    assert picture.size == (336, 336)
    middle = [thing.x - 4, thing.y - 4, thing.x + 4, thing.y + 4]
    hollow = thing.shape == "ring"
    assert (sign._covered(thing, middle) > 0.9) != hollow
    assert sign._covered(thing, [0.0, 0.0, 1.0, 1.0]) == 0.0
    assert sign._covered(thing, [float("nan")] * 4) == 0.0


def test_a_model_that_cannot_be_loaded_is_one_sentence(tmp_path, capsys):
    assert main(["check", str(tmp_path)]) == 2
    at_work, error = capsys.readouterr().err.splitlines()
    assert at_work == f"loading {tmp_path}"
    assert error.startswith("error: ")
