from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from fsr.focus import min_max
from fsr.host import fetch, hand
from fsr.pruners.base import Pruner, choice, highest_first, keep, number, optional_whole, rank_of
from fsr.pruners.plan import Plan, TablePlan, table_budgets
from fsr.similarity import STEPS
from fsr.tokens import Role, Selection, VisualTokens

SCALE = 1000  # of the attention, as released
EPSILON = 1e-6  # in both denominators, as released


@dataclass(frozen=True, eq=False)
class _Chunks:
    """The sequence cut into P chunks, on the CPU.

    score: (N,) float64, of every token, larger is better. chunk, place: (N,) int64, the chunk of a token and its place
    by score within. mean: (P,) float64, of 1000 a. size: (P,) int64.
    """

    score: Tensor
    mean: Tensor
    chunk: Tensor
    place: Tensor
    size: Tensor

    def kept(self, budget: int) -> tuple[Tensor, Tensor]:
        """(K,) int64, the tokens kept, ascending, and (P,) int64, how many of each chunk."""
        counts = divided(self.mean, self.size, budget)
        return (self.place < counts[self.chunk]).nonzero()[:, 0], counts


@dataclass(frozen=True)
class HoloV(Pruner):
    """A budget for every stretch of the picture, in proportion to its attention: Zou et al., HoloV, NeurIPS 2025.

    The sequence of N tokens in raster order is cut into P chunks (the first N mod P have one token more): strips of
    about one row or two, as released, not the crops of the paper. In a chunk of n tokens, with S_ij the cosines of the
    projected features and a zero diagonal, mu_i = sum_j S_ij / (n - 1), var_i = sum_j (S_ij - mu_i)^2 / (n - 1), and a
    token scores 1000 a_i + alpha v_i, v_i = var_i mean(1000 a) / (mean(var) + 1e-6). Chunk p scores c_p, the mean, and
    keeps floor(K c_p / (sum c + 1e-6)) tokens; what remains goes one each to the chunks with the largest c_p.
    P is max(1, floor((1024 / 576) N / K)) by default, at most N; alpha is 0.09.

    The variance has no effect on how many tokens a chunk keeps: the mean of v is that of 1000 a in every chunk, so that
    every c_p is (1 + alpha) times the mean attention and the factor cancels. Here c_p is the mean attention itself. As
    released (`diverse` False) a chunk keeps its tokens of highest attention, so the variance has no effect at all and
    is not computed; with `diverse` a chunk keeps its tokens of highest score, as the paper means it.

    Deviations: a chunk that is full hands its surplus to the others by the same rule (the release pads with zeros);
    tokens are kept in raster order (the release sorts each chunk by attention); a chunk of one token is scored on the
    same scale as the others. Ties break to the lower index.
    """

    name: ClassVar[str] = "holov"
    label: ClassVar[str] = "HoloV"
    paper: ClassVar[str] = "https://arxiv.org/abs/2510.02912"
    requires: ClassVar[frozenset[str]] = frozenset({"saliency"})

    alpha: float = number(0.09, 0, None, "weight of the variance of a token's similarities in its score, with diverse")
    chunks: int | None = optional_whole(1, 1024, "stretches of the sequence; by default (1024 / 576) N / K")
    diverse: bool = choice(False, (False, True), "choose within a chunk by the whole score; False: by attention alone")

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        assert tokens.saliency is not None
        chunks = self._cut(tokens, fetch(tokens.saliency)[0], self._parts(len(tokens), budget))
        kept, counts = chunks.kept(budget)
        to = tokens.embeddings.device
        scores = {
            "saliency": min_max(tokens.saliency),
            "score": hand(chunks.score.float(), to),
            "share": hand((counts / budget)[chunks.chunk].float(), to),  # of the budget, that the token's chunk got
        }
        facts: dict[str, float] = {"n_chunks": len(chunks.size), "n_full": int((counts == chunks.size).sum())}
        return replace(keep(self.name, tokens, kept, scores), facts=facts)

    def _plan(self, tokens: VisualTokens) -> Plan:
        assert tokens.saliency is not None
        n, saliency = len(tokens), fetch(tokens.saliency)[0]
        cut = cache(lambda parts: self._cut(tokens, saliency, parts))

        def at(budget: int) -> Tensor:
            roles = torch.zeros(n, dtype=torch.uint8)
            roles[cut(self._parts(n, budget)).kept(budget)[0]] = int(Role.KEPT)
            return roles

        return TablePlan(n, table_budgets(n), at)

    def _parts(self, n: int, budget: int) -> int:
        wanted = 1024 * n // (576 * budget) if self.chunks is None else self.chunks
        return min(n, max(1, wanted))

    def _cut(self, tokens: VisualTokens, saliency: Tensor, parts: int) -> _Chunks:
        """saliency: that of the tokens, on the CPU."""
        n = len(tokens)
        size = torch.full((parts,), n // parts)
        size[: n % parts] += 1
        chunk = torch.arange(parts).repeat_interleave(size)
        start = size.cumsum(0) - size
        score = SCALE * saliency.float().double()  # whose sums are exact: chunks of equal tokens tie
        mean = _sums(score, chunk, parts) / size
        if self.diverse:
            variance = _variance(tokens, start, size, chunk)
            scale = mean / (_sums(variance, chunk, parts) / size + EPSILON)
            score = score + self.alpha * variance * scale[chunk]
        order = highest_first(score)
        order = order[chunk[order].sort(stable=True).indices]
        return _Chunks(score, mean, chunk, rank_of(order) - start[chunk], size)


def _sums(x: Tensor, chunk: Tensor, parts: int) -> Tensor:
    """(N,) -> (P,): the sum of every chunk."""
    return torch.zeros(parts, dtype=x.dtype).index_add_(0, chunk, x)


def _variance(tokens: VisualTokens, start: Tensor, size: Tensor, chunk: Tensor) -> Tensor:
    """(N,) float64: var_i of `HoloV`, 0 in a chunk of one token. Sums of steps are exact, so equal tokens tie."""
    n, most = len(tokens), int(size[0])
    place = torch.arange(most)
    column = start[chunk, None] + place
    inside = (place < size[chunk, None]) & (column != torch.arange(n)[:, None])
    cosines = tokens.gram("projected").matrix().cpu()
    block = cosines.gather(1, column.clamp_(max=n - 1)).double().masked_fill_(~inside, 0) / STEPS
    total, squares = block.sum(dim=1), block.square().sum(dim=1)
    others = (size[chunk] - 1).clamp(min=1)
    # sum over n terms of (S - mu)^2, the zero of the diagonal among them, with mu = total / (n - 1)
    return ((squares - total.square() * (others - 1) / others.square()) / others).clamp_(min=0)


def divided(weight: Tensor, room: Tensor, budget: int) -> Tensor:
    """(P,) int64: `budget` shared out in proportion to the weights, at most `room` each.

    floor(w_p K) each, then one each to the largest weights; what a full chunk cannot take is shared out among the rest
    in the same way, until nothing is left. weight: (P,) float64; room: (P,) int64, in total at least the budget.
    """
    counts = torch.zeros_like(room)
    while (left := budget - int(counts.sum())) > 0:
        open_ = (counts < room).nonzero()[:, 0]
        w = weight[open_].clamp(min=0)
        part = (w / (w.sum() + EPSILON) * left).floor().long()
        part[highest_first(w)[: left - int(part.sum())]] += 1
        counts[open_] = torch.minimum(counts[open_] + part, room[open_])
    return counts
