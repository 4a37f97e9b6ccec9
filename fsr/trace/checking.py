"""What a trace from a file must be: every size, index and number is checked, and what is not known is refused."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from fsr.media.video import DECODERS
from fsr.pruners.forced import MOST
from fsr.pruners.frames import SHARES
from fsr.trace.sketch import check_sketch
from fsr.trace.validation import MAX_TOKENS, Checker, TraceError
from fsr.vlm.cost import Cost

VERSION = 1
MAX_BYTES = 32_000_000
SCORES = ("saliency", "relevance", "priority")
WHY = frozenset({"of", "cosine", "relevance", "residual", "score", "outlier"})  # see `Pruner.why`
ENDS = ("eos", "length", "stopped")
PARTS = ("base", "tiles")
MAX_QUESTIONS = 10_000
MAX_COUNT = 10_000_000  # frames of a clip, or pixels of its edge


def parsed(source: str | bytes) -> dict[str, Any]:
    """The JSON object of a file. Raises TraceError where it is none, or larger than `MAX_BYTES`."""
    if len(source) > MAX_BYTES:
        raise TraceError(f"the trace is larger than {MAX_BYTES // 1_000_000} MB.")
    try:
        record = json.loads(source, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise TraceError("the trace is not valid JSON.") from error
    if not isinstance(record, dict):
        raise TraceError("the trace must be a JSON object.")
    return record


def no_constant(name: str) -> float:
    """For `json.loads`: NaN and Infinity are refused."""
    raise ValueError(f"{name} is not a number")


def check_record(record: dict[str, Any]) -> None:
    """Raises TraceError unless `record` is what `Trace.to_dict` writes."""
    if record.get("version") != VERSION:
        raise TraceError(f"the trace has version {record.get('version')!r}; this program reads version {VERSION}.")
    check = Checker("trace")
    required = {"version", "model", "question", "frames", "tokens", "scores", "methods"}
    optional = {"answers", "recorded", "unknown_words", "max_new_tokens", "share", "focus", "clip", "familiar"}
    check.keys(record, required, optional)
    _check_model(check, record["model"])
    check.text(record["question"], 10_000, "question")
    check.texts(record.get("unknown_words", []), "unknown_words")
    check.whole(record.get("max_new_tokens", 128), 1, 100_000, "max_new_tokens")
    if record.get("share", SHARES[0]) not in SHARES:
        raise check.fail("share", f"must be one of {', '.join(SHARES)}")
    if record.get("focus") is not None:
        for at, value in enumerate(check.items(record["focus"], "focus", 0, MAX_QUESTIONS)):
            check.number(value, f"focus[{at}]", low=0, high=1)
    if record.get("recorded") is not None:
        _check_recorded(check, record["recorded"], "recorded")
    frames = check.items(record["frames"], "frames", 1, 256)
    for index, frame in enumerate(frames):
        _check_frame(check, frame, f"frames[{index}]")
    if record.get("clip") is not None:
        _check_clip(check, record["clip"], frames)
    elif any({"time", "index"} & frame.keys() for frame in frames):
        raise check.fail("frames", "have no times without a clip")
    if record.get("familiar") is not None:
        _check_familiar(check, record["familiar"])
    n = _check_tokens(check, record["tokens"], frames)
    check.keys(record["scores"], set(), set(SCORES), "scores")
    for name, values in record["scores"].items():
        check.numbers(values, n, f"scores.{name}")
    _check_methods(check, record["methods"], n)
    _check_answers(check, record.get("answers", {}), record["methods"], n)


def _check_recorded(check: Checker, recorded: Any, at: str) -> None:
    check.keys(recorded, {"on", "device"}, {"note"}, at)
    check.texts(list(recorded.values()), at)


def _check_model(check: Checker, model: Any) -> None:
    check.keys(model, {"id", "title", "device", "dtype", "pathways"}, set(), "model")
    for name in ("id", "title", "device", "dtype"):
        check.text(model[name], 500, f"model.{name}")
    check.keys(model["pathways"], set(), {"saliency", "relevance"}, "model.pathways")
    check.texts(list(model["pathways"].values()), "model.pathways")


def _check_familiar(check: Checker, familiar: Any) -> None:
    rates = {"false_alarms", "detected"}
    check.keys(familiar, {"measure", "distance", "limit", "far"} | rates, set(), "familiar")
    check.text(familiar["measure"], 40, "familiar.measure")
    for name in ("distance", "limit"):
        check.number(familiar[name], f"familiar.{name}", low=0)
    if not isinstance(familiar["far"], bool):
        raise check.fail("familiar.far", "must be true or false")
    for name in rates:
        check.keys(familiar[name], {"share", "low", "high", "of"}, set(), f"familiar.{name}")
        check.whole(familiar[name]["of"], 1, MAX_COUNT, f"familiar.{name}.of")
        for part in ("share", "low", "high"):
            check.number(familiar[name][part], f"familiar.{name}.{part}", low=0, high=1)


def _check_frame(check: Checker, frame: Any, at: str) -> None:
    check.keys(frame, {"width", "height", "rows", "cols", "seen"}, {"part", "picture", "time", "index"}, at)
    if frame.get("part", PARTS[0]) not in PARTS:
        raise check.fail(f"{at}.part", f"must be one of {', '.join(PARTS)}")
    check.whole(frame.get("picture", 0), 0, 255, f"{at}.picture")
    for name in ("width", "height"):
        check.whole(frame[name], 1, 1_000_000, f"{at}.{name}")
    for name in ("rows", "cols"):
        check.whole(frame[name], 1, MAX_TOKENS, f"{at}.{name}")
    check.numbers(frame["seen"], 4, f"{at}.seen")


def _check_clip(check: Checker, clip: Any, frames: list[Any]) -> None:
    numbers, wholes = {"duration", "fps"}, {"count", "width", "height", "sampled"}
    check.keys(clip, {"name", "decoder", "share"} | numbers | wholes, set(), "clip")
    check.text(clip["name"], 200, "clip.name")
    for name in numbers:
        check.number(clip[name], f"clip.{name}", low=0)
    for name in wholes:
        check.whole(clip[name], 1, MAX_COUNT, f"clip.{name}")
    for name, known in (("decoder", DECODERS), ("share", SHARES)):
        if clip[name] not in known:
            raise check.fail(f"clip.{name}", f"must be one of {', '.join(known)}")
    if not len(frames) <= clip["sampled"] <= clip["count"]:
        raise check.fail("clip.sampled", f"must be a whole number from {len(frames)} to {clip['count']}")
    for i, frame in enumerate(frames):
        check.number(frame.get("time"), f"frames[{i}].time", low=0)
        check.whole(frame.get("index"), 0, clip["count"] - 1, f"frames[{i}].index")
    if any(a["time"] > b["time"] or a["index"] >= b["index"] for a, b in pairwise(frames)):
        raise check.fail("frames", "must come in the order of time")


def _check_tokens(check: Checker, tokens: Any, frames: list[Any]) -> int:
    check.keys(tokens, {"n", "row", "col", "rect"}, {"frame", "tile", "newline", "sketch"}, "tokens")
    n = check.whole(tokens["n"], 1, MAX_TOKENS, "tokens.n")
    frame = tokens.get("frame")
    if frame is None and len(frames) > 1:
        raise TraceError("trace.tokens.frame is missing although there are several frames.")
    for name in ("tile", "newline"):
        if tokens.get(name) is not None:
            check.wholes(tokens[name], n, -1, n, f"tokens.{name}")
    frame = [0] * n if frame is None else check.wholes(frame, n, 0, len(frames) - 1, "tokens.frame")
    row = check.wholes(tokens["row"], n, -1, max(f["rows"] for f in frames) - 1, "tokens.row")
    col = check.wholes(tokens["col"], n, -1, max(f["cols"] for f in frames) - 1, "tokens.col")
    rects = check.items(tokens["rect"], "tokens.rect", n, n)
    for i, rect in enumerate(rects):
        outside = row[i] == -1 or col[i] == -1
        if row[i] >= frames[frame[i]]["rows"] or col[i] >= frames[frame[i]]["cols"] or (rect is None) != outside:
            raise TraceError(f"trace.tokens: token {i} does not fit the grid of its frame.")
        if rect is not None:
            check.numbers(rect, 4, f"tokens.rect[{i}]")
    if "sketch" in tokens:
        check_sketch(check, tokens["sketch"], n)
    return n


def _check_methods(check: Checker, methods: Any, n: int) -> None:
    check.table(methods, "methods", 64)
    for name, method in methods.items():
        at = f"methods.{name}"
        check.keys(method, {"label", "parameters", "plan", "facts"}, {"why", "forced"}, at)
        check.text(method["label"], 200, f"{at}.label")
        check.scalars(method["parameters"], f"{at}.parameters")
        check.scalars(method["facts"], f"{at}.facts")
        check.plan(method["plan"], n, f"{at}.plan")
        _check_why(check, method.get("why", {}), n, f"{at}.why")
        if "forced" in method:
            _check_forced(check, method["forced"], n, f"{at}.forced")


def _check_forced(check: Checker, forced: Any, n: int, at: str) -> None:
    """Tokens that were forced in or out, of n tokens: at most 64 each way, and none both ways."""
    check.keys(forced, {"in", "out"}, set(), at)
    for way in ("in", "out"):
        tokens = check.items(forced[way], f"{at}.{way}", 0, MOST)
        check.wholes(tokens, len(tokens), 0, n - 1, f"{at}.{way}")
    if len({*forced["in"], *forced["out"]}) < len(forced["in"]) + len(forced["out"]):
        raise check.fail(at, "must name every token once")


def _check_why(check: Checker, why: Any, n: int, at: str) -> None:
    """`Pruner.why` of n tokens."""
    check.keys(why, set(), {"every", "budgets", "at"}, at)
    check.keys(why.get("every", {}), set(), WHY, f"{at}.every")
    check.keys(why.get("at", {}), set(), WHY, f"{at}.at")
    budgets = check.items(why.get("budgets", []), f"{at}.budgets", 0, 256)
    check.wholes(budgets, len(budgets), 1, n, f"{at}.budgets")
    columns = [(name, values) for name, values in why.get("every", {}).items()]
    for name, rows in why.get("at", {}).items():
        columns += [(name, row) for row in check.items(rows, f"{at}.at.{name}", len(budgets), len(budgets))]
    for name, values in columns:
        if name == "of":
            check.wholes(values, n, -1, n - 1, f"{at}.{name}")
        else:
            check.numbers(values, n, f"{at}.{name}")


def _check_answers(check: Checker, answers: Any, methods: dict[str, Any], n: int) -> None:
    check.table(answers, "answers", 256)
    costs, newer = set(Cost.__dataclass_fields__), {"first_token_ms", "repeats", "spread"}
    for key, answer in answers.items():
        at = f"answers.{key}"
        check.keys(
            answer, {"method", "budget", "text", "done", "cost"}, {"end", "parameters", "recorded", "forced"}, at
        )
        if answer.get("forced") is not None:
            _check_forced(check, answer["forced"], n, f"{at}.forced")
        check.scalars(answer.get("parameters", {}), f"{at}.parameters")
        if answer.get("recorded") is not None:
            _check_recorded(check, answer["recorded"], f"{at}.recorded")
        check.text(answer["method"], 1000, f"{at}.method")
        if answer["method"] not in methods and answer["method"] != "full":
            raise TraceError(f"trace.{at}.method names no method of this trace.")
        check.whole(answer["budget"], 0, n, f"{at}.budget")
        check.text(answer["text"], 100_000, f"{at}.text")
        if not isinstance(answer["done"], bool) or answer.get("end") not in (None, *ENDS):
            raise TraceError(f"trace.{at}: done must be true or false, end one of {', '.join(ENDS)}.")
        if answer["cost"] is not None:
            check.keys(answer["cost"], costs - newer, newer, f"{at}.cost")
            spread = answer["cost"].get("spread") or {}
            check.keys(spread, set(), costs - newer | {"first_token_ms"}, f"{at}.cost.spread")
            for name, ends in spread.items():
                check.numbers(ends, 2, f"{at}.cost.spread.{name}")
            for name, value in answer["cost"].items():
                if name != "spread" and value is not None:
                    check.number(value, f"{at}.cost.{name}", low=0)
