from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fsr.pruners.base import highest_first, whole
from fsr.pruners.inside import Choice, InsidePruner, LayerView
from fsr.tokens import unit_rows


@dataclass(frozen=True)
class Dart(InsidePruner):
    """A few pivots with large keys, and for each of them the visual tokens least like it: duplicates go.

    Pivots are the visual tokens and the text tokens after the picture with the largest L1 norm of their keys in layer
    1; likeness is the cosine of the normed hidden states that enter layer 2. Each pivot in turn (visual ones by norm,
    then text ones) takes an equal part of the budget, the first ones one more where it does not divide; the paper's
    counts are 4 + 8 tau. Positions stay as they were.
    """

    name: ClassVar[str] = "dart"
    label: ClassVar[str] = "DART"
    paper: ClassVar[str] = "https://arxiv.org/abs/2502.11494"

    pivots: int = whole(4, 1, 64, "pivots among the visual tokens, and as many among the text tokens")

    @property
    def layers_of_32(self) -> tuple[int, ...]:
        return (2,)

    def counts(self, share: float, n: int) -> list[int]:
        return [max(1, round(share * n))]

    def choose(self, view: LayerView, count: int) -> Choice:
        norms = view.keys.float().abs().sum(dim=(1, 2))
        visual = highest_first(norms[view.visual])[: min(self.pivots, count)]
        text = view.text[highest_first(norms[view.text])[: self.pivots]]
        unit = unit_rows(view.norm(view.hidden))
        likeness = unit[torch.cat([view.visual[visual], text])] @ unit[view.visual].T
        kept = least_like(likeness, visual, count)
        return Choice(kept, 1 - likeness.amax(dim=0))


def least_like(likeness: Tensor, first: Tensor, count: int) -> Tensor:
    """Ascending indices of `first` and of the tokens that each pivot in turn finds least like itself, `count` in all.

    likeness: (P, V), cosine of every pivot to every token.
    """
    taken = torch.zeros(likeness.shape[1], dtype=torch.bool, device=likeness.device)
    taken[first] = True
    part, more = divmod(count - len(first), len(likeness))
    for i, row in enumerate(likeness):
        order = highest_first(-row.masked_fill(taken, torch.inf))
        taken[order[: part + (i < more)]] = True
    return taken.nonzero()[:, 0]
