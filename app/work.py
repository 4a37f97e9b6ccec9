"""What is done with the model in a visitor's turn: encode, select, answer, plan.

An act is a function of this module, of `app.compare` or of `app.curves`, bound to plain data: given the `Work` of a
turn it yields plain steps. So it can be done in this process or in another one (`app.leases`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from PIL import Image

from app.clips import Film
from app.encodings import Encodings
from app.pictures import Picture
from app.request import Request
from app.settings import Settings
from fsr.bench.measure import FULL, Allowance, Measurement
from fsr.pruners import REGISTRY, Pruner, make
from fsr.pruners.base import RankPruner
from fsr.pruners.inside import InsideSelection, LayersPlan
from fsr.trace import answer_record, build_trace, method_record
from fsr.vlm import VLM, Encoding, Step

T = TypeVar("T")
Act = Callable[["Work"], Iterator[T]]


@dataclass(frozen=True)
class Event:
    """A step of an answer. phase: waiting, loading, encoding, full, method, measuring, done or stopped.

    asked: the key of the method's answer, e.g. fsr@64, once the budget is known. key, answer: which answer grew, and
    how it reads now. trace: where a new one is there to be drawn; patch: where one method of it is, see `plan_patch`.
    at, of: which of how many answers. problem: why there is no answer under `key`. kept: the tokens that it read.
    """

    phase: str
    text: str = ""
    asked: str = ""
    key: str = ""
    answer: dict[str, Any] | None = None
    trace: dict[str, Any] | None = None
    patch: dict[str, Any] | None = None
    at: int = 0
    of: int = 0
    problem: str = ""
    kept: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Effort:
    """What a turn is for, in a word, and about how many answers are made in it."""

    name: str
    answers: float


@dataclass(frozen=True, eq=False)
class Work:
    """A turn with the model. model: its id. media: what the question is about. fresh: the model was loaded for it.

    stop: ends it between two steps. hurried: whether somebody waits for the model.
    """

    vlm: VLM
    model: str
    media: Picture | Film
    settings: Settings
    encodings: Encodings
    stop: threading.Event
    fresh: bool = False
    effort: Effort = Effort("", 0)
    hurried: Callable[[], bool] = lambda: False

    @property
    def first_step(self) -> str:
        """What is done before a question can be answered, in words."""
        what = f"{len(self.media.files)} frames" if isinstance(self.media, Film) else "the picture"
        return f"Encoding {what} and the question."

    def encoded(self, request: Request, needs: frozenset[str] = frozenset()) -> Encoding:
        """The encoding of picture and question with what the method needs; `needs`: what others do."""
        key = (self.model, request.picture, request.question, request.frames)
        needs |= REGISTRY[request.method].requires
        return self.encodings.get(self.vlm, key, *self.frames, request.question, needs)

    @property
    def frames(self) -> tuple[list[Image.Image], list[float] | None]:
        """What the model is given, and when each frame of a clip is shown."""
        media = self.media
        return (media.images, media.clip.times) if isinstance(media, Film) else ([media.image], None)

    def trace(self, encoding: Encoding, request: Request, method: str = "") -> dict[str, Any]:
        """`method`, and every method whose plan is one order of the tokens; others follow when looked at."""
        pruners: dict[str, Pruner] = {}
        for name, kind in REGISTRY.items():
            if name == method or (issubclass(kind, RankPruner) and _possible(kind, encoding)):
                pruners[name] = request.shared(make(name, **request.parameters.get(name, {})), encoding)
        plans = {name: (pruner, pruner.plan(encoding.tokens)) for name, pruner in pruners.items()}
        about: dict[str, Any] = {"max_new_tokens": self.settings.max_new_tokens, "share": request.share}
        if isinstance(self.media, Film):
            about |= {"clip": self.media.clip, "name": self.media.name}
        return build_trace(self.vlm, encoding, plans, **about).to_dict()

    def measurement(self, encoding: Encoding) -> Measurement:
        """What answers this question and measures it."""
        again = partial(self.vlm.encode_ms, *self.frames)
        return Measurement(self.vlm, encoding, self.settings.max_new_tokens, self.stop, again)

    def stream(self, measured: Measurement, key: str, asked: str) -> Iterator[Event]:
        """One answer, step by step; nothing after a stop."""
        if self.stop.is_set():
            return
        phase = FULL if key == FULL else "method"
        text = f"Answering with {_read(measured.sides[key].selection, len(measured.encoding.tokens))}."
        yield Event(phase, text, asked)
        for step in measured.answer(key):
            yield Event(phase, text, asked, key, _recorded(measured, key, step))

    def repeats(self, measured: Measurement, asked: str) -> Iterator[Event]:
        """Every answer once more with the times of its repeats, which end when someone waits for the model."""
        text = "Measuring both in turns." if asked else "Measuring all in turns."
        yield Event("measuring", text, asked)
        allowance = Allowance(seconds=self.settings.repeat_s)
        for key, cost in measured.repeat(allowance, self.hurried).items():
            last = measured.sides[key].last
            if last is not None and cost.spread is not None:
                yield Event("measuring", text, asked, key, _recorded(measured, key, replace(last, cost=cost)))


def look(work: Work, request: Request, whole: bool) -> Iterator[Event]:
    """A trace, or, where not the whole is wanted, a patch of one, without an answer."""
    yield Event("encoding", work.first_step)
    encoding = work.encoded(request)
    yield Event("encoding", "Planning every budget.")
    if work.stop.is_set():
        yield Event("stopped", "Stopped.")
    elif whole:
        yield Event("done", trace=work.trace(encoding, request, request.method))
    else:
        yield Event("done", patch=plan_patch(work.vlm, encoding, request))


def answer(work: Work, request: Request, shown: str) -> Iterator[Event]:
    """Both answers, all tokens first, then the method; then both again in turns. shown: see `Service.answer`."""
    yield Event("encoding", work.first_step)
    encoding = work.encoded(request)
    budget = request.budget_for(len(encoding.tokens))
    asked = f"{request.method}@{budget}"
    pruner = request.pruner(encoding)
    measured = work.measurement(encoding)
    selection = measured.select(asked, pruner, budget)
    if request.scene != shown or work.fresh:
        planned = request.method if pruner.stage == "before" else ""
        yield Event("encoding", "Planning every budget.", asked, trace=work.trace(encoding, request, planned))
    yield from work.stream(measured, FULL, asked)
    yield from work.stream(measured, asked, asked)
    if isinstance(selection, InsideSelection) and selection.depth is not None:
        yield Event("method", "", asked, patch=layers_patch(encoding, pruner, [selection]))
    if work.stop.is_set():
        yield Event("stopped", "Stopped.", asked)
        return
    yield from work.repeats(measured, asked)
    yield Event("done", "", asked)


def plan_patch(vlm: VLM, encoding: Encoding, request: Request) -> dict[str, Any]:
    """One method's part of a trace: its record under `methods`, and `scores` where it has its own."""
    pruner = request.pruner(encoding)
    part = build_trace(vlm, encoding, {request.method: (pruner, pruner.plan(encoding.tokens))})
    scores = part.scores if "priority" in part.scores else {}
    return {"methods": part.methods, "scores": scores, "share": request.share}


def layers_patch(encoding: Encoding, pruner: Pruner, answered: list[InsideSelection]) -> dict[str, Any]:
    """`plan_patch` for a method that prunes inside the language model, from its answers so far."""
    record = method_record(pruner, LayersPlan.of(answered), encoding)
    return {"methods": {pruner.name: record}, "scores": {}}


def _recorded(measured: Measurement, key: str, step: Step) -> dict[str, Any]:
    side = measured.sides[key]
    return answer_record(key.partition("@")[0], side.budget, step, side.pruner.tuned() if side.pruner else None)


def _read(selection: Any, n: int) -> str:
    """What the language model reads, in words."""
    if selection is None:
        return f"all {n} tokens"
    kept = getattr(selection, "kept", None)
    return f"{selection.budget} tokens a layer on average" if kept is None else f"{len(kept)} tokens"


def _possible(kind: type[Pruner], encoding: Encoding) -> bool:
    return all(getattr(encoding.tokens, score) is not None for score in kind.requires - kind.optional)
