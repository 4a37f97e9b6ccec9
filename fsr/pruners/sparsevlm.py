from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from fsr.pruners.base import highest_first
from fsr.pruners.inside import Choice, InsidePruner, LayerView
from fsr.pruners.schedule import PAPER_LAYERS

PAPER_TOKENS = 576
ROWS = {64: (66, 30, 17), 96: (238, 48, 26), 128: (303, 110, 36), 192: (300, 200, 110)}  # of 576, by budget


@dataclass(frozen=True)
class SparseVLM(InsidePruner):
    """The visual tokens that the picture-related words of the question attend to most; some of the rest is recycled.

    Version 1 of the paper. Raters are the text tokens after the picture whose mean softmax similarity to the visual
    embeddings is above average, found once. At each of three layers a token is scored by the attention of the raters
    in the layer before, mean over heads and raters. Of the P dropped tokens the best R = int(0.3 P) + 1 are clustered
    (DPC-KNN) into int(R / 10) + 1 means, which go on after the kept tokens. Positions are renumbered; under mRoPE
    tokens keep their coordinates and a mean has those of its centre. No noise: ties go to the lower index.

    The average counts kept and recycled tokens, so the paper's counts for 192, 128, 96 and 64 of 576 tokens average
    192.0, 128.6, 96.9 and 64.8; at 32 layers these budgets take them as they are, others lie in between. That tokens
    leave before layers 2, 6 and 15 is our reading: only so the published counts have their budgets for average.
    """

    name: ClassVar[str] = "sparsevlm"
    label: ClassVar[str] = "SparseVLM"
    paper: ClassVar[str] = "https://arxiv.org/abs/2410.04417"
    positions: ClassVar[str] = "renumbered"

    @property
    def layers_of_32(self) -> tuple[int, ...]:
        return (2, 6, 15)

    def counts(self, share: float, n: int) -> list[int]:
        found: list[int] = []
        for stage in range(3):
            knots = [
                (0.0, 0.0),
                *((k / PAPER_TOKENS, row[stage] / PAPER_TOKENS) for k, row in ROWS.items()),
                (1.0, 1.0),
            ]
            found.append(max(1, min(round(n * _between(knots, share)), found[-1] if found else n)))
        return found

    def _read(self, n: int, counts: Sequence[int]) -> list[int]:
        read = [n]
        for count in counts:
            dropped = read[-1] - count
            read.append(count + recycled(dropped)[1] if dropped > 0 else read[-1])
        return read[1:]

    def _published(self, n: int, layers: int, budget: int) -> list[int] | None:
        taken = n == PAPER_TOKENS and layers == PAPER_LAYERS and budget in ROWS
        return list(ROWS[budget]) if taken else None

    def choose(self, view: LayerView, count: int) -> Choice:
        rows = view.text[raters(view.read_visual, view.read_text)]
        scores = view.attention(rows).mean(dim=0)[view.visual]
        order = highest_first(scores)
        kept, dropped = order[:count].sort().values, order[count:]
        if not len(dropped):
            return Choice(kept, scores)
        candidates, clusters = recycled(len(dropped))
        chosen = dropped[:candidates].sort().values
        hidden = view.hidden[view.visual[chosen]]
        merged, centres, parts = cluster_means(hidden, clusters)
        made_of = torch.zeros(len(merged), len(scores), device=scores.device).index_copy_(1, chosen, parts)
        return Choice(kept, scores, merged, chosen[centres], made_of)


def recycled(dropped: int) -> tuple[int, int]:
    """Of so many dropped tokens: how many are recycled, and into how many clusters."""
    candidates = int(0.3 * dropped) + 1
    return candidates, int(candidates / 10) + 1


def raters(visual: Tensor, text: Tensor) -> Tensor:
    """Indices of the text tokens above the mean of m, the softmax over text of v . t, mean over visual tokens.

    visual: (N, D), text: (T, D), as the language model reads them. All of the text where none is above.
    """
    mean = (visual.float() @ text.float().T).softmax(dim=1).mean(dim=0)
    above = (mean > mean.mean()).nonzero()[:, 0]
    return above if len(above) else torch.arange(len(text), device=text.device)


def cluster_means(x: Tensor, clusters: int) -> tuple[Tensor, Tensor, Tensor]:
    """(C, D) means of the clusters of x (R, D), and (C,) the indices of their centres, ascending. DPC-KNN.

    Also (C, R) float32, what part each token has in each mean.

    Density: exp of minus the mean squared distance to the C nearest others. A centre is dense and far from anything
    denser: the C largest products of density and distance to the nearest denser token (the densest: to the farthest).
    Every other token joins its nearest centre.
    """
    if clusters >= len(x):
        return x, torch.arange(len(x), device=x.device), torch.eye(len(x), device=x.device)
    distance = torch.cdist(x.float(), x.float(), compute_mode="donot_use_mm_for_euclid_dist") / x.shape[1] ** 0.5
    others = distance + torch.diag(distance.new_full((len(x),), torch.inf))
    density = (-others.topk(clusters, largest=False).values.square().mean(dim=1)).exp()
    order = highest_first(density)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(x), device=x.device)
    denser = place[None, :] < place[:, None]
    nearest = distance.masked_fill(~denser, torch.inf).amin(dim=1)
    apart = torch.where(place == 0, distance.amax(dim=1), nearest)
    centres = highest_first(density * apart)[:clusters].sort().values
    member = distance[:, centres].argmin(dim=1)
    member[centres] = torch.arange(clusters, device=x.device)
    share = torch.nn.functional.one_hot(member, clusters).T.float()
    size = share.sum(dim=1, keepdim=True)
    return (share @ x.float() / size).to(x.dtype), centres, share / size


def _between(knots: Sequence[tuple[float, float]], x: float) -> float:
    """Linear interpolation; knots: ascending (x, y)."""
    for (x0, y0), (x1, y1) in pairwise(knots):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return knots[-1][1]
