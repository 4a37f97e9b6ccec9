"""Clips on the page: one decoding and one encoding, traces with times, every way to ask, hostile files at the door."""

from __future__ import annotations

import json
import os
import struct
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

import fsr.vlm
from app.compare import compare, report, requests_of
from app.curves import curves
from app.examples import Examples
from app.request import Request
from app.service import Service
from app.settings import ROOT, Settings
from app.ui.handlers import Handlers, Session
from fsr.errors import InvalidInput
from fsr.media.video import Clip, load_clip
from fsr.pruners import make
from fsr.shapes.clips import described, draw_clip
from fsr.trace import Trace, TraceError, build_trace
from fsr.vlm.clips import clip_frames
from tests.looping import each
from tests.test_video import BROKEN, FRAMES, children, put, written
from tests.tiny import InMemory, in_memory
from tests.tiny_families import save_onevision, save_qwen

VISITOR = SimpleNamespace(session_hash="visitor", query_params={})
GRID = 16  # tokens of a frame
TINY, VIDEO = "tiny-llava", "tiny-video"  # the models on offer


@pytest.fixture(scope="module")
def video_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OneVision: 4 x 4 tokens a frame, and one newline."""
    return save_onevision(tmp_path_factory.mktemp("models") / "tiny-video")


@pytest.fixture(scope="module")
def video_vlm(video_folder):
    return fsr.vlm.load(str(video_folder))


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("clips") / "a.mp4")


@pytest.fixture
def service(tiny_folder, video_folder, tiny_vlm, video_vlm):
    """Offers a model for pictures first, then one for clips."""
    models = {str(tiny_folder): tiny_vlm, str(video_folder): video_vlm}  # on the page under their folders' names
    settings = Settings(
        model=str(tiny_folder), models=str(video_folder), max_new_tokens=4, cached_clips=2, max_sampled_frames=5
    )
    made = Service(settings, look=lambda model, **_: InMemory(models[model]))
    yield made
    made.close()


@pytest.fixture
def asked(service, mp4):
    film = service.open_media(mp4, VIDEO, 3)
    return Request(film.id, "what?", "fsr", 6, {}, VIDEO, frames=3)


def test_a_trace_of_a_clip_knows_the_time_and_the_number_of_every_frame(service, asked):
    trace = Trace.from_json(service.analyse(asked))
    assert [(f["time"], f["index"]) for f in trace.frames] == [
        (0, 0),
        (pytest.approx(1.9), 19),
        (pytest.approx(3.9), 39),
    ]
    facts = {"name": "a.mp4", "duration": 4, "fps": 10, "count": FRAMES, "width": 64, "height": 48}
    assert trace.clip == facts | {"decoder": "decord", "sampled": 3, "share": "global"}
    assert trace.tokens["n"] == 3 * GRID
    assert sorted(set(trace.tokens["frame"])) == [0, 1, 2]
    assert service.analyse(replace(asked, share="per_group"))["clip"]["share"] == "per_group"


def test_a_clip_is_answered_compared_and_measured_and_is_encoded_once(service, asked, video_vlm, monkeypatch):
    monkeypatch.setattr(service, "settings", replace(service.settings, repeat_s=0))  # repeats encode on purpose
    runs = []
    handle = video_vlm.tower.vision.register_forward_hook(lambda *_: runs.append(1))
    try:
        events = list(service.answer(asked))
        last = {e.key: e.answer for e in events if e.answer}
        assert last["full"]["cost"]["visual_tokens"] == 3 * GRID
        assert last["fsr@6"]["cost"]["visual_tokens"] == 6
        assert next(e.text for e in events if e.phase == "encoding") == "Encoding 3 frames and the question."
        runs = requests_of(asked, ["fsr", "random"], [6])
        found = report(compare(service, runs), runs)
        assert set(found["answers"]) == {"full", "fsr@6", "random@6"}
        points = [
            s.point
            for s in curves(service, requests_of(asked, ["fsr"], [1], least=1), SimpleNamespace(is_set=lambda: False))
            if s.point
        ]
        assert max(p["budget"] for p in points) > 16
        shared = service.answer(replace(asked, share="per_group", budget=7))
        *_, each = (event.answer for event in shared if event.answer)
        assert each["cost"]["visual_tokens"] == 7
    finally:
        handle.remove()
    assert len(runs) <= 2  # one pass, and the first one's warm-up


def test_another_number_of_frames_is_decoded_from_the_file_that_is_held(service, asked, mp4):
    more = replace(asked, frames=5)
    texts = [e.text for e in service.answer(more) if e.phase == "encoding"]
    assert texts[:2] == [f"Decoding 5 frames of {FRAMES}.", "Encoding 5 frames and the question."]
    assert len(service.analyse(more)["frames"]) == 5
    with service.line.turn("answer", "another"):  # another visitor's: decoding needs no model
        events = service.answer(replace(asked, frames=4))
        assert next(events).text == f"Decoding 4 frames of {FRAMES}."
        assert next(events).phase == "waiting"
        assert service.clips.holds(asked.picture, 4)
    assert more.setting != asked.setting
    with pytest.raises(InvalidInput, match="number of frames must be from 1 to 5, not 6"):
        service.analyse(replace(asked, frames=6))


def test_by_default_a_clip_has_the_frames_that_the_model_was_made_for(service, mp4, tmp_path):
    assert service.clip_frames(VIDEO) == 32
    assert len(service.open_media(mp4, VIDEO).files) == 5  # the most that these settings allow
    assert clip_frames("lmms-lab/LLaVA-Video-7B-Qwen2") == 32
    assert clip_frames("llava-hf/llava-1.5-7b-hf") == 0
    assert clip_frames("someone/unknown") is None
    put(tmp_path / "config.json", b'{"model_type": "llava_onevision"}')
    put(tmp_path / "fsr.json", b'{"clip_frames": 8}')
    assert clip_frames(str(tmp_path)) == 8


def test_the_same_file_is_decoded_once_and_nobody_sees_another_s_name_of_it(service, mp4, tmp_path):
    film = service.open_media(mp4, VIDEO, 2)
    (tmp_path / "elsewhere").mkdir()
    assert service.open_media(put(tmp_path / "elsewhere" / mp4.name, mp4.read_bytes()), VIDEO, 2) is film
    renamed = service.open_media(put(tmp_path / "renamed.png", mp4.read_bytes()), VIDEO, 2)
    assert (film.name, renamed.name) == (mp4.name, "renamed.png")
    assert service.opened(Request(renamed.id, "what?", "fsr", 6, {}, VIDEO, frames=2)).name == "renamed.png"
    assert [f.suffix for f in renamed.files] == [".jpg", ".jpg"]


def test_forgotten_clips_leave_no_file(service, tmp_path, asked):
    for fps in (5, 20):
        service.open_media(written(tmp_path / f"{fps}.mp4", 4, fps), VIDEO, 2)
    held = {path.name.split("-")[1].partition(".")[0] for path in service.clips.folder.iterdir()}
    assert len(held) == 2
    assert len(list(service.clips.folder.iterdir())) == 2 * 3  # the file and two frames each
    with pytest.raises(InvalidInput, match="the clip is no longer here; choose an example or upload it again"):
        service.analyse(asked)


def test_a_model_for_pictures_only_says_so_and_names_one_that_reads_clips(service, asked):
    with pytest.raises(InvalidInput) as caught:
        service.analyse(replace(asked, model=TINY))
    assert str(caught.value) == f"the model {TINY} reads pictures only; for a clip choose {VIDEO}."
    assert service.model_for(TINY, clip=True) == VIDEO
    assert service.model_for(VIDEO, clip=False) == VIDEO


def test_two_frames_that_are_read_as_one_are_shown_as_the_first_of_them(tmp_path, mp4):
    folder = save_qwen(tmp_path / "tiny-qwen")
    vlm = fsr.vlm.load(str(folder))
    service = Service(Settings(model=str(folder), models="", max_new_tokens=2), look=in_memory(vlm))
    film = service.open_media(mp4, "tiny-qwen", 4)
    trace = Trace.from_json(service.analyse(Request(film.id, "what?", "fsr", 0, {}, "tiny-qwen", frames=4)))
    assert [f["index"] for f in trace.frames] == [0, 26]
    assert trace.clip["sampled"] == 4
    service.close()


# -- the page


@pytest.fixture
def handlers(service, tmp_path):
    return Handlers(service, Examples(tmp_path))


def uploaded(handlers: Handlers, path: Path, model: str) -> tuple[dict, Session, dict]:
    *_, (name, _) = handlers.upload(str(path), Session(model), VISITOR)
    stage, _, session, status, _ = handlers.show_upload(name, "", Session(model))
    return stage, session, status


def test_an_uploaded_clip_becomes_frames_then_a_trace_with_the_same_frames(handlers, mp4):
    stage, session, status = uploaded(handlers, mp4, VIDEO)
    assert [(p["width"], p["height"]) for p in stage["pictures"]] == [(64, 48)] * 5
    assert status["status"]["phase"] == "idle"
    *_, (value, _, _) = handlers.analyse_upload("what?", {"method": "fsr", "budget": 0}, session, VISITOR)
    assert [p["file"]["path"] for p in value["pictures"]] == [p["file"]["path"] for p in stage["pictures"]]
    steps = list(handlers.ask("what?", {"method": "fsr", "budget": 5, "of": 5 * GRID, "frames": 2}, session, VISITOR))
    trace = next(s[0] for s in steps if "trace" in s[0])
    assert len(trace["pictures"]) == 2


def test_a_model_that_is_chosen_while_a_clip_is_read_stays_chosen(handlers, mp4):
    *_, (name, _) = handlers.upload(str(mp4), Session(TINY), VISITOR)
    bar, session = handlers.choose_model(SimpleNamespace(_data={"id": VIDEO}), Session(TINY))
    _, _, session, *_ = handlers.show_upload(name, "", session)
    assert (bar["id"], bar["chosen"]) == (VIDEO, True)
    assert (session.model, session.picture, session.example) == (VIDEO, name, None)


def test_a_clip_under_a_model_for_pictures_takes_one_that_reads_clips_and_says_so(handlers, mp4):
    *_, (name, _) = handlers.upload(str(mp4), Session(TINY), VISITOR)
    stage, _, session, _, bar = handlers.show_upload(name, "", Session(TINY))
    assert len(stage["pictures"]) == 5
    assert stage["note"] == f"{TINY} reads pictures only: {VIDEO} answers now."
    assert (session.model, bar["id"], bar["chosen"]) == (VIDEO, VIDEO, True)
    *_, (value, answers, _) = handlers.analyse_upload("what?", {"method": "fsr", "budget": 0}, session, VISITOR)
    assert answers["status"]["phase"] == "idle"
    assert len(value["pictures"]) == 5
    _, again = handlers.choose_model(SimpleNamespace(_data={"id": TINY}), session)
    *_, (_, answers, _) = handlers.analyse_upload("what?", {"method": "fsr", "budget": 0}, again, VISITOR)
    assert "reads pictures only; for a clip choose" in answers["status"]["text"]


def long_by_header(mp4: bytes, avi: bytes, wav: bytes) -> bytes:
    """Ten hours: the movie, track and media headers promise them, and every frame is shown that much longer."""
    at = mp4.index(b"stts") + 16
    scale = struct.unpack_from(">I", mp4, mp4.index(b"mdhd") + 16)[0]
    return mp4[: at - 4] + struct.pack(">II", FRAMES, 36_000 * scale // FRAMES) + mp4[at + 4 :]


def eight_thousand_wide(mp4: bytes, avi: bytes, wav: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return written(Path(folder) / "a.mp4", frames=1, size=(7680, 4320)).read_bytes()


HOSTILE = {
    "8K": eight_thousand_wide,
    "truncated": BROKEN["cut before its index"],
    "zero frames": BROKEN["index of zero frames"],
    "audio only": BROKEN["sound in an mp4"],
    "random bytes": BROKEN["random"],
    "random bytes in a container": BROKEN["random after a good start"],
    "hours long by its header": long_by_header,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_clip_is_refused_at_the_door_and_nothing_is_left(handlers, mp4, tmp_path, monkeypatch, kind):
    data = HOSTILE[kind](mp4.read_bytes(), b"", b"")
    assert data != mp4.read_bytes()
    path, before = put(tmp_path / "upload.mp4", data), children()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    steps = handlers.upload(str(path), Session(VIDEO), VISITOR)
    assert next(steps)[1]["status"]["phase"] == "planning"
    refused = next(steps)[1]["status"]
    with pytest.raises(gr.Error) as caught:
        next(steps)
    assert refused == {"phase": "refused", "text": caught.value.message}
    assert refused["text"].endswith(".")
    assert "\n" not in refused["text"]
    assert "Something" not in refused["text"]
    assert not path.exists()
    assert list(handlers.service.clips.folder.iterdir()) == []
    assert children() == before
    assert os.listdir(tempfile.gettempdir()) == []


def test_limits_are_settings_and_each_is_named(tiny_folder, mp4, tmp_path):
    for change, words in (
        ({"max_clip_s": 3}, "lasts 4 s; at most 3 s"),
        ({"max_clip_frames": 30}, "40 frames; at most 30"),
        ({"max_clip_megapixels": 0.003}, "at most 0.003 million"),
    ):
        service = Service(Settings(model=str(tiny_folder), **change))
        with pytest.raises(InvalidInput, match=words):
            service.open_media(mp4)
        service.close()
    large = put(tmp_path / "large.mp4", mp4.read_bytes() + bytes(1_000_000))
    service = Service(Settings(model=str(tiny_folder), max_upload_mb=1))
    with pytest.raises(InvalidInput, match="clip is larger than 1 MB"):
        service.open_media(large)
    service.close()
    with pytest.raises(InvalidInput, match="FSR_MAX_SAMPLED_FRAMES must be at most 64"):
        Settings(max_sampled_frames=65)


# -- traces that come from a file


@pytest.fixture(scope="module")
def recorded(video_vlm, mp4) -> str:
    clip = load_clip(mp4, 3)
    encoding = video_vlm.encode(video_vlm.encode_media(clip.frames, clip.times), "what?")
    pruner = make("random")
    return build_trace(video_vlm, encoding, {"random": (pruner, pruner.plan(encoding.tokens))}, clip=clip).to_json()


@each(
    ("change", "words"),
    [
        (lambda r: r["clip"].pop("fps"), "clip has no fps"),
        (lambda r: r["clip"].update(decoder="ffmpeg"), "clip.decoder must be one of decord, opencv"),
        (lambda r: r["clip"].update(share="each"), "clip.share must be one of global, per_group"),
        (lambda r: r["clip"].update(duration=-1), "clip.duration must be a finite number of at least 0"),
        (lambda r: r["clip"].update(sampled=2), "clip.sampled must be a whole number from 3 to 40"),
        (lambda r: r["frames"][1].pop("time"), r"frames\[1\].time must be a finite number"),
        (lambda r: r["frames"][1].update(index=40), r"frames\[1\].index must be a whole number from 0 to 39"),
        (lambda r: r["frames"][1].update(time=9), "frames must come in the order of time"),
        (lambda r: r.update(clip=None), "frames have no times without a clip"),
        (lambda r: r.update(clip=[]), "clip must be an object"),
    ],
)
def test_clips_of_untrusted_traces_are_checked(recorded, change, words):
    record = json.loads(recorded)
    change(record)
    with pytest.raises(TraceError, match=words):
        Trace.from_json(record)


def test_times_count_from_the_first_frame():
    clip = Clip([], [0, 1], [-0.04, 0.46], 2.0, 1.0, 2, 8, 8, "decord")
    assert clip.times == [0.0, 0.5]
    assert np.diff(clip.times) == pytest.approx(0.5)


# -- the gallery


def test_every_example_clip_is_there_and_drawn_ones_look_as_they_are_described():
    rows = json.loads((ROOT / "assets/examples/clips.json").read_text())
    assert len([row for row in rows if "actors" in row]) == 2
    credits = (ROOT / "assets/CREDITS.md").read_text()
    for row in rows:
        path = ROOT / "assets/examples" / f"{row['id']}.mp4"
        assert path.stat().st_size < 1_000_000
        clip = load_clip(path, 8)
        assert len(clip.frames) == 8
        if "actors" not in row:
            assert f"`examples/{path.name}`" in credits
            continue
        drawn = draw_clip(described(row), row["frames"])
        for frame, i in zip(clip.frames, clip.indices, strict=True):
            error = np.mean((np.asarray(frame, float) - drawn[i]) ** 2)
            assert 10 * np.log10(255**2 / error) > 34  # dB


def test_a_clip_example_changes_the_model_to_one_that_reads_clips_and_is_answered(service, tmp_path, mp4):
    examples = tmp_path / "examples"
    (examples / "disc").mkdir(parents=True)
    (examples / "clips.json").write_text(json.dumps([{"id": "disc", "title": "Disc", "question": "what?"}]))
    put(examples / "disc.mp4", mp4.read_bytes())
    load_clip(mp4, 1).frames[0].save(examples / "disc" / "0.webp")
    handlers = Handlers(service, Examples(tmp_path))
    event = SimpleNamespace(_data={"id": "disc"})
    stage, question, session, bar = handlers.pick(event, Session(TINY), VISITOR)
    assert (session.model, bar["id"], question, stage["example"]) == (VIDEO, VIDEO, "what?", "disc")
    assert (len(stage["pictures"]), stage["trace"]) == (5, None)
    steps = list(handlers.ask(question, {"method": "fsr", "budget": 5, "of": 5 * GRID}, session, VISITOR))
    trace = Trace.from_json(next(s[0] for s in steps if "trace" in s[0])["trace"])
    assert trace.clip["name"] == "disc.mp4"
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "disc.json").write_text(trace.to_json())
    replayed = Handlers(service, Examples(tmp_path)).pick(event, session, VISITOR)[0]
    assert Path(replayed["file"]["path"]).read_text() == trace.to_json()


def test_frames_of_every_number_asked_for_are_kept_as_long_as_there_is_room(service, asked, mp4, monkeypatch):
    first, second = (service.clips.get(asked.picture, count) for count in (3, 5))
    assert (service.clips.get(asked.picture, 3), service.clips.get(asked.picture, 5)) == (first, second)
    assert all(file.is_file() for film in (first, second) for file in film.files)
    monkeypatch.setattr(service.clips, "nbytes", 1)
    last = service.clips.get(asked.picture, 2)
    assert last.nbytes == 2 * 3 * last.image.width * last.image.height
    assert [service.clips.holds(asked.picture, count) for count in (2, 3, 5)] == [True, False, False]
    assert [file.is_file() for film in (last, first, second) for file in film.files] == [True] * 2 + [False] * 8


def test_a_clip_is_admitted_before_it_is_decoded_and_says_so_when_it_is(service, asked, tmp_path):
    other = written(tmp_path / "other.mp4", 4, 7)
    request = replace(asked, picture=service.clips.admit(other))
    assert service.clips.known(request.picture) is None
    texts = [event.text for event in service.answer(request) if event.phase == "encoding"]
    assert texts[0] == "Decoding 3 frames."
    assert service.clips.known(request.picture).name == "other.mp4"
    with pytest.raises(InvalidInput, match="there is no clip"):
        service.clips.admit(tmp_path / "missing.mp4")
