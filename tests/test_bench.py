"""The measurement of selection: its shape, its cases and what it refuses; the speed itself is for `make bench`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

from fsr.bench import select
from fsr.cli.bench import add_commands
from fsr.cli.main import main
from fsr.errors import InvalidInput
from fsr.pruners import for_pictures, make
from fsr.tokens import Layout, VisualTokens
from tests.looping import each


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_commands(parser)
    return parser.parse_args(argv)


def test_the_result_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    args = parse("select", "--cases", "90x12x16,200x40x8", "--threads", "1", "--repeats", "1", "--json", "-")
    assert args.run(args) == 0
    result = json.loads(capsys.readouterr().out)
    cases = {(c["n"], c["k"], c["d"], c["threads"]) for c in result["cases"]}
    assert cases == {(90, 12, 16, 1), (200, 40, 8, 1)}
    for case in result["cases"]:
        assert case["gram_ms"] > 0
        before = set(for_pictures())
        assert set(case["methods"]) == {*before, "fsr_all_budgets"}
        for method in case["methods"].values():
            assert method["vs_gram"] == pytest.approx(method["ms"] / case["gram_ms"], rel=0.15, abs=0.01)
            ratio = method["ms"] / case["methods"]["fsr"]["ms"]
            assert method["vs_fsr"] == pytest.approx(ratio, rel=0.15, abs=0.01)
    assert {(c["features"], c["scores"]) for c in result["cases"]} == set(select.VARIANTS)


def test_threads_are_as_they_were_afterwards() -> None:
    before = torch.get_num_threads()
    result = select.select([(9, 3, 2)], [before + 1], 1)
    assert torch.get_num_threads() == before
    assert {c["threads"] for c in result["cases"]} == {before + 1}


def test_without_json_it_is_a_table_and_a_file_can_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "select.json"
    assert main(["bench", "select", "--cases", "60x9x8", "--threads", "1", "--repeats", "1", "--json", str(file)]) == 0
    assert "fsr_all_budgets" in capsys.readouterr().out
    assert len(json.loads(file.read_text())["cases"]) == len(select.VARIANTS)


def test_the_default_cases_are_those_of_the_models() -> None:
    args = parse("select")
    assert args.cases == ((576, 64, 4096), (2880, 320, 4096), (6272, 1254, 3584))
    assert args.threads == (1, 2)


@each("case", [(10, 11, 4), (10, 2, 4), (10, 5, 0)])
def test_a_case_that_makes_no_sense_is_refused(case: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidInput):
        select.select([case], [1], 1)


@each(
    "argv",
    [["select", "--cases", "576x64"], ["select", "--cases", "axbxc"], ["select", "--threads", "x"], ["nothing"]],
)
def test_arguments_that_cannot_be_read_end_the_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(*argv)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_third_of_the_budget_is_focus_and_few_rows_are_computed() -> None:
    n, k = 576, 64
    generator = torch.Generator().manual_seed(0)
    saliency, relevance = select.third(n, k, generator)
    for make_features in select.FEATURES.values():
        tokens = VisualTokens(
            make_features(n, 128, generator), Layout.of_grid(24, 24), saliency=saliency, relevance=relevance
        )
        facts = make("fsr")(tokens, k).facts
        assert abs(facts["n_focus"] - k / 3) <= 3
        assert facts["rows_computed"] < n / 2


def test_features_in_regions_look_like_a_picture() -> None:
    x = torch.nn.functional.normalize(select.regions(576, 512, torch.Generator().manual_seed(0)), dim=1)
    cosines = x @ x.T
    neighbours = cosines.diagonal(1)
    assert 0.1 < cosines.median() < 0.6
    assert neighbours.median() > cosines.median() + 0.2


def test_influence_is_measured_against_one_prompt_at_a_time_and_against_the_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    threads = torch.get_num_threads()
    args = parse("why", "--scenes", "1", "--budget", "3", "--repeats", "1", "--threads", "1", "--json", "-")
    assert args.run(args) == 0
    result = json.loads(capsys.readouterr().out)
    for side in ("one_by_one", "answer"):
        assert result["ratio"][side] == pytest.approx(result["ms"][side] / result["ms"]["influence"], rel=0.01)
    assert torch.get_num_threads() == threads
    with pytest.raises(InvalidInput, match="at least 1"):
        parse("why", "--budget", "0").run(parse("why", "--budget", "0"))
