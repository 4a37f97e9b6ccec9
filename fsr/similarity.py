"""Cosine similarities of visual tokens, row by row: only the rows that a method asks for are ever computed.

Every stage compares cosines in steps of 2^-22 (about the rounding of an fp32 dot product), as whole numbers: so
comparisons are exact, a tie is a tie, and a page can repeat a decision from the numbers it was sent. Tokens that are
equal bit for bit have equal rows, whatever the blocking of a matrix product does to the last digit, and similarity 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

STEPS = 2**22  # cosine 1 in steps; every |cosine| is a whole number of steps below 2^24, so exact in float32
SAMPLED_COLUMNS = 64  # tokens that agree in this many columns are compared in all
WIDTH = 16  # matrix products of multiples of 16 columns are the fastest, and round alike
BLOCK = 128  # columns of the Gram matrix computed at a time


class Similarities:
    """Rows of round(2^22 cos(v_i, v_j)), computed on demand in batches and kept.

    unit: (N, D) float32 rows of length one. first: (N,) int64, the lowest index holding the same token.
    settled: (N,) bool, False where a row is still to be computed. computed: how many were.
    """

    def __init__(self, unit: Tensor, first: Tensor | None = None) -> None:
        n = unit.shape[0]
        self.unit = unit
        own = torch.arange(n, device=unit.device)
        self.first = own if first is None else first
        repeated = (self.first != own).nonzero()[:, 0]
        self._repeated = repeated if len(repeated) else None
        self._first: list[int] = self.first.tolist()
        self._rows: list[Tensor | None] = [None] * n
        # A token that is equal to one of lower index shares its row.
        self.settled = self.first != own
        self.computed = 0

    def __len__(self) -> int:
        return self.unit.shape[0]

    def get(self, index: int) -> Tensor | None:
        """(N,) float32, the row of one token in steps, or None where it was not computed yet."""
        return self._rows[self._first[index]]

    def rows(self, indices: Sequence[int]) -> Tensor:
        """(k, N) float32: the rows of these tokens in steps; the missing ones are computed in one product."""
        self.compute(indices)
        if not len(indices):
            return self.unit.new_empty(0, len(self))
        return torch.stack([self._rows[self._first[i]] for i in indices])  # type: ignore[misc]

    def compute(self, indices: Sequence[int]) -> None:
        """Make sure that the rows of these tokens are here. Once that takes a third of all rows, all are."""
        firsts = dict.fromkeys(self._first[i] for i in indices)
        missing = [i for i in firsts if self._rows[i] is None]
        if not missing:
            return
        if 3 * (self.computed + len(missing)) > len(self):
            self._compute_rest()
            return
        index = torch.tensor(missing, device=self.unit.device)
        padded = torch.arange(round_up(len(missing)), device=index.device) % len(missing)
        # all tokens times a few columns: on two cores faster than a few rows times all tokens
        product = self.unit @ self.unit.index_select(0, index[padded]).T
        self._keep(missing, index, _in_steps(product).T[: len(missing)].contiguous())

    def complete(self) -> Similarities:
        """Itself, with every row computed."""
        if not bool(self.settled.all()):
            self._compute_rest()
        return self

    def _compute_rest(self) -> None:
        """Compute every row that is missing, at half the work or less: cos(v_i, v_j) = cos(v_j, v_i)."""
        rest = (~self.settled).nonzero()[:, 0]
        unit = self.unit.index_select(0, rest) if len(rest) < len(self) else self.unit
        rows = _in_steps(_symmetric_product(unit))
        if len(rest) < len(self):
            known = [i for i, row in enumerate(self._rows) if row is not None]
            rows = torch.cat([rows, self.rows(known).index_select(1, rest).T], dim=1)
            at = torch.empty_like(self.first)
            at[torch.cat([rest, at.new_tensor(known)])] = torch.arange(rows.shape[1], device=at.device)
            rows = rows.index_select(1, at[self.first])
        self._keep(rest.tolist(), rest, rows)

    def _keep(self, indices: Sequence[int], index: Tensor, rows: Tensor) -> None:
        """Store rows in steps, after giving equal tokens equal columns and similarity 1 to each other."""
        if self._repeated is not None:
            rows[:, self._repeated] = rows[:, self.first[self._repeated]]
            rows.masked_fill_(self.first[index, None] == self.first[None, :], STEPS)
        for i, row in zip(indices, rows.unbind(0), strict=True):
            self._rows[i] = row
        self.settled[index] = True
        self.computed += len(indices)


def round_up(width: int) -> int:
    """The next multiple of `WIDTH`."""
    return -(-width // WIDTH) * WIDTH


def _in_steps(cosines: Tensor) -> Tensor:
    return cosines.mul_(STEPS).round_().clamp_(-STEPS, STEPS)


def _symmetric_product(x: Tensor) -> Tensor:
    """(m, D) -> x x^T, (m, m), of which only the blocks on and below the diagonal are multiplied."""
    m = len(x)
    out = x.new_empty(m, m)
    block = min(BLOCK, round_up(-(-m // 8)))
    for a in range(0, m, block):
        product = x[a:] @ x[a : a + block].T
        out[a:, a : a + block] = product
        out[a : a + block, a:] = product.T
    return out


def first_equal(x: Tensor) -> Tensor:
    """(N, D) -> (N,) int64: for every row the lowest index of a row that is equal to it bit for bit."""
    n, d = x.shape
    first = torch.arange(n, device=x.device)
    bits = x.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()])
    sampled = bits[:, :: max(1, d // SAMPLED_COLUMNS)]
    _, group, count = sampled.unique(dim=0, return_inverse=True, return_counts=True)
    suspects = first[count[group] > 1]
    if len(suspects):
        distinct, group = bits[suspects].unique(dim=0, return_inverse=True)
        lowest = torch.full((len(distinct),), n, device=x.device).scatter_reduce_(0, group, suspects, "amin")
        first[suspects] = lowest[group]
    return first
