"""Every family, through the real loading code and the service that the page speaks to."""

from __future__ import annotations

import pytest

from app.compare import compare, report, requests_of
from app.request import Request
from app.service import Service
from app.settings import Settings
from fsr.errors import InvalidInput
from tests.proofs import proves
from tests.test_plug import MAKERS
from tests.test_video import written
from tests.tiny_families import QUESTION, noise, save_onevision
from tests.tiny_today import EACH, ROWS

SAVE = {family: save for family, (save, _) in MAKERS.items()} | {"llava-video": save_onevision}  # told by its name


@pytest.fixture(
    scope="module",
    params=[*EACH, *(pytest.param(family, marks=pytest.mark.slow) for family in SAVE if family not in ROWS)],
)
def service(request, tmp_path_factory):
    folder = SAVE[request.param](tmp_path_factory.mktemp("page") / request.param)
    made = Service(Settings(model=str(folder), max_new_tokens=2, repeat_s=0))
    yield made
    made.close()


@proves("page", by="service")
@pytest.mark.parametrize("kind", ["picture", "clip"])
def test_a_saved_checkpoint_answers_and_is_compared(service, tmp_path, kind):
    model = next(iter(service.settings.model_ids))
    if kind == "picture":
        path = tmp_path / "wide.png"
        noise(160, 100).save(path)
    else:
        path = written(tmp_path / "clip.mp4", 12, codec="mp4v")
    opened = service.open_media(path, model, frames=4)
    asked = Request(opened.id, QUESTION, "fsr", 0, {}, model)
    if kind == "clip" and not service.clip_frames(model):
        with pytest.raises(InvalidInput, match="reads pictures only"):
            list(service.answer(asked))
        return
    events = list(service.answer(asked))
    assert any(event.trace for event in events)
    answers = {event.key: event.answer for event in events if event.answer}
    assert len(answers) == 2, "with all tokens, and with few of them"
    assert all(answer["cost"]["new_tokens"] >= 1 for answer in answers.values())
    runs = requests_of(asked, ["fsr", "random"], [9], least=1)
    found = report(compare(service, runs), runs)
    assert not found["problems"]
    assert {len(kept) for kept in found["kept"].values()} == {9}
