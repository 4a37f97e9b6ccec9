"""The service: one model, one question at a time, bounded caches, everything from a visitor checked."""

from __future__ import annotations

import gc
import logging
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from app.request import Request
from app.service import Service
from app.settings import Settings
from fsr.errors import InvalidInput
from fsr.trace import Trace
from tests.looping import each
from tests.tiny import in_memory


@pytest.fixture
def service(tiny_folder, tiny_vlm):
    settings = Settings(model=str(tiny_folder), max_new_tokens=12, cached_pictures=2, cached_questions=2)
    made = Service(settings, look=in_memory(tiny_vlm))
    yield made
    made.close()


def saved(folder: Path, color: tuple[int, int, int], size: tuple[int, int] = (60, 40)) -> Path:
    path = folder / f"{color}{size}.png"
    Image.new("RGB", size, color).save(path)
    return path


@pytest.fixture
def request_(service, tmp_path):
    picture = service.open_media(saved(tmp_path, (200, 40, 40)))
    return Request(picture.id, "what is it?", "fsr", 6, {}, service.settings.first)


def encodes(vlm):
    """Counts the runs of the vision tower."""
    runs = []
    tower = vlm.model.model.vision_tower if hasattr(vlm, "model") else vlm.llava.model.vision_tower
    handle = tower.register_forward_hook(lambda *_: runs.append(1))
    return runs, handle


def test_both_answers_come_one_after_the_other_with_their_costs(service, request_):
    events = list(service.answer(request_))
    phases = list(dict.fromkeys(e.phase for e in events))
    assert phases == ["loading", "encoding", "full", "method", "measuring", "done"]
    trace = next(e.trace for e in events if e.trace)
    assert Trace.from_json(trace).tokens["n"] == 25
    last = {e.key: e.answer for e in events if e.answer}
    assert set(last) == {"full", "fsr@6"}
    assert last["full"]["cost"]["visual_tokens"] == 25
    assert last["fsr@6"]["cost"]["visual_tokens"] == 6
    assert last["fsr@6"]["cost"]["select_ms"] > 0


def test_a_new_question_budget_method_or_parameter_never_encodes_again(service, request_, tiny_vlm, monkeypatch):
    monkeypatch.setattr(service, "settings", replace(service.settings, repeat_s=0))  # repeats encode on purpose
    list(service.answer(request_))
    runs, handle = encodes(tiny_vlm)
    try:
        list(service.answer(replace(request_, budget=9)))
        list(service.answer(replace(request_, question="and now?")))
        list(service.answer(replace(request_, method="grid")))
        service.replan(replace(request_, parameters={"fsr": {"alpha": 0.5}}))
        service.analyse(request_)
    finally:
        handle.remove()
    assert runs == []


def test_what_is_kept_inside_the_language_model_is_told_after_the_answer(service, request_):
    events = list(service.answer(replace(request_, method="pyramiddrop", budget=13)))
    trace = next(e.trace for e in events if e.trace)
    assert "pyramiddrop" not in Trace.from_json(trace).methods
    record = next(e.patch for e in events if e.patch)["methods"]["pyramiddrop"]
    assert (record["plan"]["kind"], record["plan"]["budgets"]) == ("layers", [13])
    Trace.from_json({**trace, "methods": {**trace["methods"], "pyramiddrop": record}})
    last = {e.key: e.answer for e in events if e.answer}
    assert last["pyramiddrop@13"]["cost"]["visual_tokens"] == 13
    with pytest.raises(InvalidInput, match="inside the language model"):
        service.analyse(replace(request_, method="pyramiddrop"))
    shown = []
    with pytest.raises(InvalidInput, match="choose a budget from 9 to 25"):
        shown.extend(service.answer(replace(request_, method="pyramiddrop", budget=8)))
    assert not any(e.answer for e in shown)


def test_a_trace_that_is_on_the_page_is_not_made_again(service, request_):
    assert any(e.trace for e in service.answer(request_))
    assert not any(e.trace for e in service.answer(replace(request_, budget=3), shown=request_.scene))
    changed = replace(request_, parameters={"fsr": {"rho": 0.3}})
    assert any(e.trace for e in service.answer(changed, shown=request_.scene))


def test_replan_returns_the_method_with_its_new_parameters_and_scores(service, request_, tiny_vlm):
    flipped = {"rho": 0.2, "relevance_sign": -tiny_vlm.relevance_sign}
    patch = service.replan(replace(request_, parameters={"fsr": flipped}))
    record = patch["methods"]["fsr"]
    assert record["parameters"]["rho"] == 0.2
    assert set(patch["scores"]) == {"saliency", "relevance", "priority"}
    before = service.analyse(request_)
    assert patch["scores"]["relevance"] == [-x for x in before["scores"]["relevance"]]


@each(
    ("change", "words"),
    [
        ({"question": "   "}, "question is empty"),
        ({"question": None}, "question is empty"),
        ({"question": "x" * 501}, "at most 500"),
        ({"method": "nonsense"}, "the method must be one of"),
        ({"budget": 26}, "from 1 to 25"),
        ({"budget": -3}, "from 1 to 25"),
        ({"picture": "0" * 32}, "no longer here"),
        ({"picture": "../../etc/passwd"}, "no longer here"),
        ({"model": "somebody/else"}, "the model must be one of"),
        ({"parameters": {"fsr": {"rho": 7}}}, "rho must be"),
        ({"parameters": {"fsr": {"__class__": 1}}}, "no parameter"),
    ],
    ids=lambda x: str(x)[:40],
)
def test_what_a_visitor_sends_is_checked_with_a_sentence(service, request_, change, words):
    with pytest.raises(InvalidInput, match=words):
        list(service.answer(replace(request_, **change)))
    assert not service.line.busy


@each(
    ("budget", "of", "expected"),
    [(6, 0, 6), (6, 25, 6), (64, 576, 3), (576, 576, 25), (1, 576, 1), (0, 0, 3)],
    ids=["as it is", "of this grid", "a ninth of another grid", "all", "never none", "default: a ninth"],
)
def test_a_budget_out_of_another_grid_keeps_its_share(request_, budget, of, expected):
    assert replace(request_, budget=budget, of=of).budget_for(25) == expected


def test_a_stop_ends_the_answer_and_says_so(service, request_):
    stop = threading.Event()
    events = []
    for event in service.answer(request_, stop):
        events.append(event)
        if event.answer:
            stop.set()
    assert events[-1].phase == "stopped"
    assert not any(e.phase == "method" for e in events)


def test_a_stop_while_waiting_never_takes_the_model(service, request_):
    stop = threading.Event()
    with service.line.turn("answer", "another"):
        events = service.answer(request_, stop)
        assert next(events).phase == "waiting"
        stop.set()
        assert next(events).phase == "stopped"
    assert not service.line.busy


def test_a_visitor_who_leaves_frees_the_model(service, request_):
    events = service.answer(request_)
    while next(events).phase != "full":
        pass
    assert service.line.busy
    events.close()
    assert not service.line.busy


def test_the_caches_are_bounded_and_forgotten_pictures_leave_no_file(service, request_, tmp_path):
    files = []
    for shade in range(5):
        picture = service.open_media(saved(tmp_path, (shade, shade, 200)))
        files.append(picture.file)
        service.analyse(replace(request_, picture=picture.id))
    assert [f.is_file() for f in files] == [False, False, False, True, True]
    assert len(service.encodings) <= 2
    with pytest.raises(InvalidInput, match="no longer here"):
        service.analyse(request_)


def test_nothing_that_visitors_brought_outlives_the_app(tiny_folder, tmp_path):
    service = Service(Settings(model=str(tiny_folder)))
    service.open_media(saved(tmp_path, (1, 2, 3)))
    folders = [service.pictures.folder, service.clips.folder]
    assert all(folder.is_dir() for folder in folders)
    del service  # as at the end of the process, where nobody closes it
    gc.collect()
    assert not any(folder.exists() for folder in folders)


def test_equal_pixels_are_one_picture_whatever_their_file(service, tmp_path):
    first = service.open_media(saved(tmp_path, (1, 2, 3)))
    again = tmp_path / "other name.webp"
    Image.new("RGB", (60, 40), (1, 2, 3)).save(again, lossless=True)
    assert service.open_media(again).id == first.id


def test_large_pictures_are_scaled_down(tiny_folder, tiny_vlm, tmp_path):
    service = Service(Settings(model=str(tiny_folder), max_display_side=100), look=in_memory(tiny_vlm))
    assert service.open_media(saved(tmp_path, (9, 9, 9), (400, 200))).image.size == (100, 50)
    service.close()


def test_nothing_of_a_visitor_is_logged(service, request_, caplog):
    secret = "zebra-crossing-4711"
    with caplog.at_level(logging.DEBUG):
        list(service.answer(replace(request_, question=secret)))
        with pytest.raises(InvalidInput):
            list(service.answer(replace(request_, question=secret, budget=99)))
    assert secret not in caplog.text


def test_only_models_on_offer_are_loaded(tiny_folder, tiny_vlm):
    asked = []
    settings = Settings(model=str(tiny_folder), models="other/model, ")
    service = Service(settings, look=lambda model, **_: asked.append(model))
    assert settings.model_ids == [tiny_folder.name, "other/model"]
    with pytest.raises(InvalidInput):
        service.check_model("hub/anything")
    assert asked == []
    service.close()


def test_settings_come_from_the_environment():
    settings = Settings.from_environment({"FSR_MODEL": "owner/m", "FSR_PORT": "81", "FSR_YIELDS_PER_SECOND": "5"})
    assert (settings.model, settings.port, settings.yields_per_second) == ("owner/m", 81, 5.0)
    with pytest.raises(InvalidInput, match="FSR_PORT must be a number"):
        Settings.from_environment({"FSR_PORT": "many"})
    with pytest.raises(InvalidInput, match="FSR_MAX_UPLOAD_MB must be above 0"):
        Settings.from_environment({"FSR_MAX_UPLOAD_MB": "0"})


def test_repeats_make_way_for_a_visitor_who_waits(service, request_):
    events = service.answer(request_)
    next(event for event in events if event.phase == "measuring")
    other = threading.Thread(target=service.analyse, args=(request_,))
    other.start()
    while not service.line.waiting:
        assert other.is_alive()
    rest = list(events)
    assert [event.phase for event in rest] == ["done"], "no repeat begins while somebody waits"
    other.join()
    alone = [event for event in service.answer(request_) if event.phase == "measuring" and event.answer]
    assert [event.key for event in alone] == ["full", "fsr@6"]
    assert all(event.answer["cost"]["repeats"] >= 3 for event in alone)
