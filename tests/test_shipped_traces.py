"""The recorded answers that a visitor meets first: their times were repeated, and do not contradict each other."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from app.settings import ROOT
from fsr.bench.recording import MOST_SPREAD, REPEATS
from fsr.pruners import REGISTRY
from fsr.trace import Trace

TRACES = {path.stem: Trace.from_json(path.read_bytes()) for path in sorted((ROOT / "assets" / "traces").glob("*.json"))}
ROWS = [
    row
    for name in ("index.json", "clips.json")
    for row in json.loads((ROOT / "assets/examples" / name).read_text())
    if row["id"] in TRACES
]
UNTIMED = [name for name, trace in TRACES.items() if (trace.recorded or {}).get("note") == "Times were not measured."]
TIMED = {name: trace for name, trace in TRACES.items() if name not in UNTIMED}
each_trace = pytest.mark.parametrize("trace", TIMED.values(), ids=list(TIMED))
BEFORE = [name for name, kind in REGISTRY.items() if kind.stage == "before" and kind.exact_count and name != "full"]


def costs(trace: Trace, method: str) -> dict[int, dict]:
    """By budget, ascending."""
    answers = (answer for answer in trace.answers.values() if answer["method"] == method)
    return dict(sorted((answer["budget"], answer["cost"]) for answer in answers))


def test_every_example_that_the_embedded_models_can_answer_is_recorded():
    examples = [json.loads((ROOT / "assets/examples" / name).read_text()) for name in ("index.json", "clips.json")]
    drawn = {row["id"] for rows in examples for row in rows if {"things", "scene", "actors"} & row.keys()}
    assert drawn == set(TRACES)


@each_trace
def test_times_are_medians_of_repeats_with_a_narrow_spread(trace):
    for key, answer in trace.answers.items():
        cost = answer["cost"]
        assert cost["repeats"] >= REPEATS.least >= 7, key
        for name in ("prefill_ms", "first_token_ms"):
            low, high = cost["spread"][name]
            assert low <= cost[name] <= high, key
            assert high - low <= MOST_SPREAD * cost[name] + 0.002, key  # numbers are rounded to a thousandth


@each_trace
def test_at_a_ninth_of_the_tokens_selection_and_prefill_beat_the_whole_prefill(trace):
    n, full = trace.tokens["n"], trace.answers["full"]["cost"]
    for method in set(BEFORE) & set(trace.methods):
        pruned = costs(trace, method)[round(n / 9)]
        # FastVID is made for clips: choosing from one small picture can take it as long as the prefill that it saves.
        time = "prefill_ms" if method == "fastvid" else "first_token_ms"
        assert pruned["spread"][time][1] < full["spread"]["prefill_ms"][0], method


@each_trace
def test_prefill_grows_with_the_budget(trace):
    whole = trace.answers["full"]["cost"]["spread"]["prefill_ms"]
    for method in set(BEFORE) & set(trace.methods):
        ends = [cost["spread"]["prefill_ms"] for cost in costs(trace, method).values()] + [whole]
        for (low, _), (_, high) in itertools.pairwise(ends):
            assert low <= high, f"{method}: more tokens were read faster than fewer"


def test_what_was_not_measured_holds_no_times():
    for name in UNTIMED:
        assert {answer["cost"] for answer in TRACES[name].answers.values()} == {None}


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_the_story_of_an_example_is_what_was_recorded(row):
    answers = {key: answer["text"] for key, answer in TRACES[row["id"]].answers.items()}
    assert row["told"] == {key: answers[key] for key in row["told"]}
    story = row["story"]
    for quoted in re.findall("“(.*?)”", story):
        assert quoted in row["told"].values()
    budgets = {key.rpartition("@")[2] for key in row["told"]}
    for number in re.findall(r"\d+", re.sub("“.*?”", "", story)):
        assert number in budgets
    for name, kind in REGISTRY.items():
        if "-" not in name and name not in ("saliency", "relevance") and re.search(rf"\b{kind.label}\b", story):
            assert any(key.startswith(f"{name}@") for key in row["told"]), kind.label


def test_the_gallery_opens_with_a_scene_where_methods_differ():
    first = TRACES[ROWS[0]["id"]].answers
    same = {m: first[f"{m}@32"]["text"] == first["full"]["text"] for m in ("fsr", "random", "cdpruner", "holov")}
    assert same == {"fsr": True, "random": False, "cdpruner": False, "holov": False}
    plan = TRACES["loss-relation"].methods["fsr"]["plan"]
    assert plan["k_focus"] >= 32, "Focus takes all that Scan could have, as the lesson says"
