"""Our models and methods in lmms-eval, and what it logs as a sweep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import ROOT
from fsr.cli.main import main
from fsr.errors import InvalidInput
from fsr.lmms.asking import Amount, Asker, Question, Wish, listed
from fsr.lmms.page import kept, page
from fsr.lmms.paper import How, done
from fsr.lmms.tables import TABLES, Run, Table, Task
from fsr.pruners import REGISTRY, make
from fsr.sweep import report
from fsr.sweep.library import Library
from fsr.sweep.view import Chosen
from tests.tiny_families import noise

PICTURE = noise(120, 90, 1)


def asker(vlm, method="fsr", amount=None):
    return Asker(vlm, make(method), amount or Amount(budget=5), 4)


def test_answers_are_those_of_the_library_cut_where_the_task_says(tiny_vlm):
    encoding = tiny_vlm.encode(tiny_vlm.encode_media([PICTURE]), "What is it?")
    for method, amount, selection in (
        ("fsr", Amount(budget=5), make("fsr")(encoding.tokens, 5)),
        ("random", Amount(share=0.25), make("random")(encoding.tokens, round(len(encoding.tokens) / 4))),
        ("full", None, None),
        ("fsr", Amount(budget=10_000), None),
    ):
        *_, step = tiny_vlm.generate(encoding, selection, 6)
        wishes = [Wish(6), Wish(6, (step.text[2],)), Wish(3)]
        asked = Question("<image>\nWhat is it?", [PICTURE])
        texts = asker(tiny_vlm, method, amount).answers([(asked, wish) for wish in wishes], 2)
        assert texts[0] == step.text
        assert texts[1] == step.text[: step.text.index(step.text[2])]
        assert step.text.startswith(texts[2])


def test_likelihoods_are_those_of_forced_answers(tiny_vlm):
    one = asker(tiny_vlm)
    asked = Question("What?", [PICTURE, noise(60, 60, 2)])
    encoding, chosen = one.pruned(asked)
    assert len(encoding.media.layout.grids) == 2
    ids = tiny_vlm.tokenizer("yes no", add_special_tokens=False)["input_ids"]
    (((forced,),),) = [list(tiny_vlm.forced_batches(encoding, [chosen], ids))]
    log_prob, greedy = one.log_likelihood(asked, "yes no")
    assert log_prob == pytest.approx(forced.log_prob, abs=1e-4)
    assert greedy == forced.agrees


def test_what_cannot_be_asked_is_one_sentence(tiny_vlm):
    for media, words in (([], "nothing to prune"), ([{"array": [0.0]}], "not dict"), (["no/such.png"], "no")):
        with pytest.raises(InvalidInput, match=rf"pope, question 3: .*{words}"):
            asker(tiny_vlm).pruned(Question("What?", media, "pope, question 3"))
    for settings in ({"temperature": 0.7}, {"do_sample": True}, {"num_beams": 5}, {"max_new_tokens": "many"}):
        with pytest.raises(InvalidInput):
            Wish.of(settings)
    assert Wish.of({"temperature": 0, "until": ["\n", ""], "max_new_tokens": 40}, 16) == Wish(16, ("\n",))
    for values in ({}, {"budget": 5, "share": 0.5}, {"budget": 0}, {"budget": "5"}, {"share": 1.5}):
        with pytest.raises(InvalidInput):
            Amount(**values)
    with pytest.raises(InvalidInput, match="either budget"):
        Asker(tiny_vlm, make("fsr"), None, 4)
    assert listed([[PICTURE], None, (PICTURE,)]) == [PICTURE, PICTURE]


@pytest.mark.slow
def test_a_clip_is_read_by_its_frames(tiny_vlm):
    clip = next(path for path in sorted((ROOT / "assets").rglob("*.mp4")))
    encoding, _ = asker(tiny_vlm).pruned(Question("What?", [str(clip)]))
    assert len(encoding.media.layout.grids) == 4
    with pytest.raises(InvalidInput, match="together"):
        asker(tiny_vlm).pruned(Question("What?", [str(clip), PICTURE]))


def logged(folder: Path, date: str, model_args: str, scores: dict[int, tuple[str, float]], name: str = "fsr") -> None:
    """A run as lmms-eval 0.7.3 writes it."""
    folder.mkdir(exist_ok=True)
    config = {"config": {"model": name, "model_args": model_args}, "results": {}}
    (folder / f"{date}_results.json").write_text(json.dumps(config))
    samples = [
        {
            "doc_id": number,
            "target": "yes",
            "filtered_resps": answer,
            "doc_hash": "x",
            "input": f"Question {number}?",
            "acc": {"score": score, "category": f"kind {number % 2}", "prediction": answer},
        }
        for number, (answer, score) in scores.items()
    ]
    (folder / f"{date}_samples_pope.jsonl").write_text("".join(json.dumps(one) + "\n" for one in samples))


def test_logs_of_an_unpruned_and_pruned_runs_are_a_sweep(tmp_path, capsys):
    logs = tmp_path / "logs"
    logged(logs, "1", "pretrained=m,method=fsr,budget=64", {0: ("no", 0.0), 1: ("yes", 1.0)})
    argv = ["sweep", "--from-lmms-eval", str(logs), "--out"]
    assert main([*argv, str(tmp_path / "a")]) == 2
    assert "lacks an unpruned run" in capsys.readouterr().err
    logged(logs, "2", "pretrained=m", {0: ("yes", 1.0), 1: ("yes", 1.0), 40: ("no", 0.0)}, "llava_hf")
    logged(logs, "3", "pretrained=m,method=fsr,keep=0.2,rho=0.8", {0: ("yes", 1.0)})
    assert main([*argv, str(tmp_path / "a")]) == 0
    assert "score" in capsys.readouterr().out
    rows = report.opened(tmp_path / "a").execute(
        "SELECT question, data_category, method, r.budget, answer, agrees, score FROM rows r JOIN items USING (item)"
        " ORDER BY item, method, budget"
    )
    assert rows.fetchall() == [
        ("Question 0?", "kind 0", "fsr", 64, "no", False, 0.0),
        ("Question 0?", "kind 0", "fsr rho=0.8 keep=0.2", None, "yes", True, 1.0),
        ("Question 0?", "kind 0", "full", None, "yes", True, 1.0),
        ("Question 1?", "kind 1", "fsr", 64, "yes", True, 1.0),
        ("Question 1?", "kind 1", "full", None, "yes", True, 1.0),
        ("Question 40?", "kind 0", "full", None, "no", True, 0.0),
    ]
    line = next(row for row in report.found(tmp_path / "a")[0] if row["budget"] == 64)
    assert (line["questions"], line["lost"], line["won"], line["kl"]) == (2, 1, 0, None)
    library = Library([tmp_path / "a"])
    (sweep,) = library.sweeps().values()
    found = library.view(sweep).questions(Chosen("fsr", 64), sort="kl")
    assert [row["flip"] for row in found["rows"]] == ["lost", "same"]
    with pytest.raises(InvalidInput):
        library.item(sweep, 0)
    library.close()
    logged(logs, "4", "pretrained=other,method=full", {0: ("yes", 1.0)})
    (logs / "5_results.json").write_text("{}")
    (logs / "5_samples_pope.jsonl").write_text("{}")
    for remove, words in ((None, "no result of lmms-eval"), ("5", "several models")):
        if remove:
            (logs / f"{remove}_results.json").unlink()
        assert main([*argv, str(tmp_path / "b")]) == 2
        assert words in capsys.readouterr().err
    assert main([*argv, str(tmp_path / "b"), "shapes:2"]) == 2


def test_a_table_of_the_paper_is_run_once_and_its_page_is_the_measured_one(tmp_path, capfd):
    task = Task("None", "no_such_task", 10, ("a", "b"))
    table = Table(1, "", "llava-hf/llava-1.5-7b-hf", 576, "", (task,), (Run("full"), Run("fsr", "budget=64")))
    how = How(tmp_path / "paper", gpus=2)
    words = how.command(table, task, table.runs[1])
    assert "pretrained=llava-hf/llava-1.5-7b-hf,method=fsr,budget=64" in words
    assert words[1:5] == ["-m", "accelerate.commands.launch", "--num_processes", "2"]
    for run, value in zip(table.runs, (4.0, 3.0), strict=True):
        place = how.place(table, task, run) / "model"
        place.mkdir(parents=True)
        metrics = {"a,none": value, "b,none": 1.0, "alias": "x"}
        (place / "1_results.json").write_text(json.dumps({"results": {task.name: metrics}}))
    found = done(table, how)
    assert "lmms_eval" not in capfd.readouterr().out
    assert kept(table, found, table.runs[1]) == pytest.approx(80)
    assert (ROOT / "docs/paper.md").read_text() == page(), "make docs writes it"
    for one in TABLES.values():
        assert {run.method for run in one.runs} <= {*REGISTRY}
        assert len({run.name for run in one.runs}) == len(one.runs)


@pytest.mark.slow
def test_a_task_of_ours_scores_in_lmms_eval_as_in_a_sweep(tmp_path):
    """End to end and offline: unpruned in one process, pruned in two under `accelerate launch`."""
    pytest.importorskip("lmms_eval", reason="NOT RUN: lmms-eval is not installed (make test-lmms-eval)")
    scenes = 24
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "OMP_NUM_THREADS"), "1")

    def python(*words: str) -> None:
        environment = os.environ | offline | {"HF_HOME": str(tmp_path / "home")}
        done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr

    python("-m", "fsr.lmms.scenes", str(scenes), str(tmp_path / "task"))
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    for start, more in (([], "method=full"), (launch, "method=fsr,budget=16")):
        task = ["--include_path", str(tmp_path / "task"), "--tasks", "fsr_shapes", "--batch_size", "8"]
        out = ["--output_path", str(tmp_path / "logs"), "--log_samples"]
        python(*start, "-m", "lmms_eval", "--model", "fsr", "--model_args", f"pretrained=shapes,{more}", *task, *out)
    for name, data in (("scenes", f"shapes:{scenes}"), ("saved", str(tmp_path / "task" / "data"))):
        argv = ["sweep", data, "--budgets", "16", "--metric", "list", "--out", str(tmp_path / name)]
        python("-m", "fsr", *argv)
    python("-m", "fsr", "sweep", "--from-lmms-eval", str(tmp_path / "logs"), "--out", str(tmp_path / "read"))

    def answers(name: str) -> list[tuple[object, ...]]:
        found = report.opened(tmp_path / name).execute(
            "SELECT method, question, answer, score FROM rows JOIN items USING (item) ORDER BY item, method"
        )
        return found.fetchall()

    assert len(answers("scenes")) == 2 * scenes
    assert answers("read") == answers("saved") == answers("scenes")
    of_sweep = {row["method"]: row["score"] for row in report.found(tmp_path / "scenes")[0]}
    for path in (tmp_path / "logs").rglob("*_results.json"):
        result = json.loads(path.read_text())
        method = "full" if "method=full" in result["config"]["model_args"] else "fsr"
        assert result["results"]["fsr_shapes"]["score,none"] == pytest.approx(of_sweep[method])
