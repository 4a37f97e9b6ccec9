from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fsr.focus import min_max
from fsr.pruners.base import GreedyPruner, Picks
from fsr.pruners.forced import Forced
from fsr.similarity import Similarities
from fsr.tokens import Layout, VisualTokens

WHOLE = "base"  # part of a picture of tiles that shows all of it


@dataclass(frozen=True)
class ToDRE(GreedyPruner):
    """Max-sum diversity from the most salient token on: Li et al., ToDRE, arXiv 2505.18757v2, section 4.1, Eq. 4-6.

    The pivot is the token with the highest saliency: of the whole picture made small where there are tiles, of all
    frames of a clip. Each next one is the token with the smallest sum of cosines (of the projected features) to all
    that are kept, which is the largest sum of distances 1 - cos. DivPrune asks for the nearest kept token only; a sum
    goes to the far ends of the features and may keep neighbours there. No question and no other saliency count.

    This is the paper's first stage. Its second, by relevance, drops *all* visual tokens behind 7/8 of the language
    model's layers where text and picture no longer attend to each other (both ratios below 0.1); it decides no token
    and is not done here: the paper's ablation gives it 2 % of the time and 0.2 points. No code was released; this is
    from the formulas.

    Ours: saliency is that of the layer which all methods here read, the paper's that of the last; sums are of cosines
    in steps of 2^-22 and exact, so equal tokens tie, to the lower index.

    scores: saliency.
    """

    name: ClassVar[str] = "todre"
    label: ClassVar[str] = "ToDRE"
    paper: ClassVar[str] = "https://arxiv.org/abs/2505.18757"
    requires: ClassVar[frozenset[str]] = frozenset({"saliency"})

    def picks(self, tokens: VisualTokens, count: int) -> Picks:
        assert tokens.saliency is not None
        first = pivot(tokens.saliency, tokens.layout)
        order = least_alike(tokens.gram("projected"), first, count)
        return order, {"saliency": min_max(tokens.saliency)}, {}

    def order_around(self, tokens: VisualTokens, count: int, forced: Forced) -> tuple[Tensor, dict[str, Tensor]]:
        assert tokens.saliency is not None
        first, closed = forced.tensors(tokens.embeddings.device)
        if not len(first):
            first = pivot(tokens.saliency, tokens.layout, closed)
        return least_alike(tokens.gram("projected"), first, max(count, len(first)), closed), {}


def pivot(saliency: Tensor, layout: Layout, closed: Tensor | None = None) -> Tensor:
    """(1,) int64: the most salient token of the pictures made small, or of all tokens; ties to the lower index.

    closed: (c,) int64, tokens that are not taken; a part that is closed as a whole does not count.
    """
    open_ = torch.ones_like(saliency, dtype=torch.bool)
    if closed is not None:
        open_.index_fill_(0, closed, False)
    whole = torch.tensor([grid.part == WHOLE for grid in layout.grids])[layout.frame.cpu()].to(saliency.device)
    whole = whole & open_
    among = torch.where(whole.any(), whole, open_)
    return saliency.float().masked_fill(~among, -torch.inf).argmax(dim=0, keepdim=True)


def least_alike(gram: Similarities, first: Tensor, count: int, closed: Tensor | None = None) -> Tensor:
    """(count,) int64: `first`, then always the token with the smallest sum of cosines to all before it.

    first: (f,) int64, at least one token, f <= count. closed: (c,) int64, tokens that are never picked.
    """
    rows = gram.matrix()
    total = rows.index_select(0, first).sum(dim=0, dtype=torch.float64)  # of whole numbers, so exact
    taken = first if closed is None else torch.cat([first, closed])
    total.index_fill_(0, taken, torch.inf)
    order = [first]
    for _ in range(count - len(first)):
        pick = total.argmin(dim=0, keepdim=True)
        total += rows.index_select(0, pick)[0]
        total.index_fill_(0, pick, torch.inf)
        order.append(pick)
    return torch.cat(order)[:count]
