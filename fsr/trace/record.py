"""Trace: the plain record of one picture or clip, one question and one model that the page draws and examples store.

A trace read from a file is untrusted: `Trace.from_json` checks every size, index and number and refuses what it does
not know. The picture itself travels as a file next to the trace, never inside.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from fsr.tokens import Grid, Selection
from fsr.trace.checking import SCORES, VERSION, check_record, parsed
from fsr.trace.sketch import sketched
from fsr.trace.validation import TraceError

if TYPE_CHECKING:
    from fsr.media.video import Clip
    from fsr.pruners import Plan, Pruner
    from fsr.vlm import VLM, Encoding, Media, Step

# Of `Selection.facts`, those that are the same at every budget
FACTS = ("k_focus", "focus_cap", "relevance_used", "n_not_encoded")
WHY_UP_TO = 2048  # tokens; of more, methods say less about one token

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
        record = dict(source) if isinstance(source, Mapping) else parsed(source)
        check_record(record)
        return Trace(**{name: value for name, value in record.items() if name != "version"})


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
