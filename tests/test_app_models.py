"""The page's models: what is on offer, one in memory, freed for the next, and a page that survives a failed load."""

from __future__ import annotations

import shutil
import threading
import weakref
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import fsr.vlm
from app import picker
from app.compare import compare, requests_of
from app.curves import curves
from app.examples import Examples
from app.models import NotLoaded
from app.offers import DEFAULT_ON_GPU, SMALL_ENOUGH, Choice, chosen, offered
from app.request import Request
from app.service import Service
from app.settings import Settings
from app.ui import values
from app.ui.handlers import Handlers, Session
from fsr.errors import FsrError, InvalidInput
from fsr.vlm import memory
from tests.looping import each
from tests.tiny_families import save_next, save_qwen

ABSENT = "llava-hf/llava-1.5-7b-hf"


@pytest.fixture(scope="module")
def folders(tiny_folder, tmp_path_factory):
    """Two checkpoints that load, one with a file that was cut off, and one whose files are whole but lack a weight."""
    base = tmp_path_factory.mktemp("secret-place")
    broken, lacking = (shutil.copytree(tiny_folder, base / name) for name in ("broken", "lacking"))
    (broken / "model.safetensors").write_bytes((tiny_folder / "model.safetensors").read_bytes()[:-100])
    weights = load_file(lacking / "model.safetensors")
    del weights[next(name for name in weights if "multi_modal_projector" in name)]
    save_file(weights, lacking / "model.safetensors", metadata={"format": "pt"})
    return {"tiny-llava": tiny_folder, "tiny-qwen": save_qwen(base / "tiny-qwen"), "broken": broken, "lacking": lacking}


@pytest.fixture
def service(folders):
    first, *others = map(str, folders.values())
    settings = Settings(model=first, models=",".join([*others, ABSENT]))
    made = Service(replace(settings, max_new_tokens=2, repeat_s=0))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_hub(tmp_path, monkeypatch):
    """Nothing of a hub is on this machine, and none can be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def asked(service, folder, model, method="fsr"):
    path = folder / "picture.png"
    Image.effect_noise((90, 70), 60).convert("RGB").save(path)
    return Request(service.open_media(path).id, "what is it?", method, 0, {}, model)


@each(
    ("cuda", "environment", "expected"),
    [
        (False, {}, Choice("shapes", f"shapes-video,{SMALL_ENOUGH}")),
        (False, {"HF_HUB_OFFLINE": "1"}, Choice("shapes", "shapes-video")),
        (False, {"SPACE_ID": "me/space"}, Choice("shapes", "shapes-video")),
        (True, {}, Choice(DEFAULT_ON_GPU, "shapes,shapes-video,all", "shapes")),
        (True, {"FSR_MODELS": ""}, Choice(DEFAULT_ON_GPU, "", "shapes")),
        (True, {"FSR_MODEL": "shapes"}, Choice("shapes", "shapes-video")),
        (True, {"FSR_MODEL": "a/b", "FSR_MODELS": "c/d"}, Choice("a/b", "c/d")),
        (False, {"FSR_MODEL": "a/b", "FSR_FALLBACK": "shapes"}, Choice("a/b", "shapes-video", "shapes")),
        (True, {"FSR_DEVICE": "cpu"}, Choice("shapes", f"shapes-video,{SMALL_ENOUGH}")),
        (True, {"FSR_DEVICE": "cuda:1"}, Choice(DEFAULT_ON_GPU, "shapes,shapes-video,all", "shapes")),
        (True, {"SPACE_ID": "me/space"}, Choice(DEFAULT_ON_GPU, "shapes,shapes-video", "shapes")),
        (True, {"FSR_HOST": "0.0.0.0"}, Choice(DEFAULT_ON_GPU, "shapes,shapes-video", "shapes")),
        (True, {"GRADIO_SERVER_NAME": "10.0.0.5"}, Choice(DEFAULT_ON_GPU, "shapes,shapes-video", "shapes")),
        (True, {"FSR_HOST": "127.0.0.1"}, Choice(DEFAULT_ON_GPU, "shapes,shapes-video,all", "shapes")),
        (True, {"SPACE_ID": "me/space", "FSR_MODELS": "a/b,all"}, Choice(DEFAULT_ON_GPU, "a/b,all", "shapes")),
    ],
)
def test_what_answers_at_first(cuda, environment, expected):
    assert chosen(cuda, environment) == expected


def test_a_path_never_becomes_an_id_or_a_title(folders):
    found = offered(
        [str(folders["tiny-qwen"]), f"{folders['tiny-qwen']}/", f"{folders['tiny-llava']}:pad:llm_embedding"]
    )
    assert list(found) == ["tiny-qwen", "tiny-qwen-2", "tiny-llava:pad:llm_embedding"]
    assert [offer.title for offer in found.values()] == ["tiny-qwen", "tiny-qwen 2", "tiny-llava, pad, llm_embedding"]
    assert found["tiny-llava:pad:llm_embedding"].options == {"framing": "pad", "relevance": "llm_embedding"}


def test_all_stands_for_the_list_and_each_is_offered_once():
    found = offered(["shapes", "llava-hf/llava-1.5-7b-hf", "all", "shapes"])
    assert list(found)[:2] == ["shapes", "llava-hf/llava-1.5-7b-hf"]
    assert len(found) == 1 + len([m for m in fsr.vlm.available() if "/" in m["id"]])


@each(
    ("model", "words"),
    [
        ("nothing", "'nothing' is none"),
        ("/no/such/place", "is none"),
        ("llava-hf/llava-1.5-7b-hf:paper", "the mode paper is for LLaVA-NeXT; LLaVA-1.5 7B has none"),
    ],
)
def test_models_are_checked_before_the_page_starts(model, words):
    with pytest.raises(InvalidInput, match=words):
        Settings.from_environment({"FSR_MODEL": "shapes", "FSR_MODELS": model})


def test_the_mode_of_an_offer_reaches_the_model(tmp_path):
    folder = save_next(tmp_path / "next")
    service = Service(Settings(model=f"{folder}:paper", models=str(folder)))
    assert service.open_model("next:paper").mode == "paper"
    assert service.open_model("next").mode == "native"
    service.close()


def test_the_first_question_shows_how_far_the_load_is(service, tmp_path):
    events = list(service.answer(asked(service, tmp_path, "tiny-llava")))
    loading = [e.text for e in events if e.phase == "loading"]
    assert loading[0] == "Loading tiny-llava."
    assert loading[-1] == "Loading tiny-llava: 582.1 of 582.1 kB"
    assert not any(e.phase == "loading" for e in service.answer(asked(service, tmp_path, "tiny-llava")))


def test_no_path_of_this_machine_reaches_a_visitor(service, folders, tmp_path):
    request = asked(service, tmp_path, "tiny-llava")
    trace = service.analyse(request)
    assert trace["model"]["id"] == trace["model"]["title"] == "tiny-llava"
    told = f"{trace['model']} {values.picker_value(service, 'tiny-llava')} {values.model_value(service, 'broken')}"
    with pytest.raises(FsrError) as caught:
        service.analyse(replace(request, model="broken"))
    with pytest.raises(InvalidInput) as unknown:
        service.check_model(str(folders["tiny-qwen"]))
    for text in (told, str(caught.value), str(unknown.value)):
        assert not any(str(folder.parent) in text for folder in folders.values())


def held(service):
    """The encoding of the question that was asked first."""
    return next(iter(service.encodings._held.values())).encoding


def test_switching_leaves_nothing_of_the_model_before(service, tmp_path):
    """Answers, a comparison with a method inside the language model, curves: then its weights and media are gone."""
    request = asked(service, tmp_path, "tiny-llava")
    list(service.answer(request))
    list(service.answer(replace(request, method="fastv", budget=17)))
    list(compare(service, requests_of(request, ["fsr", "sparsevlm"], [17])))
    list(curves(service, [replace(request, method="grid")], threading.Event()))
    service.replan(request)
    vlm = service.loaded("tiny-llava")
    media = held(service).media
    gone = [weakref.ref(x) for x in (vlm, vlm.model, vlm.model.lm_head.weight, vlm.relevance_model, media, vlm._media)]
    encoding = weakref.ref(held(service))
    del vlm, media
    list(service.answer(replace(request, model="tiny-qwen")))
    assert [ref() for ref in [*gone, encoding]] == [None] * 7
    assert (service.loaded("tiny-llava"), service.models.loads) == (None, 2)


def test_a_page_that_waits_holds_no_model(service, tmp_path):
    """One visitor's answer has begun to wait while another changes the model: the first model is not kept alive."""
    service.open_model("tiny-llava")
    gone = weakref.ref(service.loaded("tiny-llava").model)
    handlers = Handlers(service, Examples(tmp_path))
    steps = handlers._steps(asked(service, tmp_path, "tiny-llava"), {"method": "fsr", "budget": 0}, threading.Event())
    with service.line.turn("answer", "another"):
        assert next(steps)[1]["status"]["phase"] == "waiting"
        service.open_model("tiny-qwen")
        assert gone() is None
    assert "tiny-llava: 582.1 of" in str([step[1] for step in steps])


@each(
    ("model", "words"),
    [
        ("broken", r"broken cannot be loaded: model\.safetensors is damaged or was cut off"),
        ("lacking", "lacking lacks weights, for example .*multi_modal_projector"),
        (ABSENT, "is not on this machine and the hub cannot be reached"),
    ],
)
def test_a_model_that_cannot_be_loaded_takes_the_one_before_from_nobody(service, tmp_path, model, words):
    request = asked(service, tmp_path, "tiny-llava")
    list(service.answer(request))
    vlm, encoding = service.loaded("tiny-llava"), held(service)
    with pytest.raises(NotLoaded, match=words):
        list(service.answer(replace(request, model=model)))
    assert service.loaded("tiny-llava") is vlm
    assert held(service) is encoding
    assert not service.line.busy
    assert not any(event.phase == "loading" for event in service.answer(request))


def test_a_model_that_is_too_large_takes_nothing_either_and_what_would_fit_is_said(service, tmp_path, monkeypatch):
    request = asked(service, tmp_path, "tiny-llava")
    vlm = service.open_model("tiny-llava")
    monkeypatch.setattr(memory, "free_bytes", lambda device: 400_000)
    with pytest.raises(NotLoaded) as caught:
        list(service.answer(replace(request, model="tiny-qwen")))
    assert str(caught.value).startswith("tiny-qwen needs about 0.0 GB in float32")
    assert str(caught.value).endswith("tiny-llava would fit.")
    assert service.loaded("tiny-llava") is vlm


def small_machine(service, monkeypatch, model):
    """Room for this model, but not beside the one that is in memory now."""
    needed, before = service.models._find(service.settings.offers[model]).needs.device, service.models.held.held_bytes

    def free(device):
        return needed + before // 2 - (0 if service.models.held is None else service.models.held.held_bytes)

    monkeypatch.setattr(memory, "free_bytes", free)


@each("small", [False, True], ids=["both fit", "one fits"])
@pytest.mark.slow
def test_the_model_before_is_let_go_of_last_where_both_fit(folders, small):
    service = Service(Settings(model=str(folders["tiny-llava"]), models=str(folders["tiny-qwen"])))
    service.open_model("tiny-llava")
    with pytest.MonkeyPatch.context() as patch:
        if small:
            small_machine(service, patch, "tiny-qwen")
        steps = service.models.opening("tiny-qwen")
        for step in steps:
            if str(step).startswith("Loading tiny-qwen: "):
                assert service.models.held_id == ("" if small else "tiny-llava")
    assert service.models.held_id == "tiny-qwen"
    service.close()


@pytest.mark.slow
def test_weights_that_cannot_be_read_after_all_bring_the_model_before_back(service, tmp_path, monkeypatch):
    request = asked(service, tmp_path, "tiny-llava")
    before = [e.answer["text"] for e in service.answer(request) if e.answer][-1]
    small_machine(service, monkeypatch, "lacking")
    told = []
    with pytest.raises(NotLoaded, match="lacking lacks weights"):
        until_it_fails(service.answer(replace(request, model="lacking")), told)
    (sentence,) = [event.text for event in told if "again" in event.text]
    assert sentence.startswith("lacking lacks weights, for example ")
    assert sentence.endswith(" tiny-llava is loaded again.")
    assert service.loaded("tiny-llava") is not None
    assert [e.answer["text"] for e in service.answer(request) if e.answer][-1] == before


def until_it_fails(steps, seen):
    """Every step goes to `seen`, also where an error ends them."""
    for step in steps:
        seen.append(step)


def test_the_visitors_own_choice_goes_back_and_says_so(service, tmp_path):
    handlers = Handlers(service, Examples(tmp_path))
    session = Session("tiny-llava", asked(service, tmp_path, "tiny-llava").picture)
    visitor = SimpleNamespace(session_hash="somebody")
    view = {"method": "fsr", "budget": 0}
    list(handlers.ask("what is it?", view, session, visitor))
    for model in (ABSENT, "broken"):  # one after the other, without a question to the first
        _, session = handlers.choose_model(SimpleNamespace(_data={"id": model}), session)
    assert session.model == "broken"
    steps = []
    with pytest.raises(gr.Error, match=r"cut off\. tiny-llava stays in use\."):
        until_it_fails(handlers.ask("what is it?", view, session, visitor), steps)
    _, answers, bar = steps[-1]
    assert (answers["status"]["phase"], bar["id"], bar["back"]) == ("failed", "broken", "tiny-llava")
    *_, (_, looked, bar) = handlers.analyse_upload("what is it?", view, session, visitor)
    assert (looked["status"]["phase"], bar["back"]) == ("refused", "tiny-llava")
    event = SimpleNamespace(_data={"methods": ["grid"], "method": "grid", "parameters": {}})
    *_, (shown, bar) = handlers.fidelity(event, "what is it?", session, visitor)
    assert ("stays in use" in str(shown), bar["back"]) == (True, "tiny-llava")
    _, session = handlers.choose_model(SimpleNamespace(_data={"id": bar["back"]}), session)  # the page does
    assert (session.model, session.before) == ("tiny-llava", "")
    *_, last = handlers.ask("what is it?", view, session, visitor)
    assert last[1]["status"]["phase"] == "done"


def test_a_load_is_waited_for_in_line_and_says_so(service, tmp_path):
    request = asked(service, tmp_path, "tiny-llava")
    loading = service.answer(request)
    assert next(loading).text == "Loading tiny-llava."
    waiting = service.answer(replace(request, model="tiny-qwen"))
    assert next(waiting).text == "Waiting for the model: 1st in line. Now: loading tiny-llava."
    assert next(loading).text == "Loading tiny-llava: 0.0 of 582.1 kB. 1 other waits."
    loading.close()
    assert next(waiting).text == "Loading tiny-qwen."
    waiting.close()


def test_a_stop_ends_the_load(service, tmp_path):
    stop = threading.Event()
    events = []
    for event in service.answer(asked(service, tmp_path, "tiny-llava"), stop):
        events.append(event.phase)
        stop.set()
    assert events[-1] == "stopped"
    assert service.loaded("tiny-llava") is None
    assert not service.line.busy
    requests = requests_of(asked(service, tmp_path, "tiny-llava"), ["fsr"], [1], least=1)
    assert [step.phase for step in curves(service, requests, stop)][-1] == "stopped"


def test_a_default_that_cannot_be_loaded_is_replaced_and_says_why(folders, tmp_path):
    tiny = str(folders["tiny-llava"])
    service = Service(Settings(model=DEFAULT_ON_GPU, models=str(folders["tiny-qwen"]), fallback=tiny, max_new_tokens=2))
    handlers = Handlers(service, Examples(tmp_path))
    session = Session(service.settings.first, asked(service, tmp_path, "").picture)
    visit = type("Request", (), {"session_hash": "one"})()
    steps = list(handlers.ask("what is it?", {"method": "fsr", "budget": 0}, session, visit))
    why = "LLaVA-1.5 7B could not be loaded: llava-hf/llava-1.5-7b-hf is not on this machine and the hub cannot be"
    assert any(step[1]["status"]["text"].startswith(why) for step in steps)
    assert steps[-1][1]["status"]["phase"] == "done"
    bar = values.model_value(service, session.model)
    assert bar["id"] == DEFAULT_ON_GPU
    assert bar["loaded"]
    assert bar["notice"].startswith(why)
    assert bar["notice"].endswith("tiny-llava answers instead.")
    assert service.loaded(DEFAULT_ON_GPU) is service.loaded("tiny-llava")

    again = [e.phase for e in service.answer(asked(service, tmp_path, DEFAULT_ON_GPU))]
    assert "loading" not in again  # it is not tried at every question, but where it is chosen anew
    steps = list(handlers.ask("what is it?", {"method": "fsr", "budget": 0}, session, visit))
    bars = [step[2] for step in steps if "notice" in step[2]]
    assert bars, "who comes later is told as well, although nothing is loaded"
    assert (bars[-1]["answering"], bars[-1]["notice"]) == ("tiny-llava", bar["notice"])
    assert not any("chosen" in bar for bar in bars), "an answer never changes which model is chosen"
    handlers.choose_model(type("Event", (), {"_data": {"id": DEFAULT_ON_GPU}})(), session)
    assert values.model_value(service, DEFAULT_ON_GPU)["notice"] == ""
    with pytest.raises(FsrError, match="broken cannot be loaded"):
        Service(Settings(model=str(folders["broken"]))).open_model("broken")  # the owner's choice is not replaced
    service.close()


def test_the_picker_tells_size_memory_licence_and_pathways(folders, monkeypatch):
    monkeypatch.setattr(picker, "free_bytes", lambda device: 20_000_000_000)
    monkeypatch.setattr(picker, "on_gpu", lambda settings: False)
    models = f"{folders['tiny-qwen']},llava-hf/llava-1.5-7b-hf,Qwen/Qwen2.5-VL-3B-Instruct,some/body:llm_embedding"
    service = Service(Settings(model=str(folders["tiny-llava"]), models=models))
    service.open_model("tiny-llava")
    rows = {row["id"]: row for row in values.picker_value(service, "tiny-llava")["rows"]}
    assert list(rows) == service.settings.model_ids
    tiny, qwen, llava, third, other = rows.values()
    held = sum(p.numel() * 4 for p in service.loaded("tiny-llava").model.parameters())
    assert (tiny["state"], tiny["held_gb"], tiny["precision"]) == ("loaded", held / 1e9, "float32")
    assert (qwen["state"], qwen["saliency"], qwen["relevance"]) == ("here", "attention received", "none")
    assert (tiny["saliency"], tiny["relevance"]) == ("attention from [CLS]", "CLIP")
    assert qwen["licence"] == other["licence"] == "see the model card"
    assert (llava["licence"], llava["state"], llava["fits"]) == ("Llama 2 Community License", "hub", False)
    assert llava["needs_gb"] == pytest.approx(4 * 7.06 * 1.05)
    assert (third["fits"], third["needs_gb"]) == (True, pytest.approx(4 * 3.75 * 1.05))
    assert (other["needs_gb"], other["fits"]) == (None, None)
    half = picker.rows(Service(replace(service.settings, dtype="bf16")).models)
    assert half[2]["needs_gb"] == pytest.approx(2 * 7.06 * 1.05)
    assert half[2]["fits"]
    service.close()


def test_an_upload_does_not_load_a_large_model(service, folders, tmp_path):
    handlers = Handlers(service, Examples(tmp_path))
    session = Session("tiny-llava", asked(service, tmp_path, "tiny-llava").picture)
    visitor = SimpleNamespace(session_hash="somebody")
    *_, (stage, _, _) = handlers.analyse_upload("what is it?", {"method": "fsr", "budget": 0}, session, visitor)
    assert stage["trace"]  # a small one looks at the picture at once
    hub = Service(Settings(model=DEFAULT_ON_GPU, models=f"some/body,{folders['tiny-llava']}"))
    assert hub.models.loads_later(DEFAULT_ON_GPU) == "LLaVA-1.5 7B is loaded at the first question."
    assert hub.models.loads_later("some/body") == "body is loaded at the first question."
    assert hub.models.loads_later("tiny-llava") == ""
    handlers = Handlers(hub, Examples(tmp_path))
    session = Session(DEFAULT_ON_GPU, asked(hub, tmp_path, "").picture)
    *_, (_, answers, _) = handlers.analyse_upload("what is it?", {"method": "fsr", "budget": 0}, session, visitor)
    assert (answers["status"]["text"], hub.models.loads) == ("LLaVA-1.5 7B is loaded at the first question.", 0)
    event = SimpleNamespace(_data={"method": "fsr", "parameters": {"rho": 0.5}})
    *_, (_, answers, _) = handlers.replan(event, "what is it?", session, visitor)
    assert (answers["status"]["phase"], hub.models.loads) == ("refused", 0), "nor does a parameter or another method"
    hub.close()


def test_the_limit_of_encoded_media_is_a_setting(folders):
    service = Service(Settings(model=str(folders["tiny-llava"]), media_cache_mb=3))
    assert service.open_model("tiny-llava")._media.nbytes == 3_000_000
    service.close()
