"""What `bench prefill` reads besides the cost of an answer: time in the decoder layers, peak memory, the processor."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsr.cost import synchronize
from fsr.vlm.base import VLM
from fsr.vlm.capture import find

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class StackClock:
    """How long the decoder layers take of every forward pass, so that a depth that was not built can be estimated."""

    def __init__(self, vlm: VLM) -> None:
        self.layers, self.device = find(vlm.decoder.model, "language_model.layers"), vlm.device
        self.ms: list[float] = []
        self._started = 0.0

    @contextmanager
    def running(self) -> Iterator[StackClock]:
        """Every forward pass inside the block adds one number to `ms`."""
        self.ms = []
        handles = [self.layers[0].register_forward_pre_hook(self._start)]
        handles.append(self.layers[-1].register_forward_hook(self._stop))
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _start(self, *_: Any) -> None:
        synchronize(self.device)
        self._started = time.perf_counter()

    def _stop(self, *_: Any) -> None:
        synchronize(self.device)
        self.ms.append((time.perf_counter() - self._started) * 1e3)


def reset_peak() -> None:
    """Begin to count this process's peak memory anew, where the system lets it."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return


def peak_bytes() -> int | None:
    """This process's peak memory since `reset_peak`; None where the system does not tell."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def processor_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
