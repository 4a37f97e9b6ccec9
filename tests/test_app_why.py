"""Studies of the Why tab: what is told, what is kept, and that they stop."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from app.request import Request
from app.service import Service
from app.settings import Settings
from app.ui.studies import study_value
from app.why import studied_whole, study, to_json
from fsr.errors import InvalidInput
from tests.tiny import in_memory

N, BUDGET = 25, 6


@pytest.fixture(scope="module")
def service(tiny_folder, tiny_vlm):
    made = Service(Settings(model=str(tiny_folder), max_new_tokens=6, repeat_s=0), look=in_memory(tiny_vlm))
    yield made
    made.close()


@pytest.fixture(scope="module")
def asked(service, picture, tmp_path_factory):
    path = tmp_path_factory.mktemp("why") / "picture.png"
    picture.save(path)
    return Request(service.open_media(path).id, "what is it?", "fsr", BUDGET, {}, service.settings.first)


def test_every_kept_token_has_its_influence_and_asking_again_costs_nothing(service, asked, tiny_vlm):
    *_, last = study(service, asked, "influence")
    told = to_json(last.study, "influence")
    assert last.phase == "done"
    assert told["key"] == f"fsr@{BUDGET}"
    assert len(told["influence"]) == BUDGET
    end = last.study.words[-1].stop  # what follows is the end of text
    for at, one in enumerate(last.study.influences.found):
        words = sum(word["delta"][at] for word in told["words"]) + sum(one.by_answer_token[end:])
        assert words == pytest.approx(one.delta, abs=2e-3)
    whole = studied_whole(service, asked, False)
    first = [one["token"] for one in told["influence"]].index(whole["influence"][0]["token"])
    assert [word["delta"][0] for word in whole["words"]] == [word["delta"][first] for word in told["words"]]
    runs: list[int] = []
    handle = tiny_vlm.model.register_forward_hook(lambda *_: runs.append(1))
    try:
        (again,) = study(service, asked, "influence")
    finally:
        handle.remove()
    assert to_json(again.study, "influence") == told
    assert runs == []


def test_a_repair_says_what_it_found_and_who_keeps_it(service, asked):
    steps = list(study(service, replace(asked, method="random", budget=2), "repair"))
    value = json.loads(study_value(steps[-1], "repair", "s")["study"])
    assert [step.phase for step in steps if step.phase == "done"] == ["done"]
    mended = value["repair"]
    assert mended["found"]
    assert mended["answer"] == value["unpruned"]["text"]
    assert all(set(kept) <= set(mended["tokens"]) for kept in mended["kept_by"].values())
    assert mended["forwards"] <= mended["limit"]
    assert len(value["regain"]["regions"]) <= 16


def test_a_stop_ends_it_and_nothing_half_done_is_kept(service, asked):
    asked, stop = replace(asked, budget=BUDGET + 1), threading.Event()
    phases = []
    for step in study(service, asked, "influence", stop):
        phases.append(step.phase)
        if step.phase == "influence":
            stop.set()
    assert phases[-1] == "stopped"
    *_, last = study(service, asked, "influence")
    assert len(last.study.influences.found) == BUDGET + 1


def test_what_cannot_be_is_said_before_a_turn(service, asked):
    with pytest.raises(InvalidInput, match="FastV prunes inside the language model"):
        next(study(service, replace(asked, method="fastv"), "influence"))
    with pytest.raises(InvalidInput, match="influence, repair"):
        next(study(service, asked, "attention"))
