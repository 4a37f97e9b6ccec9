"""Trace: the plain record of one picture or clip, one question and one model that the page draws and examples store.

A trace read from a file is untrusted: `Trace.from_json` checks every size, index and number and refuses what it does
not know. The picture itself travels as a file next to the trace, never inside.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from fsr.media.video import DECODERS
from fsr.pruners.forced import MOST
from fsr.pruners.frames import SHARES
from fsr.tokens import Grid, Selection
from fsr.trace.sketch import check_sketch, sketched
from fsr.trace.validation import MAX_TOKENS, Checker, TraceError
from fsr.vlm.cost import Cost

if TYPE_CHECKING:
    from fsr.media.video import Clip
    from fsr.pruners import Plan, Pruner
    from fsr.vlm import VLM, Encoding, Media, Step

VERSION = 1
MAX_BYTES = 32_000_000
SCORES = ("saliency", "relevance", "priority")
# Of `Selection.facts`, those that are the same at every budget
FACTS = ("k_focus", "focus_cap", "relevance_used", "n_not_encoded")
WHY = frozenset({"of", "cosine", "relevance", "residual", "score", "outlier"})  # see `Pruner.why`
ENDS = ("eos", "length", "stopped")
PARTS = ("base", "tiles")
MAX_QUESTIONS = 10_000
WHY_UP_TO = 2048  # tokens; of more, methods say less about one token
MAX_COUNT = 10_000_000  # frames of a clip, or pixels of its edge

__all__ = ["Trace", "TraceError", "answer_record", "build_trace", "clip_record", "method_record", "scores_record"]


@dataclass
class Trace:
    """Version 1. Every field holds plain JSON values, as `to_json` writes them.

    model: id, title, device, dtype, pathways. recorded: None for a live trace, else on, device, note.
    frames: width, height, rows, cols, seen (x0, y0, x1, y1) of each; where a picture has several grids also part (base,
    tiles) and picture, its number. tokens: n, frame (None with one frame), row, col (-1 outside the grid), rect (None
    outside the grid); tile, where a frame has several, numbered through all frames; newline, where rows end with one:
    which newline, -1 for none, reaches the language model with a token; sketch, see `fsr.trace.sketch`. scores:
    saliency (Eq. 1), relevance (Eq. 2, sign applied) and priority (Eq. 3), those that exist. methods: by name, see
    `method_record`. answers: by key ("full", "fsr@64"), see `answer_record`; one that is older than this trace has a
    `recorded` of its own. share: of `SHARES`, for all methods that can. focus: K_F / N of every question that was
    recorded with this model, FSR with the paper's parameters, this question's included. clip: None for pictures, else
    see `clip_record`; then every frame has a time in seconds from the start and an index, its number in the file.
    familiar: how far the picture lies from those that the model learnt from, see `fsr.vlm.familiar.Closeness`; None
    where that was not measured.
    """

    model: dict[str, Any]
    question: str
    frames: list[dict[str, Any]]
    tokens: dict[str, Any]
    scores: dict[str, list[float]]
    methods: dict[str, dict[str, Any]]
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    recorded: dict[str, str] | None = None
    unknown_words: list[str] = field(default_factory=list)
    max_new_tokens: int = 128
    share: str = "global"
    focus: list[float] | None = None
    clip: dict[str, Any] | None = None
    familiar: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, `version` included."""
        return {"version": VERSION, **{name: getattr(self, name) for name in self.__dataclass_fields__}}

    @property
    def focus_share(self) -> float | None:
        """K_F / N of this question, None where FSR is not among the methods."""
        k_focus = self.methods.get("fsr", {}).get("facts", {}).get("k_focus")
        return None if k_focus is None else _short(k_focus / self.tokens["n"], 4)

    def to_json(self) -> str:
        """One compact line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @staticmethod
    def from_json(source: str | bytes | Mapping[str, Any]) -> Trace:
        """Read and check a trace. Raises TraceError (an InvalidInput) whose sentence names the place that is wrong."""
        record = dict(source) if isinstance(source, Mapping) else _parse(source)
        _check(record)
        return Trace(**{name: value for name, value in record.items() if name != "version"})


# -- building


def build_trace(
    vlm: VLM,
    encoding: Encoding,
    plans: Mapping[str, tuple[Pruner, Plan]],
    answers: Mapping[str, dict[str, Any]] | None = None,
    *,
    max_new_tokens: int = 128,
    recorded: dict[str, str] | None = None,
    share: str = "global",
    clip: Clip | None = None,
    name: str = "",
) -> Trace:
    """The trace of one encoding. plans: by method name, the pruner and its plan. answers: see `answer_record`.

    clip: what the encoded frames were sampled from, and the name of its file.
    """
    layout, closeness = encoding.tokens.layout, vlm.closeness(encoding.media)
    first = {name: _first(pruner, encoding) for name, (pruner, _) in plans.items()}
    records = {name: _record(pruner, plan, first[name], encoding) for name, (pruner, plan) in plans.items()}
    return Trace(
        model={
            "id": vlm.id,
            "title": vlm.title,
            "device": str(vlm.device),
            "dtype": vlm.precision,
            "pathways": vlm.pathways,
        },
        recorded=recorded,
        question=encoding.question,
        unknown_words=list(encoding.unknown_words),
        max_new_tokens=max_new_tokens,
        frames=_frames(layout.grids, clip),
        tokens=_tokens(encoding.media) | sketched(encoding.tokens),
        scores=_scores(encoding, [(pruner, first[name]) for name, (pruner, _) in plans.items()]),
        methods=records,
        answers=dict(answers or {}),
        share=share,
        clip=None if clip is None else clip_record(clip, name, share),
        familiar=None if closeness is None else closeness.to_json(),
    )


def method_record(pruner: Pruner, plan: Plan, encoding: Encoding) -> dict[str, Any]:
    """label, parameters, plan (`Plan.to_json`) and facts that do not depend on the budget (k_focus, focus_cap); why
    (`Pruner.why`) for methods that have more to say, of at most `WHY_UP_TO` tokens; forced, {"in", "out"}, where tokens
    were."""
    return _record(pruner, plan, _first(pruner, encoding), encoding)


def _first(pruner: Pruner, encoding: Encoding) -> Selection | None:
    """The selection of one token, where there is nothing to scan or merge: scores and facts are those of any budget."""
    return pruner(encoding.tokens, getattr(pruner, "least", 1)) if pruner.stage == "before" else None


def _record(pruner: Pruner, plan: Plan, first: Selection | None, encoding: Encoding) -> dict[str, Any]:
    found = first.facts if first is not None else {}
    facts = {name: found[name] for name in FACTS if name in found}
    why = pruner.why(encoding.tokens, plan) if len(encoding.tokens) <= WHY_UP_TO else {}
    record = {"label": pruner.label, "parameters": pruner.parameters(), "plan": plan.to_json(), "facts": facts}
    record |= {"why": why} if why else {}
    forced = getattr(pruner, "forced", None)
    return record | {"forced": forced.to_json()} if forced else record


def answer_record(method: str, budget: int, step: Step, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One answer as it stands after `step`. done: it ended by itself or at max_new_tokens, it was not stopped.

    parameters: those that differ from the method's defaults, see `Pruner.tuned`; the record names them where any do.
    """
    record = {
        "method": method,
        "budget": budget,
        "text": step.text,
        "done": step.done and step.end != "stopped",
        "end": step.end,
        "cost": step.cost.to_json() if step.cost else None,
    }
    return record | {"parameters": dict(parameters)} if parameters else record


def clip_record(clip: Clip, name: str, share: str = "global") -> dict[str, Any]:
    """name, duration (s), fps, count (frames of the file), width, height, decoder, sampled (frames), share."""
    return {
        "name": name,
        "duration": clip.duration_s,
        "fps": clip.fps,
        "count": clip.count,
        "width": clip.width,
        "height": clip.height,
        "decoder": clip.decoder,
        "sampled": len(clip.frames),
        "share": share,
    }


def shown_frames(sampled: int, grids: int) -> list[int]:
    """Which of the sampled frames each grid shows: a model that reads several as one shows the first of them."""
    step = -(-sampled // grids)
    return [min(grid * step, sampled - 1) for grid in range(grids)]


def _frames(grids: Sequence[Grid], clip: Clip | None) -> list[dict[str, Any]]:
    frames = [_frame(grid) for grid in grids]
    if clip is not None:
        for frame, at in zip(frames, shown_frames(len(clip.frames), len(grids)), strict=True):
            frame |= {"time": _short(clip.times[at], 6), "index": clip.indices[at]}
    return frames


def _frame(grid: Grid) -> dict[str, Any]:
    record = {**asdict(grid), "seen": [_short(x, 6) for x in grid.seen]}
    if not grid.part:
        del record["part"], record["picture"]
    return record


def _tokens(media: Media) -> dict[str, Any]:
    layout = media.layout
    rects = [[_short(x, 6) for x in r] if math.isfinite(r[0]) else None for r in layout.rect.tolist()]
    record = {
        "n": len(layout),
        "frame": layout.frame.tolist() if len(layout.grids) > 1 else None,
        "row": layout.row.tolist(),
        "col": layout.col.tolist(),
        "rect": rects,
    }
    if len(media.group.unique()) > len(layout.grids):
        record["tile"] = media.group.tolist()
    newline = getattr(media, "newline", None)
    if newline is not None and bool((newline >= 0).any()):
        known = newline[newline >= 0].unique()
        record["newline"] = torch.where(newline >= 0, torch.searchsorted(known, newline), -1).tolist()
    return record


def scores_record(encoding: Encoding, pruners: Iterable[Pruner]) -> dict[str, list[float]]:
    """Saliency (Eq. 1) and relevance (Eq. 2, sign applied) as captured; priority (Eq. 3) if a pruner has one."""
    return _scores(encoding, [(pruner, _first(pruner, encoding)) for pruner in pruners])


def _scores(encoding: Encoding, first: Iterable[tuple[Pruner, Selection | None]]) -> dict[str, list[float]]:
    tokens = encoding.tokens
    found: dict[str, torch.Tensor] = {}
    sign = tokens.relevance_sign
    for pruner, selection in first:
        if selection is not None and "priority" in selection.scores:
            found["priority"] = selection.scores["priority"]
            sign = getattr(pruner, "relevance_sign", None) or sign
    if tokens.saliency is not None:
        found["saliency"] = tokens.saliency
    if tokens.relevance is not None:
        found["relevance"] = sign * tokens.relevance
    return {name: [_short(x, 4) for x in found[name].tolist()] for name in SCORES if name in found}


def _short(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


# -- checking


def _parse(source: str | bytes) -> dict[str, Any]:
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


def _check(record: dict[str, Any]) -> None:
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
        check_why(check, method.get("why", {}), n, f"{at}.why")
        if "forced" in method:
            check_forced(check, method["forced"], n, f"{at}.forced")


def check_forced(check: Checker, forced: Any, n: int, at: str) -> None:
    """Tokens that were forced in or out, of n tokens: at most 64 each way, and none both ways."""
    check.keys(forced, {"in", "out"}, set(), at)
    for way in ("in", "out"):
        tokens = check.items(forced[way], f"{at}.{way}", 0, MOST)
        check.wholes(tokens, len(tokens), 0, n - 1, f"{at}.{way}")
    if len({*forced["in"], *forced["out"]}) < len(forced["in"]) + len(forced["out"]):
        raise check.fail(at, "must name every token once")


def check_why(check: Checker, why: Any, n: int, at: str) -> None:
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
            check_forced(check, answer["forced"], n, f"{at}.forced")
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
