"""The measurement of selection from clips at small size: its shape, its memory, what it refuses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

from fsr.bench import machine, video
from fsr.cli.bench import add_commands
from fsr.cli.main import main
from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY
from tests.looping import each


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_commands(parser)
    return parser.parse_args(["video", *argv])


def test_every_method_is_measured_in_both_modes(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    args = parse("--frames", "3", "--grid", "5x4", "--width", "16", "--threads", "1", "--repeats", "1", "--json", "-")
    assert args.run(args) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["n"], result["k"], result["d"], result["frames"], result["grid"]) == (60, 12, 16, 3, [5, 4])
    before = {name for name, kind in REGISTRY.items() if kind.stage == "before"}
    assert set(result["methods"]) == {*before, "fsr_all_budgets"}
    assert result["problems"] == {}
    for name, modes in result["methods"].items():
        assert set(modes) == {"global"} | (
            {"per_group"} if name not in REGISTRY or not REGISTRY[name].across_frames else set()
        )
        for mode, measured in modes.items():
            fsr = result["methods"]["fsr"][mode]
            assert measured["vs_gram"] == pytest.approx(measured["ms"] / result["gram_ms"], rel=0.15, abs=0.01)
            assert measured["vs_fsr"] == pytest.approx(measured["ms"] / fsr["ms"], rel=0.15, abs=0.01)
    assert torch.get_num_threads() == threads


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="NOT RUN: this system has no peak of its own")
def test_memory_is_that_of_one_matrix_at_most() -> None:
    """And the peak is real: the Gram product itself is one matrix."""
    result = video.measure(16, (10, 10), 64, 300, ["fsr"], 1, 1)
    for mode in ("global", "per_group"):
        assert result["methods"]["fsr"][mode]["peak_matrices"] < 1.5
    assert machine.reset_peak()
    held = machine.peak_bytes()
    matrix = torch.ones(4000, 4000)  # above what an allocator keeps for later
    assert machine.peak_bytes() - held > 0.9 * matrix.numel() * 4


def test_without_json_it_is_a_table_and_a_method_that_cannot_is_told(tmp_path: Path, capsys) -> None:
    file = tmp_path / "select.json"
    small = ("--frames", "2", "--grid", "3x3", "--width", "8", "--repeats", "1", "--threads", "1")
    assert main(["bench", "video", *small, "--methods", "fsr,fastv", "--json", str(file)]) == 0
    text = capsys.readouterr().out
    assert "2 frames of 3 x 3 tokens = 18, 4 kept" in text
    assert "fastv: " in text
    assert list(json.loads(file.read_text())["problems"]) == ["fastv"]


@each(
    ("change", "words"),
    [
        ({"budget": 2}, "3 <= budget"),
        ({"budget": 19}, "3 <= budget"),
        ({"frames": 0}, "at least one frame"),
        ({"repeats": 0}, "and repeat"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(change: dict, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        video.measure(**{"frames": 2, "grid": (3, 3), "width": 8} | change)
    with pytest.raises(SystemExit):
        parse("--grid", "14")


def test_the_default_case_is_that_of_llava_video() -> None:
    args = parse()
    assert (args.frames, args.grid, args.width, args.threads) == (32, (14, 14), 3584, 2)
