"""The command line as users call it: in a process of its own where that matters, otherwise through `main`."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from fsr.cli.answer import parsed
from fsr.cli.inputs import progress_line
from fsr.cli.main import main
from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY
from fsr.vlm.progress import LoadProgress
from tests.looping import each
from tests.tiny_families import save_next


@pytest.fixture(scope="module")
def picture_file(picture, tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "noise.png"
    picture.save(path)
    return str(path)


@pytest.fixture
def run(capsys):
    """Run a command line; gives exit code, standard output and standard error."""

    def call(*arguments: object):
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_answer_prints_both_answers_and_their_costs(run, picture_file, word_folder):
    code, out, err = run("answer", picture_file, "what zebra?", "--model", word_folder, "--max-new-tokens", 4)
    assert (code, err) == (0, "")
    assert "full, 25 of 25 visual tokens" in out
    assert "fsr, 3 of 25 visual tokens" in out  # a ninth
    for unit in ("encode", "prefill", "ms/token", "KV cache", "MB", "estimated", "GFLOP", "k_focus"):
        assert unit in out
    assert "does not know: zebra" in out


def test_answer_json_is_the_whole_record(run, picture_file, tiny_folder):
    command = ("answer", picture_file, "what?", "--model", tiny_folder, "--budget", 8, "--max-new-tokens", 4, "--json")
    code, out, _ = run(*command, "--set", "alpha=2", "--set", "focus_cap=0.5")
    record = json.loads(out)
    assert code == 0
    assert set(record["answers"]) == {"full", "fsr"}
    assert record["visual_tokens"] == 25
    assert (record["parameters"]["alpha"], record["parameters"]["focus_cap"]) == (2, 0.5)
    answer = record["answers"]["fsr"]
    assert (answer["budget"], answer["cost"]["visual_tokens"], answer["cost"]["new_tokens"]) == (8, 8, 4)
    assert answer["facts"]["n_focus"] <= 4
    assert answer["cost"]["select_ms"] > 0
    assert record["pathways"]["relevance"].startswith("cosine")


@pytest.mark.slow
@each("method", ["fsr", "visionzip", "holov", "fastv", "full"])
def test_every_kind_of_method_answers(run, picture_file, tiny_folder, method):
    command = ("answer", picture_file, "what?", "--model", tiny_folder, "--budget", 12, "--max-new-tokens", 2)
    code, out, _ = run(*command, "--method", method, "--only", "--json", "-")
    assert code == 0
    assert list(json.loads(out)["answers"]) == [method]


def test_a_budget_inside_the_language_model_is_an_average(run, picture_file, tiny_folder):
    command = ("answer", picture_file, "what?", "--model", tiny_folder, "--method", "fastv", "--only", "--budget")
    code, out, _ = run(*command, 13, "--set", "layer=12", "--json", "-")
    answer = json.loads(out)["answers"]["fastv"]
    assert (code, answer["budget"], answer["cost"]["visual_tokens"]) == (0, 13, 13)
    assert (answer["facts"]["average"], answer["facts"]["kept_last"]) == (13, 7)
    code, _, err = run(*command, 8)
    assert (code, "over 3 layers" in err, "choose a budget from 9 to 25" in err) == (2, True, True)


def test_mode_share_and_relevance_reach_the_model(run, picture_file, tmp_path):
    next_folder = save_next(tmp_path / "next")
    command = ("answer", picture_file, "what?", "--model", next_folder, "--budget", 25, "--max-new-tokens", 1, "--json")
    code, out, _ = run(*command, "--mode", "paper", "--share", "per_group", "--method", "random", "--only")
    record = json.loads(out)
    assert (code, record["visual_tokens"], record["share"]) == (0, 5 * 25, "per_group")
    assert record["answers"]["random"]["budget"] == 25
    code, out, _ = run(*command, "--relevance", "llm_embedding", "--only")
    assert (code, json.loads(out)["pathways"]["relevance"].startswith("cosine of every visual token")) == (0, True)
    assert run(*command, "--share", "both") == (
        2,
        "",
        "error: the budget's share must be one of global, per_group, not 'both'.\n",
    )
    assert run(*command, "--mode", "square")[2] == "error: mode must be one of native, paper, not 'square'.\n"


def test_a_terminal_is_told_how_far_a_load_is():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert progress_line(io.StringIO()) is None
    terminal = Terminal()
    show = progress_line(terminal)
    show(LoadProgress("LLaVA-1.5 7B", "download", 3_200_000_000, 14_100_000_000))
    assert terminal.getvalue() == "\r\x1b[KDownloading LLaVA-1.5 7B: 3.2 of 14.1 GB"
    show(LoadProgress("LLaVA-1.5 7B", "weights", 14_100_000_000, 14_100_000_000))
    assert terminal.getvalue().endswith("\r\x1b[K")


@pytest.mark.slow
def test_json_goes_to_a_file(run, picture_file, tiny_folder, tmp_path):
    command = ("answer", picture_file, "what?", "--model", tiny_folder, "--max-new-tokens", 2, "--json")
    code, out, _ = run(*command, tmp_path / "out.json")
    assert (code, out) == (0, "")
    assert json.loads((tmp_path / "out.json").read_text())["question"] == "what?"
    code, _, err = run(*command, tmp_path / "no" / "out.json")
    assert code == 2
    assert "cannot be written" in err


BAD = [
    (["nothing.png", "what?"], "no picture file 'nothing.png'"),
    ([__file__, "what?"], "not a JPEG, PNG or WebP"),
    (["{picture}", "  "], "question is empty"),
    (["{picture}", "x" * 2001], "at most 2000 are allowed"),
    (["{picture}", "what?", "--method", "magic"], "no method 'magic'; choose one of"),
    (["{picture}", "what?", "--budget", "0"], "budget must be a whole number from 1 to 25"),
    (["{picture}", "what?", "--budget", "26"], "budget must be a whole number from 1 to 25"),
    (["{picture}", "what?", "--budget", "26", "--max-new-tokens", "0"], "budget must be"),  # before anything answers
    (["{picture}", "what?", "--set", "gamma=1"], "no parameter 'gamma'"),
    (["{picture}", "what?", "--set", "alpha=-1"], "alpha must be a number at least 0"),
    (["{picture}", "what?", "--set", "alpha=nan"], "alpha must be a number"),
    (["{picture}", "what?", "--set", "alpha"], "--set takes NAME=VALUE"),
    (["{picture}", "what?", "--model", "./nowhere"], "there is no model './nowhere'"),
    (["{picture}", "what?", "--device", "quantum"], "'quantum' cannot be used here"),
    (["{picture}", "what?", "--dtype", "int3"], "dtype must be one of"),
    (["{picture}", "what?", "--framing", "stretch"], "framing must be one of"),
    (["{picture}", "what?", "--max-new-tokens", "0"], "max_new_tokens must be a whole number"),
]


@each(("arguments", "sentence"), BAD, ids=lambda v: str(v)[:50])
def test_bad_input_is_one_sentence_and_code_2(run, picture_file, tiny_folder, arguments, sentence):
    given = [a.format(picture=picture_file) for a in arguments]
    model = [] if "--model" in given else ["--model", str(tiny_folder)]
    code, out, err = run("answer", *given, *model)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sentence in err


@each("arguments", [[], ["dance"], ["answer"], ["answer", "a.png"], ["answer", "a", "b", "--budget", "x"]])
def test_unusable_command_lines_show_the_usage(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_methods_lists_the_registry(run):
    code, out, _ = run("methods", "--json", "-")
    methods = json.loads(out)
    assert code == 0
    assert [m["name"] for m in methods] == list(REGISTRY)
    assert all({"label", "paper", "requires", "exact_count", "parameters"} <= set(m) for m in methods)
    code, out, _ = run("methods")
    assert code == 0
    assert all(name in out for name in REGISTRY)
    assert "alpha = 3.0" in out


def test_models_lists_what_can_be_loaded(run):
    code, out, _ = run("models", "--json")
    assert code == 0
    assert "shapes" in [m["id"] for m in json.loads(out)]
    assert "llava-hf/llava-1.5-7b-hf" in run("models")[1]


def test_bench_is_delegated(run):
    code, out, _ = run("bench", "select", "--cases", "30x6x16", "--threads", 1, "--repeats", 1, "--json", "-")
    assert code == 0
    assert json.loads(out)["cases"][0]["n"] == 30


@each(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=1.5", 1.5),
        ("a=-1", -1),
        ("a=none", None),
        ("a=None", None),
        ("a=encoder", "encoder"),
        ("a=b=c", "b=c"),
    ],
)
def test_settings_are_numbers_none_or_text(text, value):
    assert parsed([text]) == {"a": value}
    assert type(parsed([text])["a"]) is type(value)


@each("text", ["alpha", "=1", " =1", ""])
def test_settings_without_a_name_are_refused(text):
    with pytest.raises(InvalidInput, match="NAME=VALUE"):
        parsed([text])


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fsr", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )


def test_the_real_process_keeps_its_output_clean(picture_file, tiny_folder):
    """No progress bar, no advice from libraries: JSON on one stream, nothing on the other."""
    done = command("answer", picture_file, "what?", "--model", tiny_folder, "--max-new-tokens", 2, "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answers"]["full"]["cost"]["visual_tokens"] == 25
    assert done.stderr == ""


@pytest.mark.slow
def test_the_real_process_fails_with_one_sentence_and_no_traceback(picture_file):
    done = command("answer", picture_file, "what?", "--model", "nobody-at-all/nothing", HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "hub cannot be reached" in done.stderr


def test_listing_methods_loads_no_model_code():
    code = "import sys; from fsr.cli.main import main; main(['methods']); sys.exit('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300, check=False)
    assert done.returncode == 0
