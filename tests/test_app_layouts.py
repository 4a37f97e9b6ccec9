"""Pictures that are not one square grid, through the service: their traces, and budgets shared by tiles."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import pytest
import torch

import fsr.vlm
from app.compare import compare, report, requests_of
from app.curves import curves
from app.request import Request
from app.service import Service
from app.settings import Settings
from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.pruners.frames import PerGroup, divided
from fsr.trace import Trace, TraceError, build_trace
from tests.tiny import in_memory
from tests.tiny_families import QUESTION, noise, save_next, save_onevision, save_qwen


@pytest.fixture(scope="module")
def next_vlm(tmp_path_factory):
    return fsr.vlm.load(str(save_next(tmp_path_factory.mktemp("layouts") / "next", clip=True)))


@pytest.fixture
def service(next_vlm):
    made = Service(Settings(model="next", max_new_tokens=2), look=in_memory(next_vlm))
    yield made
    made.close()


@pytest.fixture
def asked(service, next_vlm, tmp_path, monkeypatch):
    monkeypatch.setattr(next_vlm, "id", "next")
    noise(160, 100).save(tmp_path / "wide.png")
    return Request(service.open_media(tmp_path / "wide.png").id, QUESTION, "fsr", 20, {}, "next")


def trace_of(vlm, *frames):
    encoding = vlm.encode(vlm.encode_media(list(frames)), QUESTION)
    pruner = make("random")
    return encoding, Trace.from_json(
        build_trace(vlm, encoding, {"random": (pruner, pruner.plan(encoding.tokens))}).to_json()
    )


def test_base_picture_tiles_and_newlines_are_told_apart(next_vlm):
    """160 x 100 in 2 x 2 tiles of 5 x 5 patches: ten columns, and seven rows that hold a part of the picture."""
    encoding, trace = trace_of(next_vlm, noise(160, 100))
    assert [(f["part"], f["picture"], f["rows"], f["cols"]) for f in trace.frames] == [
        ("base", 0, 5, 5),
        ("tiles", 0, 6, 10),
    ]
    tokens = trace.tokens
    assert Counter(tokens["tile"]) == {0: 25, 1: 15, 2: 15, 3: 15, 4: 15}
    for i in range(25, tokens["n"]):
        row, col = tokens["row"][i], tokens["col"][i]
        assert tokens["tile"][i] == 1 + 2 * (row >= 3) + (col >= 5), "tiles are numbered row by row"
        assert tokens["newline"][i] == row
    assert tokens["newline"][:25] == [-1] * 25, "rows of the base picture end without one"
    closing = encoding.media.newline[25:].unique()
    assert len(closing) == 6


def test_several_pictures_keep_their_numbers(next_vlm):
    _, trace = trace_of(next_vlm, noise(160, 100), noise(100, 300, 2))
    assert [(f["part"], f["picture"]) for f in trace.frames] == [("base", 0), ("tiles", 0), ("base", 1), ("tiles", 1)]
    assert max(trace.tokens["tile"]) == 4 + 1 + 3


def test_one_grid_says_nothing_of_tiles(tmp_path):
    _, trace = trace_of(fsr.vlm.load(str(save_qwen(tmp_path / "qwen"))), noise(300, 100))
    (frame,) = trace.frames
    assert (frame["rows"], frame["cols"]) == (3, 10)
    assert "part" not in frame
    assert not {"tile", "newline"} & set(trace.tokens)


def test_a_mosaic_that_was_made_smaller_has_tiles_and_newlines(tmp_path):
    vlm = fsr.vlm.load(str(save_onevision(tmp_path / "onevision")))
    _, trace = trace_of(vlm, noise(300, 300))
    base, mosaic = trace.frames
    assert (base["part"], mosaic["part"]) == ("base", "tiles")
    assert mosaic["rows"] * mosaic["cols"] < 9 * 49, "nine tiles, at most four of them in tokens"
    assert len(set(trace.tokens["tile"])) == 10
    assert len(set(trace.tokens["newline"])) == 1 + mosaic["rows"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokens": {"tile": [99999]}}, "tokens.tile must be a list"),
        ({"tokens": {"newline": "x"}}, "tokens.newline must be a list"),
        ({"frames": [{"part": "half"}]}, r"frames\[0\].part must be one of base, tiles"),
        ({"frames": [{"picture": -1}]}, r"frames\[0\].picture must be a whole number"),
        ({"share": ["global"]}, "share must be one of global, per_group"),
        ({"focus": [0.5, 2]}, r"focus\[1\] must be"),
    ],
    ids=str,
)
def test_what_a_trace_says_of_tiles_is_checked(next_vlm, change, words):
    record = trace_of(next_vlm, noise(160, 100))[1].to_dict()
    for name, value in change.items():
        if isinstance(value, dict):
            record[name] = {**record[name], **value}
        elif name == "frames":
            record[name] = [{**record[name][0], **value[0]}, record[name][1]]
        else:
            record[name] = value
    with pytest.raises(TraceError, match=words):
        Trace.from_json(record)


# -- a budget for every tile


def test_each_tile_keeps_its_share_and_nothing_is_encoded_again(service, asked, next_vlm, monkeypatch):
    monkeypatch.setattr(service, "settings", replace(service.settings, repeat_s=0))  # repeats encode on purpose
    runs = []
    list(service.answer(asked))
    handle = next_vlm.model.model.vision_tower.register_forward_hook(lambda *_: runs.append(1))
    try:
        events = list(service.answer(replace(asked, share="per_group")))
    finally:
        handle.remove()
    assert runs == []
    trace = Trace.from_json(next(e.trace for e in events if e.trace))
    assert trace.share == "per_group"
    tile = torch.tensor(trace.tokens["tile"])
    rank = torch.tensor(trace.methods["random"]["plan"]["rank"])
    assert torch.bincount(tile[rank < 20]).tolist() == divided([25, 15, 15, 15, 15], 20) == [4] * 5
    assert trace.methods["fsr"]["plan"]["kind"] == "table"
    last = {e.key: e.answer for e in events if e.answer}
    assert last["fsr@20"]["cost"]["visual_tokens"] == 20


def test_what_is_read_is_what_the_plan_shows(service, asked, next_vlm):
    shared = replace(asked, share="per_group")
    encoding = service.work(shared).encoded(shared)
    pruner = shared.pruner(encoding)
    assert isinstance(pruner, PerGroup)
    selection = pruner(encoding.tokens, 20)
    assert torch.equal(pruner.plan(encoding.tokens).roles(20) > 0, (selection.roles > 1).cpu())
    assert torch.bincount(encoding.media.tile[selection.kept]).tolist() == [4] * 5
    patch = service.replan(replace(shared, parameters={"fsr": {"rho": 0.3}}))
    assert patch["share"] == "per_group"
    assert "priority" in patch["scores"]


def test_a_trace_on_the_page_is_made_again_for_the_other_share(service, asked):
    list(service.answer(asked))
    assert not any(e.trace for e in service.answer(asked, shown=asked.scene))
    assert any(e.trace for e in service.answer(replace(asked, share="per_group"), shown=asked.scene))


def test_comparisons_and_curves_share_the_budget_too(service, asked):
    shared = replace(asked, share="per_group")
    runs = requests_of(shared, ["fsr", "random", "fastv"], [50])
    found = report(compare(service, runs), runs)
    encoding = service.work(runs[0]).encoded(runs[0])
    for name in ("fsr", "random"):
        assert torch.bincount(encoding.media.tile[found["kept"][f"{name}@50"]]).tolist() == [10] * 5
    assert "for all tokens together" in found["problems"]["fastv@50"]
    stop = threading.Event()
    points = [s for s in curves(service, requests_of(shared, ["random"], [1], least=1), stop) if s.point]
    assert points


def test_a_model_with_one_grid_is_not_split(word_vlm, tmp_path):
    made = Service(Settings(model="one"), look=in_memory(word_vlm))
    encoding = word_vlm.encode(word_vlm.encode_media([noise(70, 70)]), "what?")
    assert not isinstance(Request("", "", "fsr", 0, {}, "one", share="per_group").pruner(encoding), PerGroup)
    with pytest.raises(InvalidInput, match="share must be one of global, per_group"):
        made.checked(Request("", "what?", "fsr", 0, {}, "one", share="each"))
    made.close()
