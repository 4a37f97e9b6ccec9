from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fsr.focus import min_max
from fsr.pruners.base import RankPruner, highest_first
from fsr.tokens import VisualTokens


@dataclass(frozen=True)
class TopSaliency(RankPruner):
    """The K tokens with the highest saliency; with the attention of the [CLS] token this is FasterVLM."""

    name: ClassVar[str] = "saliency"
    label: ClassVar[str] = "Top saliency"
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.01818"
    requires: ClassVar[frozenset[str]] = frozenset({"saliency"})

    def order(self, tokens: VisualTokens) -> tuple[Tensor, dict[str, Tensor]]:
        assert tokens.saliency is not None
        return highest_first(tokens.saliency), {"saliency": min_max(tokens.saliency)}
