"""What an answer costs: the one place that measures it, for the page, the API, the command line and recordings.

Every side of a comparison is answered first; that warms it at its real lengths. Then the sides are run again and again
in turns (A B, B A, A B ...), so that a machine that is busy for a while slows all of them alike. A time is the median
of its repeats, its spread the middle half of them (the quartiles).
"""

from __future__ import annotations

import itertools
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fsr.errors import InvalidInput
from fsr.pruners import Pruner
from fsr.pruners.inside import InsidePruner
from fsr.tokens import Selection
from fsr.vlm.base import VLM, Chosen, Step
from fsr.vlm.cost import Cost, timed
from fsr.vlm.media import Encoding

FULL = "full"  # the side that reads every visual token
DECODED = 8  # tokens of an answer that a repeat decodes at most
LEAST = 3  # repeats that tell a spread


@dataclass(frozen=True)
class Allowance:
    """How much may be measured. seconds: of repeats for each side; 0: none. gpu_share: on a GPU never more than this
    share of the time that the answers took. least: fewer repeats tell no spread, so then there are none. most: enough.
    """

    seconds: float = 0.5
    gpu_share: float = 0.05
    least: int = LEAST
    most: int = 25

    def room(self, sides: int, answered_s: float, gpu: bool) -> float:
        """Seconds for all sides together, whose answers took `answered_s`."""
        room = self.seconds * sides
        return min(room, self.gpu_share * answered_s) if gpu else room


@dataclass
class Side:
    """One side of a comparison. pruner: None reads every visual token. selection, last: of its answer.

    answered_s: what the answer took. samples: milliseconds of every repeat, by the names of `Cost`.
    """

    pruner: Pruner | None
    budget: int
    selection: Chosen = None
    select_ms: float = 0.0
    last: Step | None = None
    answered_s: float = 0.0
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, cost: Cost) -> None:
        names = ["select_ms", "prefill_ms", "first_token_ms", "decode_ms_per_token"]
        if isinstance(self.selection, Selection) and self.selection.encode_ms is not None:
            names.append("encode_ms")  # its own pass of the tower
        for name in names:
            value: float | None = getattr(cost, name)
            if value is not None:
                self.samples.setdefault(name, []).append(value)


class Measurement:
    """The answers to one question, by key, and what they cost.

    encode: runs the vision tower once more over the same frames and returns its milliseconds, so that encoding is
    measured like the rest. stop: ends answers and repeats.
    """

    def __init__(
        self,
        vlm: VLM,
        encoding: Encoding,
        max_new_tokens: int = 128,
        stop: threading.Event | None = None,
        encode: Callable[[], float] | None = None,
    ) -> None:
        self.vlm, self.encoding, self.max_new_tokens = vlm, encoding, max_new_tokens
        self.stop, self.encode = stop or threading.Event(), encode
        self.sides: dict[str, Side] = {FULL: Side(None, len(encoding.tokens))}
        self._encodes: list[float] = []
        self._rounds: list[float] = []  # seconds of every round in which all sides were run

    def select(self, key: str, pruner: Pruner, budget: int) -> Chosen:
        """What this side will read; its time is that of a warmed selection. Asked before anything answers, it says
        early that a method cannot keep the budget: raises InvalidInput."""
        if isinstance(pruner, InsidePruner):
            pruner.schedule(len(self.encoding.tokens), self.vlm.shape.layers, budget)
        fresh_selection(self.vlm, self.encoding, pruner, budget)  # uncounted: the first pays for what is loaded lazily
        selection, ms = fresh_selection(self.vlm, self.encoding, pruner, budget)
        self.sides[key] = Side(pruner, budget, selection, ms)
        return selection

    def warm(self, key: str) -> None:
        """Run this side once, uncounted and for one token: the first run of a new length pays for what is set up then,
        and whoever answers first should not. Nothing after a stop."""
        if not self.stop.is_set():
            turn(self.vlm, self.encoding, self.sides[key].pruner, self.sides[key].budget, 1)

    def answer(self, key: str = FULL) -> Iterator[Step]:
        """Stream the answer of a side; its cost is measured once so far. Nothing after a stop."""
        if self.stop.is_set():
            return
        side = self.sides[key]
        start = time.perf_counter()
        steps = self.vlm.generate(
            self.encoding, side.selection, self.max_new_tokens, self.stop, select_ms=side.select_ms
        )
        for step in steps:
            side.last, side.answered_s = step, time.perf_counter() - start
            yield step

    def repeat(
        self,
        allowance: Allowance,
        waiting: Callable[[], bool] = lambda: False,
        anew: bool = True,
        slower: float = math.inf,
    ) -> dict[str, Cost]:
        """Repeat every side that was answered, as far as the allowance goes; the costs by key, with their spread.
        Called again, it begins anew, or adds to the repeats that are there.

        waiting: whether someone waits for the model: then no further repeat begins. slower: as in `costs`.
        """
        sides = [side for side in self.sides.values() if side.last is not None and side.last.cost is not None]
        gpu = self.vlm.device.type == "cuda"
        room = allowance.room(len(sides), sum(side.answered_s for side in sides), gpu)
        expected = sum(side.select_ms / 1e3 + side.answered_s for side in sides)
        start, rounds = time.perf_counter(), 0
        if anew:
            self._encodes.clear()
            self._rounds.clear()
            for side in sides:
                side.samples.clear()

        def over() -> bool:
            return self.stop.is_set() or waiting()

        while sides and rounds < allowance.most and not over():
            spent = time.perf_counter() - start
            if spent + expected * max(1, allowance.least - rounds) > room:
                break
            began = time.perf_counter()
            if self.encode is not None:
                self._encodes.append(self.encode())
            for side in sides if rounds % 2 == 0 else reversed(sides):
                if over():
                    break
                side.add(self._again(side))
            else:
                self._rounds.append(time.perf_counter() - began)
            rounds += 1
            expected = time.perf_counter() - began
        return self.costs(allowance.least, slower)

    def _again(self, side: Side) -> Cost:
        assert side.last is not None
        assert side.last.cost is not None
        tokens = min(side.last.cost.new_tokens, DECODED)
        return turn(self.vlm, self.encoding, side.pruner, side.budget, tokens)[1]

    def steady(self, slower: float) -> list[bool]:
        """Which rounds took less than this many times as long as the fastest."""
        most = slower * min(self._rounds, default=math.inf)
        return [seconds <= most for seconds in self._rounds]

    def costs(self, least: int = LEAST, slower: float = math.inf) -> dict[str, Cost]:
        """The cost of every answered side: medians and spread where there are `least` repeats of it, else as measured
        once.

        slower: rounds that took this many times as long as the fastest, all sides together, are left out for every
        side: a machine that is shared computes at two speeds, for seconds each.
        """
        found, steady = {}, self.steady(slower)
        for key, side in self.sides.items():
            if side.last is None or side.last.cost is None:
                continue
            samples = ({"encode_ms": self._encodes} if self._encodes else {}) | side.samples
            if slower < math.inf:
                samples = {name: list(itertools.compress(values, steady)) for name, values in samples.items()}
            repeats = len(samples.get("prefill_ms", ()))
            cost = side.last.cost
            found[key] = with_spread(cost, samples, repeats) if repeats >= max(2, least) else cost
        return found


def measure(
    vlm: VLM,
    encoding: Encoding,
    sides: Mapping[str, tuple[Pruner, int]],
    max_new_tokens: int = 128,
    allowance: Allowance | None = None,
    encode: Callable[[], float] | None = None,
    full: bool = True,
) -> Measurement:
    """Answer with every visual token (unless not `full`) and with each side, key -> pruner and budget, and repeat all.

    Raises InvalidInput, before anything answers, where a method cannot keep its budget.
    """
    measured = Measurement(vlm, encoding, max_new_tokens, encode=encode)
    for key, (pruner, budget) in sides.items():
        measured.select(key, pruner, budget)
    for key in [FULL, *sides] if full else sides:
        for _ in measured.answer(key):
            pass
    measured.repeat(allowance or Allowance())
    return measured


def turn(vlm: VLM, encoding: Encoding, pruner: Pruner | None, budget: int, new_tokens: int) -> tuple[Chosen, Cost]:
    """One run from the encoded question to `new_tokens` of the answer: the selection and what both cost."""
    selection: Chosen = None
    select_ms = 0.0
    if pruner is not None:
        selection, select_ms = fresh_selection(vlm, encoding, pruner, budget)
    *_, last = vlm.generate(encoding, selection, new_tokens, select_ms=select_ms)
    assert last.cost is not None
    return selection, last.cost


def fresh_selection(vlm: VLM, encoding: Encoding, pruner: Pruner, budget: int) -> tuple[Chosen, float]:
    """A selection and its milliseconds, without what other selections computed, so that the time is the whole."""
    tokens = replace(encoding.tokens, shared=False)
    selection: Chosen
    selection, ms = timed(lambda: pruner(tokens, budget), vlm.device)
    return selection, ms


def with_spread(cost: Cost, samples: Mapping[str, list[float]], repeats: int) -> Cost:
    """The cost with the medians of its samples, and their quartiles as spread."""
    medians: dict[str, Any] = {name: statistics.median(values) for name, values in samples.items()}
    spread = {name: quartiles(values) for name, values in samples.items()}
    return replace(cost, **medians, repeats=repeats, spread=spread)


def quartiles(values: list[float]) -> tuple[float, float]:
    """The ends of the middle half of the values, linearly interpolated. Raises InvalidInput for none."""
    if not values:
        raise InvalidInput("there are no values to take quartiles of.")
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def differ(one: Cost, other: Cost, name: str) -> bool:
    """Whether a measured time differs: both have a spread, and the two do not overlap."""
    if one.spread is None or other.spread is None or name not in one.spread or name not in other.spread:
        return False
    (a, b), (c, d) = one.spread[name], other.spread[name]
    return b < c or d < a
