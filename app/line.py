"""The line in front of the model: first come, first served; each reads its place and the wait that is to be expected.

What is expected is estimated from the last turns of the same work with the same model.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from fsr.errors import FsrError

REMEMBERED = 8  # turns of the same work, to estimate the next from
POLL_S = 0.2  # how soon a stop is noticed by one who waits
AGAIN_S = 2.0  # the place is said again even where it is the same: that tells whether somebody still listens
LOAD = "load"


@dataclass(eq=False)
class Turn:
    """One visitor's place in the line and, once `called` is set, the turn itself. work: what for; model: with which.

    began: of the work or, before it, of the load. loading: how far that is, in words; left_s: how much of it is left.
    """

    work: str
    model: str
    line: Line = field(repr=False)
    called: threading.Event = field(default_factory=threading.Event)
    began: float = 0.0
    loading: str = ""
    left_s: float | None = None

    def waiting(self, stop: threading.Event) -> Iterator[str]:
        """What one who waits reads, whenever it changes; ends when it is this one's turn, or with a stop."""
        told, again = "", 0.0
        while not (self.called.is_set() or stop.is_set()):
            text, now = self.line.told(self), time.monotonic()
            if text != told or now >= again:
                told, again = text, now + AGAIN_S
                yield text
            self.called.wait(POLL_S)

    def loads(self, text: str, share: float) -> None:
        """The turn began with a load of which this share is done."""
        self.loading = text
        self.left_s = (time.monotonic() - self.began) * (1 - share) / share if share > 0 else None

    def loaded(self) -> None:
        """The load, if there was one, is over: the work itself begins."""
        if self.loading:
            self.line.took(LOAD, self.model, time.monotonic() - self.began)
            self.loading, self.began = "", time.monotonic()

    def done(self) -> None:
        """The work was done to its end: the next of its kind is expected to take as long."""
        self.line.took(self.work, self.model, time.monotonic() - self.began)


class Line:
    """most: how many may wait."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._turns: list[Turn] = []  # the first has the model
        self._took: dict[tuple[str, str], deque[float]] = {}
        self._lock = threading.RLock()

    @property
    def busy(self) -> bool:
        """Whether somebody has the model."""
        return bool(self._turns)

    @property
    def waiting(self) -> int:
        """How many wait for it."""
        return max(0, len(self._turns) - 1)

    def check_room(self) -> None:
        """Raises FsrError where as many wait as may."""
        with self._lock:
            if len(self._turns) <= self.most:
                return
            wait = seconds_text(self._wait_s(self._turns[:1]))
        visitors = f"{self.most} visitors wait" if self.most > 1 else "1 visitor waits"
        raise FsrError(
            f"{visitors} for the model already, and no more may; ask again in {wait or 'a minute'}, "
            "nothing on this page is lost until then."
        )

    @contextmanager
    def turn(self, work: str, model: str) -> Iterator[Turn]:
        """A place at the end of the line; leaving the block gives up the place, or the turn. Raises as `check_room`."""
        with self._lock:
            self.check_room()
            turn = Turn(work, model, self)
            self._turns.append(turn)
            self._call()
        try:
            yield turn
        finally:
            with self._lock:
                self._turns.remove(turn)
                self._call()

    def _call(self) -> None:
        if self._turns and not self._turns[0].called.is_set():
            self._turns[0].began = time.monotonic()
            self._turns[0].called.set()

    def told(self, turn: Turn) -> str:
        """Its place, the expected wait where it can be told, and the load that it waits for."""
        with self._lock:
            place = self._turns.index(turn)
            wait = seconds_text(self._wait_s(self._turns[:place]))
            loading = self._turns[0].loading
        now = f" Now: {loading[:1].lower()}{loading[1:].rstrip('.')}." if loading else ""
        return f"Waiting for the model: {ordinal(place)} in line{f', {wait}' if wait else ''}.{now}"

    def took(self, work: str, model: str, seconds: float) -> None:
        """Remember how long this was."""
        with self._lock:
            self._took.setdefault((work, model), deque(maxlen=REMEMBERED)).append(seconds)

    def _wait_s(self, turns: Sequence[Turn]) -> float | None:
        """Estimated seconds until all of these are over; None where nothing like one of them was ever done here."""
        total, model = 0.0, ""
        for turn in turns:
            elapsed = time.monotonic() - turn.began if turn.called.is_set() else 0.0
            parts = [self._expected_s(turn.work, turn.model, 0.0 if turn.loading else elapsed)]
            if turn.loading:
                parts.append(turn.left_s)
            elif model not in ("", turn.model):  # it will have to be loaded again
                parts.append(self._expected_s(LOAD, turn.model, 0.0))
            if None in parts:
                return None
            total, model = total + sum(part or 0.0 for part in parts), turn.model
        return total

    def _expected_s(self, work: str, model: str, elapsed: float) -> float | None:
        """What is left of such a turn: the mean of those that took longer than this one has taken already."""
        left = [seconds - elapsed for seconds in self._took.get((work, model), ()) if seconds > elapsed]
        return statistics.fmean(left) if left else None


def seconds_text(seconds: float | None) -> str:
    """About how long, in words; empty where it is not known."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"about {max(1, round(seconds))} s"
    return f"about {5 * round(seconds / 5)} s" if seconds < 90 else f"about {round(seconds / 60)} min"


def ordinal(place: int) -> str:
    """1 -> 1st."""
    return f"{place}{'th' if place % 100 in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(place % 10, 'th')}"
