from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fsr.focus import min_max
from fsr.pruners.base import RankPruner, choice, highest_first
from fsr.tokens import VisualTokens


@dataclass(frozen=True)
class TopRelevance(RankPruner):
    """The K tokens most relevant to the question: the cosine of Eq. 2, times the sign that the model's tower needs."""

    name: ClassVar[str] = "relevance"
    label: ClassVar[str] = "Top relevance"
    paper: ClassVar[str] = ""
    requires: ClassVar[frozenset[str]] = frozenset({"relevance"})

    relevance_sign: int | None = choice(None, (None, -1, 1), "sign of the cosine; by default the model's own")

    def order(self, tokens: VisualTokens) -> tuple[Tensor, dict[str, Tensor]]:
        assert tokens.relevance is not None
        sign = tokens.relevance_sign if self.relevance_sign is None else self.relevance_sign
        signed = tokens.relevance * sign
        return highest_first(signed), {"relevance": min_max(signed)}
