"""The only place of the app that runs a model: encode, select, answer. One question at a time, bounded caches.

What runs in a visitor's turn (`act` of `Service.in_turn`) is given the model and yields plain steps.

Nothing about a visitor is kept here but pictures, clips and encodings under hashes of their content; no question and
no picture is ever logged.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from app.clips import Clips, Film, is_clip_id
from app.encodings import Encodings
from app.line import Line, Turn
from app.models import Models, in_words
from app.offers import CLIPS_ONLY
from app.pictures import Picture, Pictures
from app.settings import Settings
from fsr.bench.measure import FULL, Allowance, Measurement
from fsr.errors import InvalidInput, OutOfMemory, within_memory
from fsr.media.video import FRAMES, is_clip
from fsr.pruners import REGISTRY, Pruner, make
from fsr.pruners.base import RankPruner
from fsr.pruners.frames import SHARES, with_share
from fsr.pruners.inside import InsideSelection, LayersPlan
from fsr.tokens import check_budget
from fsr.trace import answer_record, build_trace, method_record
from fsr.vlm import VLM, Encoding, Step
from fsr.vlm.checkpoint import Checkpoint
from fsr.vlm.clips import clip_frames
from fsr.vlm.memory import release
from fsr.vlm.progress import LoadProgress

Parameters = dict[str, dict[str, Any]]  # method -> its parameters that differ from the defaults
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One question about one picture or clip. Everything in it comes from a visitor and is checked here.

    budget: visual tokens to keep `of` so many; another model may have another number, then the share counts. of 0: the
    budget is meant for this model as it is. budget 0: a ninth. share: "global", or "per_group": each tile of a
    picture, or frame of a clip, keeps its equal share of the budget and is pruned by itself. picture: the id
    of a picture or clip. frames: how many of a clip are read; 0: what the model reads by default.
    """

    picture: str
    question: str
    method: str
    budget: int
    parameters: Parameters
    model: str
    of: int = 0
    share: str = "global"
    frames: int = 0

    def budget_for(self, n: int) -> int:
        """The budget for n visual tokens. Raises InvalidInput outside 1..n."""
        if self.budget == 0:
            return max(1, math.floor(n / 9 + 0.5))
        if self.of in (0, n):
            return check_budget(self.budget, n)
        return max(1, min(n, math.floor(self.budget / self.of * n + 0.5)))

    @property
    def scene(self) -> str:
        """What the trace depends on, everything but the budget, as a short hash."""
        return _short_hash(self.setting, self.method, sorted(self.parameters.items()), self.share)

    @property
    def setting(self) -> str:
        """What the trace is about, whatever the methods: picture, question and model, as a short hash."""
        return _short_hash(self.picture, self.question.strip(), self.model, self.frames)

    def pruner(self, encoding: Encoding | None = None) -> Pruner:
        """The method with its parameters, for the tokens of `encoding`. Raises InvalidInput with one sentence."""
        return self.shared(make(self.method, **self.parameters.get(self.method, {})), encoding)

    def shared(self, pruner: Pruner, encoding: Encoding | None) -> Pruner:
        """The pruner with its budget for everything, or for each group of these tokens."""
        if encoding is None or self.share == "global" or len(encoding.media.group.unique()) == 1:
            return pruner
        return with_share(pruner, self.share, encoding.media.group)


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


class Service:
    """look: finds a checkpoint by name, see `Checkpoint.of`."""

    def __init__(self, settings: Settings, look: Callable[..., Checkpoint] = Checkpoint.of) -> None:
        self.settings = settings
        most = min(settings.max_upload_mb, settings.max_picture_mb) * 1_000_000
        self.pictures = Pictures(settings.cached_pictures, settings.max_display_side, most)
        self.clips = Clips(settings.cached_clips, settings.clip_limits, settings.clip_cache_mb * 1e6)
        self.encodings = Encodings(settings.cached_questions, settings.question_cache_mb * 1e6)
        self.models = Models(settings, look, freed=self.encodings.clear)  # they hold what a model has encoded
        self.line = Line(settings.waiting_visitors)

    # -- models

    def loaded(self, model: str) -> VLM | None:
        """The model if it is in memory."""
        return self.models.loaded(model)

    def check_model(self, model: object) -> str:
        """The id itself. Raises InvalidInput for a model that is not on offer."""
        return self.models.check(model)

    def open_model(self, model: str) -> VLM:
        """The model in memory, loaded first where it is not. Raises FsrError where that cannot be."""
        for _ in self.models.opening(model):
            pass
        vlm = self.loaded(model)
        assert vlm is not None
        return vlm

    # -- turns

    def in_turn(
        self,
        work: str,
        request: Request,
        stop: threading.Event,
        say: Callable[[str, str], T],
        act: Callable[[VLM, bool], Iterator[T]],
    ) -> Iterator[T]:
        """All that a visitor asks for: decode and download what it needs, wait for the model, load it, and act.

        work: what it is, for the wait that others are told of. say: makes a step from a phase and its text. act: is
        given the model, and whether it was loaded for this; it has the model to itself and says how it ended.
        """
        self.line.check_room()
        for text in self.decoding(request):
            yield say("encoding", text)
        ready = yield from in_words(self.models.fetching(request.model, stop), lambda step: say("loading", str(step)))
        with self.line.turn(work, self.models.resolved(request.model)) as turn:
            for text in turn.waiting(stop):
                yield say("waiting", text)
            loads = self.models.loads
            if not stop.is_set():
                steps = self.models.opening(request.model, stop, ready)
                yield from in_words(steps, lambda step: say("loading", self._loading(turn, step)))
            if not stop.is_set():
                turn.loaded()
                yield from self._acting(act(self.open_model(request.model), self.models.loads != loads))
                if not stop.is_set():
                    turn.done()
                return
        yield say("stopped", "Stopped.")  # the place is given up already

    def _loading(self, turn: Turn, step: str | LoadProgress) -> str:
        """How far the load is, for who asked for it; those who wait are told as well."""
        text, others = str(step), self.line.waiting
        turn.loads(text, step.done / step.total if isinstance(step, LoadProgress) and step.total else 0.0)
        return f"{text.rstrip('.')}. {others} other{' waits' if others == 1 else 's wait'}." if others else text

    def _acting(self, steps: Iterator[T]) -> Iterator[T]:
        """The steps; where memory runs out, all that is kept for later questions is let go of. Raises OutOfMemory."""
        try:
            with within_memory():
                yield from steps
            return
        except OutOfMemory as error:
            why = str(error)
        self.encodings.clear()  # here nothing holds what was half made any more, not even the error
        if self.models.held is not None:
            self.models.held.forget()
        release()
        raise OutOfMemory(why)

    # -- what visitors ask for

    def analyse(self, request: Request) -> dict[str, Any]:
        """The trace of one question without an answer: scores, and what every budget keeps."""
        *_, last = self.looking(request)
        assert last.trace is not None
        return last.trace

    def replan(self, request: Request) -> dict[str, Any]:
        """One method's record and the scores, with new parameters: from what is encoded, without encoding again."""
        *_, last = self.looking(request, whole=False)
        assert last.patch is not None
        return last.patch

    def looking(self, request: Request, stop: threading.Event | None = None, whole: bool = True) -> Iterator[Event]:
        """Steps towards a trace, or, where not the whole is wanted, a patch of one; the last event has it, phase done.

        A stop ends it between two steps.
        """
        request, stop = self.checked(request), stop or threading.Event()
        act = partial(self._looking, request, stop, whole)
        yield from self.in_turn("look", request, stop, Event, act)

    def _looking(self, request: Request, stop: threading.Event, whole: bool, vlm: VLM, fresh: bool) -> Iterator[Event]:
        yield Event("encoding", self.encoding(request))
        encoding = self.encoded(vlm, request)
        yield Event("encoding", "Planning every budget.")
        if stop.is_set():
            yield Event("stopped", "Stopped.")
        elif whole:
            yield Event("done", trace=self.trace(vlm, encoding, request, request.method))
        else:
            yield Event("done", patch=plan_patch(vlm, encoding, request))

    def answer(self, request: Request, stop: threading.Event | None = None, shown: str = "") -> Iterator[Event]:
        """Both answers, all tokens first, then the method; then both again in turns, so that the times are honest.

        shown: the `Request.scene` that the visitor's page draws already; its trace is not made again.
        """
        request, stop = self.checked(request), stop or threading.Event()
        yield from self.in_turn("answer", request, stop, Event, partial(self._answer, request, stop, shown))

    def _answer(self, request: Request, stop: threading.Event, shown: str, vlm: VLM, fresh: bool) -> Iterator[Event]:
        yield Event("encoding", self.encoding(request))
        encoding = self.encoded(vlm, request)
        n = len(encoding.tokens)
        budget = request.budget_for(n)
        asked = f"{request.method}@{budget}"
        pruner = request.pruner(encoding)
        measured = self.measurement(vlm, encoding, request, stop)
        selection = measured.select(asked, pruner, budget)
        if request.scene != shown or fresh:
            planned = request.method if pruner.stage == "before" else ""
            trace = self.trace(vlm, encoding, request, planned)
            yield Event("encoding", "Planning every budget.", asked, trace=trace)
        yield from self.stream(measured, FULL, asked)
        yield from self.stream(measured, asked, asked)
        if isinstance(selection, InsideSelection) and selection.depth is not None:
            yield Event("method", "", asked, patch=layers_patch(encoding, pruner, [selection]))
        if stop.is_set():
            yield Event("stopped", "Stopped.", asked)
            return
        yield from self.repeats(measured, asked)
        yield Event("done", "", asked)

    def measurement(self, vlm: VLM, encoding: Encoding, request: Request, stop: threading.Event) -> Measurement:
        """What answers this question and measures it."""
        again = partial(vlm.encode_ms, *self.frames(request))
        return Measurement(vlm, encoding, self.settings.max_new_tokens, stop, again)

    def stream(self, measured: Measurement, key: str, asked: str) -> Iterator[Event]:
        """One answer, step by step; nothing after a stop."""
        if measured.stop.is_set():
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
        for key, cost in measured.repeat(allowance, lambda: self.line.waiting > 0).items():
            last = measured.sides[key].last
            if last is not None and cost.spread is not None:
                yield Event("measuring", text, asked, key, _recorded(measured, key, replace(last, cost=cost)))

    # -- pieces

    def checked(self, request: Request) -> Request:
        question = request.question.strip() if isinstance(request.question, str) else ""
        if not question:
            raise InvalidInput("the question is empty; type what you want to know about the picture.")
        if len(question) > self.settings.max_question_chars:
            limit = self.settings.max_question_chars
            raise InvalidInput(f"the question has {len(question)} characters, at most {limit} are allowed.")
        if request.method not in REGISTRY:
            raise InvalidInput(f"the method must be one of {', '.join(REGISTRY)}.")
        if request.share not in SHARES:
            raise InvalidInput(
                f"the budget's share must be one of {', '.join(SHARES)}, not {str(request.share)[:40]!r}."
            )
        most = self.settings.max_sampled_frames
        if not 0 <= request.frames <= most:
            raise InvalidInput(f"the number of frames must be from 1 to {most}, not {request.frames}.")
        request = replace(request, question=question, model=self.check_model(request.model))
        if is_clip_id(request.picture):
            self.check_reads_clips(request.model)
        return request

    def encoded(self, vlm: VLM, request: Request, needs: frozenset[str] = frozenset()) -> Encoding:
        """The encoding of picture and question with what the method needs; `needs`: what others do."""
        key = (self.models.held_id, request.picture, request.question, request.frames)
        frames, times = self.frames(request)
        return self.encodings.get(vlm, key, frames, times, request.question, REGISTRY[request.method].requires | needs)

    def frames(self, request: Request) -> tuple[list[Image.Image], list[float] | None]:
        """What the model is given, and when each frame of a clip is shown."""
        shown = self.opened(request)
        return (shown.images, shown.clip.times) if isinstance(shown, Film) else ([shown.image], None)

    def trace(self, vlm: VLM, encoding: Encoding, request: Request, method: str = "") -> dict[str, Any]:
        """`method`, and every method whose plan is one order of the tokens; others follow when looked at."""
        pruners: dict[str, Pruner] = {}
        for name, kind in REGISTRY.items():
            if name == method or (issubclass(kind, RankPruner) and _possible(kind, encoding)):
                pruners[name] = request.shared(make(name, **request.parameters.get(name, {})), encoding)
        plans = {name: (pruner, pruner.plan(encoding.tokens)) for name, pruner in pruners.items()}
        about: dict[str, Any] = {"max_new_tokens": self.settings.max_new_tokens, "share": request.share}
        shown = self.opened(request)
        if isinstance(shown, Film):
            about |= {"clip": shown.clip, "name": shown.name}
        return build_trace(vlm, encoding, plans, **about).to_dict()

    # -- pictures and clips

    def open_media(self, path: str | Path, model: str = "", frames: int = 0) -> Picture | Film:
        """A visitor's file, checked: the content decides what it is. Raises InvalidInput with one sentence.

        model: whose number of frames a clip gets where `frames` is 0.
        """
        return self.clips.open(path, self._count(model, frames)) if is_clip(path) else self.pictures.open(path)

    def opened(self, request: Request) -> Picture | Film:
        """What the request is about. Raises InvalidInput where it was forgotten."""
        return self.media(request.picture, request.model, request.frames)

    def media(self, name: str, model: str, frames: int = 0) -> Picture | Film:
        """A picture, or a clip's frames, by id."""
        return self.clips.get(name, self._count(model, frames)) if is_clip_id(name) else self.pictures.get(name)

    def decoding(self, request: Request) -> Iterator[str]:
        """Decode the clip that is asked about where its frames are not here, with a line for it.

        Before the turn, which is for the model alone.
        """
        if is_clip_id(request.picture):
            known, count = self.clips.known(request.picture), self._count(request.model, request.frames)
            if not self.clips.holds(request.picture, count):
                of = "" if known is None else f" of {known.clip.count}"
                yield f"Decoding {count if known is None else min(count, known.clip.count)} frames{of}."
            self.clips.get(request.picture, count)

    def encoding(self, request: Request) -> str:
        """What is done before a question can be answered, in words."""
        shown = self.opened(request)
        what = f"{len(shown.files)} frames" if isinstance(shown, Film) else "the picture"
        return f"Encoding {what} and the question."

    def clip_frames(self, model: str) -> int:
        """How many frames of a clip the model reads unless asked for another number; 0: it reads pictures only."""
        offer, vlm = self.settings.offers.get(self.models.resolved(model)), self.loaded(model)
        found = clip_frames(offer.source if offer else model)
        if found is None:  # nothing of it is here yet
            return 0 if vlm is not None and not vlm.reads_clips else FRAMES
        return found

    @property
    def clip_models(self) -> list[str]:
        """Those on offer that read clips."""
        return [model for model in self.settings.model_ids if self.clip_frames(model)]

    def model_for(self, model: str, clip: bool) -> str:
        """Itself, or one on offer that was made for what an example shows."""
        if clip:
            return model if self.clip_frames(model) else next(iter(self.clip_models), model)
        drawn = model == CLIPS_ONLY and "shapes" in self.settings.model_ids
        return "shapes" if drawn else model

    def check_reads_clips(self, model: str) -> None:
        """Raises InvalidInput for a model that reads pictures only; the sentence says which reads clips."""
        if not self.clip_frames(model):
            raise InvalidInput(self.reads_no_clips(model))

    def reads_no_clips(self, model: str) -> str:
        others = [self.settings.offers[other].title for other in self.clip_models]
        how = f"choose {' or '.join(others)} for clips" if others else "none that reads clips is on offer here"
        return f"the model {self.settings.offers[self.check_model(model)].title} reads pictures only; {how}."

    def _count(self, model: str, frames: int) -> int:
        default = self.clip_frames(model) or next(map(self.clip_frames, self.clip_models), FRAMES)
        return min(frames or default, self.settings.max_sampled_frames)

    def close(self) -> None:
        """Delete what visitors brought."""
        self.pictures.close()
        self.clips.close()


def plan_patch(vlm: VLM, encoding: Encoding, request: Request) -> dict[str, Any]:
    """One method's part of a trace: its record under `methods`, `scores` where it has its own, and what it replaces."""
    pruner = request.pruner(encoding)
    part = build_trace(vlm, encoding, {request.method: (pruner, pruner.plan(encoding.tokens))})
    scores = part.scores if "priority" in part.scores else {}
    return {"methods": part.methods, "scores": scores, "replaces": [request.method], "share": request.share}


def layers_patch(encoding: Encoding, pruner: Pruner, answered: list[InsideSelection]) -> dict[str, Any]:
    """`plan_patch` for a method that prunes inside the language model, from its answers so far."""
    record = method_record(pruner, LayersPlan.of(answered), encoding)
    return {"methods": {pruner.name: record}, "scores": {}, "replaces": []}


def _recorded(measured: Measurement, key: str, step: Step) -> dict[str, Any]:
    return answer_record(key.partition("@")[0], measured.sides[key].budget, step)


def _read(selection: Any, n: int) -> str:
    """What the language model reads, in words."""
    if selection is None:
        return f"all {n} tokens"
    kept = getattr(selection, "kept", None)
    return f"{selection.budget} tokens a layer on average" if kept is None else f"{len(kept)} tokens"


def _short_hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _possible(kind: type[Pruner], encoding: Encoding) -> bool:
    return all(getattr(encoding.tokens, score) is not None for score in kind.requires - kind.optional)
