"""Turns in another process: what a visitor gets is the same, only bytes cross, and nothing is left behind."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

from app.compare import compare, requests_of
from app.curves import curves, smallest
from app.leases import LONGEST_S, SHORTEST_S, Leases, dumps
from app.request import Request
from app.service import LOOK, Service
from app.settings import ROOT, Settings
from app.studies import Studies
from app.why import study
from app.work import Effort, Event
from app.zerogpu import refusal
from fsr.errors import FsrError, InvalidInput, OutOfMemory
from tests.forked import FORK, forked
from tests.looping import each
from tests.tiny import in_memory

MEASURED = ("encode_ms", "select_ms", "prefill_ms", "first_token_ms", "decode_ms_per_token")


@pytest.fixture
def service(tiny_folder, tiny_vlm):
    settings = Settings(model=str(tiny_folder), max_new_tokens=6, repeat_s=0)
    made = Service(settings, look=in_memory(tiny_vlm))
    tiny_vlm.forget()
    yield made
    made.close()


@pytest.fixture
def leased(service):
    service.leases = Leases(forked, service.models)
    return service


@pytest.fixture
def request_(service, picture, tmp_path):
    picture.save(tmp_path / "picture.png")
    return Request(service.open_media(tmp_path / "picture.png").id, "what is it?", "fsr", 6, {}, service.settings.first)


def look(service, request, stop):
    return service.looking(request, stop)


def tune(service, request, stop):
    return service.looking(replace(request, parameters={"fsr": {"rho": 0.2}}), stop, whole=False)


def answer(service, request, stop):
    return service.answer(request, stop)


def comparison(service, request, stop):
    return compare(service, requests_of(request, ["fsr", "cdpruner", "pyramiddrop"], [13]), stop)


def fidelity(service, request, stop):
    return curves(service, requests_of(request, ["fsr", "grid"], [6]), stop)


def search(service, request, stop):
    return smallest(service, request, stop)


def turns() -> list[str]:
    """The processes that were forked for a turn and are still there."""
    return [child.name for child in multiprocessing.active_children() if isinstance(child, FORK.Process)]


def influences(service, request, stop):
    return study(service, request, "influence", stop)


def repairs(service, request, stop):
    return study(service, replace(request, method="random", budget=2), "repair", stop)


ASKING = [look, tune, answer, comparison, fidelity, search, influences, repairs]


def untimed(steps):
    """The steps without what the clock says, and without those of a load."""

    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k not in (*MEASURED, "repeats", "spread", "timings")}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    return [plain(vars(step)) for step in steps if step.phase != "loading"]


@each("ask", ASKING)
def test_a_visitor_gets_the_same_as_from_this_process(service, request_, tiny_vlm, ask):
    stop = threading.Event()
    here = untimed(ask(service, request_, stop))
    service.encodings.clear()
    service.studies = Studies()
    tiny_vlm.forget()
    service.leases = Leases(forked, service.models)
    runs: list[int] = []
    handle = tiny_vlm.model.register_forward_hook(lambda *_: runs.append(1))
    try:
        there = untimed(ask(service, request_, stop))
    finally:
        handle.remove()
        service.leases = None
    assert there == here
    assert runs == [], "the model runs in the other process alone"
    assert not service.line.busy
    assert turns() == []


def encode_ms(events) -> float:
    costs = [event.answer["cost"] for event in list(events) if event.answer]
    return next(cost["encode_ms"] for cost in costs if cost)


def test_a_picture_is_encoded_in_the_first_turn_about_it_alone(leased, request_):
    first = encode_ms(leased.answer(request_))
    kept = leased.leases.nbytes
    assert kept > 0
    assert encode_ms(leased.answer(replace(request_, question="and now?", budget=9))) == first
    assert leased.leases.nbytes == kept
    list(compare(leased, requests_of(request_, ["visionzip", "fsr"], [9])))
    assert leased.leases.nbytes > kept, "what other methods need of the tower is kept as well"
    leased.leases.clear()
    assert encode_ms(leased.answer(request_)) != first


def test_what_is_kept_is_bounded(leased, request_, picture, tmp_path):
    list(leased.looking(request_))
    leased.leases._limit = round(2.5 * leased.leases.nbytes)
    for i in range(3):
        picture.rotate(10 * i + 10).save(tmp_path / f"{i}.png")
        list(leased.looking(replace(request_, picture=leased.open_media(tmp_path / f"{i}.png").id)))
    assert len(leased.leases._known) == 2


def test_another_model_leaves_nothing_of_the_one_before(leased, request_):
    list(leased.looking(request_))
    leased.models.free()
    assert leased.leases.nbytes == 0


def patient(work):
    """Works until it is stopped."""
    yield Event("encoding", "Soon.")
    while not work.stop.is_set():
        time.sleep(0.01)
    yield Event("stopped", "Stopped.")


def test_a_stop_reaches_the_other_process(leased, request_):
    stop = threading.Event()
    events = leased.in_turn(LOOK, request_, stop, Event, patient)
    next(event for event in events if event.text == "Soon.")
    stop.set()
    assert [event.phase for event in events] == ["stopped"]
    assert turns() == []


def test_a_visitor_who_leaves_ends_the_other_process(leased, request_):
    events = leased.answer(request_)
    while next(events).phase != "full":
        pass
    assert turns()
    events.close()
    assert not leased.line.busy
    assert turns() == []


def test_repeats_make_way_for_a_visitor_who_waits(leased, request_, monkeypatch):
    monkeypatch.setattr(leased, "settings", replace(leased.settings, repeat_s=60))
    events = leased.answer(request_)
    next(event for event in events if event.phase == "full")
    other = threading.Thread(target=leased.analyse, args=(request_,))
    other.start()
    assert list(events)[-1].phase == "done", "long before a minute is over"
    other.join()


def failing(work, error: Callable[[], Exception]):
    yield Event("encoding", "Soon.")
    raise error()


def dying(work):
    yield Event("encoding", "Soon.")
    os._exit(0)


@each(
    ("error", "caught", "words"),
    [
        (partial(InvalidInput, "the budget is too small."), InvalidInput, "the budget is too small"),
        (partial(OutOfMemory, "the memory is full."), OutOfMemory, "the memory is full"),
        (partial(torch.OutOfMemoryError, "CUDA out of memory"), OutOfMemory, "the memory of the GPU is full"),
        (partial(KeyError, "a visitor's secret"), RuntimeError, "^KeyError$"),
    ],
    ids=lambda x: str(x)[:60],
)
def test_an_error_crosses_as_it_is_and_the_next_question_works(leased, request_, error, caught, words):
    said = []
    with pytest.raises(caught, match=words):
        said.extend(leased.in_turn(LOOK, request_, threading.Event(), Event, partial(failing, error=error)))
    assert not leased.line.busy
    assert list(leased.answer(request_))[-1].phase == "done"


def test_a_process_that_dies_is_an_error_not_an_answer(leased, request_):
    with pytest.raises(FsrError, match="ended before the answer was done"):
        list(leased.in_turn(LOOK, request_, threading.Event(), Event, dying))
    assert not leased.line.busy


def test_what_needs_the_gpu_cannot_cross():
    assert dumps({"kept": torch.arange(3)})
    with pytest.raises(TypeError, match="a tensor on meta cannot leave"):
        dumps({"kept": [torch.zeros(3, device="meta")]})
    with pytest.raises((TypeError, AttributeError)):
        dumps(threading.Lock())


@pytest.mark.slow
def test_a_clip_is_asked_about_with_all_its_frames():
    file = ROOT / "assets" / "examples" / "vanish.mp4"
    service = Service(Settings(model="shapes-video", max_new_tokens=6, repeat_s=0))
    try:
        asked = Request(service.open_media(file, "shapes-video").id, "what moves?", "fsr", 64, {}, "shapes-video")
        here = untimed(service.answer(asked))
        service.leases = Leases(forked, service.models)
        assert untimed(service.answer(asked)) == here
    finally:
        service.close()


def test_a_lease_is_asked_for_as_long_as_the_work_takes(leased, request_, tiny_vlm):
    seconds = partial(leased.leases.seconds, model="tiny", vlm=tiny_vlm)
    assert seconds(LOOK) == SHORTEST_S

    class Large:
        held_bytes = 14e9

    asked = [leased.leases.seconds(Effort("compare", n), "large", Large()) for n in (0, 2, 7, 1000)]
    assert asked == sorted(set(asked))
    assert asked[0] > SHORTEST_S
    assert asked[-1] == LONGEST_S
    list(leased.answer(request_))
    assert leased.leases._took[("answer", request_.model)], "what it took tells how long the next takes"
    leased.leases._took[("answer", "large")] = leased.leases._took.pop(("answer", request_.model))
    leased.leases._took[("answer", "large")].append(30.0)
    assert leased.leases.seconds(Effort("answer", 2), "large", Large()) > 45.0


def test_nothing_is_leased_unasked(leased, request_):
    assert "every turn with the GPU counts" in leased.unasked(request_.model)
    leased.leases.sparing = False
    assert leased.unasked(request_.model) == ""


@each(
    ("title", "message", "words"),
    [
        (
            "ZeroGPU quota exceeded",
            "You have exceeded your free ZeroGPU quota (19s requested vs. 4s left). Try again in 0:12:34. ",
            "your share of the GPU is used up, this question asks for 19 s; ask again in 13 min",
        ),
        ("ZeroGPU quota exceeded", "Try again in 1 day, 2:00:00. ", "ask again in 26 h"),
        ("ZeroGPU quota exceeded", "Try again in 0:00:07. ", "ask again in 7 s"),
        ("ZeroGPU quota exceeded", "Space app has reached its GPU limit. Try re-running outside", "sign in"),
        ("ZeroGPU quota exceeded", "You have exceeded your ZeroGPU runs limit. ", "come back later"),
        ("ZeroGPU quota exceeded", "No GPU was available after 60s. Try re-running outside", "no GPU is free now"),
        ("ZeroGPU illegal duration", "The requested GPU duration (19s) is larger than", "more than is lent"),
        ("ZeroGPU queue timeout", "No GPU was available after 60s", "no GPU is free now"),
        ("ZeroGPU client error", "No GPU was available", "no GPU is free now"),
        ("ZeroGPU worker error", "GPU task aborted", "taken away before the answer was done"),
    ],
    ids=lambda x: x[:30],
)
def test_a_refused_lease_is_a_sentence_with_the_time_to_wait(title, message, words):
    assert words in refusal(title, message, 19.2)
