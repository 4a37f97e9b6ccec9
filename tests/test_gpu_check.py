"""`bench gpu`, rehearsed on the CPU with tiny sizes: every part, what is left when time runs short, what it says."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import fsr.vlm
from fsr.bench import gpu
from fsr.bench.parts import Part, Skipped, measured, passed, run
from fsr.bench.select import ONE_BY_ONE
from fsr.check import device
from fsr.cli.bench.gpu import QUOTED, table
from fsr.cli.main import main
from fsr.pruners import for_pictures
from tests.test_docs import made as made  # the fixture

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NAMES = [part.name for part in gpu.parts(gpu.REHEARSAL)]
FACTS = {"card": "a card", "rehearsal": True}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("gpu") / "new folder" / "rehearsal.json"


@pytest.fixture(scope="module")
def rehearsed(file):
    assert main(["bench", "gpu", "--rehearse", "--json", str(file)]) == 0
    return json.loads(file.read_text())


def test_every_part_is_measured_those_worth_most_first(rehearsed):
    parts = rehearsed["parts"]
    assert list(parts) == NAMES
    assert NAMES[0] == "checks"
    assert NAMES[-4:] == ["page", "llava-next-7b", "llava-video-7b", "qwen2.5-vl-7b"]
    assert rehearsed["complete"]
    assert not [name for name, part in parts.items() if {"skipped", "failed"} & part.keys()]
    assert all(part["seconds"] >= 0 for part in parts.values())


def test_checks_say_what_they_compared(rehearsed):
    part = rehearsed["parts"]["checks"]
    assert part["passed"]
    names = [check["name"] for check in part["checks"]]
    assert {"loops: farthest points", "waits", "selections in bfloat16", "hooks gone"} <= set(names)
    assert "answers to 2 questions about validation scenes" in names
    assert "memory back after 2 answers" in names


def test_selection_is_measured_with_both_kinds_of_scores(rehearsed):
    (name,) = (name for name in NAMES if name.startswith("selection"))
    cases = rehearsed["parts"][name]["cases"]
    assert [case["scores"] for case in cases] == ["third", "as_is"]
    before = set(for_pictures())
    for case in cases:
        assert set(case["methods"]) == {*before, "fsr_all_budgets"}
        assert {name for name, row in case["methods"].items() if "asking_ms" in row} == set(ONE_BY_ONE)
        for row in case["methods"].values():
            assert row["spread"][0] <= row["ms"] <= row["spread"][1]


@pytest.mark.parametrize(
    ("name", "budgets"),
    [
        ("llava-1.5-7b", [192, 128, 64]),
        ("llava-next-7b", [960, 640, 320]),
        ("llava-video-7b", [169, 135, 101, 68]),  # of two frames
        ("qwen2.5-vl-7b", [162, 130, 65, 32]),
    ],
)
def test_models_are_measured_at_the_papers_budgets(rehearsed, name, budgets):
    part = rehearsed["parts"][name]
    assert part["weights"] == "random"
    assert [row["budget"] for row in part["rows"]] == budgets
    for row in part["rows"]:
        assert row["vs_ideal"] > 0
        assert row["kv_mb"] < part["unpruned"]["kv_mb"]
        assert min(row["encode_ms"], row["select_ms"], row["prefill_ms"], row["decode_ms_per_token"]) > 0


def test_the_page_answers_whole_questions(rehearsed):
    part = rehearsed["parts"]["page"]
    assert (part["questions"], part["budget"]) == (2, 64)
    assert 0 < part["first_word"]["p50_ms"] <= part["whole_question"]["p50_ms"] <= part["whole_question"]["p95_ms"]


def test_what_it_ran_on_is_told_and_not_whose_it_is(rehearsed, file):
    assert rehearsed["rehearsal"] is True
    assert rehearsed["torch"] == torch.__version__
    assert {"card", "driver", "cuda", "transformers", "date", "commit"} <= rehearsed.keys()
    text = file.read_text()
    assert str(ROOT) not in text
    assert not re.search(r"/\w+/\w", text)
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)


def test_a_rehearsal_is_in_no_document_and_a_card_is(rehearsed, made):
    assert "REHEARSAL, no measurement" in table(rehearsed)
    card = {**rehearsed, "rehearsal": False, "card": "NVIDIA H100 80GB HBM3", "memory_gb": 85.0}
    section = made.on_gpus([card])
    assert "PASS  waits" in section
    assert QUOTED in section
    assert "REHEARSAL" not in section
    readme = made.readme((ROOT / "README.md").read_text(), [card])
    assert readme.count("| NVIDIA H100 80GB HBM3 |") == 4
    assert "576 -> 64" in readme
    assert made.NOT_YET not in readme


def test_a_card_names_its_file():
    assert gpu.slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"


# -- when something ends it


def quick(value=1):
    return lambda: {"value": value}


def test_without_time_every_part_says_so(tmp_path, capsys):
    file = tmp_path / "rehearsal.json"
    assert main(["bench", "gpu", "--rehearse", "--json", str(file), "--seconds", "0"]) == 0
    result = json.loads(file.read_text())
    assert list(result["parts"]) == NAMES
    assert all("0 s were left" in part["skipped"] for part in result["parts"].values())
    assert "skipped: it takes about" in capsys.readouterr().out


def test_a_part_is_not_begun_with_too_little_time_and_a_short_one_behind_it_is(tmp_path):
    parts = [Part("long", 1e9, quick()), Part("short", 0, quick())]
    result = run(parts, 60, tmp_path / "r.json", FACTS, lambda line: None)
    assert "it takes about 1000000000 s" in result["parts"]["long"]["skipped"]
    assert result["parts"]["short"]["value"] == 1


def test_a_part_that_takes_too_long_is_ended():
    def forever():
        while True:
            time.sleep(0.01)

    assert "the time was over" in measured(Part("endless", 0, forever), 0.05)["skipped"]
    assert measured(Part("quick", 0, quick()), 60)["value"] == 1
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_part_that_fails_leaves_the_others(tmp_path, capsys):
    def failing():
        raise ValueError("cannot read /some/one/secret.json\nand more")

    def missing():
        raise Skipped("it is not here.")

    parts = [Part("a", 0, failing), Part("b", 0, missing), Part("c", 0, quick(float("nan"))), Part("d", 0, quick(4))]
    result = run(parts, 60, tmp_path / "r.json", FACTS, lambda line: None)
    assert result["parts"]["a"]["failed"] == "ValueError: cannot read secret.json"
    assert result["parts"]["b"]["skipped"] == "it is not here."
    assert "ValueError" in result["parts"]["c"]["failed"]  # JSON has no NaN
    assert result["parts"]["d"]["value"] == 4
    assert json.loads((tmp_path / "r.json").read_text()) == result
    assert not passed(result)
    assert not passed({"parts": {"checks": {"passed": False}}})


KILLED = """
import sys
sys.modules.update(dict.fromkeys(["gradio", "cv2", "decord", "torchvision", "matplotlib", "accelerate", "pytest"]))
import os, signal
from pathlib import Path
import app.service, app.settings, fsr.cli.main
from fsr.bench import gpu
from fsr.bench.parts import Part, run
asked, about = gpu.questions(100)
parts = [
    Part("asked", 0, lambda: {"about": about, "questions": len(asked), "sides": sorted({p.size for p, _ in asked})}),
    Part("killed", 0, lambda: os.kill(os.getpid(), signal.SIGKILL)),
]
run(parts, 60, Path(sys.argv[1]), {"card": "a card"}, print)
"""


def test_a_killed_run_leaves_what_it_measured_and_needs_nothing_but_models(tmp_path):
    """The process has none of the packages that a bare machine lacks."""
    file = tmp_path / "killed.json"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -9, done.stderr
    result = json.loads(file.read_text())
    assert result["complete"] is False
    assert list(result["parts"]) == ["asked"]
    asked = result["parts"]["asked"]
    assert (asked["about"], asked["questions"], asked["sides"]) == ("the example pictures", 100, [[336, 336]])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_without_a_card_it_ends_with_one_sentence(capsys):
    assert main(["bench", "gpu"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no CUDA device here; --rehearse runs every part on the CPU with tiny sizes.\n"
    )


def test_a_rehearsal_says_where_it_writes(tmp_path, capsys):
    assert main(["bench", "gpu", "--rehearse"]) == 2
    assert "give the file to write with --json FILE" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["bench", "gpu", "--rehearse", "--json", str(tmp_path / "file" / "r.json"), "--seconds", "0"]) == 2
    assert "cannot be written" in capsys.readouterr().err


# -- checks that find something


def test_other_answers_hooks_and_memory_are_found(word_vlm, monkeypatch):
    monkeypatch.setattr(device, "NEW_TOKENS", 3)
    asked = [(Image.new("RGB", (60, 40), "red"), "what is it?")]
    assert device.same_answers(word_vlm, word_vlm, asked) == []
    kept = []

    def greedy(self, *given, **inputs):
        self.model.register_forward_hook(lambda *_: None)
        kept.append(torch.zeros(500_000))
        yield from original(self, *given, **inputs)

    original = type(word_vlm.decoder).greedy
    with monkeypatch.context() as changed:
        changed.setattr(type(word_vlm.decoder), "greedy", greedy)
        assert "left" in device.hooks_gone(word_vlm, *asked[0])[0]
        (problem,) = device.memory_back(word_vlm, asked, 2)
        assert re.search(r"\d+\.\d MB more are held after 4 answers", problem)
    word_vlm.decoder.model._forward_hooks.clear()
    texts = iter(["red", "red", "blue", "red"])
    monkeypatch.setattr(fsr.vlm.base.VLM, "text", lambda self, ids, whole=True: next(texts) if whole else "")
    (problem,) = device.same_answers(word_vlm, word_vlm, asked)
    assert "with all tokens: 'red', on the CPU 'blue'" in problem
