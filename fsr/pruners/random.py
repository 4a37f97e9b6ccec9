from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fsr.pruners.base import RankPruner, whole
from fsr.tokens import VisualTokens


@dataclass(frozen=True)
class Random(RankPruner):
    """A uniform random choice, the same for the same seed and N; a larger budget contains a smaller one."""

    name: ClassVar[str] = "random"
    label: ClassVar[str] = "Random"
    paper: ClassVar[str] = ""

    seed: int = whole(0, 0, 2**31 - 1, "seed of the random order")

    def order(self, tokens: VisualTokens) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.randperm(len(tokens), generator=torch.Generator().manual_seed(self.seed)), {}
