from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fsr.host import fetch
from fsr.pruners.base import GreedyPruner, Picks
from fsr.pruners.forced import Forced
from fsr.scan import chord, scan_order
from fsr.similarity import Similarities
from fsr.tokens import VisualTokens

BLOCK = 256  # rows of the Gram matrix looked at together


@dataclass(frozen=True)
class DivPrune(GreedyPruner):
    """Max-min diversity: start at the token farthest from its nearest neighbour, then always add the farthest one.

    Distances are 1 - cos of the projected features, over all frames; no saliency, no question. A token that is kept is
    never picked again, also where fewer than K are distinct (the release repeats it).
    """

    name: ClassVar[str] = "divprune"
    label: ClassVar[str] = "DivPrune"
    paper: ClassVar[str] = "https://arxiv.org/abs/2503.02175"

    def picks(self, tokens: VisualTokens, count: int) -> Picks:
        gram = tokens.gram("projected")
        first = most_isolated(gram)
        order, farthest = scan_order(gram, first, count - 1)
        return torch.cat([first, order]), {}, {"covering_radius": chord(float(fetch(farthest)[0]))}

    def order_around(self, tokens: VisualTokens, count: int, forced: Forced) -> tuple[Tensor, dict[str, Tensor]]:
        gram = tokens.gram("projected")
        first, closed = forced.tensors(tokens.embeddings.device)
        if not len(first):
            first = most_isolated(gram, closed)
        order, _ = scan_order(gram, first, max(0, count - len(first)), closed)
        return torch.cat([first, order]), {}


def most_isolated(gram: Similarities, closed: Tensor | None = None) -> Tensor:
    """(1,) int64: the token whose nearest other token is farthest away; ties to the lower index.

    closed: (c,) int64, tokens that neither are it nor count as near.
    """
    n = len(gram)
    nearest = []
    for start in range(0, n, BLOCK):
        rows = gram.rows(range(start, min(start + BLOCK, n)))
        rows.diagonal(start).fill_(-torch.inf)
        nearest.append((rows if closed is None else rows.index_fill(1, closed, -torch.inf)).amax(dim=1))
    isolated = torch.cat(nearest)
    if closed is not None:
        isolated.index_fill_(0, closed, torch.inf)
    return isolated.argmin(dim=0, keepdim=True)
