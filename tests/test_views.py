"""The views of a picture in the page's JavaScript: every token is where the trace says, and can be reached by keys."""

from __future__ import annotations

import math
from collections import Counter

import pytest

import fsr.vlm
from tests.looping import each
from tests.test_app_layouts import trace_of
from tests.test_canvas import run
from tests.tiny_families import noise, save_next, save_onevision, save_qwen

LOOK = """({ trace, width }) => views.viewsOf(trace).map(({ frame, tile, name }) => {
  const g = geometry.makeGeometry(trace, frame, width, tile);
  const middle = (i) => geometry.center(g, i);
  const reached = new Set([geometry.step(g, -1, 0)]);
  for (const i of reached) for (const side of [0, 1, 2, 3]) reached.add(geometry.step(g, i, side));
  return {
    frame, tile, name, window: views.windowOf(trace, frame, tile), size: [g.width, g.height], index: [...g.index],
    boxes: g.index.map((_, slot) => [...g.box.slice(4 * slot, 4 * slot + 4)]),
    borders: g.borders, found: g.index.map((i) => geometry.tokenAt(g, ...middle(i))), reached: [...reached],
  };
})"""


def looked(trace, width=1000):
    return run(LOOK, {"trace": trace.to_dict(), "width": width})


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    save_next(folder / "next")
    next_vlm, paper = (fsr.vlm.load(str(folder / "next"), mode=mode) for mode in ("native", "paper"))
    qwen = fsr.vlm.load(str(save_qwen(folder / "qwen")))
    onevision = fsr.vlm.load(str(save_onevision(folder / "onevision")))
    return {
        "next": trace_of(next_vlm, noise(160, 100))[1],
        "next, tall": trace_of(next_vlm, noise(100, 300))[1],
        "next, two": trace_of(next_vlm, noise(160, 100), noise(300, 100, 2))[1],
        "next, paper": trace_of(paper, noise(300, 100))[1],
        "qwen": trace_of(qwen, noise(300, 100))[1],
        "qwen, two": trace_of(qwen, noise(300, 100), noise(100, 160, 2))[1],
        "onevision": trace_of(onevision, noise(300, 300))[1],
    }


@pytest.fixture(scope="module")
def seen(traces):
    return {name: looked(trace) for name, trace in traces.items()}


def test_every_view_has_its_name(seen):
    tiles = [f"Tile {i}" for i in range(1, 5)]
    assert [v["name"] for v in seen["next"]] == ["Base picture", "All tiles", *tiles]
    assert [v["name"] for v in seen["next, two"]][6:9] == [
        "Picture 2: base picture",
        "Picture 2: all tiles",
        "Picture 2: tile 1",
    ]
    assert [v["name"] for v in seen["qwen"]] == ["Frame 1"]
    assert [v["name"] for v in seen["qwen, two"]] == ["Frame 1", "Frame 2"]
    assert len(seen["onevision"]) == 2 + 9


@each("name", ["next", "next, tall", "next, two", "next, paper", "qwen", "qwen, two", "onevision"])
def test_every_token_lies_where_its_rectangle_is(traces, seen, name):
    tokens, frames = traces[name].tokens, traces[name].frames
    for view in seen[name]:
        x0, y0, x1, y1 = view["window"]
        scale = 1000 / (x1 - x0)
        assert view["size"] == [1000, math.floor((y1 - y0) * scale + 0.5)]
        assert 0 <= x0 < x1 <= frames[view["frame"]]["width"]
        assert 0 <= y0 < y1 <= frames[view["frame"]]["height"]
        for i, box in zip(view["index"], view["boxes"], strict=True):
            left, top, right, bottom = tokens["rect"][i]
            wanted = [(left - x0) * scale, (top - y0) * scale, (right - x0) * scale, (bottom - y0) * scale]
            assert box == pytest.approx(wanted, abs=0.51)
        assert view["found"] == view["index"], "a token is under its own middle"
        assert sorted(view["reached"]) == view["index"], "arrow keys reach every token of the view"


@each("name", ["next", "next, tall", "next, two", "next, paper", "onevision"])
def test_every_token_is_in_one_grid_and_every_tile_is_a_part_of_its_mosaic(traces, seen, name):
    whole = [v for v in seen[name] if v["tile"] < 0]
    assert sorted(i for v in whole for i in v["index"]) == list(range(traces[name].tokens["n"]))
    for view in whole:
        tiles = [v for v in seen[name] if v["tile"] >= 0 and v["frame"] == view["frame"]]
        if tiles:
            assert Counter(i for v in tiles for i in v["index"]) == Counter(view["index"])
            assert len(view["borders"]) == len(tiles)
        for tile in tiles:
            assert {traces[name].tokens["tile"][i] for i in tile["index"]} == {tile["tile"]}


def test_newlines_are_counted_with_the_rows_that_are_kept(traces):
    trace = traces["next"].to_dict()
    count = "({ trace, roles }) => [views.newlines(trace, { roles }), views.newlines(trace, null)]"
    roles = [0] * trace["tokens"]["n"]
    for row in (1, 4):
        roles[25 + 10 * row + 3] = 2
    assert run(count, {"trace": trace, "roles": roles}) == [[2, 6], [0, 6]]


def test_padding_that_papers_count_is_told_apart_from_the_picture(traces):
    """300 x 100 in the middle of 140 x 140 pixels: of ten rows of patches six hold none of it."""
    trace = traces["next, paper"].to_dict()
    placeless = run("(trace) => views.placeless(trace)", trace)
    assert {trace["tokens"]["row"][i] for i in placeless} == {0, 1, 2, 7, 8, 9}
    assert len(placeless) == 60


def test_what_has_no_place_on_the_picture_is_listed():
    """A [CLS] token, a token in the padding above the picture, and one that reaches into it."""
    trace = {
        "frames": [{"width": 100, "height": 50, "rows": 1, "cols": 2, "seen": [0, 0, 100, 50]}],
        "tokens": {"n": 3, "row": [-1, 0, 0], "col": [-1, 0, 1], "rect": [None, [0, -50, 50, 0], [50, -10, 100, 40]]},
    }
    assert run("(trace) => views.placeless(trace)", trace) == [0, 1]


def test_the_spread_of_focus_is_told_in_tokens_of_this_picture():
    said = run(
        "(rows) => rows.map((row) => spread.spreadOf(row)).map((found) => found && spread.sentence(found))",
        [
            state_of([0.01 * i for i in range(1, 21)]),
            state_of([0.03]),
            state_of([]),
            state_of(None),
            state_of([0.1, 0.2], cap=0.5),
            {**state_of(None), "trace": {**state_of(None)["trace"], "methods": {"fsr": {"facts": {}}}}},
        ],
    )
    assert said == [
        "Focus asks for 20 of 100 tokens; over the 20 recorded questions: median 11, 5–95 %: 2–19.",
        "Focus asks for 20 of 100 tokens.",
        "Focus asks for 20 of 100 tokens.",
        "Focus asks for 20 of 100 tokens.",
        "Focus asks for 20 of 100 tokens, at most 50.0\u202f% of the budget; over the 2 recorded questions: "
        "median 15, 10 to 20.",
        None,
    ]


def state_of(focus, cap=1):
    facts = {"k_focus": 20, "focus_cap": cap}
    recorded = {"on": "2026-11-23", "device": "a GPU", "note": ""}
    trace = {"tokens": {"n": 100}, "recorded": recorded, "focus": focus, "methods": {"fsr": {"facts": facts}}}
    return {"trace": {**trace, "model": {"id": "m"}}, "method": "fsr", "focusSeen": {}}


def test_questions_of_a_session_are_counted_once_each():
    live = {
        "about": 3,
        "edited": {},
        "focusSeen": {},
        "trace": {**state_of(None)["trace"], "recorded": None, "question": "what?"},
    }
    code = """(live) => {
      let state = { ...live, method: "fsr" };
      for (const question of ["what?", "what?", "where?"]) {
        state = { ...state, trace: { ...state.trace, question } };
        state.focusSeen = spread.seen(state);
      }
      const tuned = { ...state, edited: { fsr: { rho: 0.1 } }, trace: { ...state.trace, question: "tuned" } };
      state.focusSeen = spread.seen(tuned);
      return [spread.spreadOf(state).shares, spread.sentence(spread.spreadOf(state))];
    }"""
    shares, said = run(code, live)
    assert shares == [0.2, 0.2]
    assert "over the 2 questions of this session" in said
