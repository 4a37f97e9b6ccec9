from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fsr.pruners.base import highest_first, whole
from fsr.pruners.inside import Choice, InsidePruner, LayerView


@dataclass(frozen=True)
class FastV(InsidePruner):
    """The visual tokens that the last token of the prompt attends to most in an early layer.

    The attention is that of layer k - 1, mean over heads; from layer k on the rest is gone. Positions stay as they
    were. The set is chosen once, when the prompt is read.
    """

    name: ClassVar[str] = "fastv"
    label: ClassVar[str] = "FastV"
    paper: ClassVar[str] = "https://arxiv.org/abs/2403.06764"

    layer: int = whole(2, 1, 31, "the first layer that reads fewer tokens, in a model of 32 layers")

    @property
    def layers_of_32(self) -> tuple[int, ...]:
        return (self.layer,)

    def counts(self, share: float, n: int) -> list[int]:
        return [max(1, round(share * n))]

    def choose(self, view: LayerView, count: int) -> Choice:
        return most_attended(view, count)


def most_attended(view: LayerView, count: int) -> Choice:
    """The visual tokens with the most attention from the last position."""
    attention = view.attention(view.text.new_tensor([len(view.hidden) - 1]))[0, view.visual]
    return Choice(highest_first(attention)[:count].sort().values, attention)
