"""What runs for whom: a visitor's stop button, and how often a page hears of it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

MAX_RUNNING = 256  # visitors whose stop button is remembered
Stops = OrderedDict[tuple[str, str], threading.Event]  # by visitor and slot


class Stoppable:
    """While it is entered, the visitor's stop button sets the event, and so does the visitor's next question.

    Leaving sets it as well: a closed page stops its answer.
    """

    def __init__(self, stops: Stops, visitor: tuple[str, str]) -> None:
        self.stops, self.visitor, self.stop = stops, visitor, threading.Event()

    def __enter__(self) -> threading.Event:
        if self.visitor in self.stops:
            self.stops[self.visitor].set()
        self.stops[self.visitor] = self.stop
        while len(self.stops) > MAX_RUNNING:
            self.stops.popitem(last=False)
        return self.stop

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        if self.stops.get(self.visitor) is self.stop:
            del self.stops[self.visitor]


class Pace:
    """At most so many updates a second."""

    def __init__(self, per_second: float) -> None:
        self.every, self.last = 1 / per_second, 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.every:
            return False
        self.last = now
        return True
