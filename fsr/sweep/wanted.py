"""A sweep as plain data: what travels to another process, and from which everything else is opened there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fsr.sweep import data, metrics
from fsr.sweep.data import Data
from fsr.sweep.run import BLOCK

if TYPE_CHECKING:
    from fsr.sweep.measure import Asked
    from fsr.vlm.progress import LoadProgress


@dataclass(frozen=True)
class Wanted:
    """data, limit: see `fsr.sweep.data`. model, options: for `fsr.vlm.load`. methods: name -> parameters."""

    data: str
    model: str
    methods: dict[str, dict[str, Any]]
    budgets: list[int]
    metric: str
    limit: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    max_new_tokens: int = 128
    frames: int = 0

    def questions(self) -> Data:
        """Raises InvalidInput where they cannot be opened."""
        return data.opened(self.data).first(self.limit)

    def settings(self, questions: Data) -> dict[str, Any]:
        """What the folder keeps: two sweeps are the same where this is."""
        from fsr.pruners import make

        return {
            "data": questions.name,
            "digest": questions.digest,
            "items": questions.count,
            "model": self.model,
            "options": {name: value for name, value in self.options.items() if name not in ("device", "dtype")},
            "methods": {name: make(name, **parameters).parameters() for name, parameters in self.methods.items()},
            "budgets": self.budgets,
            "metric": self.metric,
            "block": BLOCK,
            "max_new_tokens": self.max_new_tokens,
            "frames": self.frames,
        }

    def asked(self, progress: Callable[[LoadProgress], None] | None = None) -> Asked:
        """With the model loaded. Raises FsrError where it cannot be."""
        import fsr.vlm
        from fsr.pruners import make
        from fsr.sweep.measure import Asked

        vlm = fsr.vlm.load(self.model, progress=progress, **self.options)
        methods = {name: make(name, **parameters) for name, parameters in self.methods.items()}
        return Asked(vlm, methods, self.budgets, metrics.metric(self.metric), self.max_new_tokens, self.frames)
