"""The same sweep over several processes or machines, by Ray: one actor a GPU, or a core, with the model loaded once.

An actor measures a block and puts it in its place itself, so that nothing but numbers comes back; all see one folder.
An actor that is lost is replaced, and its block is done again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any

from fsr.errors import FsrError
from fsr.sweep.run import WHOLE, Progress, Say, Shard, block_done
from fsr.sweep.store import Store
from fsr.sweep.wanted import Wanted

LOST_IN_A_ROW = 5  # actors; then something else is wrong than a machine that went away
LOOK_S = 1.0
LOCAL = "local"


class Worker:
    """One actor's side."""

    def __init__(self, wanted: Wanted, store: Store) -> None:
        import torch

        torch.set_num_threads(1 if not torch.cuda.is_available() else torch.get_num_threads())
        self.questions, self.asked, self.store = wanted.questions(), wanted.asked(), store

    def block(self, number: int, start: int, end: int) -> tuple[int, int]:
        """Measure a block and put it in its place: how many questions, and how many of them could not be asked."""
        return block_done(self.questions, self.asked, self.store, number, start, end)


def spread(
    wanted: Wanted,
    store: Store,
    workers: int,
    address: str = LOCAL,
    shard: Shard = WHOLE,
    say: Say = lambda line: None,
    stop: threading.Event | None = None,
) -> Progress:
    """As `fsr.sweep.run.sweep`, by `workers` actors of the cluster at this address ("local": one on this machine).

    Raises FsrError where Ray is not installed, the cluster cannot be reached, or actors are lost again and again.
    """
    try:
        import ray
    except ImportError as error:
        raise FsrError('--ray needs Ray: pip install "fsr-explorer[ray]".') from error
    import torch

    store.sweep_up()
    done = store.done()
    left = deque(block for block in shard.blocks(wanted.questions().count) if block[0] not in done)
    progress = Progress(sum(end - start for _, start, end in left))
    if not left:
        return progress
    try:
        ray.init(
            None if address == LOCAL else address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise FsrError(f"there is no Ray cluster at {address}: {str(error).splitlines()[0]}") from error
    kind = ray.remote(Worker).options(num_gpus=1 if torch.cuda.is_available() else 0, num_cpus=1)
    try:
        _driven(ray, lambda: kind.remote(wanted, store), workers, left, progress, say, stop)
    finally:
        ray.shutdown()
    return progress


def _driven(
    ray: Any, made: Any, workers: int, left: deque[Any], progress: Progress, say: Say, stop: threading.Event | None
) -> None:
    """Give every actor a block at a time until none is left."""
    running: dict[Any, tuple[Any, Any]] = {}  # what an actor owes -> the actor, the block

    def begin(actor: Any) -> None:
        if left and not (stop is not None and stop.is_set()):
            block = left.popleft()
            running[actor.block.remote(*block)] = actor, block

    for _ in range(min(workers, len(left))):
        begin(made())
    began, lost = time.perf_counter(), 0
    while running:
        ready, _ = ray.wait(list(running), timeout=LOOK_S)
        for owed in ready:
            actor, block = running.pop(owed)
            try:
                questions, problems = ray.get(owed)
            except ray.exceptions.RayActorError as error:
                lost += 1
                if lost == LOST_IN_A_ROW:
                    raise FsrError(f"{lost} workers were lost in a row: {str(error).splitlines()[0]}") from error
                left.appendleft(block)
                say("a worker was lost; another does its block again")
                begin(made())
                continue
            except ray.exceptions.RayTaskError as error:
                raise FsrError(str(error.cause or error).splitlines()[0]) from error
            lost = 0
            progress.done += questions
            progress.problems += problems
            progress.seconds = time.perf_counter() - began
            say(str(progress))
            begin(actor)
