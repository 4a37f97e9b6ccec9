"""The film panel's arithmetic against the library: tokens through time, anchors of other frames, regions, pixels."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import torch

from fsr.pruners import make
from fsr.pruners.frames import anchors_from_other_frames, with_share
from fsr.tokens import Grid, Layout, Role, VisualTokens
from tests import javascript
from tests.looping import each

FRAMES, ROWS, COLS = 5, 3, 4
CELL = 20  # pixels


run = partial(javascript.run, ("plan", "life", "film_time", "film_paint", "region"))


def layout_of() -> Layout:
    """FRAMES grids of ROWS x COLS tokens, each grid followed by a newline outside of it."""
    one, n = Layout.of_grid(ROWS, COLS, COLS * CELL, ROWS * CELL), ROWS * COLS
    outside = torch.full((1,), -1)
    row, col = torch.cat([one.row, outside]), torch.cat([one.col, outside])
    rect = torch.cat([one.rect, torch.full((1, 4), torch.nan)])
    grid = Grid(COLS * CELL, ROWS * CELL, ROWS, COLS, (0.0, 0.0, float(COLS * CELL), float(ROWS * CELL)))
    frame = torch.arange(FRAMES).repeat_interleave(n + 1)
    return Layout(frame, row.repeat(FRAMES), col.repeat(FRAMES), rect.repeat(FRAMES, 1), (grid,) * FRAMES)


@pytest.fixture(scope="module")
def tokens() -> VisualTokens:
    generator = torch.Generator().manual_seed(3)
    layout = layout_of()
    n = len(layout)
    still = torch.randn(n // FRAMES, 8, generator=generator).repeat(FRAMES, 1)  # most of a clip does not move
    embeddings = still + 0.3 * torch.randn(n, 8, generator=generator)
    return VisualTokens(embeddings, layout, saliency=torch.rand(n, generator=generator) ** 3)


@pytest.fixture(scope="module")
def trace(tokens: VisualTokens) -> dict[str, Any]:
    layout = tokens.layout
    rect = [r if r[0] == r[0] else None for r in layout.rect.tolist()]
    frames = [{"width": COLS * CELL, "height": ROWS * CELL, "rows": ROWS, "cols": COLS, "time": 0.5 * f, "index": 9 * f}
              for f in range(FRAMES)]  # fmt: skip
    return {
        "frames": frames,
        "tokens": {"n": len(layout), "frame": layout.frame.tolist(), "rect": rect},
        "plan": make("fsr").plan(tokens).to_json(),
    }


VIEW = "const view = plan.viewAt(t.plan, t.tokens.n, t.budget);"


@each("budget", [1, 7, 20, 32, 65])
def test_tokens_through_time_are_those_of_the_selection(tokens, trace, budget):
    selection = make("fsr")(tokens, budget)
    shown = run(
        f"(t) => {{ {VIEW} return [life.keptByFrame(view, t), [...life.foreignOf(view, t)]]; }}",
        trace | {"budget": budget},
    )
    inside = ~tokens.layout.rect[:, 0].isnan()
    for f, column in enumerate(shown[0]):
        roles = selection.roles[(tokens.layout.frame == f) & inside]
        for name, role in (
            ("focus", Role.FOCUS),
            ("scan", Role.SCAN),
            ("merged", Role.MERGED),
            ("dropped", Role.DROPPED),
        ):
            assert column[name] == int((roles == role).sum()), (f, name)
        assert column["all"] == int((roles >= Role.KEPT).sum())
    assert shown[1] == anchors_from_other_frames(selection, tokens.layout).tolist()


def test_frames_with_budgets_of_their_own_merge_within_themselves(tokens, trace):
    pruner, budget = with_share(make("fsr"), "per_group"), 30
    selection, record = pruner(tokens, budget), pruner.plan(tokens).to_json()
    merged = selection.roles == Role.MERGED
    roles, anchor, weight, foreign = run(
        f"(t) => {{ {VIEW} return [[...view.roles], [...view.refine.anchor], [...view.refine.weight],"
        " [...life.foreignOf(view, t)]]; }",
        trace | {"plan": record, "budget": budget},
    )
    assert merged.any()
    assert roles == selection.roles.tolist()
    assert torch.tensor(anchor)[merged].tolist() == selection.anchor[merged].tolist()
    assert weight == pytest.approx(selection.weight.tolist(), abs=1e-6)
    assert not any(foreign)


def test_an_anchor_says_what_it_holds_of_other_frames(tokens, trace):
    budget = 12
    selection = make("fsr")(tokens, budget)
    foreign = anchors_from_other_frames(selection, tokens.layout)
    anchor = int(foreign.argmax())
    held = ((selection.anchor == anchor) & (selection.roles == Role.MERGED)).nonzero()[:, 0]
    of = tokens.layout.frame[held]
    others = sorted(set(of[of != tokens.layout.frame[anchor]].tolist()))
    assert foreign[anchor] > 0, "the clip of this test merges through time"
    text = run(
        f"(t) => {{ {VIEW} return life.holdsText(view, t, t.anchor); }}", trace | {"budget": budget, "anchor": anchor}
    )
    numbers = [int(x) for x in re.findall(r"\d+", text)]
    expected = [len(held)] + ([] if int(foreign[anchor]) == len(held) else [int(foreign[anchor])])
    assert numbers == [*expected, *(f + 1 for f in others)]
    none = run(
        f"(t) => {{ {VIEW} return life.holdsText(view, t, t.anchor); }}",
        trace | {"budget": budget, "anchor": int(held[0])},
    )
    assert none == "", "a token that absorbed nothing holds nothing"


def test_a_region_holds_the_tokens_whose_middle_it_covers(trace):
    region = {"x0": 0.25, "y0": 1 / 3, "x1": 0.74, "y1": 1}
    lists = run("(t) => life.tokensInRegion(t, t.region).map((list) => [...list])", trace | {"region": region})
    first = [row * COLS + col for row in (1, 2) for col in (1, 2)]
    assert lists == [[f * (ROWS * COLS + 1) + i for i in first] for f in range(FRAMES)]
    means = run("([values, lists]) => life.meanByFrame(values, lists)", [[1, 2, 3, 10], [[0, 1], [3], []]])
    assert means == [1.5, 10, None]


@each(
    ("a", "b", "least", "expected"),
    [
        ((0.2, 0.8), (0.6, 0.4), 0.1, [0.2, 0.4, 0.6, 0.8]),
        ((0.5, 0.5), (0.5, 0.5), 0.25, [0.5, 0.5, 0.75, 0.75]),
        ((0.9, -3), (7, 0.1), 0.25, [0.75, 0, 1, 0.25]),
    ],
    ids=["corners in any order", "a press without a drag is one token", "held within the picture"],
)
def test_a_region_between_two_points(a, b, least, expected):
    region = run("([a, b, least]) => life.regionBetween(a, b, least)", [a, b, least])
    assert [region[k] for k in ("x0", "y0", "x1", "y1")] == pytest.approx(expected)


def test_keys_move_a_region_by_tokens_within_the_picture():
    region = {"x0": 0.0, "y0": 0.5, "x1": 0.5, "y1": 1.0}
    moves = [[[1, 0], False], [[-1, 0], False], [[0, 1], False], [[1, 0], True], [[-1, -1], True]]
    moved = run("([r, moves]) => moves.map(([by, grow]) => region.moved(r, by, [.25, .25], grow))", [region, moves])
    corners = [[r[k] for k in ("x0", "y0", "x1", "y1")] for r in moved]
    assert corners == [
        [0.25, 0.5, 0.75, 1], [0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1], [0, 0.5, 0.75, 1], [0, 0.5, 0.25, 0.75],
    ]  # fmt: skip


def test_frames_stay_as_long_as_until_the_next_one():
    frames = [{"time": t} for t in (0, 0.5, 2.0, 2.1)]
    shown = run("(fs) => [1, 2].map((s) => fs.map((_, i) => film_time.shownFor(fs, i, s)))", frames)
    assert shown[0] == pytest.approx([500, 1500, 100, 700])
    assert shown[1] == pytest.approx([250, 750, 50, 350])
    assert run("(fs) => film_time.shownFor(fs, 0, 1)", [{}, {}]) == 500, "of an uploaded clip without times"


def test_columns_labels_and_axes():
    columns = run("(xs) => xs.map((x) => film_time.frameAt(x, 80, 8))", [-5, 0, 9.9, 10, 79.9, 300])
    assert columns == [0, 0, 0, 1, 7, 7]
    assert run("() => [8, 32].map((n) => film_time.labelEvery(n, 720 / n, 46))", None) == [1, 4]
    assert run("(ks) => ks.map(film_time.roundUp)", [1, 7, 9, 11, 41, 196]) == [1, 8, 10, 20, 50, 200]
    said = run("(ts) => ts.map((t) => film_time.clock(t))", [0, 1.204, 59.5, 75.25, 119.96])
    assert [s.replace("\u202f", " ") for s in said] == ["0.00 s", "1.20 s", "59.50 s", "1:15.3", "2:00.0"]


PAINT = """({ roles, absorbed, foreign, size }) => {
  const rect = [0, 1, 2, 3].map((i) => [i, 0, i + 1, 1]);
  const t = { frames: [{ width: 4, height: 1 }], tokens: { n: 4, rect } };
  const g = film_paint.thumbGeometry(t, Int32Array.of(0, 1, 2, 3), 0, 4 * size);
  const palette = { focus: "#e69f00", scan: "#0072b2", kept: "#009e73", halo: "#ffffff" };
  const inks = film_paint.inksOf(palette, "rgb(24 27 33)");
  const layers = new Set(["focus", "scan", "kept", "merged", "dropped"]);
  const data = new Uint32Array(g.width * g.height).fill(7);
  film_paint.paintThumb(data, g, { roles, absorbed, foreign, layers, inks, line: 1 });
  const at = (x, y) => {
    const p = data[y * g.width + x];
    return [p & 255, (p >> 8) & 255, (p >> 16) & 255, p >>> 24];
  };
  const middle = size >> 1;
  const of = (x) => [at(x, 0), at(x + middle, middle), at(x + 3, middle)];
  return { width: g.width, height: g.height, at: [0, 1, 2, 3].map((i) => of(i * size)) };
}"""


def test_a_small_frame_is_painted_by_role():
    painted = run(
        PAINT,
        {
            "roles": [Role.FOCUS, Role.SCAN, Role.DROPPED, Role.SCAN],
            "absorbed": [0, 3, 0, 0],
            "foreign": [0, 0, 0, 0],
            "size": 12,
        },
    )
    assert (painted["width"], painted["height"]) == (48, 12)
    focus, anchor, dropped, scan = painted["at"]
    orange, blue = [0xE6, 0x9F, 0x00], [0x00, 0x72, 0xB2]
    assert focus[0] == [*orange, 255]
    assert focus[1][:3] == orange
    assert focus[1][3] < 128, "the picture shows through"
    assert anchor[0] == [*blue, 255]
    assert anchor[1] == [255, 255, 255, 255]
    assert [pixel[3] for pixel in dropped] == [158] * 3
    assert scan[0] == [*blue, 255]
    assert scan[1] == [0, 0, 0, 0], "a kept token is left clear"


def test_an_anchor_of_other_frames_has_a_heart_and_tiny_tokens_are_washed_over():
    roles = {"roles": [Role.SCAN] * 4, "absorbed": [2, 2, 0, 0], "foreign": [1, 0, 0, 0]}
    large = run(PAINT, roles | {"size": 12})["at"]
    assert large[0][1] == [0x00, 0x72, 0xB2, 255]
    assert large[1][1] == [255, 255, 255, 255]
    small = run(PAINT, roles | {"size": 4})["at"]
    assert small[2][0] == [0x00, 0x72, 0xB2, 128]
    assert small[2][1] == small[2][0]
