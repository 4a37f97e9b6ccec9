"""Plans: the role of every token at every budget, in a form that a page can paint without asking again."""

from __future__ import annotations

import base64
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.host import fetch
from fsr.refine import merge_count
from fsr.similarity import STEPS, Similarities
from fsr.tokens import Role, check_budget

EVERY_BUDGET_UP_TO = 1024  # tokens; a table for more of them holds about TABLE_BUDGETS budgets
SLOW_UP_TO = 256  # the same for methods whose table of every budget would take longer than a page may wait
TABLE_BUDGETS = 48
USUAL = (1 / 36, 1 / 18, 1 / 9, 2 / 9, 1 / 3)  # of N: 16, 32, 64, 128, 192 of 576; in every table
BITS = {"bit": 1, "nibble": 4}  # packing -> bits that one role takes


class Plan(ABC):
    """The roles of N tokens at any budget."""

    @abstractmethod
    def roles(self, budget: int) -> Tensor:
        """(N,) uint8 of `Role`, none of them MERGED: Refine is not part of it. Raises InvalidInput outside 1..N."""

    def refined(self, budget: int) -> tuple[Tensor, Tensor | None]:
        """The same with the tokens that are MERGED, and (N,) int64, the anchor of each of them, where that is known."""
        return self.roles(budget), None

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `kind` says how to read the rest."""


@dataclass(frozen=True, eq=False)
class RankPlan(Plan):
    """A token is kept iff its rank (N,) int64 is below the budget."""

    rank: Tensor

    def roles(self, budget: int) -> Tensor:
        check_budget(budget, len(self.rank))
        return (self.rank < budget).to(torch.uint8) * int(Role.KEPT)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "rank", "rank": self.rank.tolist()}


@dataclass(frozen=True, eq=False)
class NestedPlan(Plan):
    """Focus and Scan where neither order depends on the budget K.

    focus_rank: (N,) int64, place by priority: focus iff focus_rank < min(k_focus, K). scan_rank: (N,) int64, place in
    the scan order, -1 for focus tokens: scan iff 0 <= scan_rank < K - k_focus. phi: (N,) float32, the merge weights.
    """

    focus_rank: Tensor
    k_focus: int
    scan_rank: Tensor
    kappa: float
    phi: Tensor
    similarities: Similarities

    def roles(self, budget: int) -> Tensor:
        check_budget(budget, len(self.focus_rank))
        roles = (self.focus_rank < min(self.k_focus, budget)).to(torch.uint8) * int(Role.FOCUS)
        roles[(self.scan_rank >= 0) & (self.scan_rank < budget - self.k_focus)] = int(Role.SCAN)
        return roles

    def refined(self, budget: int) -> tuple[Tensor, Tensor]:
        roles, n_scan = self.roles(budget), max(0, budget - self.k_focus)
        begin, rank, anchor, steps = self._records
        known = torch.cat([begin[:1], (rank < n_scan).cumsum(0)])  # records that hold, of all tokens before
        count = known[begin[1:]] - known[begin[:-1]]
        dropped = (roles == int(Role.DROPPED)) & (count > 0)
        last = (begin[:-1] + count - 1)[dropped]
        order = steps[last].sort(descending=True, stable=True).indices
        chosen = order[: merge_count(self.kappa, n_scan, len(last))]
        merged = dropped.nonzero()[:, 0][chosen]
        roles[merged] = int(Role.MERGED)
        return roles, torch.full((len(roles),), -1).index_put_((merged,), anchor[last[chosen]])

    @cached_property
    def _records(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`history` as tensors: offsets, rank, anchor, and the similarity in steps."""
        n, scan_rank = len(self.scan_rank), self.scan_rank.cpu()
        scan = torch.full((int((scan_rank >= 0).sum()),), -1)
        scanned = (scan_rank >= 0).nonzero()[:, 0]
        scan[scan_rank[scanned]] = scanned
        token, rank, steps = _records(self.similarities, scan, scan_rank)
        offsets = torch.zeros(n + 1, dtype=torch.int64)
        offsets[1:] = torch.bincount(token, minlength=n).cumsum(0)
        return offsets, rank, scan[rank], steps

    @property
    def history(self) -> dict[str, list[Any]]:
        """For every token the successive records of its nearest scan token as the scan set grows.

        The records of token i are entries offsets[i] .. offsets[i+1] - 1, ranks ascending. An entry (rank, anchor,
        similarity) holds from the moment the scan token of that rank is kept; so the nearest scan token at budget K is
        that of the last record with rank < K - k_focus. Ties go to the lower index, as in Refine. Kept tokens have no
        anchor, so a token's records end where it is kept itself. Similarities are cosines with seven decimals, which
        tells apart any two that Refine tells apart.
        """
        offsets, rank, anchor, steps = self._records
        return {
            "offsets": offsets.tolist(),
            "rank": rank.tolist(),
            "anchor": anchor.tolist(),
            "similarity": [round(q / STEPS, 7) for q in steps.tolist()],
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "nested",
            "focus_rank": self.focus_rank.tolist(),
            "k_focus": self.k_focus,
            "scan_rank": self.scan_rank.tolist(),
            "kappa": self.kappa,
            "history": self.history,
            "phi": [float(f"{p:.7g}") for p in self.phi.tolist()],
        }


def _records(similarities: Similarities, scan: Tensor, scan_rank: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Entries (token, rank, similarity in steps) of `NestedPlan.history`, by token and then by rank."""
    n = len(scan_rank)
    nearest, anchor = torch.full((n,), -float(STEPS) - 1), torch.full((n,), n)
    found = []
    rows = (row for block in similarities.blocks(scan.tolist()) for row in block.cpu())
    for rank, (j, row) in enumerate(zip(scan.tolist(), rows, strict=True)):
        closer = (row > nearest) | ((row == nearest) & (anchor > j))
        token = (closer & (scan_rank > rank)).nonzero()[:, 0]
        nearest, anchor = torch.where(closer, row, nearest), torch.where(closer, j, anchor)
        found.append((token, torch.full_like(token, rank), row[token]))
    if not found:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    token, rank_, steps = (torch.cat(parts) for parts in zip(*found, strict=True))
    order = token.sort(stable=True).indices
    return token[order], rank_[order], steps[order]


@dataclass(frozen=True, eq=False)
class TablePlan(Plan):
    """Roles at each of some budgets, for methods whose choices do not nest.

    budgets: ascending. at: budget -> (N,) uint8 of `Role`, which may hold MERGED; called for `budgets` by `to_json`.
    anchors: budget -> (N,) int64, of MERGED tokens the token that absorbed them, or None where nobody knows; then phi:
    (N,) float32, the merge weights; own: the share that an anchor has beside its part of the mean.
    """

    n: int
    budgets: tuple[int, ...]
    at: Callable[[int], Tensor]
    anchors: Callable[[int], Tensor] | None = None
    phi: Tensor | None = None
    own: float = 0.0

    def refined(self, budget: int) -> tuple[Tensor, Tensor | None]:
        check_budget(budget, self.n)
        return self.at(budget), None if self.anchors is None else self.anchors(budget)

    def roles(self, budget: int) -> Tensor:
        check_budget(budget, self.n)
        roles = self.at(budget)
        return torch.where(roles == int(Role.MERGED), int(Role.DROPPED), roles)

    def to_json(self) -> dict[str, Any]:
        """`packing` is bit where every role is DROPPED or KEPT, else nibble. anchors: of the MERGED tokens, in their
        order, two bytes each, the low one first."""
        made = [torch.stack([at(k) for k in self.budgets]) for at in (self.at, self.anchors) if at is not None]
        roles, *anchor = fetch(*made)  # a device is asked once for all of it
        plain = bool(((roles == int(Role.DROPPED)) | (roles == int(Role.KEPT))).all())
        packing = "bit" if plain else "nibble"
        packed = [base64.b64encode(pack(one, packing)).decode() for one in roles]
        record = {"kind": "table", "packing": packing, "n": self.n, "budgets": list(self.budgets), "roles": packed}
        if not anchor or self.phi is None:
            return record
        anchors = []
        for one, to in zip(roles, anchor[0], strict=True):
            absorbing = to[one == int(Role.MERGED)].tolist()
            anchors.append(base64.b64encode(struct.pack(f"<{len(absorbing)}H", *absorbing)).decode())
        record |= {"anchors": anchors, "phi": [float(f"{p:.7g}") for p in self.phi.tolist()]}
        return record | ({"own": self.own} if self.own else {})


def table_budgets(n: int, every_up_to: int = EVERY_BUDGET_UP_TO) -> tuple[int, ...]:
    """The budgets that a table holds: every one up to `every_up_to` tokens; beyond that about 48, finer where they are
    small, and those of the paper's tables."""
    if n <= every_up_to:
        return tuple(range(1, n + 1))
    ratio = n ** (1 / (TABLE_BUDGETS - 1))
    return tuple(sorted({min(n, round(ratio**i)) for i in range(TABLE_BUDGETS)} | {*usual_budgets(n), n}))


def usual_budgets(n: int, parts: Sequence[float] = USUAL) -> list[int]:
    """The budgets of the paper's tables for n tokens, ascending."""
    return sorted({max(1, round(n * part)) for part in parts})


def packed_size(n: int, packing: str) -> int:
    """Bytes that n packed roles take."""
    return -(-n * BITS[packing] // 8)


def pack(roles: Tensor, packing: str = "nibble") -> bytes:
    """(N,) uint8 of `Role` -> bytes, low bits first. bit: 1 is KEPT, 0 is DROPPED; nibble: the role itself."""
    bits = BITS[packing]
    values = roles.cpu() if packing == "nibble" else (roles.cpu() == int(Role.KEPT)).to(torch.uint8)
    padded = torch.zeros(packed_size(len(roles), packing), 8 // bits, dtype=torch.uint8)
    padded.view(-1)[: len(roles)] = values
    return bytes((padded << bits * torch.arange(8 // bits, dtype=torch.uint8)).sum(dim=1).tolist())


def unpack(packed: bytes, n: int, packing: str = "nibble") -> Tensor:
    """The inverse of `pack`."""
    if len(packed) != packed_size(n, packing):
        raise InvalidInput(f"{n} packed roles take {packed_size(n, packing)} bytes, not {len(packed)}.")
    bits = BITS[packing]
    values: Tensor = torch.tensor(list(packed), dtype=torch.uint8)[:, None] >> bits * torch.arange(
        8 // bits, dtype=torch.uint8
    )
    values = (values & (2**bits - 1)).flatten()[:n]
    return values * int(Role.KEPT) if packing == "bit" else values
