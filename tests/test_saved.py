"""Saved views opened again: as they were saved, or refused with one sentence."""

from __future__ import annotations

import base64
import copy
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import fsr
from app.examples import Examples
from app.service import Service
from app.settings import ROOT, Settings
from app.ui.handlers import Handlers, Session
from fsr.errors import InvalidInput
from fsr.trace import Trace, saved
from fsr.trace.page import to_html, to_json
from fsr.trace.saved import START, is_saved, open_saved
from tests.looping import each
from tests.test_app_clips import VISITOR

SCENES = ["count", pytest.param("overtake", marks=pytest.mark.slow)]


def recorded(name: str) -> tuple[Trace, list[Image.Image]]:
    trace = Trace.from_json((ROOT / f"assets/traces/{name}.json").read_text())
    folder = ROOT / "assets/traces" / name
    files = sorted(folder.glob("*.webp"), key=lambda p: int(p.stem)) or [ROOT / f"assets/examples/{name}.png"]
    return trace, [Image.open(file).convert("RGB") for file in files]


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    """A saved view with few numbers: what FSR alone keeps of a picture."""
    trace, pictures = recorded("count")
    record = json.loads(to_json(trace, pictures, "fsr", 64, "2026-11-28"))
    record["trace"]["methods"] = {"fsr": record["trace"]["methods"]["fsr"]}
    record["trace"]["answers"] = {key: record["trace"]["answers"][key] for key in ("full", "fsr@64")}
    return record


def written(folder: Path, record: object, name: str = "view.json") -> Path:
    path = folder / name
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return path


def data_of(size: tuple[int, int], fmt: str = "PNG") -> str:
    out = io.BytesIO()
    Image.new("RGB", size).save(out, fmt)
    return f"data:image/{fmt.lower()};base64," + base64.b64encode(out.getvalue()).decode()


@pytest.mark.parametrize("name", SCENES)
def test_a_saved_view_opens_as_it_was_saved(name, tmp_path):
    trace, pictures = recorded(name)
    for text in (to_html(trace, pictures, "fsr", 32, "2026-11-28"), to_json(trace, pictures, "fsr", 32, "2026-11-28")):
        path = written(tmp_path, text)
        assert is_saved(path)
        found = fsr.open_saved(path)
        assert found.trace == trace
        assert (found.method, found.budget, found.saved) == ("fsr", 32, "2026-11-28")
        assert [p.size for p in found.pictures] == [p.size for p in pictures]
        if not trace.clip:  # a drawn scene is small: kept to the pixel
            assert found.pictures[0].tobytes() == pictures[0].tobytes()
        assert found.answer == trace.answers["fsr@32"]["text"]
        assert found.to_html() == to_html(trace, found.pictures, "fsr", 32, "2026-11-28")


PICTURE = ("pictures",)
REFUSED = [
    (PICTURE, [], r"pictures must be a list of 1 entries"),
    (PICTURE, ["https://example.com/a.png"], "picture 1 of the saved view must be a WebP, PNG or JPEG data address"),
    (PICTURE, ["data:image/svg+xml;base64,PHN2Zz4="], "must be a WebP, PNG or JPEG data address"),
    (PICTURE, ["data:image/png;base64,!!!!"], "picture 1 of the saved view is not base64"),
    (PICTURE, ["data:image/png;base64,AAAA"], "cannot be opened: the file is not a JPEG, PNG or WebP picture"),
    (PICTURE, [data_of((336, 337), "PNG")], None),  # scaled to whole pixels
    (PICTURE, [data_of((336, 168))], r"pictures\[0\] must have the shape of trace.frames\[0\], 336 x 336"),
    (("budget",), 577, "budget must be a whole number from 0 to 576"),
    (("budget",), True, "budget must be a whole number"),
    (("method",), ["fsr"], "method must be text"),
    (("saved",), "<b>", "saved must be a day"),
    (("more",), 1, "has the unknown key 'more'"),
    (("trace",), "fsr", "trace must be an object"),
    (("trace", "version"), 2, "this program reads version 1"),
    (("trace", "methods", "__proto__"), None, "trace.methods"),
    (("trace", "answers", "toString"), {"method": "full", "budget": 576, "text": "", "done": True, "cost": None},
     "trace.answers must be named full, or by method and budget"),
    (("trace", "scores", "saliency", 0), float("inf"), "not valid JSON"),
    (("trace", "tokens", "row", 0), 24, "trace.tokens.row must be a whole number from -1 to 23"),
]  # fmt: skip


@each("place, value, sentence", REFUSED)
def test_what_is_wrong_is_said_in_one_sentence(small, tmp_path, place, value, sentence):
    record = copy.deepcopy(small)
    at = record
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    if sentence is None:
        open_saved(written(tmp_path, record))
        return
    with pytest.raises(InvalidInput, match=sentence):
        open_saved(written(tmp_path, record))


FILES = [
    (b"<!doctype html><title>My page</title>", "the page holds no saved view; open a page"),
    (START.encode() + b"{}", "the page holds no saved view"),
    (f"<html>{START}[1]</script>".encode(), "the file holds no saved view"),
    (b"{" + b'"a":[' * 100_000, "not valid JSON"),
    (b"{" + b"[" * 1_000_001, "more than 1,000,000 parts"),
    (b'{"a": "\xff"}', "not text in UTF-8"),
    (b"{ 1e999", "not valid JSON"),
    (b"{" + b" " * 2_000_000, "larger than 1 MB"),
    (b'{"version": 1, "frames": []}', "a trace without its picture; save the view again"),
    (b'{"trace": {}}', "saved view has no budget, method, pictures"),
]


@each("data, sentence", FILES)
def test_other_files_are_refused(tmp_path, data, sentence):
    path = tmp_path / "view.html"
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=sentence) as refused:
        open_saved(path, max_bytes=1_000_000 if "larger" in sentence else 32_000_000)
    assert len(str(refused.value)) < 300


def test_many_large_pictures_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    trace, pictures = recorded("overtake")
    record = {"trace": trace.to_dict(), "pictures": [data_of((600, 600))] * len(pictures), "method": "", "budget": 0}
    monkeypatch.setattr(saved, "MAX_ALL_PIXELS", 500_000)
    with pytest.raises(InvalidInput, match=r"picture 2 of the saved view cannot be opened: .*at most 0.14 million"):
        open_saved(written(tmp_path, record))


def mutated(text: str, draw: random.Random) -> str:
    """The record with one value changed, a key lost or doubled, or the text itself damaged."""
    if draw.random() < 0.3:
        at, length = draw.randrange(len(text)), draw.choice((0, 1, 8, 4000))
        return text[:at] + draw.choice(("", "]", "{", '"', "</script>", "\x00", "1e400", "\\")) + text[at + length :]
    record = json.loads(text)
    at: Any = record
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = draw.choice(keys)
        inner = at[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.1:
            break
        at = inner
    what = draw.choice(
        (
            None,
            -1,
            0,
            2**70,
            1.5,
            -1e308,
            True,
            "",
            "a" * 300,
            [],
            {},
            [[]],
            "<img src=x>",
            "__proto__",
            "../..",
            "lost",
        )
    )
    if what == "lost":
        del at[key]
    else:
        at[key] = what
    return json.dumps(record)


@pytest.mark.slow
@each("seed", range(4))
def test_damaged_views_are_refused_or_harmless(small, tmp_path, seed):
    draw, text = random.Random(seed), json.dumps(small)
    page = to_html(*recorded("count"), "fsr", 64)
    harmless = 0
    for _ in range(150):
        data = mutated(text, draw)
        if draw.random() < 0.2:
            head, start, _ = page.partition(START)
            data = f"{head}{start}{data}</script>"
        try:
            found = open_saved(written(tmp_path, data))
        except InvalidInput as error:
            assert str(error).endswith(".")  # noqa: PT017
            assert len(str(error)) < 400  # noqa: PT017
        else:
            harmless += 1
            assert found.to_html()
            assert 1 <= found.budget <= 576
    assert harmless < 100


@pytest.fixture(scope="module")
def handlers(tmp_path_factory) -> Handlers:
    return Handlers(Service(Settings()), Examples(ROOT / "assets"))


@pytest.mark.parametrize("name", SCENES)
def test_the_page_shows_a_saved_view_and_can_be_asked_about_it(handlers, tmp_path, name):
    trace, pictures = recorded(name)
    path = written(tmp_path, to_html(trace, pictures, "cdpruner", 48, "2026-11-28"), "view.html")
    *_, (found, _) = handlers.upload(str(path), Session("shapes"), VISITOR)
    assert not path.exists()  # no browser is given a visitor's page
    stage, question, session, _, _ = handlers.show_upload(found, "typed", Session("shapes"))
    assert question == trace.question
    assert stage["opened"] == {"method": "cdpruner", "budget": 48}
    assert session.model == trace.model["id"]
    shown = json.loads(stage["trace"])
    assert shown["answers"] == json.loads(trace.to_json())["answers"]
    assert shown["recorded"]["on"] == trace.recorded["on"]
    assert len(stage["pictures"]) == len(pictures)
    assert [s["status"]["phase"] for _, s, _ in handlers.analyse_upload(question, {}, session, VISITOR)] == ["idle"]
    again = handlers._opened({"picture": stage["picture"]}, Session("shapes"))  # reload, or Back
    assert again[0]["trace"] == stage["trace"]
    asked = handlers.request_of(question, {"method": "fsr", "budget": 48, "of": 576}, session)
    new = handlers.service.analyse(asked)
    assert new["tokens"]["n"] == trace.tokens["n"]
    assert [f.get("index") for f in new["frames"]] == [f.get("index") for f in trace.frames]
