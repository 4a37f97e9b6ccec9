"""The data-set view's answers against plain loops over the same rows; hostile data; what is on disk from before."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from app.data_sets import DataSets, _json, _said
from app.settings import ROOT
from fsr.errors import InvalidInput
from fsr.sweep import compact, generated
from fsr.sweep.common import common
from fsr.sweep.data import Item
from fsr.sweep.intervals import Pairs, wilson
from fsr.sweep.layout import packed, unpacked
from fsr.sweep.library import Library
from fsr.sweep.paired import Beside, paired
from fsr.sweep.store import Store
from fsr.sweep.view import Chosen, View
from fsr.tokens import Grid, Layout, Role
from tests.looping import each

SHAPES = ROOT / "assets" / "sweeps" / "shapes"
RANDOM = Chosen("random", 32)
COUNT = '[{"column": "data_type", "is": "=", "value": "count"}]'
LOST = '[{"column": "flip", "is": "=", "value": "lost"}]'


@pytest.fixture(scope="module")
def library():
    library = Library([SHAPES.parent])
    yield library
    library.close()


@pytest.fixture(scope="module")
def view(library):
    return library.view(library.get("shapes"))


@pytest.fixture(scope="module")
def plain():
    """Rows and items of the shipped sweep as dictionaries."""
    return [
        [
            row
            for path in sorted(SHAPES.glob(f"blocks/*/{name}.parquet"))
            for row in pq.ParquetFile(path).read().to_pylist()
        ]
        for name in ("rows", "items")
    ]


def flip_of(row, full):
    before, after = full[row["item"]]["score"] >= 0.5, row["score"] >= 0.5
    if before != after:
        return "lost" if before else "won"
    return "same" if row["agrees"] else "changed"


def test_the_headline_is_that_of_a_loop_and_its_intervals_those_of_resampled_pairs(view, plain):
    rows, _ = plain
    full = {row["item"]: row for row in rows if row["method"] == "full"}
    told = {(line["method"], line["budget"]): line for line in view.headline()}
    assert len(told) == 1 + 6 * 4
    random = np.random.default_rng(0)
    for (method, budget), line in told.items():
        own = [row for row in rows if row["method"] == method and (method == "full" or row["budget"] == budget)]
        s, u = (
            np.array([source[row["item"]]["score"] for row in own]) for source in ({r["item"]: r for r in own}, full)
        )
        assert line["questions"] == len(own) == 304
        assert line["score"] == pytest.approx(s.mean())
        assert line["retention"] == pytest.approx(s.mean() / u.mean())
        flips = [flip_of(row, full) for row in own]
        assert [line[name] for name in ("lost", "won", "changed")] == [
            flips.count(n) for n in ("lost", "won", "changed")
        ]
        if (method, budget) in (("fsr", 64), ("random", 32)):
            at = random.integers(len(own), size=(3000, len(own)))
            for name, values in (
                ("difference", (s - u)[at].mean(1)),
                ("retention", s[at].mean(1) / u[at].mean(1)),
                ("score", s[at].mean(1)),
            ):
                ends = np.percentile(values, [2.5, 97.5])
                assert [line[f"{name}_low"], line[f"{name}_high"]] == pytest.approx(ends, abs=0.02), name


def test_intervals_of_a_few_questions_are_not_certain():
    assert wilson(8 / 10, 10) == pytest.approx((0.490, 0.943), abs=1e-3)  # Wilson 1927, as tabled by Newcombe (1998)
    alike = Pairs(10, 10, 10, 10, 10, 10)
    low, high = alike.difference()
    assert low < -0.1 < 0.1 < high
    assert alike.retention()[0] < 0.95
    assert Pairs(5, 0, 0, 0, 0, 0).retention() is None


CONDITIONS = [
    ("data_objects", ">=", 5, lambda r, i: i["data_objects"] >= 5),
    ("kl", "<", 0.01, lambda r, i: r["kl"] < 0.01),
    ("data_type", "in", ["count", "list"], lambda r, i: i["data_type"] in ("count", "list")),
    ("data_type", "not in", ["count"], lambda r, i: i["data_type"] != "count"),
    ("data_relation", "!=", "left", lambda r, i: i["data_relation"] != "left"),
    ("data_relation", "empty", False, lambda r, i: i["data_relation"] is not None),
    ("data_small", "=", True, lambda r, i: i["data_small"] is True),
    ("question", "has", "HEXAGON", lambda r, i: "hexagon" in i["question"].lower()),
    (
        "anywhere",
        "has",
        "Teal",
        lambda r, i: "teal" in " ".join([i["question"], *i["answers"], r["answer"], r["unpruned"]]),
    ),
    ("answer", "has", "%", lambda r, i: "%" in r["answer"]),
    ("unpruned_score", "=", 1, lambda r, i: r["unpruned_score"] == 1),
]


@each(("column", "operator", "value", "holds"), CONDITIONS)
def test_a_filter_chooses_what_a_loop_chooses(view, plain, column, operator, value, holds):
    rows, items = plain
    full = {row["item"]: row for row in rows if row["method"] == "full"}
    own = [
        r | {"unpruned_score": full[r["item"]]["score"]} for r in rows if (r["method"], r["budget"]) == ("random", 32)
    ]
    expected = [row["item"] for row in own if holds(row, items[row["item"]])]
    text = json.dumps([{"column": column, "is": operator, "value": value}])
    found = view.questions(RANDOM, text, limit=100)
    assert found["total"] == len(expected)
    assert [row["item"] for row in found["rows"]] == sorted(expected)[:100]
    assert {line["questions"] for line in view.headline(text, RANDOM)} == ({len(expected)} if expected else set())


@each(
    ("text", "words"),
    [
        ("{", "must be JSON"),
        ("{}", "must be a list"),
        ('[{"column": "kl"}]', 'is an object with "column"'),
        ('[{"column": "kl; DROP TABLE rows", "is": "=", "value": 1}]', "there is no column"),
        ('[{"column": "kl", "is": "= 1 OR 1", "value": 1}]', "must be one of =, !="),
        ('[{"column": "kl", "is": "<", "value": "1 OR 1"}]', "takes a number"),
        ('[{"column": "kl", "is": "<", "value": true}]', "takes a number"),
        ('[{"column": "kl", "is": "has", "value": "a"}]', "is for texts"),
        ('[{"column": "question", "is": "<", "value": "a"}]', "is for numbers"),
        ('[{"column": "data_small", "is": "=", "value": "yes"}]', "true or false"),
        ('[{"column": "kl", "is": "in", "value": []}]', "takes a list"),
        ('[{"column": "question", "is": "has", "value": "%s"}]' % ("x" * 1001), "at most 1000 characters"),
        ("[" * 100_000, "must be JSON"),
        (json.dumps([{"column": "kl", "is": "empty"}] * 33), "at most 32"),
    ],
)
def test_any_other_filter_is_refused_with_a_sentence(view, text, words):
    with pytest.raises(InvalidInput, match=words):
        view.questions(RANDOM, text)


def test_a_screenful_is_sorted_paged_and_stands_beside_another(view):
    worst = view.questions(RANDOM, LOST, "kl", down=True, limit=10)
    kls = [row["kl"] for row in worst["rows"]]
    assert kls == sorted(kls, reverse=True)
    again = view.questions(RANDOM, LOST, "kl", True, offset=4, limit=3, beside=(view, Chosen("fsr", 64)))
    assert [row["item"] for row in again["rows"]] == [row["item"] for row in worst["rows"]][4:7]
    sixth = worst["rows"][5]["item"]
    assert view.questions(RANDOM, LOST, "kl", True, limit=1, at=sixth)["place"] == 5
    assert view.questions(RANDOM, LOST, "kl", True, limit=1, at=10**6)["place"] is None
    item = again["rows"][0]["item"]
    (alone,) = view.told(Chosen("fsr", 64), [item]).values()
    assert again["rows"][0]["beside"] == {name: alone[name] for name in ("answer", "score", "flip", "kl")}
    assert view.questions(RANDOM, "", "data_relation")["rows"][0]["columns"]["data_relation"] == "above"
    for sort, limit in (("kl--", 10), ("kl", 101)):
        with pytest.raises(InvalidInput):
            view.questions(RANDOM, "", sort, limit=limit)


@each(("method", "budget", "filter_"), [("fsr", None, ""), ("fsr", 192, COUNT), ("full", None, "")])
def test_two_methods_side_by_side_differ_as_their_pairs_do(view, plain, method, budget, filter_):
    rows, items = plain
    own = {row["item"]: row["score"] for row in rows if (row["method"], row["budget"]) == ("random", 32)}
    if filter_:
        own = {item: score for item, score in own.items() if items[item]["data_type"] == "count"}
    other = Beside(view, method, budget)
    line = next(line for line in paired(view, other, filter_) if (line["method"], line["budget"]) == ("random", 32))
    budgets = (None, 576) if method == "full" else (budget or 32,)
    theirs = {row["item"]: row["score"] for row in rows if row["method"] == method and row["budget"] in budgets}
    here, there = np.array([(own[item], theirs[item]) for item in own]).T
    assert line["questions"] == len(own)
    assert [line["here"], line["there"]] == pytest.approx([here.mean(), there.mean()])
    assert line["difference"] == pytest.approx((here - there).mean())
    assert line["only_here"] == ((here >= 0.5) & (there < 0.5)).sum()
    assert line["only_there"] == ((here < 0.5) & (there >= 0.5)).sum()
    at = np.random.default_rng(0).integers(len(own), size=(3000, len(own)))
    ends = np.percentile((here - there)[at].mean(1), [2.5, 97.5])
    assert [line["difference_low"], line["difference_high"]] == pytest.approx(ends, abs=0.03)
    assert all(line["method"] != "fsr" for line in paired(view, Beside(view, "fsr"))), "nothing stands beside itself"


@pytest.mark.parametrize("flip", ["lost", pytest.param("any", marks=pytest.mark.slow)])
def test_every_bar_is_a_filter_that_finds_its_questions(view, flip):
    found = common(view, RANDOM, flip)
    telling = [column["telling"] for column in found["columns"]]
    assert telling == sorted(telling, reverse=True)
    assert found["columns"][0]["telling"] > 10
    assert {"data_type", "data_objects", "data_tokens of the object"} <= {column["name"] for column in found["columns"]}
    at_risk = [{"column": "unpruned_score", "is": ">=", "value": 0.5}] if flip == "lost" else []
    flips = ["lost"] if flip == "lost" else ["lost", "won", "changed"]
    for column in found["columns"]:
        assert sum(bar["questions"] for bar in column["bars"]) == found["questions"], column["name"]
        assert sum(bar["flips"] for bar in column["bars"]) == found["flips"], column["name"]
        for bar in column["bars"][:: len(column["bars"]) - 1]:
            assert view.questions(RANDOM, json.dumps(bar["filter"] + at_risk))["total"] == bar["questions"]
            chosen = [*bar["filter"], {"column": "flip", "is": "in", "value": flips}]
            assert view.questions(RANDOM, json.dumps(chosen))["total"] == bar["flips"]


def test_what_takes_too_long_is_stopped_and_the_next_visitor_notices_nothing(library, monkeypatch):
    endless = "SELECT count(*) FROM range(10_000_000_000) a WHERE hash(a.range) = 1"
    sets = DataSets(library)
    monkeypatch.setattr(View, "headline", lambda view, *_: view.ask(endless))
    query = {"sweep": "shapes"}
    began = time.perf_counter()
    answers = [_said(partial(_json, sets.headline), query, 0.3), _said(partial(_json, sets.about), query, 60)]
    assert time.perf_counter() - began < 30
    assert [answer.status_code for answer in answers] == [503, 200]
    assert "longer than 0.3 s and was stopped" in json.loads(answers[0].body)["error"]


HOSTILE = 'x" FROM items; DROP TABLE items; --'


@pytest.fixture
def hostile(tmp_path):
    """A sweep of before roles were kept, of data whose names and values are not to be trusted."""
    (tmp_path / "secret.png").parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "secret.png")
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (40, 30), "blue").save(data / "one.png")
    (data / "bad.png").write_bytes(b"no picture")
    (data / "link.png").symlink_to(tmp_path / "secret.png")
    (data / "questions.jsonl").write_text("")
    names = ["one.png", "../secret.png", str(tmp_path / "secret.png"), "link.png", "bad.png"]
    columns = {HOSTILE: "=1+1", "KL": 3.0, "kl": "<b>"}
    items = [Item(i, "=cmd|' /C calc'!A0", data / name, name, ("-1",), columns) for i, name in enumerate(names)]
    row = {"answer": "@x", "unpruned": "<script>", "agrees": False, "score": 0.0, "kl": math.inf, "visual_tokens": 9.0}
    rows = [
        row | {"item": i, "method": method, "budget": 9 - len(method)} for i in range(5) for method in ("full", "fsr")
    ]
    store = Store(tmp_path / "old")
    settings = {
        "data": str(data / "questions.jsonl"),
        "digest": "d",
        "model": "m",
        "metric": "exact",
        "methods": {"fsr": {}},
    }
    store.begin(settings | {"budgets": [6], "items": 5, "block": 32})
    store.commit(0, items, rows)
    for name, field in (("rows", "roles"), ("items", "layout")):
        path = store.folder / "blocks" / "block=000000" / f"{name}.parquet"
        pq.write_table(pq.ParquetFile(path).read().drop_columns([field]), path)
    library = Library([tmp_path / "old"])
    yield library
    library.close()


def test_nothing_in_the_data_is_more_than_data(hostile, tmp_path):
    sweep = hostile.get("old")
    view, of = hostile.view(sweep), Chosen("fsr", 6)
    labels = [column.label for column in view.columns.values() if column.own]
    assert HOSTILE in labels
    assert len(labels) == 3
    (first, *_) = view.questions(of)["rows"]
    assert (first["kl"], first["columns"][f"data_{HOSTILE}"]) == (None, "=1+1")
    filter_ = json.dumps([{"column": f"data_{HOSTILE}", "is": "=", "value": "=1+1"}])
    assert view.questions(of, filter_)["total"] == 5
    json.dumps([view.about(), common(view, of, "any"), view.headline()], allow_nan=False)
    view.export(of, "", tmp_path / "out.csv", "csv")
    text = (tmp_path / "out.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 5
    assert rows[0]["question"] == "'=cmd|' /C calc'!A0"
    assert (rows[0]["answers"], rows[0]["answer"], rows[0][HOSTILE]) == ("'-1", "'@x", "'=1+1")
    view.export(of, "", tmp_path / "out.parquet", "parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist()[0]["question"] == "=cmd|' /C calc'!A0"
    with pytest.raises(InvalidInput):
        view.export(of, "", tmp_path / "out.exe", "exe")


def test_pictures_come_from_the_folder_of_the_data_alone(hostile, tmp_path):
    thumbnails, sweep = DataSets(hostile).thumbnails, hostile.get("old")
    image = Image.open(io.BytesIO(thumbnails.get(sweep, 0, 32, Chosen("fsr", 6))))
    assert image.size == (32, 24)
    for item in (1, 2, 3, 4, 5):
        with pytest.raises(InvalidInput) as refused:
            thumbnails.get(sweep, item, 32, None)
        assert str(tmp_path) not in str(refused.value)


def test_a_thumbnail_shows_what_was_kept(library):
    data = DataSets(library).thumbnails.get(library.get("shapes"), 12, 336, Chosen("fsr", 64))
    pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)
    _, roles = library.drawn(library.get("shapes"), 12, Chosen("fsr", 64))
    cells = pixels.reshape(24, 14, 24, 14, 3).mean((1, 3)).reshape(576, 3)
    role = np.frombuffer(roles, np.uint8)
    assert (role >= 3).sum() == 64 > (role == 4).sum() > 0
    assert (cells[role == 4][:, 0] - cells[role == 4][:, 2]).mean() > 0
    assert (cells[role == 3][:, 2] - cells[role == 3][:, 0]).mean() > 50


@pytest.mark.slow
def test_a_thumbnail_of_a_clip_is_of_the_frame_with_most_tokens_kept(tmp_path):
    clips = ROOT / "assets" / "examples"
    grid = {"width": 336, "height": 336, "rows": 2, "cols": 2, "seen": [0, 0, 336, 336], "part": "", "picture": 0}
    store = Store(tmp_path / "clips")
    settings = {"data": str(clips / "clips.json"), "digest": "d", "model": "m", "metric": "exact", "budgets": [4]}
    store.begin(settings | {"methods": {"fsr": {}, "random": {}}, "items": 1, "block": 32})
    rows = [{"item": 0, "method": "full", "layout": json.dumps({"grids": [grid] * 8})}]
    for method, frame in (("fsr", 0), ("random", 6)):
        roles = bytes(int(Role.KEPT) * (i // 4 == frame) for i in range(32))
        rows.append({"item": 0, "method": method, "budget": 4, "roles": roles})
    store.commit(0, [Item(0, "which shape disappears?", clips / "vanish.mp4", "vanish.mp4")], rows)
    library = Library([store.folder])
    sets, found = DataSets(library), {}
    for method in ("fsr", "random"):
        data = sets.thumbnails.get(library.get("clips"), 0, 336, Chosen(method, 4))
        ring = np.array(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)[60:156, 198:294]
        found[method] = ring.std((0, 1)).max()
    library.close()
    assert found["fsr"] > 3 * found["random"], "the ring is gone by then"


def test_a_block_that_is_added_is_seen(hostile):
    sweep = hostile.get("old")
    assert hostile.view(sweep).counts() == (5, 0)
    Store(sweep.folder).commit(1, [Item(32, problem="broken")], [{"item": 32, "method": "full", "problem": "broken"}])
    view = hostile.view(sweep)
    assert view.counts() == (6, 1)
    assert view.questions(Chosen("full", None), LOST.replace("flip", "problem").replace("lost", "broken"))["total"] == 1


def test_layouts_are_kept_small_and_come_back():
    grid = Grid(100, 60, 2, 3, (5.0, 0.0, 95.0, 60.0))
    one = unpacked(json.dumps({"grids": [{**vars(grid)}]}))
    assert one.rect[4].tolist() == [35, 30, 65, 60]
    assert len(packed(one)) < 150
    rect = torch.cat([one.rect + 0.5, torch.full((1, 4), math.nan)])
    outside = torch.tensor([-1])
    odd = Layout(
        torch.cat([one.frame, outside + 1]), torch.cat([one.row, outside]), torch.cat([one.col, outside]), rect, (grid,)
    )
    again = unpacked(packed(odd))
    assert torch.allclose(again.rect, odd.rect, equal_nan=True)
    assert [again.frame.tolist(), again.row.tolist(), again.grids] == [odd.frame.tolist(), odd.row.tolist(), odd.grids]
    bad = {"grids": [vars(grid)], "frame": [0], "row": [0], "col": [0], "rect": [[0, 0, 1]]}
    for text in ("", "[]", json.dumps(bad), json.dumps({"grids": [vars(grid) | {"rows": 10**9}]}), '{"grids": []}'):
        with pytest.raises(InvalidInput):
            unpacked(text)


def test_a_block_that_is_added_makes_its_own_part_anew_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(compact, "PART", 2)
    folder, made = tmp_path / "growing", []
    generated.written(folder, 25 * 32 * 4)
    monkeypatch.setattr(
        compact, "_make", lambda *given, make=compact._make: made.append(given[2].parent) or make(*given)
    )
    for number in (0, 1, 3):
        compact.keep_part(folder, number)  # of the second part no block is missing, either
    library = Library([folder])
    whole = library.view(library.get("growing")).headline()
    assert made == [folder / "view"] * 2
    columns = {"type": "count", "other": 3.0}
    Store(folder).commit(4, [Item(128, "what?", None, "x", ("red",), columns)], [{"item": 128, "method": "full"}])
    view = library.view(library.get("growing"))
    assert made[2:] == [library.cache]
    assert view.counts() == (129, 0)
    assert [line["questions"] for line in view.headline()] == [whole[0]["questions"] + 1, *[128] * 24]
    assert view.column("data_other").kind == "number"
    assert view.questions(Chosen("full", None), '[{"column": "data_other", "is": "=", "value": 3}]')["total"] == 1
    library.close()


def test_a_long_sweep_is_compact_already_and_the_view_reads_that(tmp_path, monkeypatch):
    monkeypatch.setattr(compact, "MANY", 2)
    assert generated.written(tmp_path / "long", 1500) == 1500
    compact.keep(tmp_path / "long")
    library = Library([tmp_path / "long"])
    monkeypatch.setattr(compact, "_make", lambda *_: pytest.fail("it is there already"))
    view = library.view(library.get("long"))
    assert [line["questions"] for line in view.headline()] == [60] * 25
    assert view.questions(Chosen("fsr", 64))["total"] == 60
    monkeypatch.undo()
    (place,) = (tmp_path / "long" / "view").iterdir()
    (place / "columns.json").write_text(json.dumps({"c0 FROM x; --": "no"}))
    other = Library([tmp_path / "long"])
    assert other.view(other.get("long")).counts() == (60, 0)
    for one in (library, other):
        one.close()
