"""Scenes on the page: what is served of them, what becomes of one on the stage, and what a model has words for."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from urllib.parse import quote

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.examples import Examples
from app.offers import Offer
from app.pictures import Pictures
from app.scenes import STARTS, address, composer, drawn, routes, words_of
from app.service import Service
from app.settings import ROOT, Settings
from app.ui.handlers import Handlers, Session
from fsr.errors import InvalidInput
from fsr.trace import Trace
from fsr.trace.page import to_html
from fsr.trace.saved import open_saved
from fsr.world.drawing import draw
from fsr.world.scene import questions, read_scene
from fsr.world.words import build_world_tokenizer
from tests.test_app_clips import VISITOR

APPLES, SHAPES = (start["scene"] for start in STARTS[1:])


@pytest.fixture(scope="module")
def handlers():
    service = Service(Settings())
    yield Handlers(service, Examples(ROOT / "assets"))
    service.close()


@pytest.fixture(scope="module")
def client():
    return TestClient(Starlette(routes=routes()))


def composed(handlers: Handlers, session: Session, box: str = "", **sent):
    return handlers.compose(SimpleNamespace(_data=sent), box, session, VISITOR)


# -- addresses


def test_the_picture_of_an_address_is_what_the_library_draws(client):
    answer = client.get(address(SHAPES).removeprefix("."))
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), draw(read_scene(SHAPES).picture()))
    icons = client.get("/scene/icons/noto")
    assert Image.open(io.BytesIO(icons.content)).format == "WEBP"


def test_questions_and_random_scenes_are_told_as_json(client):
    found = client.get(f"/scene/questions?scene={quote(APPLES)}").json()
    assert ["relation", "what is left of the car", "dog"] in found
    text = client.get("/scene/random?seed=5&icons=0").json()["scene"]
    assert text == client.get("/scene/random?seed=5&icons=0").json()["scene"]
    assert read_scene(text).pieces


@pytest.mark.parametrize(
    "path",
    [
        "picture",
        "picture?scene=" + "9" * 5000,
        "questions?scene=1~plain-f4f1ea~<b>-1-1-20",
        "random?seed=-1",
        "random?seed=7&icons=2",
        "random?seed=٧",
        "icons/openmoji",
        "icons/..%2f..%2fCREDITS.md",
    ],
)
def test_bad_addresses_are_refused_in_one_sentence(client, path):
    answer = client.get(f"/scene/{path}")
    assert answer.status_code in (400, 404)
    assert answer.headers["content-type"].startswith("text/plain")
    assert len(answer.text) < 300


# -- the stage


def test_a_scene_becomes_the_visitors_picture_and_a_change_keeps_what_was_typed(handlers):
    stage, question, session, _ = composed(
        handlers, Session("shapes", example="count"), scene=APPLES, sitting=3, question=STARTS[1]["question"]
    )
    assert (stage["drawn"], stage["fresh"], stage["edit"], stage["sitting"]) == (APPLES, True, False, 3)
    assert question == "what is left of the car?"
    assert stage["pictures"] == [{"file": {"url": address(APPLES)}, "width": 672, "height": 672}]
    assert (session.example, session.scene) == (None, APPLES)
    later, kept, session, _ = composed(handlers, session, "how many triangles are there?", scene=SHAPES, edit=True)
    assert kept == gr.skip()
    assert later["edit"] is True
    assert np.array_equal(handlers.shown(session).image, drawn(SHAPES))
    first, cleared, *_ = composed(handlers, session, "how many triangles are there?", scene=SHAPES)
    assert (cleared, first["edit"]) == ("", False)  # it was an example's own
    *_, session = handlers.choose_model(SimpleNamespace(_data={"id": "shapes"}), session)
    assert session.scene == SHAPES


def test_a_scene_is_drawn_again_where_its_picture_was_forgotten(handlers, monkeypatch):
    *_, session, _ = composed(handlers, Session("shapes"), scene=APPLES)
    monkeypatch.setattr(handlers.service, "pictures", Pictures(2, 1344, 10**6))
    asked = handlers.request_of("what?", {"method": "fsr", "budget": 4}, session)
    assert asked.picture == session.picture
    _, _, session, _ = handlers.pick(SimpleNamespace(_data={"id": "count"}), session, VISITOR)
    assert session.scene == ""


def test_a_link_opens_its_scene_and_a_bad_one_gets_a_sentence(handlers):
    asked = SimpleNamespace(query_params={"scene": APPLES, "question": "what is left of the car?"})
    stage, question, session, _ = handlers.open_link(None, Session("shapes", example="count"), asked)
    assert (stage["drawn"], question, session.scene) == (APPLES, "what is left of the car?", APPLES)
    bad = SimpleNamespace(query_params={"scene": "1~plain-f4f1ea~dgo-1-1-20"})
    with pytest.raises(gr.Error, match="there is no dgo"):
        handlers.open_link(None, Session("shapes"), bad)
    for sent in ({}, {"scene": 7}, {"scene": APPLES, "sitting": "x"}):
        with pytest.raises(gr.Error):
            composed(handlers, Session("shapes"), **sent)


def test_a_saved_scene_can_be_edited_again(handlers, tmp_path):
    trace = Trace.from_json((ROOT / "assets/traces/count.json").read_text())
    file = tmp_path / "view.html"
    file.write_text(to_html(trace, [drawn(APPLES)], "fsr", 64, "2026-11-29", APPLES))
    assert open_saved(file).scene == APPLES
    *_, (name, _) = handlers.upload(str(file), Session("shapes"), VISITOR)
    stage, _, session, *_ = handlers.show_upload(name, "", Session("shapes"))
    assert (stage["editable"], stage.get("drawn"), session.opened) == (APPLES, None, True)
    file.write_text(to_html(trace, [drawn(APPLES)], "fsr", 64, "2026-11-29", "<b>"))
    with pytest.raises(InvalidInput, match="must begin with"):
        open_saved(file)


# -- what a model knows


def test_words_are_those_of_the_models_own_tokenizer(tmp_path):
    words = words_of(Offer("shapes", "shapes", "Shapes"))
    assert words is not None
    assert {"star", "red", "left"} <= set(words)
    build_world_tokenizer().save_pretrained(tmp_path)
    assert {"star", "dog", "vehicle"} <= set(words_of(Offer("other", str(tmp_path), "Other")) or [])
    assert words_of(Offer("hub", "llava-hf/llava-1.5-7b-hf", "LLaVA")) is None
    (tmp_path / "tokenizer.json").write_text("{")
    assert words_of(Offer("broken", str(tmp_path / "broken"), "Broken")) is None


def test_scenes_to_start_from_are_good_ones():
    for start in composer()["starts"][1:]:
        found = {q.text: q.answer for q in questions(read_scene(start["scene"]))}
        assert start["question"].removesuffix("?") in found
    json.dumps(composer())
