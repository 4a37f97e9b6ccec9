"""The models of the page: at most one is in memory; it is loaded in steps that are shown, and freed for the next.

A model that was chosen for this machine, not by its owner, may fail to load: then the fallback answers, and says why.
"""

from __future__ import annotations

import gc
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from app.offers import Offer, parameters
from app.settings import Settings
from fsr.errors import FsrError, InvalidInput
from fsr.vlm import VLM
from fsr.vlm.progress import LoadProgress, LoadStopped, Report

POLL_S = 0.1
LARGE = 5e8  # parameters; such a model is loaded for a question only, not for a look at a picture


class Models:
    """`loader` opens a model, see `fsr.vlm.load`. Calls that load come from one turn at a time."""

    def __init__(self, settings: Settings, loader: Callable[..., VLM]) -> None:
        self.settings, self._loader = settings, loader
        self.held: VLM | None = None
        self.held_id = ""
        self.loads = 0  # how often the model in memory changed
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
        """Forget that it could not be loaded."""
        self._failed.pop(model, None)

    def loaded(self, model: str) -> VLM | None:
        """What answers for it, if that is in memory."""
        return self.held if self.held is not None and self.held_id == self.resolved(model) else None

    def loads_later(self, model: str) -> str:
        """For a large model that is not in memory, that it waits for a question; else empty."""
        offer = self.settings.offers[self.resolved(model)]
        count = parameters(offer)
        large = count is None or count > LARGE
        return f"{offer.title} is loaded at the first question." if large and self.loaded(model) is None else ""

    def opening(self, model: str, stop: threading.Event | None = None) -> Iterator[str]:
        """Load it, or its fallback, with a line for every step; nothing where it is in memory.

        A stop ends the load; then it is not in memory. Raises FsrError where it cannot be loaded.
        """
        if self.loaded(self.check(model)) is not None:
            return
        offer, spare = self.settings.offers[self.resolved(model)], self.settings.spare
        if not spare or offer.id == spare or offer.id != self.settings.first:
            yield from self._opening(offer, stop)
            return
        try:
            yield from self._opening(offer, stop)
            return
        except FsrError as error:
            why = str(error).rstrip(".")
        rest = self.settings.offers[spare]
        self._failed[model] = f"{offer.title} could not be loaded: {why}. {answers_instead(rest)}"
        yield self._failed[model]
        yield from self._opening(rest, stop)

    def _opening(self, offer: Offer, stop: threading.Event | None) -> Iterator[str]:
        self.free()
        yield f"Loading {offer.title}."
        vlm = yield from in_steps(lambda report: self._load(offer, report), stop)
        if vlm is not None:
            self.held, self.held_id, self.loads = vlm, offer.id, self.loads + 1

    def _load(self, offer: Offer, report: Report) -> VLM:
        settings = self.settings
        vlm = self._loader(
            offer.source,
            device=settings.device or None,
            dtype=settings.dtype or None,
            media_cache_bytes=settings.media_cache_mb * 1_000_000,
            name=offer.id,
            progress=report,
            **offer.options,
        )
        getattr(vlm, "relevance_model", None)  # on the hub, and a download of its own: with this one's progress
        return vlm

    def free(self) -> None:
        """Let go of the model in memory."""
        import torch

        self.held, self.held_id = None, ""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def answers_instead(offer: Offer) -> str:
    return f"{'The embedded model' if offer.source == 'shapes' else offer.title} answers instead."


def in_steps(work: Callable[[Report], Any], stop: threading.Event | None = None) -> Generator[str, None, Any]:
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


def _latest(told: queue.SimpleQueue[LoadProgress | None]) -> Iterator[str]:
    """The newest report, every POLL_S seconds at most; ends with the None behind the last."""
    ended = False
    while not ended:
        steps = [told.get()]
        while not told.empty():
            steps.append(told.get())
        ended = steps[-1] is None
        newest = [step for step in steps if step is not None][-1:]
        yield from map(str, newest)
        if not ended:
            time.sleep(POLL_S)
