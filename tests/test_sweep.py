"""Sweeps: metrics, data of every kind, rows that equal single runs, and a folder that survives whatever ends it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image

from app.settings import ROOT
from fsr.bench.fidelity import Reference
from fsr.cli.main import main
from fsr.errors import FsrError, InvalidInput
from fsr.pruners import make
from fsr.sweep import data, metrics, report, run, store
from fsr.sweep.measure import Asked, rows_of
from fsr.sweep.wanted import Wanted
from fsr.vlm.answers import greedy_answer
from tests.looping import each
from tests.tiny_families import noise

METHODS = {"fsr": make("fsr"), "random": make("random"), "visionzip": make("visionzip"), "fastv": make("fastv")}


@each(
    ("name", "answer", "known", "score"),
    [
        ("exact", "The Cat.", ["cat"], 1),
        ("exact", "1,000", ["1000"], 1),
        ("exact", "two", ["2"], 1),
        ("exact", "3.5", ["35"], 0),
        ("vqa", "red", ["red"] * 2 + ["blue"] * 8, (2 * 1 / 3 + 8 * 2 / 3) / 10),
        ("vqa", "blue", ["red"] * 2 + ["blue"] * 8, 1),
        ("anls", "coca cola", ["Coca Colas"], 0.9),
        ("anls", "x", ["coca"], 0),
        ("choice", "(b) the car", ["B"], 1),
        ("choice", "The answer is C.", ["C"], 1),
        ("choice", "a car", ["C"], 0),
        ("yesno", "Yes, it is", ["yes"], 1),
        ("yesno", "yellow", ["yes"], 0),
        ("list", "a ring, two dots", ["two dots, a ring"], 1),
        ("list", "a ring", ["two dots, a ring"], 0),
    ],
)
def test_metrics_score_as_their_papers_say(name, answer, known, score):
    assert metrics.metric(name)(answer, known) == pytest.approx(score)


@pytest.fixture
def folder(tmp_path):
    """Six questions, of which three cannot be asked."""
    for name in ("one.png", "two.png"):
        noise(120, 90, len(name)).save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"no picture at all")
    rows = [
        {"image": "one.png", "question": "What is it?", "answers": ["x", "y"], "kind": "a", "size": 3},
        {"image": "missing.png", "question": "What is it?", "answer": "x"},
        {"image": "bad.png", "question": "What is it?"},
        {"image": "two.png", "question": "Where?", "kind": "<b>&", "size": float("inf")},
        {"image": "two.png"},
        {"image": "one.png", "question": "Which?", "answer": "x"},
    ]
    (tmp_path / "data.jsonl").write_text("\n".join([*(json.dumps(row) for row in rows), "{broken"]))
    return tmp_path


def test_data_of_every_kind_is_read_in_its_order(folder):
    (folder / "index.json").write_text(json.dumps([{"image": "one.png", "question": "What?"}]))
    with (folder / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "question", "answers"], ["one.png", "What?", '["a", "b"]']])
    import pyarrow as pa

    pq.write_table(pa.table({"path": ["one.png"], "text": ["What?"], "answer": ["a"]}), folder / "data.parquet")
    lines = data.opened(str(folder / "data.jsonl"))
    items = list(lines.items(0, lines.count))
    assert [bool(item.problem) for item in items] == [False, False, False, False, True, False, True]
    assert items[0].columns == {"kind": "a", "size": 3.0}
    assert items[3].columns == {"kind": "<b>&", "size": None}
    assert items[0].answers == ("x", "y")
    for name, answers in (("", ()), ("data.csv", ("a", "b")), ("data.parquet", ("a",))):
        (item,) = (found := data.opened(str(folder / name))).items(0, found.count)
        assert (item.media, item.question, item.answers) == (folder / "one.png", "What?", answers)
    (scene,) = data.opened("shapes:9").items(8, 9)
    assert isinstance(scene.media, Image.Image)
    assert scene.columns["type"]
    for name in (str(folder / "one.png"), "shapes:0", "shapes:many", "no/such-data"):
        with pytest.raises(InvalidInput):
            data.opened(name)


def test_rows_of_a_file_are_read_where_they_are_asked_for(tmp_path):
    """In any order, though records hold lines, blank lines are none, and Parquet has groups of rows."""
    import pyarrow as pa

    texts = [f"{i}, {'ä' * (i % 7)}\n{i}" if i % 3 else f"{i}" for i in range(700)]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "question"], *(["x.png", text] for text in texts)])
    lines = "\n\n".join(json.dumps({"image": "x.png", "question": text}, ensure_ascii=False) for text in texts)
    (tmp_path / "a.jsonl").write_text(lines)
    pq.write_table(pa.table({"image": ["x.png"] * 700, "question": texts}), tmp_path / "a.parquet", row_group_size=100)
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        found = data.opened(str(tmp_path / name))
        assert found.count == 700
        for start, stop in ((0, 3), (350, 360), (95, 105), (690, 800), (0, 700)):
            assert [item.question for item in found.items(start, stop)] == texts[start:stop]
            assert [item.index for item in found.items(start, start + 1)] == [start]
    before = data.opened(str(tmp_path / "a.jsonl")).digest
    (tmp_path / "a.jsonl").write_text(lines + "\n{}")
    assert data.opened(str(tmp_path / "a.jsonl")).digest != before


def test_rows_equal_single_runs(tiny_vlm, folder):
    asked = Asked(tiny_vlm, METHODS, [12, 3, 40], metrics.exact, max_new_tokens=5)
    (item,) = data.opened(str(folder / "data.jsonl")).items(0, 1)
    rows = rows_of(asked, item)
    assert [row["method"] for row in rows[:1]] == ["full"]
    with_problems = [row for row in rows if row.get("problem")]
    assert {row["budget"] for row in with_problems if row["method"] != "fastv"} == {40}
    needs = frozenset().union(*(pruner.requires for pruner in METHODS.values()))
    encoding = tiny_vlm.encode(tiny_vlm.encode_media([Image.open(item.media)], needs=needs), item.question, needs)
    reference = Reference(tiny_vlm, encoding, greedy_answer(tiny_vlm, encoding, 5))
    checked = 0
    for row in rows[1:]:
        if row.get("problem"):
            continue
        selection = METHODS[row["method"]](encoding.tokens, row["budget"])
        *_, step = tiny_vlm.generate(encoding, selection, 5)
        assert row["answer"] == step.text
        assert row["agrees"] == (step.text == rows[0]["answer"])
        assert row["kl"] == pytest.approx(reference.compare(selection).kl, abs=1e-5)
        checked += 1
    assert checked >= 7
    assert any(not row["agrees"] for row in rows if "agrees" in row)


def table(folder):
    """Every row, but for its times."""
    names = [name for name in store.ROW_FIELDS if name not in store.TIMES]
    return report.opened(folder).execute(f"SELECT {', '.join(names)} FROM rows ORDER BY ALL").fetchall()


def test_a_sweep_that_was_ended_goes_on_as_if_it_had_not_been(tiny_vlm, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "BLOCK", 2)
    asked = Asked(tiny_vlm, {"fsr": make("fsr")}, [12, 3], metrics.exact, max_new_tokens=3)
    questions = data.opened(str(folder / "data.jsonl"))
    whole = store.Store(tmp_path / "whole")
    wanted = Wanted(str(folder / "data.jsonl"), "tiny", {"fsr": {}}, [12, 3], "exact")
    settings = wanted.settings(questions)
    whole.begin(settings)
    told = []
    assert run.sweep(questions, asked, whole, say=told.append).problems == 4
    assert len(told) == 4
    assert "7 of 7 questions, 4 with a problem" in told[-1]

    ended = store.Store(tmp_path / "ended")
    ended.begin(settings)
    plain, written = store._table, []

    def full_disk(path, content):
        if len(written) == 3:  # in the middle of a block
            raise OSError(28, "No space left on device")
        written.append(path)
        plain(path, content)

    monkeypatch.setattr(store, "_table", full_disk)
    with pytest.raises(FsrError, match="No space left"):
        run.sweep(questions, asked, ended)
    monkeypatch.undo()
    monkeypatch.setattr(run, "BLOCK", 2)
    assert ended.done() == {0}
    (ended.folder / "blocks" / ".block=000001.999999999").mkdir()  # of a process that is no more
    for shard in (run.Shard(2, 2), run.Shard(1, 2)):
        run.sweep(questions, asked, ended, shard)
    assert table(ended.folder) == table(whole.folder)
    assert not list((ended.folder / "blocks").glob(".*"))
    assert run.sweep(questions, asked, ended).todo == 0
    with pytest.raises(InvalidInput, match="budgets differ"):
        ended.begin({**settings, "budgets": [5]})
    line = next(row for row in report.found(whole.folder)[0] if (row["method"], row["budget"]) == ("fsr", 12))
    assert line["questions"] == 3
    assert report.found(whole.folder)[1] == 4


@pytest.mark.slow
def test_a_killed_process_loses_nothing_and_writes_nothing_twice(tmp_path):
    argv = ["sweep", "shapes:96", "--methods", "fsr,random", "--budgets", "64,16", "--max-new-tokens", "24"]
    for kills, name in ((0, "whole"), (2, "killed")):
        command = [sys.executable, "-m", "fsr", *argv, "--out", str(tmp_path / name)]
        for kill in range(kills):
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while len(list((tmp_path / name / "blocks").glob("block=*"))) <= kill and process.poll() is None:
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert table(tmp_path / "killed") == table(tmp_path / "whole")
    assert len(table(tmp_path / "killed")) == 96 * 5


@pytest.mark.slow
def test_ray_workers_give_the_same_rows_though_one_is_killed(tmp_path):
    pytest.importorskip("ray", reason="NOT RUN: Ray is not installed (make test-ray)")
    from fsr.sweep.spread import spread

    wanted = Wanted("shapes:96", "shapes", {"fsr": {}, "random": {}}, [64, 16], "list", max_new_tokens=24)
    alone, many = store.Store(tmp_path / "alone"), store.Store(tmp_path / "many")
    for one in (alone, many):
        one.begin(wanted.settings(wanted.questions()))
    run.sweep(wanted.questions(), wanted.asked(), alone)
    killed = []

    def kill_one(line):
        told.append(line)
        if not killed:
            killed.append(
                next(process for process in psutil.process_iter() if process.name().startswith("ray::Worker"))
            )
            killed[0].kill()

    told: list[str] = []
    progress = spread(wanted, many, 2, say=kill_one)
    assert progress.done == 96
    assert any("a worker was lost" in line for line in told)
    assert table(many.folder) == table(alone.folder)


def test_the_command_tells_what_was_found_and_what_is_wrong(tiny_folder, folder, tmp_path, capsys):
    argv = ["sweep", str(folder / "data.jsonl"), "--model", str(tiny_folder), "--budgets", "6", "--max-new-tokens", "2"]
    assert main([*argv, "--out", str(tmp_path / "out"), "--limit", "4"]) == 0
    out, err = capsys.readouterr()
    assert "4 of 4 questions, 2 with a problem" in err
    assert "2 questions could not be asked" in out
    for more, words in (
        (["--out", str(tmp_path / "out")], "holds another sweep"),
        (["--out", str(tmp_path / "new"), "--metric", "taste"], "choose one of exact, vqa"),
        (["--out", str(tmp_path / "new"), "--shard", "3/2"], "i from 1 to n"),
        (["--out", str(tmp_path / "new"), "--limit", "0"], "at least 1"),
    ):
        assert main([*argv, *more]) == 2
        assert words in capsys.readouterr().err
