from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fsr.focus import min_max
from fsr.pruners.base import GreedyPruner, Picks, choice, highest_first
from fsr.similarity import STEPS, Similarities
from fsr.tokens import VisualTokens

PANEL = 64  # tokens whose residual rows are computed together
NOISE = STEPS / 2**13  # a residual (squared length in steps) below this is rounding: the token adds nothing new


@dataclass(frozen=True)
class CDPruner(GreedyPruner):
    """Conditional diversity: greedy MAP of the determinantal point process L = diag(r) S diag(r).

    r: relevance in [0, 1], S: cosines of the projected features. Each pick makes det L of the kept tokens as large as
    one token can. Where the rank of S is used up, the most relevant tokens left fill the budget (`n_filled` of them).
    A model without a text tower has no relevance: there r = 1, a plain DPP, which knows nothing of the question
    (`relevance_used` is 0); the paper's results with such models come from code that was not released.
    """

    name: ClassVar[str] = "cdpruner"
    label: ClassVar[str] = "CDPruner"
    paper: ClassVar[str] = "https://arxiv.org/abs/2506.10967"
    requires: ClassVar[frozenset[str]] = frozenset({"relevance"})
    optional: ClassVar[frozenset[str]] = frozenset({"relevance"})

    relevance_sign: int | None = choice(None, (None, -1, 1), "sign of the relevance; by default the model's own")

    def picks(self, tokens: VisualTokens, count: int) -> Picks:
        scores: dict[str, Tensor] = {}
        r = torch.ones(len(tokens), device=tokens.embeddings.device)
        if tokens.relevance is not None:
            sign = tokens.relevance_sign if self.relevance_sign is None else self.relevance_sign
            signed = sign * tokens.relevance.to(r)
            r, scores["relevance"] = quality(signed), min_max(signed)
        similarities = tokens.similarities("projected")
        order = most_diverse(similarities, r, count)
        facts: dict[str, float] = {"relevance_used": int(bool(scores)), "n_filled": count - len(order)}
        facts["rows_computed"] = similarities.computed  # of the N rows of the Gram matrix
        left = r.index_fill(0, torch.tensor(order, device=r.device), -1.0)
        return order + highest_first(left)[: count - len(order)].tolist(), scores, facts


def quality(relevance: Tensor) -> Tensor:
    """(N,) -> (N,) float32: r = (q - min q + 1e-6) / (max q - min q), as released; a constant q becomes all ones."""
    low, high = relevance.min(), relevance.max()
    return torch.ones_like(relevance) if low == high else (relevance - low + 1e-6) / (high - low)


def most_diverse(similarities: Similarities, r: Tensor, count: int) -> list[int]:
    """Up to `count` tokens, in the order of greedy MAP inference for L = diag(r) S diag(r); fewer where S has no more.

    r: (N,) float32, positive. Incremental Cholesky (Chen, Zhang, Zhou, NeurIPS 2018): the gain of token i is
    r_i^2 u_i, u_i the squared length of its feature outside the span of those picked. r does not enter the factor C of
    S. Rows of S - C^T C are computed for the `PANEL` tokens with the highest gain, most of which are picked next; so
    all but the last few rows of C enter by matrix products. What is computed never depends on `count`.
    """
    n, device = len(similarities), r.device
    weight = r.square()  # 0 once a token is picked or adds nothing
    factor = torch.empty(count, n, device=device)  # C, in square roots of steps
    u = torch.full((n,), float(STEPS), device=device)
    gain = weight * u
    cells = gain.numpy() if device.type == "cpu" else gain  # the same memory, with cheaper access
    first = similarities.first
    repeated = bool((first != torch.arange(n, device=device)).any())
    order: list[int] = []
    panel: dict[int, Tensor] = {}
    since = 0  # the rows of C that the panel has already
    while len(order) < count:
        j, t = int(cells.argmax()), len(order)
        if not float(cells[j]) > 0:
            break
        length = float(u[j])
        if length > NOISE:
            if j not in panel:
                panel, since = _residuals(similarities, factor[:t], gain), t
            row = torch.addmv(panel[j], factor[since:t].T, factor[since:t, j], alpha=-1, out=factor[t])
            row /= math.sqrt(length)
            u.addcmul_(row, row, value=-1)
            u = u[first] if repeated else u  # equal tokens tie, whatever rounding did
            order.append(j)
        weight[j] = 0
        torch.mul(weight, u, out=gain)
    return order


def _residuals(similarities: Similarities, factor: Tensor, gain: Tensor) -> dict[int, Tensor]:
    """The rows (N,) of S - C^T C of the tokens with the highest gain, by token. factor: (t, N), C so far."""
    wanted = highest_first(gain)[:PANEL]
    wanted = wanted[gain[wanted] > 0]
    rows = similarities.rows(wanted.tolist())
    if len(factor):
        rows.addmm_(factor[:, wanted].T, factor, alpha=-1)
    return dict(zip(wanted.tolist(), rows.unbind(0), strict=True))
