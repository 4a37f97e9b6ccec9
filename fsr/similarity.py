"""Cosine similarities of visual tokens, row by row.

Every stage compares cosines in steps of 2^-22 (about the rounding of an fp32 dot product), as whole numbers: so
comparisons are exact, a tie is a tie, and a page can repeat a decision from the numbers it was sent. Tokens that are
equal bit for bit have equal rows, whatever the blocking of a matrix product does to the last digit, and similarity 1.

Only the rows that a method asks for are computed on the CPU. A GPU is faster with one product than with a question
after every pick, so there all are (`AllSimilarities`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from fsr.host import hand

STEPS = 2**22  # cosine 1 in steps; every |cosine| is a whole number of steps below 2^24, so exact in float32
TAKEN = float(2**23)  # above every similarity: a token that is kept is never the farthest
SAMPLED_COLUMNS = 64  # tokens that agree in this many columns are compared in all
WIDTH = 16  # matrix products of multiples of 16 columns are the fastest, and round alike
BLOCK = 128  # columns of the Gram matrix computed at a time
ROWS = 512  # rows looked at together
GATHERED = 2048  # rows of some tokens that are copied together, to be multiplied
ALL_UP_TO = 10_000  # tokens; of more, only as many rows are kept as take the memory of all rows of this many tokens
ALL_AT_ONCE_UP_TO = 16_384  # tokens of which a device holds all rows: 1 GB


class Similarities:
    """Rows of round(2^22 cos(v_i, v_j)), computed on demand in batches and kept.

    unit: (N, D) float32 rows of length one. first: (N,) int64, the lowest index holding the same token.
    settled: (N,) bool, False where a row is still to be computed. computed: how many were.
    Of more than all_up_to tokens no matrix of all rows is ever held: the oldest batches are let go of, and computed
    again when they are asked for again.
    """

    def __init__(self, unit: Tensor, first: Tensor | None = None, all_up_to: int = ALL_UP_TO) -> None:
        n = unit.shape[0]
        self.unit = unit
        own = torch.arange(n, device=unit.device)
        self.first = own if first is None else first
        repeated = (self.first != own).nonzero()[:, 0]
        self._repeated = repeated if len(repeated) else None
        self._first: list[int] = self.first.tolist()
        self._rows: list[Tensor | None] = [None] * n
        self._batches: list[tuple[list[int], Tensor]] = []  # what _rows holds, oldest first
        self.most = n if n <= all_up_to else all_up_to**2 // n  # rows that are kept
        # A token that is equal to one of lower index shares its row.
        self.settled = self.first != own
        self.computed = 0

    def __len__(self) -> int:
        return self.unit.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that are held; the unit rows they were made of are the caller's."""
        return sum(rows.numel() * rows.element_size() for _, rows in self._batches)

    def get(self, index: int) -> Tensor | None:
        """(N,) float32, the row of one token in steps, or None where it was not computed yet."""
        return self._rows[self._first[index]]

    def rows(self, indices: Tensor | Sequence[int]) -> Tensor:
        """(k, N) float32: the rows of these tokens in steps; the missing ones are computed in one product."""
        if not len(indices):
            return self.unit.new_empty(0, len(self))
        indices = indices.tolist() if isinstance(indices, Tensor) else indices
        held = {i: self._rows[i] for i in (self._first[i] for i in indices)}  # even if they are let go of now
        self.compute([i for i, row in held.items() if row is None])
        held = {i: self._rows[i] if row is None else row for i, row in held.items()}
        return torch.stack([held[self._first[i]] for i in indices])  # type: ignore[misc]

    def matrix(self) -> Tensor:
        """(N, N) float32, all rows in steps, without a copy where they were computed at once. Not to be written to."""
        self.complete()
        if len(self._batches) == 1 and self._repeated is None:
            return self._batches[0][1]
        return self.rows(range(len(self)))

    def blocks(self, indices: Tensor | Sequence[int]) -> Iterator[Tensor]:
        """The rows of these tokens in order, a few hundred at a time."""
        indices = indices.tolist() if isinstance(indices, Tensor) else indices
        size = min(ROWS, self.most)
        if self.most == len(self):
            self.compute(indices)
        for at in range(0, len(indices), size):
            yield self.rows(indices[at : at + size])

    def compute(self, indices: Sequence[int]) -> None:
        """Make sure that the rows of these tokens are here. Once that takes a third of all rows, all are."""
        firsts = dict.fromkeys(self._first[i] for i in indices)
        missing = [i for i in firsts if self._rows[i] is None]
        if not missing:
            return
        if self.most == len(self) and 3 * (self.computed + len(missing)) > len(self):
            self._compute_rest()
            return
        index = torch.tensor(missing, device=self.unit.device)
        padded = torch.arange(round_up(len(missing)), device=index.device) % len(missing)
        # all tokens times a few columns: on two cores faster than a few rows times all tokens
        product = self.unit @ self.unit.index_select(0, index[padded]).T
        self._keep(missing, index, _in_steps(product).T[: len(missing)].contiguous())
        while self._held > self.most and len(self._batches) > 1:
            self._let_go()

    def complete(self) -> Similarities:
        """Itself, with every row computed."""
        if not bool(self.settled.all()):
            self._compute_rest()
        return self

    def _compute_rest(self) -> None:
        """Compute every row that is missing, at half the work or less: cos(v_i, v_j) = cos(v_j, v_i)."""
        rest = (~self.settled).nonzero()[:, 0]
        block = min(BLOCK, round_up(-(-len(rest) // 8)))
        if len(rest) == len(self):
            rows = self.unit.new_empty(len(self), len(self))
            _symmetric_product(self.unit, None, list(rows.split(block)))
            self._keep(rest.tolist(), rest, _in_steps(rows))
            return
        known = [(torch.tensor(indices, device=rest.device), rows) for indices, rows in self._batches]
        parts = [self.unit.new_empty(len(some), len(rest)) for some in rest.split(block)]
        _symmetric_product(self.unit, rest, parts)
        for some in rest.split(block):  # block by block, so that never more than one matrix is in memory
            part = _in_steps(parts.pop(0))
            rows = part.new_empty(len(some), len(self))
            rows[:, rest] = part
            for index, theirs in known:
                rows[:, index] = theirs.index_select(1, some).T
            self._keep(some.tolist(), some, rows)

    def _keep(self, indices: Sequence[int], index: Tensor, rows: Tensor) -> None:
        """Store rows in steps, after giving equal tokens equal columns and similarity 1 to each other."""
        if self._repeated is not None:
            rows[:, self._repeated] = rows[:, self.first[self._repeated]]
            rows.masked_fill_(self.first[index, None] == self.first[None, :], STEPS)
        for i, row in zip(indices, rows.unbind(0), strict=True):
            self._rows[i] = row
        self._batches.append((list(indices), rows))
        self.settled[index] = True
        self.computed += len(indices)

    @property
    def _held(self) -> int:
        return sum(len(indices) for indices, _ in self._batches)

    def _let_go(self) -> None:
        """Forget the oldest batch."""
        indices, _ = self._batches.pop(0)
        for i in indices:
            self._rows[i] = None
        self.settled[indices] = False


class AllSimilarities(Similarities):
    """All rows, from one product, and no question of which: nothing here waits for a device."""

    def __init__(self, unit: Tensor, first: Tensor) -> None:
        self.unit, self.first, self.most, self.computed = unit, first, len(unit), len(unit)
        with exact_products():
            rows = _in_steps(unit @ unit.T)
        self._matrix = rows[first[:, None], first].masked_fill_(first[:, None] == first, STEPS)

    @property
    def nbytes(self) -> int:
        return self._matrix.numel() * self._matrix.element_size()

    def rows(self, indices: Tensor | Sequence[int]) -> Tensor:
        index = indices if isinstance(indices, Tensor) else torch.tensor(indices, dtype=torch.int64)
        return self._matrix.index_select(0, hand(index, self.unit.device))

    def matrix(self) -> Tensor:
        return self._matrix

    def blocks(self, indices: Tensor | Sequence[int]) -> Iterator[Tensor]:
        for at in range(0, len(indices), ROWS):
            yield self.rows(indices[at : at + ROWS])

    def complete(self) -> AllSimilarities:
        return self


def similarities_of(x: Tensor, unit: Tensor, first: Tensor | None = None) -> Similarities:
    """The similarities of the rows of x (N, D), in the way of their device.

    unit: the same rows, float32, of length one. first: their `firsts`, where they are known.
    """
    at_once = x.device.type != "cpu" and len(x) <= ALL_AT_ONCE_UP_TO
    return (AllSimilarities if at_once else Similarities)(unit, firsts(x) if first is None else first)


@contextmanager
def exact_products() -> Iterator[None]:
    """Products of float32 in float32 on a GPU, whatever was set: TF32 has 10 bits, and would void the steps.

    PyTorch has two ways to allow TF32, and says so where the other one was used.
    """
    matmul = torch.backends.cuda.matmul
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:
        before, matmul.fp32_precision = matmul.fp32_precision, "ieee"
        try:
            yield
        finally:
            matmul.fp32_precision = before
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def round_up(width: int) -> int:
    """The next multiple of `WIDTH`."""
    return -(-width // WIDTH) * WIDTH


def _in_steps(cosines: Tensor) -> Tensor:
    return cosines.mul_(STEPS).round_().clamp_(-STEPS, STEPS)


def _symmetric_product(x: Tensor, some: Tensor | None, parts: Sequence[Tensor]) -> None:
    """x x^T of (m, D), of which only the blocks on and below the diagonal are multiplied.

    some: (m,) int64, which rows of x; None for all. parts: the blocks of rows of the result, each as many rows but the
    last one, and m columns; they are written to. Never more than 2 GATHERED rows of x are copied at a time.
    """
    m, block = parts[0].shape[1], len(parts[0])
    together = m if some is None else max(1, GATHERED // block) * block
    for top in range(0, m, together):
        right = _rows(x, some, top, top + together)
        for low in range(top, m, together):
            left = right if low == top else _rows(x, some, low, low + together)
            for a in range(0, len(right), block):
                b = a if low == top else 0  # where the product begins in `left`
                product = left[b:] @ right[a : a + block].T
                parts[(top + a) // block][:, low + b : low + len(left)] = product.T
                for part, piece in zip(parts[(low + b) // block :], product.split(block), strict=False):
                    part[:, top + a : top + a + block] = piece


def _rows(x: Tensor, some: Tensor | None, start: int, end: int) -> Tensor:
    return x[start:end] if some is None else x.index_select(0, some[start:end])


def firsts(x: Tensor) -> Tensor:
    """(N, D) -> (N,) int64: for every row the lowest index of a row that is equal to it bit for bit."""
    return first_equal(x) if x.device.type == "cpu" else first_equal_on_device(x)


def first_equal(x: Tensor) -> Tensor:
    """`firsts`, by a few columns and then by all, of those that are equal in these."""
    n, d = x.shape
    first = torch.arange(n, device=x.device)
    bits = _bits(x)
    sampled = bits[:, :: max(1, d // SAMPLED_COLUMNS)]
    _, group, count = sampled.unique(dim=0, return_inverse=True, return_counts=True)
    suspects = first[count[group] > 1]
    if len(suspects):
        distinct, group = bits[suspects].unique(dim=0, return_inverse=True)
        lowest = torch.full((len(distinct),), n, device=x.device).scatter_reduce_(0, group, suspects, "amin")
        first[suspects] = lowest[group]
    return first


def first_equal_on_device(x: Tensor) -> Tensor:
    """`firsts` without waiting for the device: rows of equal hash are neighbours in their order, and compared."""
    own, words = torch.arange(len(x), device=x.device), _bits(x)
    hashed = (words.long() * _odd(words.shape[1], x.device)).sum(dim=1)  # exact, so in whatever order it is added
    ordered, order = hashed.sort(stable=True)
    begins = torch.cat([own[:1] == 0, ordered[1:] != ordered[:-1]])
    lowest = order[torch.where(begins, own, 0).cummax(dim=0).values]
    first = torch.empty_like(own).scatter_(0, order, lowest)
    return torch.where((words == words[first]).all(dim=1), first, own)


def _bits(x: Tensor) -> Tensor:
    """The same bits as whole numbers."""
    return x.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()])


def _odd(count: int, device: torch.device) -> Tensor:
    """(count,) int64, odd numbers without a pattern (the finaliser of splitmix64; Steele, Lea, Flood, OOPSLA 2014)."""
    z = torch.arange(1, count + 1, device=device) * -0x61C8864680B583EB
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        z = (z ^ ((z >> shift) & (2 ** (64 - shift) - 1))) * factor
    return z | 1
