from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fsr.focus import min_max
from fsr.host import fetch, hand
from fsr.pruners.base import GreedyPruner, Picks, highest_first, number, numbers
from fsr.pruners.plan import Plan
from fsr.similarity import STEPS, Similarities
from fsr.tokens import VisualTokens

STEP = 0.01  # of the threshold from one place of the order to the next, in a picture of average complexity
ROWS = 512  # of the cosines looked at together


@dataclass(frozen=True, eq=False)
class _Thinned:
    """order: (N,) int64, most salient first. by: (N,) int64, for tokens that were removed the one they were too similar
    to, else -1. erank: of the picture. All on the CPU."""

    order: Tensor
    by: Tensor
    erank: float

    @property
    def kept(self) -> Tensor:
        """(N,) int64: the order in which tokens are kept, those that were not removed first."""
        removed = self.by[self.order] >= 0
        return torch.cat([self.order[~removed], self.order[removed]])


@dataclass(frozen=True)
class AgilePruner(GreedyPruner):
    """Salient tokens, thinned out the more the richer the picture is: Baek et al., AgilePruner, ICLR 2026, Eq. 6.

    Tokens are taken by saliency, the highest first. One that is taken removes every later one whose cosine distance to
    it (of the projected features) is below tau_i = min(order_i (erank / erank_avg) 0.01, tau_max): order_i is its place
    by saliency, from 1, erank the effective rank exp(-sum q_k log q_k) of the picture's projected features, with q_k
    the singular values divided by their sum. In a simple picture (small erank) similar salient tokens stay together, in
    a rich one they are spread. Where fewer than K are left, the most salient of those that were removed follow: so one
    order serves every budget.

    erank_avg 90 and tau_max 0.25 are the release's (Apache-2.0; written from the formulas). So is that features are
    centred before their singular values are taken, which the paper's equation does not say and 90 stands for. 90 is the
    average of LLaVA-1.5; the features of another model have another (the embedded model's about 14), and then erank_avg
    decides how far everything is spread.

    Ours: the threshold is compared with cosines in steps of 2^-22; features that are all equal have rank 1; ties go to
    the lower index, where the release leaves them open. Of a clip all frames are one order.

    facts: erank; n_removed, by tokens that were taken, at any budget. scores: saliency.
    """

    name: ClassVar[str] = "agilepruner"
    label: ClassVar[str] = "AgilePruner"
    paper: ClassVar[str] = "https://arxiv.org/abs/2603.01236"
    requires: ClassVar[frozenset[str]] = frozenset({"saliency"})

    erank_avg: float = number(90.0, 0, 1e6, "effective rank of an average picture; released: LLaVA-1.5's", above=True)
    tau_max: float = number(0.25, 0, 2, "largest cosine distance below which a token is removed")

    def picks(self, tokens: VisualTokens, count: int) -> Picks:
        assert tokens.saliency is not None
        found = self._thinned(tokens)
        order = hand(found.kept[:count], tokens.embeddings.device)
        facts = {"erank": found.erank, "n_removed": int((found.by >= 0).sum())}
        return order, {"saliency": min_max(tokens.saliency)}, facts

    def why(self, tokens: VisualTokens, plan: Plan) -> dict[str, Any]:
        """of: the token that a removed one was too similar to, and their cosine."""
        by = self._thinned(tokens).by
        cosines = fetch(tokens.gram("projected").matrix())[0]
        own = torch.arange(len(by))
        cosine = torch.where(by >= 0, cosines[own, by.clamp(min=0)] / STEPS, 0.0)
        return {"every": {"of": by.tolist(), "cosine": numbers(cosine)}}

    def _thinned(self, tokens: VisualTokens) -> _Thinned:
        assert tokens.saliency is not None
        gram = tokens.gram("projected")
        erank = tokens.once("effective rank", lambda: float(effective_rank(tokens.embeddings)))
        place = torch.arange(1, len(tokens) + 1, dtype=torch.float64)
        tau = (place * (erank / self.erank_avg * STEP)).clamp(max=self.tau_max)
        order = highest_first(tokens.saliency)
        order, similar = fetch(order, too_similar(gram, order, STEPS * (1 - tau)))
        return _Thinned(order, removed_by(order, similar), erank)


def effective_rank(features: Tensor) -> Tensor:
    """() float64 on the CPU: exp of the entropy of the singular values of the centred features, (N, D); from 1 to
    min(N, D). Eigenvalues are taken there, since a device would be waited for in the middle."""
    x = features.double()
    x = x - x.mean(dim=0)
    gram = x @ x.T if len(x) <= x.shape[1] else x.T @ x
    singular = torch.linalg.eigvalsh(fetch(gram)[0]).clamp(min=0).sqrt()
    share = singular / singular.sum().clamp(min=torch.finfo(torch.float64).tiny)
    rank: Tensor = torch.special.entr(share).sum().exp()
    return rank


def too_similar(gram: Similarities, order: Tensor, limit: Tensor) -> Tensor:
    """(N, N) bool, rows and columns in `order`: whether a later token's cosine to an earlier one is above its limit.

    order: (N,) int64. limit: (N,) float64 in steps, of each row, on the CPU.
    """
    to, n = gram.unit.device, len(order)
    limit = hand(limit, to)
    column, rows = torch.arange(n, device=to), []
    for at in range(0, n, ROWS):
        some = slice(at, min(at + ROWS, n))
        cosines = gram.rows(order[some])[:, order]
        rows.append((cosines > limit[some, None]) & (column > column[some, None]))
    return torch.cat(rows)


def removed_by(order: Tensor, similar: Tensor) -> Tensor:
    """(N,) int64: the token that removes each, -1 for those that are taken. similar: see `too_similar`, on the CPU."""
    rows, by = similar.numpy(), np.full(len(order), -1)
    for place in range(len(order)):
        if by[place] < 0:
            by[rows[place] & (by < 0)] = place
    found = torch.from_numpy(by)
    return torch.empty_like(found).scatter_(0, order, torch.where(found < 0, -1, order[found.clamp(min=0)]))
