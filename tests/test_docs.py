"""The documents: short, true to the commands and numbers that they name, and no code in them that does not run."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from fsr.bench.architectures import ARCHITECTURES
from fsr.cli.main import build_parser
from fsr.vlm.catalogue import CATALOGUE
from fsr.vlm.matrix import PROVEN
from tests.proofs import COLLECTED, TABLE

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readme_takes_two_minutes():
    assert len(README.split("---", 2)[2].split()) <= 1200


@pytest.mark.slow
def test_the_readmes_code_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "yellow" in done.stdout
    assert "prefill_ms" in done.stdout


@pytest.fixture(scope="module")
def made():
    """docs/make.py"""
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "docs" / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_measurements_are_those_on_disk(made):
    assert (ROOT / "docs" / "measurements.md").read_text() == made.page(), "run make docs"
    text = (ROOT / "docs" / "world.md").read_text()
    assert made.world(text) == text, "run make docs"


ON_A_CPU = {  # what the picker says how long it takes of -> where that was measured
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": "prefill-llava-onevision-0.5b.json",
    "HuggingFaceTB/SmolVLM2-256M-Video-Instruct": "prefill-smolvlm2-256m.json",
}


@pytest.mark.parametrize(("name", "file"), ON_A_CPU.items())
def test_the_seconds_of_a_small_model_are_those_measured(made, name, file):
    result = made.read(f"measurements/{file}")
    full, ninth = (
        result["unpruned"],
        next(row for row in result["rows"] if row["budget"] == result["visual_tokens"] // 9),
    )
    first = full["vision_ms"] + full["question_ms"]
    seconds = [
        (first + row.get("select_ms", 0) + row["prefill_ms"] + 19 * row["decode_ms_per_token"]) / 1e3
        for row in (full, ninth)
    ]
    assert CATALOGUE[name].on_cpu_s == tuple(map(round, seconds))
    pixels = result["photograph"]["pixels"] if "photograph" in result else ARCHITECTURES[result["architecture"]].picture
    assert CATALOGUE[name].on_cpu_pixels == tuple(pixels)
    assert {name for name, one in CATALOGUE.items() if one.on_cpu_s} == ON_A_CPU.keys()


def test_the_table_of_families_is_what_the_tests_prove(made, request):
    """Those of the files that are run; the whole of it where all are."""
    text = (ROOT / "docs" / "models.md").read_text()
    assert made.models(text) == text, "run make docs"
    written, fresh, run = json.loads(PROVEN.read_text()), request.config.stash[TABLE], request.config.stash[COLLECTED]
    here = {
        family: {
            column: tests
            for column, names in columns.items()
            if (tests := [one for one in names if one.partition("::")[0] in run])
        }
        for family, columns in written.items()
    }
    assert {family: columns for family, columns in here.items() if columns} == fresh, "run make docs"


def test_the_gpu_table_is_that_on_disk(made):
    assert made.readme(README, made.cards()) == README, "run make docs"
    unmeasured = not made.cards()
    assert (made.NOT_YET in README) == unmeasured
    assert ("has not been run on a GPU yet" in (ROOT / "CONTRIBUTING.md").read_text()) == unmeasured


def test_the_readme_tells_where_fsr_is_behind_as_measured(made):
    behind = made.standing(made.read("assets/shapes/evaluation.json"))[0]
    assert behind.removeprefix("* ").removesuffix(".").replace("*", "") in " ".join(README.split())


def test_links_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_commands_in_the_documents_exist():
    targets = [one.replace("%", "*") for one in re.findall(r"^([\w%-]+):", (ROOT / "Makefile").read_text(), re.M)]
    known = next(action.choices for action in build_parser()._actions if action.choices)
    for page in PAGES:
        text = page.read_text()
        for command in re.findall(r"python -m fsr (\w+)", text):
            assert command in known, f"{page.name} names python -m fsr {command}"
        for command in re.findall(r"[`\n]make ([\w-]+)", text):
            assert any(fnmatch(command, target) for target in targets), f"{page.name} names make {command}"


def test_modules_in_the_documents_exist():
    for page in PAGES:
        for path in re.findall(r"`((?:fsr|app|tests|training|docs)/[\w/.]*)`", page.read_text()):
            assert (ROOT / path).exists(), f"{page.name} names {path}"
