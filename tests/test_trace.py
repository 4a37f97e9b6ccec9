"""Traces: what is built is read back, and what was tampered with is refused by name."""

from __future__ import annotations

import base64
import copy
import json

import pytest
import torch

from fsr.errors import InvalidInput
from fsr.pruners import for_pictures, make
from fsr.pruners.plan import unpack
from fsr.trace.checking import MAX_BYTES
from fsr.trace.record import Trace, TraceError, answer_record, build_trace, scores_record
from tests.looping import each


@pytest.fixture(scope="module")
def encoding(tiny_vlm, picture):
    needs = frozenset().union(*(make(name).requires for name in for_pictures()))
    media = tiny_vlm.encode_media([picture], needs=needs)
    return tiny_vlm.encode(media, "where is the {{ red }} <b>star</b>?", needs)


@pytest.fixture(scope="module")
def trace(tiny_vlm, encoding):
    """One trace with every method and three answers."""
    plans = {name: (p := make(name), p.plan(encoding.tokens)) for name in for_pictures()}
    capped = make("fsr", focus_cap=0.5, alpha=2)
    plans["fsr capped"] = (capped, capped.plan(encoding.tokens))
    answers = {}
    for key, method, budget in (("full", "full", 25), ("fsr@6", "fsr", 6), ("random@6", "random", 6)):
        steps = list(tiny_vlm.generate(encoding, make(method)(encoding.tokens, budget), 4, select_ms=1.0))
        answers[key] = answer_record(method, budget, steps[-1])
    return build_trace(tiny_vlm, encoding, plans, answers, max_new_tokens=4)


@pytest.fixture
def record(trace):
    """A copy as it comes from a file, to tamper with."""
    return json.loads(trace.to_json())


def test_what_is_written_is_read_back(trace):
    text = trace.to_json()
    again = Trace.from_json(text)
    assert again == trace
    assert again.to_json() == text
    assert Trace.from_json(text.encode()) == Trace.from_json(json.loads(text)) == trace
    assert ": " not in text.replace(trace.question, "")[:200]  # compact


def test_it_holds_what_the_contract_says(trace, tiny_vlm, encoding):
    record = trace.to_dict()
    assert record["version"] == 1
    assert record["model"] == {
        "id": tiny_vlm.id,
        "title": "tiny-llava",
        "device": "cpu",
        "dtype": "float32",
        "pathways": tiny_vlm.pathways,
    }
    assert record["frames"] == [{"width": 160, "height": 100, "rows": 5, "cols": 5, "seen": [30, 0, 130, 100]}]
    assert record["tokens"]["n"] == 25
    assert record["tokens"]["frame"] is None
    assert record["tokens"]["rect"][6] == pytest.approx([50, 20, 70, 40])
    assert record["answers"]["fsr@6"]["cost"]["visual_tokens"] == 6
    assert record["answers"]["fsr@6"]["done"] is True
    assert record["recorded"] is None
    assert record["methods"]["fsr capped"]["parameters"]["alpha"] == 2
    assert record["methods"]["fsr"]["facts"] == {
        "k_focus": make("fsr")(encoding.tokens, 9).facts["k_focus"],
        "focus_cap": 1.0,
    }
    assert record["methods"]["random"]["facts"] == {}


def test_scores_have_four_digits_and_the_models_sign(trace, encoding, tiny_vlm):
    tokens = encoding.tokens
    assert trace.scores["saliency"] == pytest.approx(tokens.saliency.tolist(), rel=1e-3)
    assert tiny_vlm.relevance_sign == -1
    assert trace.scores["relevance"] == pytest.approx((-tokens.relevance).tolist(), rel=1e-3)
    assert all(float(f"{x:.4g}") == x for values in trace.scores.values() for x in values)
    flipped = scores_record(encoding, [make("fsr", relevance_sign=1)])
    assert flipped["relevance"] == pytest.approx(tokens.relevance.tolist(), rel=1e-3)
    assert flipped["priority"] != trace.scores["priority"]


def test_a_model_without_relevance_has_no_such_scores(tiny_vlm, encoding):
    bare = tiny_vlm.encode(encoding.media, "x", frozenset({"saliency"}))
    assert set(scores_record(bare, [make("fsr")])) == {"saliency", "priority"}
    assert set(scores_record(bare, [make("random")])) == {"saliency"}


def test_plans_read_from_a_trace_tell_the_roles(trace, encoding):
    table = trace.methods["fsr capped"]["plan"]
    plan = make("fsr", focus_cap=0.5, alpha=2)
    for budget, packed in zip(table["budgets"], table["roles"], strict=True):
        roles = unpack(base64.b64decode(packed), 25, table["packing"])
        assert torch.equal(roles, plan(encoding.tokens, budget).roles.cpu())


def test_several_frames(tiny_vlm, picture):
    encoding = tiny_vlm.encode(tiny_vlm.encode_media([picture, picture.rotate(90, expand=True)]), "what?")
    pruner = make("fsr")
    trace = build_trace(tiny_vlm, encoding, {"fsr": (pruner, pruner.plan(encoding.tokens))})
    assert trace.tokens["frame"] == [0] * 25 + [1] * 25
    assert Trace.from_json(trace.to_json()) == trace


def test_stopped_answers_are_not_done(tiny_vlm, encoding):
    import threading

    stop = threading.Event()
    stop.set()
    step = list(tiny_vlm.generate(encoding, None, 9, stop))[-1]
    assert answer_record("full", 25, step)["done"] is False
    first = next(iter(tiny_vlm.generate(encoding, None, 9)))
    assert answer_record("full", 25, first)["cost"] is None


def at(record, path: str):
    """The container that holds the last part of a dotted path, and that part."""
    *parts, last = [int(p) if p.isdigit() else p for p in path.split("/")]
    for part in parts:
        record = record[part]
    return record, last


GONE = object()
TAMPERED = [
    ("version", 2, "version 2; this program reads version 1"),
    ("version", GONE, "version None"),
    ("question", GONE, "has no question"),
    ("question", 7, "question must be text"),
    ("question", "x" * 10_001, "question must be text of at most"),
    ("extra", 1, "unknown key 'extra'"),
    ("__class__", {}, "unknown key '__class__'"),
    ("model", [], "model must be an object"),
    ("model/path", "/etc", "model has the unknown key 'path'"),
    ("model/title", None, r"model\.title must be text"),
    ("model/pathways/other", "x", "pathways has the unknown key"),
    ("recorded", {"on": "2026", "device": "x", "who": "y"}, "recorded has the unknown key 'who'"),
    ("recorded", {"on": "2026", "device": 3}, "recorded must be text"),
    ("unknown_words", "abc", "unknown_words must be a list"),
    ("max_new_tokens", 0, "max_new_tokens must be a whole number"),
    ("frames", [], "frames must be a list of 1 to 256"),
    ("frames/0/width", 0, r"frames\[0\]\.width must be a whole number from 1"),
    ("frames/0/width", 1.5, "width must be a whole number"),
    ("frames/0/rows", 10**9, "rows must be a whole number"),
    ("frames/0/rows", 3, "tokens.row must be a whole number from -1 to 2"),
    ("frames/0/seen", [0, 0, 1], "seen must be a list of 4"),
    ("frames/0/src", "javascript:", "unknown key 'src'"),
    ("tokens/n", 26, "must be a list of 26"),
    ("tokens/n", 10**8, "n must be a whole number from 1 to 65536"),
    ("tokens/n", True, "n must be a whole number"),
    ("tokens/row/3", 5, "row must be a whole number from -1 to 4"),
    ("tokens/row/3", -1, "token 3 does not fit the grid"),
    ("tokens/rect/3", None, "token 3 does not fit the grid"),
    ("tokens/rect/3", [0, 0, 1], r"rect\[3\] must be a list of 4"),
    ("tokens/rect/3/0", "0", "must be a finite number"),
    ("tokens/frame", [1] * 25, "frame must be a whole number from 0 to 0"),
    ("scores/saliency", [1.0], r"scores\.saliency must be a list of 25"),
    ("scores/saliency/0", None, "must be a finite number"),
    ("scores/saliency/0", True, "must be a finite number"),
    ("scores/saliency/0", 10**400, "must be a finite number"),
    ("scores/other", [0.0] * 25, "unknown key 'other'"),
    ("methods/fsr/label", {}, "label must be text"),
    ("methods/fsr/parameters/alpha", [1], "parameters.alpha must be a finite number"),
    ("methods/fsr/plan", None, "plan must be of kind nested, rank, table"),
    ("methods/fsr/plan/kind", "magic", "plan must be of kind"),
    ("methods/fsr/plan/kind", [], "plan must be of kind"),
    ("methods/fsr/plan/focus_rank/0", 25, "focus_rank must be a whole number from 0 to 24"),
    ("methods/fsr/plan/focus_rank", [0] * 25, "focus_rank must hold every rank once"),
    ("methods/fsr/plan/scan_rank", [3] * 25, "scan_rank must hold every rank once"),
    ("methods/fsr/plan/k_focus", 0, "k_focus must be a whole number from 1 to 25"),
    ("methods/fsr/plan/kappa", -1, "kappa must be a finite number of at least 0"),
    ("methods/fsr/plan/history/offsets/25", 99_999, "offsets must be a whole number"),
    ("methods/fsr/plan/history/offsets/25", 0, "offsets must rise"),
    ("methods/fsr/plan/history/anchor/0", 25, "anchor must be a whole number from 0 to 24"),
    ("methods/fsr/plan/history/similarity/0", 1.5, "similarity must be a finite number"),
    ("methods/fsr/plan/phi/0", "NaN", "phi must be a finite number"),
    ("methods/random/plan/rank/0", -1, "rank must be a whole number from 0 to 24"),
    ("methods/grid/plan/budgets/0", 0, "budgets must be a whole number from 1 to 25"),
    ("methods/grid/plan/budgets/0", 9, "ascending budgets"),
    ("methods/grid/plan/packing", "byte", "bits or nibbles"),
    ("methods/grid/plan/packing", ["bit"], "bits or nibbles"),
    ("methods/grid/plan/packing", "nibble", "must pack 25 roles"),
    ("methods/grid/plan/roles/0", "%%%", "must be base64"),
    ("methods/grid/plan/roles/0", base64.b64encode(b"\x00" * 3).decode(), "must pack 25 roles"),
    ("methods/grid/plan/roles/0", base64.b64encode(b"\x00" * 5).decode(), "must pack 25 roles"),
    ("methods/fsr capped/plan/packing", "bit", "must pack 25 roles"),
    ("methods/fsr capped/plan/roles/0", base64.b64encode(b"\x00").decode(), "must pack 25 roles"),
    ("methods/fsr capped/plan/roles/0", base64.b64encode(b"\x55" * 13).decode(), "roles from 0 to 4"),
    ("methods/grid/plan/roles", [], "roles must be a list of 25"),
    ("answers/full/method", "nobody", "names no method"),
    ("answers/full/budget", 26, "budget must be a whole number from 0 to 25"),
    ("answers/full/text", None, "text must be text"),
    ("answers/full/done", "yes", "done must be true or false"),
    ("answers/full/end", "crash", "end one of"),
    ("answers/full/cost/encode_ms", -1, "encode_ms must be a finite number of at least 0"),
    ("answers/full/cost/price", 1, "unknown key 'price'"),
]


@each(("path", "value", "sentence"), TAMPERED, ids=lambda v: str(v)[:40])
def test_tampered_traces_are_refused_by_name(record, path, value, sentence):
    record = copy.deepcopy(record)
    place, key = at(record, path)
    if value is GONE:
        del place[key]
    else:
        place[key] = value
    with pytest.raises(TraceError, match=sentence) as caught:
        Trace.from_json(record)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@each(
    "text",
    [
        "",
        "{",
        "null",
        "[1]",
        '"x"',
        '{"version": NaN}',
        '{"version": Infinity}',
        "[" * 100_000,
        b"\xff\xfe\x00",
        "{} x",
    ],
    ids=lambda t: repr(t[:12]),
)
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(TraceError, match="JSON"):
        Trace.from_json(text)


def test_numbers_too_large_for_a_float_are_refused(trace):
    text = trace.to_json().replace('"kappa":1.0', '"kappa":1e999', 1)
    with pytest.raises(TraceError, match="kappa must be a finite number"):
        Trace.from_json(text)


def test_oversized_traces_are_refused_before_they_are_read():
    with pytest.raises(TraceError, match="larger than 32 MB"):
        Trace.from_json(b" " * (MAX_BYTES + 1))


@pytest.mark.slow
def test_every_part_that_is_removed_or_replaced_is_an_error_not_a_crash(record):
    """Walk over the whole record: whatever stands anywhere, the answer is a TraceError or a trace."""
    spots = []

    def walk(value, path):
        if path:
            spots.append(path)
        items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
        for key, inner in items:
            walk(inner, [*path, key])

    walk(record, [])
    assert len(spots) > 200
    whole = {name: json.dumps(value) for name, value in record.items()}
    junks = (None, -1, 1e308, "x", [], {}, [[]], {"a": 1})
    for at, path in enumerate(spots):
        for junk in junks[at % 3 :: 3]:  # each of them in every third place
            broken = {**record, path[0]: json.loads(whole[path[0]])}
            place = broken
            for part in path[:-1]:
                place = place[part]
            place[path[-1]] = junk
            try:
                Trace.from_json(broken)
            except InvalidInput:
                continue
