"""What `bench prefill` reads besides the cost of an answer: the time in the decoder layers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fsr.vlm.base import VLM
from fsr.vlm.cost import synchronize
from fsr.vlm.inside import decoder_stack


class StackClock:
    """How long the decoder layers take of every forward pass, so that a depth that was not built can be estimated."""

    def __init__(self, vlm: VLM) -> None:
        self.layers, self.device = decoder_stack(vlm.decoder.model).layers, vlm.device
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
