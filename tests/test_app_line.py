"""The line in front of the model: in order, with a place and an expected wait that are true, and with an end."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from app import line as line_module
from app.line import LOAD, Line, ordinal, seconds_text
from fsr.errors import FsrError
from tests.looping import each


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved: clock[0] seconds."""
    now = [100.0]
    monkeypatch.setattr(line_module.time, "monotonic", lambda: now[0])
    return now


def test_first_come_first_served():
    """Whoever comes meanwhile, and however the threads are scheduled."""
    line, served = Line(50), []

    def visit(name: int, joined: threading.Event) -> None:
        with line.turn("answer", "m") as turn:
            joined.set()
            for _ in turn.waiting(threading.Event()):
                pass
            served.append(name)

    threads = []
    with line.turn("answer", "m"):
        for name in range(20):
            joined = threading.Event()
            threads.append(threading.Thread(target=visit, args=(name, joined)))
            threads[-1].start()
            joined.wait()
        assert (line.waiting, served) == (20, [])
    for thread in threads:
        thread.join()
    assert served == list(range(20))
    assert not line.busy


def test_places_move_up_when_one_before_leaves():
    line = Line(5)
    with ExitStack() as first, ExitStack() as second, ExitStack() as third:
        one = first.enter_context(line.turn("answer", "m"))
        two = second.enter_context(line.turn("answer", "m"))
        three = third.enter_context(line.turn("look", "m"))
        assert one.called.is_set()
        assert line.told(two) == "Waiting for the model: 1st in line."
        assert line.told(three) == "Waiting for the model: 2nd in line."
        second.close()  # Stop
        assert line.told(three) == "Waiting for the model: 1st in line."
        assert not three.called.is_set()
        first.close()
        assert three.called.is_set()


def test_the_expected_wait_comes_from_the_last_turns_of_the_same_work_with_the_same_model(clock):
    line = Line(5)
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(line.turn("answer", "m"))
        two, three, four = (enter(line.turn(*one)) for one in (("answer", "m"), ("look", "m"), ("answer", "m")))
        line.took("answer", "other", 3)
        assert line.told(two) == "Waiting for the model: 1st in line.", "nothing is known of this model"
        line.took("answer", "m", 20)
        assert line.told(two) == "Waiting for the model: 1st in line, about 20 s."
        assert line.told(three) == "Waiting for the model: 2nd in line, about 40 s."
        assert line.told(four) == "Waiting for the model: 3rd in line.", "nothing is known of looking"
        line.took("look", "m", 60)
        assert line.told(four) == "Waiting for the model: 3rd in line, about 2 min."
        clock[0] += 16
        assert line.told(two) == "Waiting for the model: 1st in line, about 4 s."
        line.took("answer", "m", 30)
        clock[0] += 5
        assert line.told(two) == "Waiting for the model: 1st in line, about 9 s.", "of those that took longer"
        clock[0] += 20
        assert line.told(two) == "Waiting for the model: 1st in line.", "none has taken so long"


def test_a_load_is_part_of_the_wait(clock):
    line = Line(5)
    with ExitStack() as stack:
        enter = stack.enter_context
        one, two, three = (enter(line.turn("answer", model)) for model in ("large", "small", "large"))
        line.took("answer", "small", 2)
        line.took("answer", "large", 5)
        one.loads("Loading large.", 0)
        assert line.told(two) == "Waiting for the model: 1st in line. Now: loading large."
        clock[0] += 10
        one.loads("Loading large: 1 of 4 GB", 0.25)
        assert line.told(two) == "Waiting for the model: 1st in line, about 35 s. Now: loading large: 1 of 4 GB."
        assert line.told(three) == "Waiting for the model: 2nd in line. Now: loading large: 1 of 4 GB."
        line.took(LOAD, "small", 1)
        assert "2nd in line, about 40 s." in line.told(three), "30 of this load, 5, then 1 to load the small one, and 2"
        one.loaded()
        assert line.told(two) == "Waiting for the model: 1st in line, about 5 s."
        one.done()


def test_the_line_has_an_end_and_says_what_to_do():
    line = Line(2)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(line.turn("answer", "m"))
        with pytest.raises(FsrError, match=r"2 visitors wait for the model already, .* ask again in a minute"):
            stack.enter_context(line.turn("answer", "m"))
        line.took("answer", "m", 12)
        with pytest.raises(FsrError, match="ask again in about 10 s"):
            line.check_room()
        assert line.waiting == 2
    line.check_room()


def test_a_stop_ends_the_wait_and_the_place_is_said_again_and_again(monkeypatch):
    monkeypatch.setattr(line_module, "AGAIN_S", 0.0)
    monkeypatch.setattr(line_module, "POLL_S", 0.001)
    line, stop = Line(2), threading.Event()
    with line.turn("answer", "m"), line.turn("answer", "m") as turn:
        waiting = turn.waiting(stop)
        assert {next(waiting), next(waiting), next(waiting)} == {"Waiting for the model: 1st in line."}
        stop.set()
        assert next(waiting, None) is None
        assert not turn.called.is_set()


@each(
    ("seconds", "text"),
    [(None, ""), (0.2, "about 1 s"), (7.4, "about 7 s"), (22, "about 20 s"), (88, "about 90 s"), (200, "about 3 min")],
)
def test_seconds_in_words(seconds, text):
    assert seconds_text(seconds) == text


def test_places_in_words():
    assert [ordinal(i) for i in (1, 2, 3, 4, 11, 12, 13, 21, 22, 101, 111)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "101st", "111th"]
    )
