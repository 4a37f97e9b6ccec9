from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fsr.pruners.fastv import most_attended
from fsr.pruners.inside import Choice, InsidePruner, LayerView


@dataclass(frozen=True)
class PyramidDrop(InsidePruner):
    """The visual tokens that the last token of the prompt attends to most, again and again at a quarter of the depth.

    The attention is that of the layer about to run, with its own norm and projections. Each time the same share is
    kept: one half in the paper, whose counts int(N / 2), int(N / 4), int(N / 8) average 15/32 of N. Positions are
    renumbered; under mRoPE tokens keep their coordinates.
    """

    name: ClassVar[str] = "pyramiddrop"
    label: ClassVar[str] = "PyramidDrop"
    paper: ClassVar[str] = "https://arxiv.org/abs/2410.17247"
    looks_at: ClassVar[str] = "own"
    positions: ClassVar[str] = "renumbered"

    @property
    def layers_of_32(self) -> tuple[int, ...]:
        return (8, 16, 24)

    def counts(self, share: float, n: int) -> list[int]:
        return [max(1, int(n * share**i)) for i in (1, 2, 3)]

    def choose(self, view: LayerView, count: int) -> Choice:
        return most_attended(view, count)
