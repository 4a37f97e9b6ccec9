"""Guided tours: what a file may hold, one sentence for what it may not, and the tours that are shipped."""

from __future__ import annotations

import json
import re

import pytest

from app import tours
from app.examples import Examples
from app.settings import ROOT
from fsr.errors import InvalidInput

ASSETS = ROOT / "assets"
KNOWN = frozenset(Examples(ASSETS).all)
STOP = {"title": "A stop", "text": "What is to be seen."}


def reading(folder, tour: object, name: str = "mine") -> dict:
    (folder / "tours").mkdir(exist_ok=True)
    (folder / "tours" / f"{name}.json").write_text(tour if isinstance(tour, str) else json.dumps(tour))
    return tours.read_tour(folder, name, KNOWN)


def with_show(**show: object) -> dict:
    return {"title": "T", "stops": [{**STOP, "show": show}]}


@pytest.mark.parametrize(
    ("tour", "said"),
    [
        ("{", "is not JSON"),
        ([], "an object with a title and a list of stops"),
        ({"title": "T", "stops": []}, "1 to 60 stops, not 0"),
        ({"title": "T", "stops": [STOP] * 61}, "1 to 60 stops, not 61"),
        ({"title": "T" * 81, "stops": [STOP]}, "title of it must be text of 1 to 80"),
        ({"title": "T", "stops": [STOP], "script": "x"}, "it has no 'script'"),
        ({"title": "T", "stops": [{"title": "only"}]}, "text of stop 1 must be text"),
        ({"title": "T", "stops": [{**STOP, "at": "body"}]}, "at of stop 1 must be one of picture, "),
        ({"title": "T", "stops": [{**STOP, "notes": 3}]}, "notes of stop 1 must be text"),
        (with_show(example="../../etc"), "example of stop 1 must be one of absent, "),
        (with_show(budget=0), "budget of stop 1 must be a whole number from 1 to"),
        (with_show(budget=True), "budget of stop 1 must be a whole number"),
        (with_show(method="full"), "method of stop 1 must be one of fsr, "),
        (with_show(methods=["fsr"]), "methods of stop 1 must be two to six methods"),
        (with_show(playback="end"), "playback of stop 1 must be one of picture, "),
        (with_show(click="#fx-askbutton"), "show of stop 1 has no 'click'"),
        (json.dumps({"title": "T", "stops": [STOP]}) + " " * 200_000, "larger than 200 kB"),
    ],
)
def test_a_wrong_tour_is_refused_with_a_sentence(tmp_path, tour, said):
    with pytest.raises(InvalidInput, match=re.escape(said)):
        reading(tmp_path, tour)


@pytest.mark.parametrize("name", ["../first", "First", "a/b", "", "x" * 41, "a.b"])
def test_a_name_can_lead_nowhere_else(name):
    with pytest.raises(InvalidInput, match="small letters, digits and hyphens"):
        tours.read_tour(ASSETS, name, KNOWN)


def test_a_tour_keeps_what_is_known_and_broken_ones_are_left_out(tmp_path, caplog):
    show = {"example": "count", "method": "fsr", "budget": 64, "playback": 3, "methods": ["fsr", "fastv"]}
    told = reading(tmp_path, {"title": "Mine", "stops": [{**STOP, "at": "legend", "notes": "<b>", "show": show}]})
    assert told == {"title": "Mine", "stops": [{**STOP, "at": "legend", "notes": "<b>", "show": show}]}
    (tmp_path / "tours" / "broken.json").write_text("[")
    assert tours.tours_in(tmp_path, KNOWN) == [{"name": "mine", "title": "Mine"}]
    assert "broken.json is left out" in caplog.text


def test_the_shipped_tours_can_be_read_and_their_places_are_on_the_page():
    assert [t["name"] for t in tours.tours_in(ASSETS, KNOWN)] == ["first", "lesson"]
    first, lesson = (tours.read_tour(ASSETS, name, KNOWN) for name in ("first", "lesson"))
    assert 6 <= len(first["stops"]) <= 8
    assert len({stop["show"]["example"] for stop in lesson["stops"][:-1] if "example" in stop["show"]}) == 5
    assert all("notes" in stop for stop in lesson["stops"])
    script = (ROOT / "app/static/guide/tour.js").read_text()
    assert tuple(re.findall(r"^  (\w+): \[", script, re.M)) == tours.PLACES
    stages = (
        (ROOT / "app/static/lecture/steps.js").read_text().partition("export const STAGES = {")[2].partition("}")[0]
    )
    assert tuple(re.findall(r"(\w+): ", stages)) == tours.STAGES


SAID = {  # by the tours' texts and notes, of the example that a stop shows or names
    "count": {
        "3": ("full", "fsr@64", "fsr@32"),
        "2": ("random@32", "cdpruner@32", "vispruner@32", "holov@32", "fsr@16"),
        "1": ("random@16",),
    },
    "digit": {"7": ("fsr@16",), "yes": ("random@16",)},
    "loss-relation": {
        "nothing": ("fsr@32",),
        "purple ring": ("full", "cdpruner@32", "vispruner@32", "holov@32", "fsr@64"),
    },
    "five": {
        "apple, dog, car, cat, tree": ("full", "fsr@128", "cdpruner@128", "vispruner@128", "holov@128"),
        "apple, dog, car, tree, cat": ("cdpruner@64",),
        "apple, car, car, cat tree": ("fsr@64",),
    },
    "absent": {"no": ("full", "fsr@16")},
    "loss-count": {"6": ("full", "cdpruner@32", "vispruner@32"), "5": ("fsr@32",)},
}


def test_what_the_tours_tell_was_recorded():
    recorded = {name: json.loads((ASSETS / f"traces/{name}.json").read_text()) for name in SAID}
    for name, answers in SAID.items():
        for text, keys in answers.items():
            for key in keys:
                assert recorded[name]["answers"][key]["text"] == text, (name, key)
    five = recorded["five"]["answers"]
    for method in ("fsr", "random", "vispruner", "holov"):
        named = five[f"{method}@64"]["text"].split(", ")
        assert sorted(named) != sorted(five["full"]["text"].split(", ")), method
    k_focus = recorded["count"]["methods"]["fsr"]["facts"]["k_focus"]
    texts = " ".join(stop["text"] for stop in tours.read_tour(ASSETS, "lesson", KNOWN)["stops"])
    assert f": {k_focus} tokens." in texts
    assert f"{64 - k_focus} more," in texts
    assert recorded["loss-relation"]["methods"]["fsr"]["facts"]["k_focus"] >= 32, "Focus takes all of the 32"
