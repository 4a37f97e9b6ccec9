"""Turns in another process: for a GPU that is lent for one turn at a time, as Hugging Face ZeroGPU does.

A process that is forked for the turn has the model from its parent. Only bytes cross the border: an `Order`, which is
plain data and what the vision tower made of this picture before, and the steps on the way back. The parent keeps what
was encoded as bytes, so that the next turn about the same picture does not encode it again.
"""

from __future__ import annotations

import io
import logging
import pickle
import tempfile
import threading
import time
import traceback
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import torch

from app.clips import Film
from app.encodings import Encodings
from app.models import Models
from app.pictures import Picture
from app.settings import Settings
from app.work import Act, Effort, Work
from fsr.errors import FsrError, OutOfMemory, within_memory
from fsr.vlm import VLM
from fsr.vlm.media import Media
from fsr.vlm.memory import release

log = logging.getLogger(__name__)

T = TypeVar("T")
Lease = Callable[[bytes, float], Generator[bytes, None, None]]
"""Calls `work_off` with the same two arguments in a process that has the GPU for so many seconds, and yields what that
yields. Closing it ends the lease. Raises FsrError where none is to be had."""

POLL_S = 0.05  # how soon the other process hears of a stop
# Estimates, for a model that was not timed yet:
START_S = 5.0  # until the process has its GPU
WEIGHTS_BYTES_S = 2e9  # onto the GPU
READ_BYTES_S = 1e12  # of the weights, once for every token of an answer
TOKEN_S = 0.02  # what a token takes besides
MARGIN = 1.5  # a lease that is too short ends in the middle of an answer
SHORTEST_S, LONGEST_S = 10.0, 120.0
TIMED = 4  # turns of the same work, to estimate the next from


@dataclass(frozen=True)
class Order:
    """A turn as plain data. home: whose model. folder: where the files `stop` and `hurry` appear. known: `Media` that
    the parent keeps, as bytes, or empty."""

    home: str
    act: Act[Any]
    model: str
    media: Picture | Film
    settings: Settings
    fresh: bool
    folder: Path
    known: bytes


@dataclass(frozen=True)
class Done:
    """The end of a turn. seconds: what it took. media: what was encoded, as bytes, where the parent lacks any of it."""

    seconds: float
    media: bytes


@dataclass(frozen=True)
class Failed:
    """The end of a turn, where it is an error."""

    error: Exception


class Flag(threading.Event):
    """An event that another process sets by a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def is_set(self) -> bool:
        return super().is_set() or self.path.exists()


class Leases:
    """Runs the turns of one model, or with `model` empty of every model, each with a lease of its own.

    sparing: whether a lease costs the visitor, so that none is taken unasked.
    """

    def __init__(self, lease: Lease, models: Models, model: str = "", sparing: bool = True) -> None:
        self.lease, self.models, self.model, self.sparing = lease, models, model, sparing
        settings = models.settings
        self.encodings = Encodings(settings.cached_questions, settings.question_cache_mb * 1e6)  # of the forked process
        self._limit = settings.media_cache_mb * 1_000_000
        self._known: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._took: dict[tuple[str, str], deque[float]] = {}
        self._home = uuid.uuid4().hex
        _homes[self._home] = self

    def takes(self, model: str) -> bool:
        """Whether turns with this model are leased."""
        return self.model in ("", model)

    def run(self, act: Act[T], work: Work) -> Iterator[T]:
        """The steps of the act. Raises what it raises, and FsrError where no lease is to be had."""
        key = (work.model, work.media.id, len(work.frames[0]))
        with _signalled(work) as folder:
            known = self._known.get(key, b"")
            model, media, settings, fresh = work.model, work.media, work.settings, work.fresh
            order = dumps(Order(self._home, act, model, media, settings, fresh, folder, known))
            steps, step = self.lease(order, self.seconds(work.effort, work.model, work.vlm)), None
            try:
                for data in steps:
                    step = loads(data)
                    if isinstance(step, Failed):
                        raise step.error
                    if not isinstance(step, Done):
                        yield step
                if not isinstance(step, Done):
                    raise FsrError("the process that has the GPU ended before the answer was done; ask again.")
                self._finished(key, work, step)
            finally:
                (folder / "stop").touch()
                steps.close()

    def _finished(self, key: tuple[object, ...], work: Work, done: Done) -> None:
        if not work.stop.is_set():
            self._took.setdefault((work.effort.name, work.model), deque(maxlen=TIMED)).append(done.seconds)
        if done.media:
            self._known[key] = done.media
        if key in self._known:
            self._known.move_to_end(key)
        while len(self._known) > 1 and self.nbytes > self._limit:
            self._known.popitem(last=False)

    @property
    def nbytes(self) -> int:
        """Bytes of encoded pictures and clips that are kept."""
        return sum(map(len, self._known.values()))

    def seconds(self, effort: Effort, model: str, vlm: VLM) -> float:
        """How long a lease to ask for: from turns of the same work, or estimated from the size of the model."""
        settings, size = self.models.settings, vlm.held_bytes
        tokens = effort.answers * settings.max_new_tokens
        repeats = settings.repeat_s * effort.answers
        work_s = 1.0 + tokens * (size / READ_BYTES_S + TOKEN_S) + repeats
        if took := self._took.get((effort.name, model)):
            work_s = max(took)
        return min(LONGEST_S, max(SHORTEST_S, START_S + size / WEIGHTS_BYTES_S + MARGIN * work_s))

    def clear(self) -> None:
        """Forget what was encoded."""
        self._known.clear()


_homes: WeakValueDictionary[str, Leases] = WeakValueDictionary()  # a forked process finds them as they were


def work_off(order: bytes, seconds: float) -> Iterator[bytes]:
    """What runs in the forked process: the steps of an `Order`, then `Done` or `Failed`, each as bytes.

    seconds: of the lease. The process may be used again for the next order.
    """
    began, asked = time.perf_counter(), loads(order)
    home: Leases = _homes[asked.home]
    vlm = home.models.loaded(asked.model)
    assert vlm is not None
    known = _recalled(vlm, asked.known)
    stop, hurry = Flag(asked.folder / "stop"), Flag(asked.folder / "hurry")
    work = Work(vlm, asked.model, asked.media, asked.settings, home.encodings, stop, asked.fresh, hurried=hurry.is_set)
    failed: Exception | None = None
    try:
        with within_memory():
            for step in asked.act(work):
                yield dumps(step)
    except Exception as error:
        failed = _crossing(error)
    if failed is None:
        media = home.encodings.latest
        news = b"" if media is None or _captured(media) == known else packed(media)
        yield dumps(Done(time.perf_counter() - began, news))
        return
    if isinstance(failed, OutOfMemory):  # here nothing holds what was half made any more
        home.encodings.clear()
        vlm.forget()
        release()
    yield dumps(Failed(failed))


def _crossing(error: Exception) -> Exception:
    """The error as it can cross: anything unforeseen is logged here (its kind, never the visitor's data)."""
    if not isinstance(error, FsrError):
        frame = traceback.extract_tb(error.__traceback__)[-1]
        log.error("%s in %s, line %s", type(error).__name__, frame.filename, frame.lineno)
        return RuntimeError(type(error).__name__)
    return type(error)(str(error))


def _recalled(vlm: VLM, known: bytes) -> object:
    """The model has this media as if it had encoded it; returns what of it is captured."""
    if not known:
        return None
    media = torch.load(io.BytesIO(known), weights_only=False)  # our own parent's; on the device that it came from
    vlm.remember(media)
    return _captured(media)


def packed(media: Media) -> bytes:
    """Encoded media as bytes, without what can be computed from it."""
    out = io.BytesIO()
    torch.save(replace(media, computed={}), out)
    return out.getvalue()


def _captured(media: Media) -> tuple[object, ...]:
    captured = frozenset(name for name, values in media.captures.items() if values is not None)
    return media.key, captured, media.clip_patches is not None


class _Border(pickle.Pickler):
    """Refuses what would need the GPU on the other side."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.device.type != "cpu":
            raise TypeError(f"a tensor on {value.device} cannot leave the process that has the GPU.")
        return NotImplemented


def dumps(value: object) -> bytes:
    """Raises TypeError or PicklingError for what cannot cross."""
    out = io.BytesIO()
    _Border(out, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return out.getvalue()


def loads(data: bytes) -> Any:
    return pickle.loads(data)


@contextmanager
def _signalled(work: Work) -> Iterator[Path]:
    """A folder in which `stop` and `hurry` appear once they are true in this process."""
    ended = threading.Event()
    with tempfile.TemporaryDirectory(prefix="fsr-turn-") as name:
        folder = Path(name)

        def watch() -> None:
            while not ended.wait(POLL_S):
                for file, happened in (("stop", work.stop.is_set), ("hurry", work.hurried)):
                    if happened():
                        (folder / file).touch()

        watcher = threading.Thread(target=watch, name="signals", daemon=True)
        watcher.start()
        try:
            yield folder
        finally:
            ended.set()
            watcher.join()
