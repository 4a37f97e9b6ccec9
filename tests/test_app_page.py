"""The page's Python side without a browser: static files, gallery, handlers."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from gradio.queueing import Queue
from PIL import Image

from app.examples import Examples
from app.service import Service
from app.serving import STATIC, early, head, markup, version
from app.settings import CLIPS_ONLY, ROOT, Settings
from app.ui.files import FileHandlers
from app.ui.handlers import Handlers, Session
from app.ui.page import build_app, page_config
from app.ui.running import Pace
from app.ui.sent import checked_forced, checked_parameters, sentence, whole
from fsr.bench.recording import drawn_picture
from fsr.errors import InvalidInput
from fsr.trace import Trace
from tests.looping import each
from tests.tiny import in_memory

SOURCES = sorted(p for p in STATIC.rglob("*") if p.suffix in {".js", ".css", ".html"})


@each("path", SOURCES, ids=lambda p: p.name)
def test_static_files_are_short_and_ask_no_other_host(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 400
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg|arxiv\.org/abs/\"|\")", text), "no address of another host"
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert word not in text, f"{word} could turn text into markup or code"


def test_modules_import_each_other_by_relative_addresses_and_not_in_a_circle():
    found = {p: re.findall(r'^(?:import|export) .*?from "(.*?)";$', p.read_text(), re.M) for p in STATIC.rglob("*.js")}
    above: list[Path] = []

    def follow(path: Path) -> None:
        assert path not in above, f"{' -> '.join(p.name for p in [*above, path])} import each other in a circle"
        above.append(path)
        for other in found[path]:
            assert other.startswith("."), f"{path.name} imports {other}, which would lose the version"
            follow((path.parent / other).resolve())
        above.pop()

    follow(STATIC / "main.js")


def test_the_head_names_every_file_with_its_version():
    names = {p: p.relative_to(STATIC).as_posix() for p in SOURCES if p.parent.name != "data"}  # of a page of its own
    for path, name in names.items():
        if path.suffix == ".css":
            assert f'href="./fsr/{version()}/{name}"' in head({}), name
        if path.suffix in {".css", ".js"}:
            assert f"<./fsr/{version()}/{name}>" in early(), name


def test_the_head_cannot_be_left_by_data():
    text = head({"methods": "</script><script>alert(1)</script>"})
    assert text.count("</script>") == 1


def test_markup_is_constant():
    for path in STATIC.rglob("*.html"):
        assert "${" not in markup(path.relative_to(STATIC).as_posix())


def test_building_the_page_loads_no_model():
    def refuse(*_, **__):
        raise AssertionError("a model was loaded")

    settings = Settings()
    demo = build_app(settings, Service(settings, look=refuse))
    public = set(demo.get_api_info()["named_endpoints"])
    assert public >= {"/analyse", "/answer", "/compare", "/words"}


def test_the_page_knows_every_method_and_parameter_from_the_registry():
    config = page_config(Settings())
    json.dumps(config)
    fsr = next(m for m in config["methods"] if m["name"] == "fsr")
    assert {"alpha", "beta", "rho", "kappa", "focus_cap", "relevance_sign", "similarity"} == {
        p["name"] for p in fsr["parameters"]
    }


# -- the gallery


def test_the_gallery_is_drawn_by_the_scenes_of_the_embedded_model():
    rows = json.loads((ROOT / "assets/examples/index.json").read_text())
    assert len({row["id"] for row in rows}) == len(rows) >= 6
    for row in rows:
        shown = ROOT / "assets" / "examples" / f"{row['id']}.png"
        if shown.is_file():
            pair = (np.asarray(image.convert("RGB"), dtype=int) for image in (Image.open(shown), drawn_picture(row)))
            difference = np.abs(np.subtract(*pair))  # OpenCV's digits differ by a few levels from version to version
            assert difference.max() <= 32, row["id"]
            assert difference.mean() < 0.05, row["id"]


def test_every_recorded_trace_is_valid_and_says_where_it_was_recorded():
    examples = Examples(ROOT / "assets").all.values()
    missing = [e.id for e in examples if not e.trace_file.is_file()]
    assert missing == ["dog"], "the embedded models know nothing of real films"
    for example in examples:
        record = example.trace_file.read_text() if example.trace_file.is_file() else None
        if record is None:
            continue
        trace = Trace.from_json(record)
        assert trace.question == example.question
        assert trace.recorded
        assert "full" in trace.answers


def test_an_unknown_example_is_refused():
    examples = Examples(ROOT / "assets")
    for name in ("../../etc/passwd", None, 3, "<b>"):
        with pytest.raises(InvalidInput, match="there is no example"):
            examples.get(name)


# -- handlers


VISITOR = SimpleNamespace(session_hash="visitor", query_params={})


@pytest.fixture
def handlers(tiny_folder, tiny_vlm):
    settings = Settings(model=str(tiny_folder), max_new_tokens=6)
    service = Service(settings, look=in_memory(tiny_vlm))
    yield Handlers(service, Examples(ROOT / "assets"))
    service.close()


@pytest.fixture
def session(handlers, tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (50, 50), (10, 200, 30)).save(path)
    first = Session(handlers.service.settings.first)
    *_, (name, _) = handlers.upload(str(path), first, VISITOR)
    return handlers.show_upload(name, "", first)[2]


def test_an_uploaded_picture_is_not_for_the_model_that_knows_drawn_clips_alone(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (50, 50), (10, 200, 30)).save(path)
    service = Service(Settings())
    handlers = Handlers(service, Examples(ROOT / "assets"))
    *_, (name, _) = handlers.upload(str(path), Session(CLIPS_ONLY), VISITOR)
    stage, _, session, _, bar = handlers.show_upload(name, "", Session(CLIPS_ONLY))
    assert (session.model, bar["id"], bar["chosen"]) == ("shapes", "shapes", True)
    assert stage["note"] == "Shapes for clips knows drawn clips only: Shapes answers now."
    stage, _, session, _, bar = handlers.show_upload(name, "", Session("shapes"))
    assert "note" not in stage
    assert session.model == "shapes"
    assert "chosen" not in bar
    service.close()


def test_asking_yields_a_trace_answers_and_the_loaded_model(handlers, session):
    steps = list(handlers.ask("what?", {"method": "fsr", "budget": 4, "of": 25}, session, VISITOR))
    traces = [s[0] for s in steps if "trace" in s[0]]
    assert len(traces) == 1
    assert json.loads(traces[0]["trace"])["tokens"]["n"] == 25
    last = steps[-1][1]
    assert last["status"]["phase"] == "done"
    bars = [s[2] for s in steps if "loaded" in s[2]]
    assert bars[-1]["loaded"]
    assert handlers._stops == {}
    runs = [s[1]["run"] for s in steps]
    assert len(set(runs)) == len(runs), "equal values would not be noticed by the panels"


@each(
    ("view", "words"),
    [
        (None, "budget must be a whole number"),
        ([], "budget must be a whole number"),
        ({"method": "fsr", "budget": "64"}, "budget must be a whole number"),
        ({"method": "fsr", "budget": True}, "budget must be a whole number"),
        ({"method": "fsr", "budget": float("nan")}, "budget must be a whole number"),
        ({"method": "fsr", "budget": 1e300}, "budget must be a whole number"),
        ({"method": "fsr", "budget": 26}, "from 1 to 25"),
        ({"method": {"a": 1}, "budget": 4}, "method must be one of"),
        ({"method": "fsr", "budget": 4, "parameters": {"fsr": {"alpha": "<b>"}}}, "alpha must be"),
        ({"method": "fsr", "budget": 4, "parameters": {"fsr": {"alpha": [1]}}}, "alpha must be"),
    ],
    ids=lambda x: str(x)[:50],
)
def test_a_hostile_view_fails_with_a_sentence(handlers, session, view, words):
    shown = []
    with pytest.raises(gr.Error, match=words):
        shown.extend(handlers.ask("what?", view, session, VISITOR))
    assert shown[-1][1]["status"]["phase"] == "failed"
    assert words in shown[-1][1]["status"]["text"]


def test_without_a_picture_the_page_says_what_to_do(handlers):
    with pytest.raises(gr.Error, match="choose an example or upload one"):
        list(handlers.ask("what?", {"method": "fsr", "budget": 4}, Session(handlers.service.settings.first), VISITOR))


def test_word_about_another_picture_can_be_told_apart(handlers, session):
    steps = list(handlers.ask("what?", {"method": "fsr", "budget": 4, "about": 17}, session, VISITOR))
    assert {s[1]["about"] for s in steps} == {17}
    assert next(s[0] for s in steps if "trace" in s[0])["about"] == 17


def test_the_next_question_stops_the_one_before(handlers, session):
    first = handlers.ask("what?", {"method": "fsr", "budget": 4, "ask": 1}, session, VISITOR)
    next(first)
    with handlers.stoppable({}, VISITOR):
        rest = list(first)
    assert rest[-1][1]["status"]["phase"] == "stopped"
    assert rest[-1][1]["ask"] == 1


def test_a_stop_that_overtakes_its_question_in_the_queue_stops_that_question_alone(handlers, session):
    handlers.stop_run({"ask": 3}, VISITOR)
    phases = {}
    for ask in (3, 4):
        steps = handlers.ask("what?", {"method": "fsr", "budget": 4, "of": 25, "ask": ask}, session, VISITOR)
        phases[ask] = [s[1]["status"]["phase"] for s in steps][-1]
    assert phases == {3: "stopped", 4: "done"}


def test_a_stop_that_overtakes_its_curves_in_the_queue_stops_those_curves_alone(handlers, session):
    phases = {}
    handlers.halt(SimpleNamespace(_data={"curves": 1}), VISITOR)
    for run in (1, 2):
        asked = {"methods": ["random"], "method": "fsr", "question": "what?", "curves": run}
        steps = handlers.fidelity(SimpleNamespace(_data=asked), "what?", session, VISITOR)
        phases[run] = [json.loads(s[0]["fidelity"])["phase"] for s in steps][-1]
    assert phases == {1: "stopped", 2: "done"}


def test_a_new_picture_stops_the_answer_about_the_old_one(handlers, session, tmp_path):
    steps = handlers.ask("what?", {"method": "fsr", "budget": 4}, session, VISITOR)
    next(steps)
    handlers.pick(SimpleNamespace(_data={"id": next(iter(handlers.examples.all))}), session, VISITOR)
    assert list(steps)[-1][1]["status"]["phase"] == "stopped"


def test_looking_says_what_it_does_and_stops_with_stop(handlers, session):
    view = {"method": "fsr", "budget": 4, "look": 1}
    texts = [s[1]["status"]["text"] for s in handlers.analyse_upload("what?", view, session, VISITOR)]
    assert texts[-3:] == ["Encoding the picture and the question.", "Planning every budget.", ""]
    steps = handlers.analyse_upload("and now?", view | {"look": 2}, session, VISITOR)
    next(steps)
    handlers.stop_run({"ask": 0, "look": 2}, VISITOR)
    assert [s[1]["status"]["phase"] for s in steps][-1] == "stopped"
    sent = SimpleNamespace(_data={"method": "grid", "parameters": {}, "question": "what?", "look": 2})
    assert [s[1]["status"]["phase"] for s in handlers.replan(sent, "", session, VISITOR)][-1] == "stopped"


def test_an_uploaded_picture_takes_no_question_of_an_example_along(handlers, session):
    example = next(iter(handlers.examples.all.values()))
    for before in (f" {example.question}", ""):
        assert handlers.show_upload(session.picture, before, session)[1] == "What is in the picture?"
    assert handlers.show_upload(session.picture, "what did I type?", session)[1] == gr.skip()


def test_an_upload_without_a_file_and_a_question_that_is_none_get_their_words(handlers, session):
    steps = handlers.upload(None, session, VISITOR)
    next(steps)
    assert next(steps)[1]["status"]["text"] == "There is no file; send a picture or a clip."
    *_, (_, answers, _) = handlers.analyse_upload(None, {}, session, VISITOR)
    assert answers["status"]["phase"] == "idle"
    assert handlers.show_upload(session.picture, None, session)[1] == gr.skip()


def test_an_event_without_data_gets_its_sentence(handlers, session):
    """As anybody may call it over HTTP: nothing, or something of another type."""
    said = {
        "pick": lambda event: handlers.pick(event, session, VISITOR),
        "replan": lambda event: list(handlers.replan(event, "what?", session, VISITOR))[-1][1]["status"]["text"],
        "fidelity": lambda event: list(handlers.fidelity(event, "what?", session, VISITOR))[-1][0]["fidelity"],
        "figure": lambda event: list(FileHandlers(handlers).figure(event, session)),
        "export": lambda event: list(FileHandlers(handlers).export_clip(event, session)),
        "choose": lambda event: handlers.choose_model(event, session),
    }
    sent = (None, 3, "x", [], {}, {"id": {}, "method": [], "figure": 3, "parameters": "x", "methods": 5})
    for event in (SimpleNamespace(), *(SimpleNamespace(_data=data) for data in sent)):
        for name, call in said.items():
            try:
                text = str(call(event))
            except gr.Error as error:
                text = str(error)
            assert "went wrong" not in text, (name, event, text)
            assert any(words in text for words in ("must be", "here is no", "takes ", " one of ")), (name, text)
        handlers.halt(event, VISITOR)


def test_stop_reaches_only_the_visitor_who_pressed_it(handlers):
    one, other = (SimpleNamespace(session_hash=name) for name in ("one", "other"))
    with handlers.stoppable({}, one) as first, handlers.stoppable({}, other) as second:
        handlers.stop(one)
        assert first.is_set()
        assert not second.is_set()
    handlers.stop(SimpleNamespace(session_hash="nobody"))


def test_a_refused_parameter_is_told_in_the_drawer(handlers, session):
    event = SimpleNamespace(_data={"method": "fsr", "parameters": {"rho": -1}})
    *_, (_, answers, _) = handlers.replan(event, "what?", session, VISITOR)
    assert answers["status"]["phase"] == "refused"
    assert "rho must be" in answers["status"]["text"]
    event = SimpleNamespace(_data={"method": "fsr", "parameters": {"rho": 0.5}})
    *_, (stage, _, _) = handlers.replan(event, "what?", session, VISITOR)
    assert json.loads(stage["patch"])["methods"]["fsr"]["parameters"]["rho"] == 0.5


def test_a_method_is_selected_for_the_question_of_the_trace_not_for_one_that_is_being_typed(handlers, session):
    steps = handlers.ask("what?", {"method": "fsr", "budget": 4}, session, VISITOR)
    setting = next(s[0]["setting"] for s in steps if "trace" in s[0])
    list(steps)
    sent = {"method": "random", "parameters": {}, "question": "what?"}
    *_, (stage, _, _) = handlers.replan(SimpleNamespace(_data=sent), "what on earth", session, VISITOR)
    assert stage["setting"] == setting
    sent |= {"question": "what on earth"}
    *_, (stage, _, _) = handlers.replan(SimpleNamespace(_data=sent), "what?", session, VISITOR)
    assert stage["setting"] != setting


def test_a_picture_that_cannot_be_looked_at_does_not_leave_the_page_waiting(handlers, session):
    view = {"method": "fsr", "budget": 4, "about": 3}
    *_, (_, answers, _) = handlers.analyse_upload("what? " * 200, view, session, VISITOR)
    assert answers["status"]["phase"] == "refused"
    assert "at most 500 are allowed" in answers["status"]["text"]
    assert answers["about"] == 3


def test_the_unforeseen_is_told_without_the_visitors_data(caplog):
    try:
        raise RuntimeError("secret question")
    except RuntimeError as error:
        text = sentence(error)
    assert "secret" not in text + caplog.text
    assert "RuntimeError" in text
    assert "RuntimeError" in caplog.text


def test_parameters_are_taken_apart_with_care():
    assert checked_parameters(None) == {}
    assert checked_parameters({"fsr": None, "grid": {"a": 1}}) == {"grid": {"a": 1}}
    for sent, said in (
        ("rho=1", 'by method must be sent as {"fsr": {"rho": 0.8}}, not'),
        ({"rho": 0.5}, "no method 'rho' to give parameters to"),
        ({"fsr": 5}, 'parameters of fsr must be sent as {"rho": 0.8}, not'),
    ):
        with pytest.raises(InvalidInput, match=re.escape(said)):
            checked_parameters(sent)
    with pytest.raises(InvalidInput, match="forced tokens are sent as"):
        checked_forced({"inn": [3]})


def test_whole_numbers_only():
    assert whole(64.0, "budget") == 64
    for bad in (64.5, "64", None, True, -1, float("inf"), float("nan"), [64]):
        with pytest.raises(InvalidInput):
            whole(bad, "budget")


def test_updates_keep_their_pace():
    pace = Pace(1000)
    assert pace.due()
    pace.every = 1e9
    assert not pace.due()


def test_an_idle_page_leaves_the_processor_alone():
    """Gradio looks for events again and again: this says how often, in whatever version is installed."""
    assert "self.sleep_when_free" in inspect.getsource(Queue.start_processing)
    assert build_app(Settings())._queue.sleep_when_free >= 0.05
