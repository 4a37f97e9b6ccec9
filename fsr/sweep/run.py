"""Go through a data set block by block, and begin again where it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fsr.errors import InvalidInput
from fsr.sweep.compact import keep_part
from fsr.sweep.data import Data
from fsr.sweep.measure import Asked, rows_of
from fsr.sweep.store import Store

BLOCK = 32  # questions that are put in their place together

Say = Callable[[str], None]


@dataclass(frozen=True)
class Shard:
    """Shard `number` of `of`, counted from 1: every `of`-th block."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise InvalidInput(f"--shard takes i/n with i from 1 to n, not {self.number}/{self.of}.")

    def blocks(self, count: int) -> Iterator[tuple[int, int, int]]:
        """Number, start and stop of every block of this shard."""
        for number in range(self.number - 1, -(-count // BLOCK), self.of):
            yield number, number * BLOCK, min(count, (number + 1) * BLOCK)


WHOLE = Shard()


@dataclass
class Progress:
    """Questions done now, of those that are left to do, and the seconds that they took."""

    todo: int
    done: int = 0
    seconds: float = 0.0
    problems: int = 0

    def __str__(self) -> str:
        rate = self.done / self.seconds if self.seconds else 0.0
        left = (self.todo - self.done) / rate if rate else 0.0
        problems = f", {self.problems} with a problem" if self.problems else ""
        return f"{self.done} of {self.todo} questions{problems}; {60 * rate:.0f} a minute, about {_duration(left)} left"


def sweep(
    data: Data,
    asked: Asked,
    store: Store,
    shard: Shard = WHOLE,
    say: Say = lambda line: None,
    stop: threading.Event | None = None,
) -> Progress:
    """Measure what is not there yet. Ends behind a block when `stop` is set. Raises FsrError where the folder cannot be
    written."""
    store.sweep_up()
    done = store.done()
    left = [block for block in shard.blocks(data.count) if block[0] not in done]
    progress = Progress(sum(end - start for _, start, end in left))
    for number, start, end in left:
        if stop is not None and stop.is_set():
            break
        began = time.perf_counter()
        questions, problems = block_done(data, asked, store, number, start, end)
        progress.done += questions
        progress.problems += problems
        progress.seconds += time.perf_counter() - began
        say(str(progress))
    return progress


def block_done(data: Data, asked: Asked, store: Store, number: int, start: int, end: int) -> tuple[int, int]:
    """Measure a block and put it in its place: how many questions, and how many of them could not be asked."""
    items = list(data.items(start, end))
    rows = [rows_of(asked, item) for item in items]
    store.commit(number, items, [row for of_one in rows for row in of_one])
    keep_part(store.folder, number)
    return len(items), sum("answer" not in of_one[0] for of_one in rows)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "a minute"
