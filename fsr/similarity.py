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
LEAST_ROWS = 8  # below this, matrix products take a path that rounds differently
BLOCK = 128  # rows of the Gram matrix computed at a time


class Similarities:
    """Rows of round(2^22 cos(v_i, v_j)), computed on demand in batches and kept.

    unit: (N, D) float32 rows of length one. first: (N,) int64, the lowest index holding the same token.
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
        # True where a token's row need not be computed: it is here, or is that of an equal token of lower index.
        self.settled = self.first != own

    def __len__(self) -> int:
        return self.unit.shape[0]

    @property
    def computed(self) -> int:
        """How many rows were computed so far."""
        return sum(row is not None for row in self._rows)

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
        """Make sure that the rows of these tokens are here."""
        firsts = dict.fromkeys(self._first[i] for i in indices)
        missing = [i for i in firsts if self._rows[i] is None]
        if not missing:
            return
        index = torch.tensor(missing, device=self.unit.device)
        padded = index.repeat(-(-LEAST_ROWS // len(missing))) if len(missing) < LEAST_ROWS else index
        block = self._in_steps((self.unit[padded] * STEPS) @ self.unit.T)[: len(missing)]
        self._keep(missing, self._equalise(block, index))
        self.settled[index] = True

    def compute_all(self) -> None:
        """Make sure that every row is here. The Gram matrix is symmetric: only its upper blocks are multiplied."""
        n, known = len(self), self.computed
        if known == n or bool(self.settled.all()):
            return
        gram = self.unit.new_empty(n, n)
        block = min(BLOCK, max(LEAST_ROWS, -(-n // 8)))
        for a in range(0, n, block):
            rows = self._in_steps((self.unit[a : a + block] * STEPS) @ self.unit[a:].T)
            gram[a : a + block, a:] = rows
            gram[a + block :, a : a + block] = rows[:, block:].T
        kept = [(i, row) for i, row in enumerate(self._rows) if row is not None]
        for i, row in kept:  # what was handed out already stays as it was
            gram[i] = row
            gram[:, i] = row
        self._keep(range(n), self._equalise(gram, torch.arange(n, device=gram.device)))
        self.settled[:] = True

    def _keep(self, indices: Sequence[int], block: Tensor) -> None:
        for i, row in zip(indices, block.unbind(0), strict=True):
            self._rows[i] = row

    def _in_steps(self, product: Tensor) -> Tensor:
        return product.round_().clamp_(-STEPS, STEPS)

    def _equalise(self, block: Tensor, index: Tensor) -> Tensor:
        """Give equal tokens equal columns, and similarity 1 to each other."""
        if self._repeated is None:
            return block
        block[:, self._repeated] = block[:, self.first[self._repeated]]
        return block.masked_fill_(self.first[index, None] == self.first[None, :], STEPS)


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
