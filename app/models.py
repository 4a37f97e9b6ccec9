"""The models of the page: at most one is in memory; it is loaded in steps that are shown, and freed for the next.

Everything about the next is looked at before the one in memory has to make room, and where its weights cannot be read
after all, the one before is loaded again. A model that was chosen for this machine, not by its owner, may fail to load:
then the fallback answers, and says why.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import torch

from app.offers import Offer, parameters
from app.settings import Settings
from fsr.errors import FsrError, InvalidInput, within_memory
from fsr.vlm import VLM
from fsr.vlm.checkpoint import NAMES, Checkpoint
from fsr.vlm.memory import release
from fsr.vlm.progress import LoadProgress, LoadStopped, Report

POLL_S = 0.1
LARGE = 5e8  # parameters; such a model is loaded for a question only, not for a look at a picture
Ready = tuple[str, Checkpoint]  # the id of what is on offer, and all of it but its weights
T = TypeVar("T")
U = TypeVar("U")
Steps = Generator[str | LoadProgress, None, T]


class NotLoaded(FsrError):  # noqa: N818
    """The model that was chosen cannot be loaded; the one before is in memory as it was, or again."""


class Models:
    """look: finds a checkpoint, see `Checkpoint.of`. freed: called where a model lets go of its memory.

    Calls of `opening` come from one turn at a time.
    """

    def __init__(
        self, settings: Settings, look: Callable[..., Checkpoint], freed: Callable[[], None] = lambda: None
    ) -> None:
        self.settings, self._look, self._freed = settings, look, freed
        self.held: VLM | None = None
        self.held_id = ""
        self.loads = 0  # how often the model in memory changed
        self.worked: set[str] = set()  # those that were in memory at some time
        self._resident: VLM | None = None  # beside `held`, see `reside`
        self._resident_id = ""
        self._failed: dict[str, str] = {}  # the first model, once it could not be loaded -> why

    def check(self, model: object) -> str:
        """The id itself. Raises InvalidInput for a model that is not on offer."""
        if not isinstance(model, str) or model not in self.settings.offers:
            raise InvalidInput(f"the model must be one of {', '.join(self.settings.offers)}.")
        return model

    def resolved(self, model: str) -> str:
        """The id of the model that answers: itself, or the fallback once it could not be loaded."""
        return self.settings.spare if model in self._failed else model

    def notice(self, model: str) -> str:
        """Why another model answers in its place; empty where none does."""
        return self._failed.get(model, "")

    def retry(self, model: str) -> None:
        """Forget that it could not be loaded, unless it only ever could when the page started."""
        if model != self._resident_id:
            self._failed.pop(model, None)

    def loaded(self, model: str) -> VLM | None:
        """What answers for it, if that is in memory."""
        return self.in_memory(self.resolved(model))

    def in_memory(self, model: str) -> VLM | None:
        """This very model, if it is in memory."""
        if self._resident is not None and model == self._resident_id:
            return self._resident
        return self.held if self.held is not None and self.held_id == model else None

    def loads_later(self, model: str) -> str:
        """For a large model that is not in memory, that it waits for a question; else empty."""
        offer = self.settings.offers[self.resolved(model)]
        count = parameters(offer)
        large = count is None or count > LARGE
        return f"{offer.title} is loaded at the first question." if large and self.loaded(model) is None else ""

    def fetching(self, model: str, stop: threading.Event | None = None) -> Steps[Ready | None]:
        """What can be done for it while another model answers: look at it, and download it. In steps.

        Returns what `opening` takes. Raises NotLoaded where it cannot be loaded.
        """
        return (yield from self._or_fallback(model, lambda offer: self._fetching(offer, stop)))

    def opening(
        self, model: str, stop: threading.Event | None = None, ready: Ready | None = None
    ) -> Steps[Ready | None]:
        """Load it, or its fallback, in steps; nothing where it is in memory. ready: from `fetching`.

        A stop ends the load; then it is not in memory. Raises NotLoaded where it cannot be loaded.
        """
        return (yield from self._or_fallback(model, lambda offer: self._opening(offer, stop, ready)))

    def reside(self) -> None:
        """Load the first model in this thread, to stay: a process that is forked for a turn has it from this one.

        The embedded ones run on the CPU. Where it cannot be loaded, its fallback answers. Raises InvalidInput where any
        other is on offer.
        """
        others = [one.id for one in self.settings.offers.values() if one.source not in NAMES]
        if others[1:]:
            raise InvalidInput(
                f"on ZeroGPU FSR_MODEL alone has the GPU; FSR_MODELS takes {', '.join(NAMES)} there, not {others[1]}."
            )
        offer = self.settings.offers[self.settings.first]
        self._resident_id = offer.id
        try:
            with within_memory():
                checkpoint = self._find(offer)
                self._check_room(offer, checkpoint)
                checkpoint.fetch(_quietly)
                self._resident = checkpoint.load(_quietly)
                getattr(self._resident, "relevance_model", None)
            self.worked.add(offer.id)
        except FsrError as error:
            if not self.settings.spare:
                raise
            self._give_up(offer, str(error))

    def _or_fallback(self, model: str, steps: Callable[[Offer], Steps[Ready | None]]) -> Steps[Ready | None]:
        """The steps for the model or, where these fail for one that its owner did not choose, for its fallback."""
        if self.loaded(self.check(model)) is not None:
            return None
        offer, spare = self.settings.offers[self.resolved(model)], self.settings.spare
        try:
            return (yield from steps(offer))
        except FsrError as error:
            why = str(error)
        if not spare or spare == offer.id or offer.id != self.settings.first:
            raise NotLoaded(why)
        yield self._give_up(offer, why)
        return (yield from self._or_fallback(model, steps))

    def _give_up(self, offer: Offer, why: str) -> str:
        """Its fallback answers from now on; why, in words."""
        instead = answers_instead(self.settings.offers[self.settings.spare])
        self._failed[offer.id] = f"{offer.title} could not be loaded: {why.rstrip('.')}. {instead}"
        return self._failed[offer.id]

    def _fetching(self, offer: Offer, stop: threading.Event | None, check: bool = True) -> Steps[Ready | None]:
        """check: whether there is room for it."""

        def work(report: Report) -> Ready:
            checkpoint = self._find(offer)
            if check:
                self._check_room(offer, checkpoint)
            checkpoint.fetch(report)
            return offer.id, checkpoint

        return (yield from in_steps(work, stop))

    def _opening(self, offer: Offer, stop: threading.Event | None, ready: Ready | None) -> Steps[Ready | None]:
        if ready is None or ready[0] != offer.id:
            ready = yield from self._fetching(offer, stop)
        if ready is None:  # stopped
            return None
        before = self.settings.offers.get(self.held_id)
        if ready[1].misfit():  # beside the one in memory
            self._check_room(offer, ready[1])
            self.free()
        try:
            yield from self._reading(offer, ready[1], stop)
            return ready
        except FsrError as error:
            why = str(error)
        release()  # what was read so far
        if before is not None and self.held is None:
            yield f"{why} {before.title} is loaded again."
            again = yield from self._fetching(before, None, check=False)  # it was here a moment ago
            assert again is not None  # nobody stops it
            yield from self._reading(before, again[1], None)
        raise FsrError(why)

    def _reading(self, offer: Offer, checkpoint: Checkpoint, stop: threading.Event | None) -> Steps[None]:
        """Read the weights; where both fit, the model before is let go of only afterwards."""

        def work(report: Report) -> VLM:
            with within_memory():
                vlm = checkpoint.load(report)
                getattr(vlm, "relevance_model", None)  # with this one's progress, not at the first question
                return vlm

        yield f"Loading {offer.title}."
        vlm = yield from in_steps(work, stop)
        if vlm is not None:
            self.hold(offer.id, vlm)
            self.worked.add(offer.id)

    def _check_room(self, offer: Offer, checkpoint: Checkpoint) -> None:
        """Raises FsrError where it does not even fit in the place of the model in memory."""
        known = {one.title: parameters(one) for one in self.settings.offers.values() if one.id != offer.id}
        others = {title: count for title, count in known.items() if count is not None}
        if why := checkpoint.misfit(self._room_made(), others):
            raise FsrError(why)

    def _find(self, offer: Offer) -> Checkpoint:
        settings = self.settings
        return self._look(
            offer.source,
            device="cpu" if self._resident_id not in ("", offer.id) else settings.device or None,
            dtype=settings.dtype or None,
            media_cache_bytes=settings.media_cache_mb * 1_000_000,
            name=offer.id,
            **offer.options,
        )

    def _room_made(self) -> int:
        """Bytes that are free on its device once the model in memory has made room, with all that is kept for it."""
        vlm = self.held
        if vlm is None:
            return 0
        if vlm.device.type == "cuda":
            return sum(torch.cuda.memory_allocated(i) for i in range(torch.cuda.device_count()))
        return vlm.held_bytes

    def hold(self, model: str, vlm: VLM) -> None:
        """This is the model in memory from now on."""
        self.free()
        self.held, self.held_id, self.loads = vlm, model, self.loads + 1

    def free(self) -> None:
        """Let go of the model in memory."""
        if self.held is None:
            return
        self.held, self.held_id = None, ""
        self._freed()
        release()


def _quietly(step: LoadProgress) -> None:
    """Nobody waits for it."""


def answers_instead(offer: Offer) -> str:
    return f"{'The embedded model' if offer.source == 'shapes' else offer.title} answers instead."


def in_words(steps: Steps[T], say: Callable[[str | LoadProgress], U]) -> Generator[U, None, T]:
    """What is said of every step; returns what the steps return."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        yield say(step)


def in_steps(work: Callable[[Report], T], stop: threading.Event | None = None) -> Steps[T | None]:
    """Do `work` in a thread and yield the latest of what it reports; returns its result, None after a stop.

    A caller that goes away ends the work at its next report.
    """
    told: queue.SimpleQueue[LoadProgress | None] = queue.SimpleQueue()
    left = threading.Event()
    outcome: dict[str, Any] = {}

    def report(step: LoadProgress) -> None:
        if left.is_set() or (stop is not None and stop.is_set()):
            raise LoadStopped
        told.put(step)

    def run() -> None:
        try:
            outcome["result"] = work(report)
        except LoadStopped:
            pass
        except BaseException as error:  # raised again where it is waited for
            outcome["error"] = error
        finally:
            told.put(None)

    thread = threading.Thread(target=run, name="load", daemon=True)
    thread.start()
    try:
        yield from _latest(told)
    finally:
        left.set()
        thread.join()
    if "error" in outcome:
        raise outcome.pop("error")
    return outcome.get("result")


def _latest(told: queue.SimpleQueue[LoadProgress | None]) -> Iterator[LoadProgress]:
    """The newest report, every POLL_S seconds at most; ends with the None behind the last."""
    ended = False
    while not ended:
        steps = [told.get()]
        while not told.empty():
            steps.append(told.get())
        ended = steps[-1] is None
        newest = [step for step in steps if step is not None][-1:]
        yield from newest
        if not ended:
            time.sleep(POLL_S)
