"""The only place of the app where a model has its turn: one question at a time, bounded caches.

Nothing about a visitor is kept here but pictures, clips and encodings under hashes of their content; no question and
no picture is ever logged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from app.clips import Clips, Film, is_clip_id
from app.encodings import Encodings
from app.leases import Leases
from app.line import Line, Turn
from app.models import Models, in_words
from app.offers import CLIPS_ONLY
from app.pictures import Picture, Pictures
from app.request import Request
from app.saved_views import SavedViews
from app.settings import Settings
from app.studies import Studies
from app.work import Act, Effort, Event, Work, answer, look
from fsr.errors import InvalidInput, OutOfMemory, within_memory
from fsr.media.video import FRAMES, is_clip
from fsr.pruners import REGISTRY
from fsr.pruners.frames import SHARES
from fsr.sweep.library import Library
from fsr.trace.saved import is_saved
from fsr.vlm import VLM
from fsr.vlm.checkpoint import Checkpoint
from fsr.vlm.clips import clip_frames
from fsr.vlm.memory import release
from fsr.vlm.progress import LoadProgress

T = TypeVar("T")
LOOK, ANSWER = Effort("look", 0), Effort("answer", 2)


class Service:
    """look: finds a checkpoint by name, see `Checkpoint.of`. leases: where turns are done in another process."""

    def __init__(self, settings: Settings, look: Callable[..., Checkpoint] = Checkpoint.of) -> None:
        self.settings = settings
        most = min(settings.max_upload_mb, settings.max_picture_mb) * 1_000_000
        self.pictures = Pictures(settings.cached_pictures, settings.max_display_side, most)
        self.clips = Clips(settings.cached_clips, settings.clip_limits, settings.clip_cache_mb * 1e6)
        self.views = SavedViews(
            settings.cached_views,
            self.pictures,
            self.clips,
            settings.max_display_side,
            settings.max_upload_mb * 1_000_000,
        )
        self.encodings = Encodings(settings.cached_questions, settings.question_cache_mb * 1e6)
        self.models = Models(settings, look, freed=self._forget)  # encodings hold what a model has encoded
        self.leases: Leases | None = None
        self.studies = Studies()
        self.sweeps = Library(settings.sweep_folders)
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

    def unasked(self, model: str) -> str:
        """Why nothing is done with this model before a question is asked; empty where looking is free."""
        if self.leases is not None and self.leases.sparing and self.leases.takes(self.models.resolved(model)):
            return "Ask, and the tokens are shown: every turn with the GPU counts."
        return self.models.loads_later(model)

    # -- turns

    def in_turn(
        self,
        effort: Effort,
        request: Request,
        stop: threading.Event,
        say: Callable[[str, str], T],
        act: Act[T],
    ) -> Iterator[T]:
        """All that a visitor asks for: decode and download what it needs, wait for the model, load it, and act.

        effort: for the wait that others are told of. say: makes a step from a phase and its text. act: has the model to
        itself and says how it ended.
        """
        self.line.check_room()
        for text in self.decoding(request):
            yield say("encoding", text)
        ready = yield from in_words(self.models.fetching(request.model, stop), lambda step: say("loading", str(step)))
        with self.line.turn(effort.name, self.models.resolved(request.model)) as turn:
            for text in turn.waiting(stop):
                yield say("waiting", text)
            loads = self.models.loads
            if not stop.is_set():
                steps = self.models.opening(request.model, stop, ready)
                yield from in_words(steps, lambda step: say("loading", self._loading(turn, step)))
            if not stop.is_set():
                turn.loaded()
                yield from self._acting(act, self.work(request, stop, self.models.loads != loads, effort))
                if not stop.is_set():
                    turn.done()
                return
        yield say("stopped", "Stopped.")  # the place is given up already

    def _loading(self, turn: Turn, step: str | LoadProgress) -> str:
        """How far the load is, for who asked for it; those who wait are told as well."""
        text, others = str(step), self.line.waiting
        turn.loads(text, step.done / step.total if isinstance(step, LoadProgress) and step.total else 0.0)
        return f"{text.rstrip('.')}. {others} other{' waits' if others == 1 else 's wait'}." if others else text

    def work(
        self,
        request: Request,
        stop: threading.Event | None = None,
        fresh: bool = False,
        effort: Effort = LOOK,
    ) -> Work:
        """What the turn of this question is given. The model is loaded where it is not."""
        vlm, model = self.open_model(request.model), self.models.resolved(request.model)
        stop, media = stop or threading.Event(), self.opened(request)
        return Work(
            vlm, model, media, self.settings, self.encodings, stop, fresh, effort, lambda: self.line.waiting > 0
        )

    def _acting(self, act: Act[T], work: Work) -> Iterator[T]:
        """Its steps; where memory runs out, all that is kept for later questions is let go of. Raises OutOfMemory."""
        try:
            with within_memory():
                leases = self.leases
                yield from leases.run(act, work) if leases and leases.takes(work.model) else act(work)
            return
        except OutOfMemory as error:
            why = str(error)
        self._forget()  # here nothing holds what was half made any more, not even the error
        work.vlm.forget()
        release()
        raise OutOfMemory(why)

    def _forget(self) -> None:
        """Let go of what was encoded."""
        self.encodings.clear()
        if self.leases is not None:
            self.leases.clear()

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
        yield from self.in_turn(LOOK, request, stop, Event, partial(look, request=request, whole=whole))

    def answer(self, request: Request, stop: threading.Event | None = None, shown: str = "") -> Iterator[Event]:
        """Both answers, all tokens first, then the method; then both again in turns, so that the times are honest.

        shown: the `Request.scene` that the visitor's page draws already; its trace is not made again.
        """
        request, stop = self.checked(request), stop or threading.Event()
        yield from self.in_turn(ANSWER, request, stop, Event, partial(answer, request=request, shown=shown))

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

    # -- pictures and clips

    def open_media(self, path: str | Path, model: str = "", frames: int = 0) -> Picture | Film:
        """A visitor's file, checked: the content decides what it is. Of a saved view, its picture or frames. Raises
        InvalidInput with one sentence.

        model: whose number of frames a clip gets where `frames` is 0.
        """
        if is_saved(path):
            return self.views.open(path).shown
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
        how = f"for a clip choose {' or '.join(others)}" if others else "none that reads clips is on offer here"
        return f"the model {self.settings.offers[self.check_model(model)].title} reads pictures only; {how}."

    def switched(self, model: str, other: str, clip: bool) -> str:
        """Why `other` answers from now on, see `model_for`; empty where it is the same model."""
        title, instead = (self.settings.offers[one].title for one in (model, other))
        reads = "reads pictures only" if clip else "knows drawn clips only"
        return "" if model == other else f"{title} {reads}: {instead} answers now."

    def _count(self, model: str, frames: int) -> int:
        default = self.clip_frames(model) or next(map(self.clip_frames, self.clip_models), FRAMES)
        return min(frames or default, self.settings.max_sampled_frames)

    def close(self) -> None:
        """Delete what visitors brought."""
        self.pictures.close()
        self.clips.close()
        self.sweeps.close()
