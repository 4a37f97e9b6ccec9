"""Animations of what is kept: their steps, their frames, and what is refused."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image

from app import animation
from app.animation import animated, playback, sweep
from app.settings import ROOT
from fsr.errors import InvalidInput
from fsr.pruners.reading import read_plan
from fsr.tokens import Role
from fsr.trace import Trace
from tests.looping import each


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """A recorded question with all its answers."""
    return Trace.from_json((ROOT / "assets/traces/count.json").read_bytes()).to_dict()


def test_a_sweep_goes_from_all_tokens_to_few_and_says_what_was_answered(record):
    steps = list(sweep(record, "fsr"))
    budgets = [reading.budget for reading, _ in steps]
    assert (budgets[0], budgets[-1]) == (576, 16)
    assert budgets == sorted(set(budgets), reverse=True)
    assert {16, 32, 64, 128, 192} <= set(budgets)
    said = dict(zip(budgets, (text for _, text in steps), strict=True))
    assert said[64].startswith("64 of 576 visual tokens, 11.1 %")
    assert said[64].endswith(f"answered at 64: {record['answers']['fsr@64']['text']}")


def test_a_playback_takes_focus_first_then_scan_and_merges_at_last(record):
    steps = list(playback(record, "fsr", 64))
    end = read_plan(record["methods"]["fsr"]["plan"], 576, 64)
    assert steps[-1][0] == end
    assert "merged" in steps[-1][1]
    assert steps[-2][0].kept == end.kept
    kept = [reading.kept for reading, _ in steps]
    assert all(before <= after for before, after in pairwise(kept))
    assert all(Role.MERGED not in reading.roles for reading, _ in steps[:-1])
    first = [text.partition(":")[0] for _, text in steps]
    assert first == sorted(first, key=["Focus", "Scan", "Refine"].index)


def test_the_file_holds_every_step(record, monkeypatch):
    monkeypatch.setattr(animation, "STEPS", 3)
    monkeypatch.setattr(animation, "HELD", 0)
    monkeypatch.setattr(animation, "LONGEST", 96)
    sent = {
        "kind": "playback",
        "format": "webp",
        "trace": json.dumps(record),
        "method": "random",
        "budget": 64,
        "frame": 0,
    }
    name, data = animated(sent, lambda _: [Image.new("RGB", (336, 336), "white")])
    assert name == "fsr-playback-random-64.webp"
    assert Image.open(io.BytesIO(data)).n_frames == 3
    name, data = animated(sent | {"format": "film"}, lambda _: [Image.new("RGB", (336, 336), "white")])
    assert name.startswith("fsr-playback-random-64-")
    assert len(data) > 1000


@each(
    ("change", "sentence"),
    [
        ({"kind": "dance"}, "one of sweep, playback"),
        ({"format": "gif"}, "as film or webp"),
        ({"trace": None}, "nothing to save yet"),
        ({"method": "magic"}, "no method 'magic'"),
        ({"method": "holov"}, "no order in which tokens are taken"),
        ({"budget": 0}, "from 1 to 576"),
        ({"budget": "64"}, "whole number of visual tokens"),
        ({"frame": 1}, "from 0 to 0"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(record, change, sentence):
    sent = {"kind": "playback", "format": "webp", "method": "fsr", "budget": 64, "frame": 0}
    text = json.dumps(record)
    with pytest.raises(InvalidInput, match=sentence):
        animated({"trace": text} | sent | change, lambda _: [Image.new("RGB", (336, 336))])
