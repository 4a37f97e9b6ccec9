"""Recording a gallery with a checkpoint of another class, and replaying it after the checkpoint is gone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.examples import Examples
from app.service import Service
from app.settings import ROOT, Settings
from app.ui.handlers import Handlers, Session
from fsr.cli.main import main
from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY, make
from fsr.pruners.fsr import FocusScanRefine
from fsr.pruners.plan import usual_budgets
from fsr.trace import Trace, build_trace
from tests.test_video import written
from tests.tiny_families import noise, save_onevision

SCENES = ("star", "wide")


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A gallery with a drawn scene, a wide picture and a clip, recorded by a checkpoint that is deleted afterwards."""
    folder = tmp_path_factory.mktemp("gallery")
    examples = folder / "examples"
    examples.mkdir()
    rows = json.loads((ROOT / "assets/examples/index.json").read_text())
    drawn = next(row for row in rows if row["id"] == "star")
    wide = {"id": "wide", "title": "Wide", "question": "What is left of the ring?"}
    (examples / "index.json").write_text(json.dumps([drawn, wide]))
    noise(300, 120).save(examples / "wide.jpg")
    (examples / "clips.json").write_text(json.dumps([{"id": "disc", "title": "Disc", "question": "What moves?"}]))
    written(examples / "disc.mp4")
    model = save_onevision(folder / "tiny-onevision")
    command = ["record", "--model", str(model), "--examples", str(examples), "--out", str(folder / "traces" / "one")]
    assert main([*command, "--untimed", "--max-new-tokens", "2", "--frames", "3"]) == 0
    shutil.rmtree(model)
    return folder


@pytest.fixture(scope="module")
def traces(gallery):
    files = {path.stem: path.read_text(encoding="utf-8") for path in (gallery / "traces" / "one").glob("*.json")}
    return {name: Trace.from_json(text) for name, text in files.items()}


@pytest.mark.slow
def test_every_method_is_recorded_at_every_usual_budget(traces):
    assert set(traces) == {*SCENES, "disc"}
    for trace in traces.values():
        n, needs = trace.tokens["n"], {"relevance", "keys", "last_keys", "last_saliency", "summary", "pixels"}
        possible = [
            name
            for name, kind in REGISTRY.items()
            if kind.stage == "before" and not kind.requires & needs and (trace.clip or not kind.across_frames)
        ]
        assert {"random", "divprune", "prumerge"} & set(trace.methods)
        for name in set(possible) - {"full"}:
            assert name in trace.methods
        for name, kind in REGISTRY.items():
            if kind.exact_count and name in trace.methods:
                budgets = [answer["budget"] for answer in trace.answers.values() if answer["method"] == name]
                assert budgets == usual_budgets(n)
        for name in set(REGISTRY) - set(trace.methods) - {"full", "fastv", "sparsevlm", "pyramiddrop", "dart"}:
            assert f"{name}: " in trace.recorded["note"], "why it is missing"
        assert trace.answers["full"]["cost"]["visual_tokens"] == n


@pytest.mark.slow
def test_it_says_where_and_when_and_nothing_of_the_machine(traces, gallery):
    for trace in traces.values():
        assert trace.model["id"] == "tiny-onevision"
        assert re.search(r", \d+ threads?$", trace.recorded["device"]), "times are of so many threads"
        assert len(trace.recorded["on"]) == 10
        assert str(gallery) not in trace.to_json()


@pytest.mark.slow
def test_every_trace_has_the_focus_of_all_questions(traces):
    shares = sorted(trace.focus_share for trace in traces.values())
    assert len(shares) == 3
    for trace in traces.values():
        assert sorted(trace.focus) == shares
        k_focus, n = trace.methods["fsr"]["facts"]["k_focus"], trace.tokens["n"]
        assert trace.focus_share == pytest.approx(k_focus / n, rel=1e-3)


@pytest.mark.slow
def test_a_clip_is_recorded_with_the_frames_that_were_read(traces, gallery):
    clip = traces["disc"]
    assert clip.clip["sampled"] == 3
    files = {int(path.stem) for path in (gallery / "traces" / "one" / "disc").glob("*.webp")}
    assert files == {frame["index"] for frame in clip.frames}


@pytest.mark.slow
def test_it_is_replayed_without_the_model(gallery):
    def refuse(*_, **__):
        raise AssertionError("a model was loaded")

    service = Service(Settings(examples=str(gallery)), look=refuse)
    handlers = Handlers(service, Examples(gallery))
    recording = handlers.examples.recordings["one"]
    assert (recording.title, recording.examples) == ("tiny-onevision", ("star", "wide", "disc"))
    assert handlers.examples.recording_of("tiny-onevision") == "one"
    assert handlers.examples.recording_of("another") == "one", "there is no other"
    session = Session(model=service.settings.first)
    visitor = SimpleNamespace(session_hash="visitor")
    event = SimpleNamespace(_data={"id": "star", "recording": "one"})
    stage, question, session, _ = handlers.pick(event, session, visitor)
    trace = Trace.from_json(Path(stage["file"]["path"]).read_bytes())
    assert trace.model["id"] == "tiny-onevision"
    assert trace.frames[1]["part"] == "tiles"
    assert (question, session.recording, stage["recording"]) == (trace.question, "one", "one")
    stage = handlers.pick(SimpleNamespace(_data={"id": "disc"}), session, visitor)[0]
    replayed = Trace.from_json(Path(stage["file"]["path"]).read_bytes())
    assert len(stage["pictures"]) == len(replayed.frames)
    with pytest.raises(InvalidInput, match=r"no recording '\.\./one'; there are: one"):
        handlers.examples.get("star", "../one")
    service.close()


@pytest.mark.slow
def test_a_damaged_recording_is_left_out(gallery, tmp_path, caplog):
    shutil.copytree(gallery / "examples", tmp_path / "examples")
    (tmp_path / "traces" / "bad").mkdir(parents=True)
    (tmp_path / "traces" / "bad" / "star.json").write_text('{"version": 1}')
    (tmp_path / "traces" / "empty").mkdir()
    assert Examples(tmp_path).recordings == {}
    assert "bad is left out: trace has no" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--examples": "nowhere"}, "index.json cannot be read"),
        ({"--only": "nothing"}, "no example 'nothing'"),
        ({"--model": "nowhere/at/all"}, "no model"),
        ({"--clips": None}, "clips.json cannot be read"),
    ],
    ids=str,
)
def test_what_cannot_be_recorded_is_told(tiny_folder, gallery, tmp_path, capsys, change, words):
    examples = tmp_path / "examples"
    examples.mkdir()
    shutil.copy(gallery / "examples" / "index.json", examples)
    given = {"--model": str(tiny_folder), "--examples": str(examples), "--out": str(tmp_path / "out"), **change}
    assert main(["record", *(part for name, value in given.items() for part in (name, value) if part)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_a_picture_that_is_missing_is_named(tiny_folder, gallery, tmp_path, capsys):
    (tmp_path / "index.json").write_text('[{"id": "wide", "question": "what?"}]')
    where = ["--examples", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["record", "--model", str(tiny_folder), *where]) == 2
    assert "has no picture wide" in capsys.readouterr().err
    (tmp_path / "index.json").write_text('[{"id": "../wide", "question": "what?"}]')
    assert main(["record", "--model", str(tiny_folder), *where]) == 2
    assert "able to name a file" in capsys.readouterr().err


def test_a_trace_selects_once_with_every_method(tiny_vlm, picture, monkeypatch):
    encoding = tiny_vlm.encode(tiny_vlm.encode_media([picture]), "what?")
    pruner = make("fsr")
    plan = pruner.plan(encoding.tokens)
    runs, select = [], FocusScanRefine._select
    monkeypatch.setattr(FocusScanRefine, "_select", lambda *a: runs.append(a[-1]) or select(*a))
    trace = build_trace(tiny_vlm, encoding, {"fsr": (pruner, plan)})
    assert runs == [1]
    assert set(trace.scores) == {"saliency", "relevance", "priority"}
