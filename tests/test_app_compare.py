"""Comparing methods: one encoding, one answer after the other, everything from a visitor checked."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import gradio_client
import pytest
from PIL import Image

from app.compare import MAX_RUNS, compare, in_turns, overlap, report, requests_of
from app.curves import curves, smallest
from app.exporting import figure
from app.request import Request
from app.service import Service
from app.settings import Settings
from app.ui.page import build_app, launch_options
from fsr.bench.measure import Measurement
from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.tokens import Role
from fsr.trace import Trace
from tests.looping import each
from tests.tiny import in_memory


@pytest.fixture
def service(tiny_folder, tiny_vlm):
    made = Service(Settings(model=str(tiny_folder), max_new_tokens=4), look=in_memory(tiny_vlm))
    yield made
    made.close()


def saved(folder: Path) -> Path:
    path = folder / "picture.png"
    Image.new("RGB", (60, 40), (200, 40, 40)).save(path)
    return path


@pytest.fixture
def asked(service, tmp_path):
    picture = service.open_media(saved(tmp_path))
    return Request(picture.id, "what is it?", "fsr", 6, {}, service.settings.first)


def test_no_method_always_comes_first_and_the_first_of_a_length_is_warmed(service, asked, monkeypatch):
    requests = requests_of(asked, ["fsr", "random", "grid"], [6])
    first = [in_turns([replace(r, question=f"what is {i}?") for r in requests])[0].method for i in range(30)]
    assert set(first) == {"fsr", "random", "grid"}
    assert sorted(r.method for r in in_turns(requests)) == ["fsr", "grid", "random"]
    warmed = []
    warm = Measurement.warm
    monkeypatch.setattr(Measurement, "warm", lambda self, key: warmed.append(key) or warm(self, key))
    *_, last = compare(service, requests)
    assert last.phase == "done"
    assert warmed == [f"{in_turns([service.checked(r) for r in requests])[0].method}@6"]


def test_all_tokens_answer_first_and_then_every_method_alone(service, asked):
    events = list(compare(service, requests_of(asked, ["fsr", "random", "grid"], [6])))
    first, *keys = dict.fromkeys(e.key for e in events if e.answer)
    assert first == "full"
    assert sorted(keys) == ["fsr@6", "grid@6", "random@6"]
    assert [e.phase for e in (events[0], events[-1])] == ["loading", "done"]
    answered = [e for e in events if e.answer]
    assert [e.at for e in answered] == sorted(e.at for e in answered)
    assert {e.of for e in answered} == {4}
    for event in answered:
        if event.answer["end"] and event.key != "full":
            assert event.answer["cost"]["visual_tokens"] == 6
            assert event.answer["cost"]["select_ms"] > 0


def test_one_method_at_several_budgets(service, asked):
    requests = requests_of(asked, ["fsr"], [3, 6, 9])
    found = report(compare(service, requests), requests)
    assert list(found["answers"]) == ["full", "fsr@3", "fsr@6", "fsr@9"]
    assert found["overlap"]["fsr@3|fsr@9"] == pytest.approx(3 / 9), "FSR keeps what a smaller budget kept"


def test_plans_are_sent_once_and_not_again_while_the_page_holds_them(service, asked):
    requests = requests_of(asked, ["fsr", "random"], [6])
    events = list(compare(service, requests))
    (base,) = [e.trace for e in events if e.trace]
    methods = Trace.from_json(base).methods
    patches = [e.patch for e in events if e.patch]
    assert [list(p["methods"]) for p in patches] == [["fsr"]], "random's order is in the trace already"
    methods |= {name: record for p in patches for name, record in p["methods"].items()}
    held = {name: record["parameters"] for name, record in methods.items()}
    again = list(compare(service, requests, shown=asked.setting, held=held))
    assert not any(e.trace or e.patch for e in again)
    tuned = [replace(r, parameters={"fsr": {"rho": 0.3}}) for r in requests]
    changed = [e.patch for e in compare(service, tuned, shown=asked.setting, held=held) if e.patch]
    assert [p["methods"]["fsr"]["parameters"]["rho"] for p in changed] == [0.3]


def test_the_report_is_what_the_methods_select(service, asked, tiny_vlm):
    requests = requests_of(asked, ["fsr", "random"], [6])
    found = report(compare(service, requests), requests)
    encoding = tiny_vlm.encode(tiny_vlm.encode_media([service.pictures.get(asked.picture).image]), asked.question)
    kept = {}
    for name in ("fsr", "random"):
        kept[name] = (make(name)(encoding.tokens, 6).roles >= int(Role.KEPT)).nonzero()[:, 0].tolist()
        assert found["kept"][f"{name}@6"] == kept[name]
    both = len(set(kept["fsr"]) & set(kept["random"]))
    assert found["overlap"] == {"fsr@6|random@6": pytest.approx(both / (12 - both))}
    same = found["answers"]["fsr@6"]["text"].strip() == found["answers"]["full"]["text"].strip()
    assert found["agreement"]["fsr@6"] is same


def test_overlap_is_intersection_over_union():
    assert overlap([1, 2, 3], [2, 3, 4]) == 0.5
    assert overlap([], []) == 1.0
    assert overlap([1], [2]) == 0.0


@each(
    ("methods", "budgets", "words"),
    [
        (["fsr"], [6], "choose 2 to 6"),
        (["fsr", "random"], [6, 9], "choose 2 to 6"),
        (["fsr", "fsr"], [6], "different methods"),
        ([], [6], "different methods"),
        ("fsr", [6], "takes lists"),
        (["fsr", "random"], [], "different methods"),
        (["fsr", "full"], [6], "no method 'full'"),
        (["fsr", "nonsense"], [6], "no method 'nonsense'"),
        (["fsr", {"a": 1}], [6], "no method"),
        (["fsr", "random"], [6.5], "whole number"),
        (["fsr", "random"], ["6"], "whole number"),
        (["fsr", "random"], [True], "whole number"),
        (["fsr", "random"], [float("nan")], "whole number"),
        (["fsr", "random"], [0], "whole number"),
        ([str(i) for i in range(MAX_RUNS + 1)], [6], "different methods"),
    ],
    ids=lambda x: str(x)[:40],
)
def test_what_a_visitor_sends_is_refused_with_a_sentence(asked, methods, budgets, words):
    with pytest.raises(InvalidInput, match=words):
        requests_of(asked, methods, budgets)


@each(
    ("change", "words"),
    [({"budget": 26}, "from 1 to 25"), ({"question": " "}, "question is empty"), ({"model": "x"}, "model must be")],
    ids=lambda x: str(x)[:30],
)
def test_a_bad_comparison_fails_before_any_answer(service, asked, change, words):
    requests = [replace(r, **change) for r in requests_of(asked, ["fsr", "random"], [6])]
    seen = []
    with pytest.raises(InvalidInput, match=words):
        seen.extend(compare(service, requests))
    assert not any(e.answer for e in seen)
    assert not service.line.busy


def test_a_stop_ends_the_comparison_and_frees_the_model(service, asked):
    stop, events = threading.Event(), []
    for event in compare(service, requests_of(asked, ["fsr", "random", "grid"], [6]), stop):
        events.append(event)
        if event.key not in ("", "full"):
            stop.set()
    assert events[-1].phase == "stopped"
    assert len({e.key for e in events} - {"", "full"}) == 1
    assert not service.line.busy


def test_a_method_that_cannot_run_is_told_and_the_others_go_on(service, asked, tiny_vlm, monkeypatch):
    whole = tiny_vlm.encode
    monkeypatch.setattr(
        tiny_vlm, "encode", lambda media, question, needs=None: whole(media, question, frozenset({"relevance"}))
    )
    requests = requests_of(asked, ["saliency", "random"], [6])
    found = report(compare(service, requests), requests)
    assert "needs saliency" in found["problems"]["saliency@6"]
    assert list(found["answers"]) == ["full", "random@6"]


@pytest.fixture(scope="module")
def client(tiny_folder, tiny_vlm, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("served")))
        settings = Settings(model=str(tiny_folder), max_new_tokens=4, host="127.0.0.1")
        service = Service(settings, look=in_memory(tiny_vlm))
        demo = build_app(settings, service)
        _, url, _ = demo.launch(
            **launch_options(settings) | {"server_port": None, "prevent_thread_lock": True, "quiet": True}
        )
        yield gradio_client.Client(url, verbose=False)
        demo.close()
        service.close()


@pytest.mark.slow
def test_the_endpoint_compares(client, tmp_path):
    picture = gradio_client.handle_file(saved(tmp_path))
    found = client.predict(picture, "what?", ["fsr", "random"], [6], None, api_name="/compare")
    assert list(found["answers"]) == ["full", "fsr@6", "random@6"]
    assert set(found["agreement"]) == {"fsr@6", "random@6"}
    row = client.predict(picture, "what?", ["grid"], [4, 6], {"grid": {}}, api_name="/compare")
    assert list(row["kept"]) == ["grid@4", "grid@6"]


@pytest.mark.parametrize(
    ("methods", "budgets", "parameters", "words"),
    [
        (["fsr"], [6], None, "choose 2 to 6"),
        (None, None, None, "takes lists"),
        (["fsr", "random"], [99], None, "from 1 to 25"),
        (["fsr", "random"], [6], {"fsr": {"rho": 9}}, "rho must be"),
    ],
    ids=lambda x: str(x)[:30],
)
def test_the_endpoint_answers_bad_input_with_a_sentence(client, tmp_path, methods, budgets, parameters, words):
    picture = gradio_client.handle_file(saved(tmp_path))
    with pytest.raises(gradio_client.exceptions.AppError, match=words):
        client.predict(picture, "what?", methods, budgets, parameters, api_name="/compare")


# -- curves and figures


def test_curves_hold_every_method_at_every_budget_and_can_be_stopped(service, asked):
    requests = requests_of(asked, ["random", "fsr"], [1])
    stop = threading.Event()
    steps = list(curves(service, requests, stop))
    points = [s.point for s in steps if s.point]
    assert {p["method"] for p in points} == {"random", "fsr"}
    assert len(points) == steps[-2].of
    assert all(p["kl"] >= 0 and 0 <= p["probability"] <= 1 for p in points)
    assert steps[-1].phase == "done"
    cut = []
    for step in curves(service, requests, stop):
        cut.append(step)
        if step.point:
            stop.set()
    assert [bool(s.point) for s in cut].count(True) == 1
    assert cut[-1].phase == "stopped"
    assert not service.line.busy


def test_the_smallest_budget_is_told_with_its_runs(service, asked):
    *_, last = smallest(service, replace(asked, method="random"), threading.Event())
    assert last.method == "random"
    assert last.smallest.runs == len(last.smallest.tried) > 0


def test_a_search_that_was_stopped_tells_no_budget(service, asked):
    stop, steps = threading.Event(), []
    for step in smallest(service, asked, stop):
        steps.append(step)
        if step.phase == "running":
            stop.set()
    assert (steps[-1].phase, steps[-1].smallest) == ("stopped", None)


@each(
    ("kind", "sent", "words"),
    [
        ("sheet", {"runs": [["fsr", 6]]}, "nothing to draw yet"),
        ("sheet", {"runs": [["fsr", 6]], "trace": "{}"}, "version"),
        ("sheet", {"runs": [["<b>", 6]], "trace": "{}"}, "every run"),
        ("sheet", {"runs": "x"}, "1 to 6 methods"),
        ("overlap", {"runs": [["fsr", 6], ["random", 6]], "values": [[1, 2], [0, 1]]}, "from 0 to 1"),
        ("overlap", {"runs": [["fsr", 6], ["random", 6]], "values": [[1]]}, "2 rows of 2"),
        ("curves", {"points": []}, "draw them first"),
        ("curves", {"points": [{"method": "fsr", "budget": 6, "kl": float("nan"), "probability": 1}]}, "from 0"),
        ("nonsense", {}, "a figure is one of"),
    ],
    ids=lambda x: str(x)[:40],
)
def test_what_a_figure_is_drawn_from_is_checked(kind, sent, words):
    with pytest.raises(InvalidInput, match=words):
        figure(kind, "png", sent, lambda _: [Image.new("RGB", (60, 40))])


@each(("fmt", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")], ids=lambda x: str(x)[:6])
def test_figures_come_in_every_format(fmt, start):
    points = [{"method": "fsr", "budget": k, "kl": 1 / k, "probability": 0.5} for k in (4, 8)]
    assert figure("curves", fmt, {"points": points, "question": "what?"}, lambda _: []).startswith(start)
    sent = {"runs": [["fsr", 6], ["random", 6]], "values": [[1, 0.2], [0.2, 1]]}
    assert figure("overlap", fmt, sent, lambda _: []).startswith(start)
