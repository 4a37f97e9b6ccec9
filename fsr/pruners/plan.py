"""Plans: the role of every token at every budget, in a form that a page can paint without asking again."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fsr.similarity import STEPS, Similarities
from fsr.tokens import InvalidInput, Role, check_budget

EVERY_BUDGET_UP_TO = 1024  # tokens; a table for more of them holds about TABLE_BUDGETS budgets
TABLE_BUDGETS = 48


class Plan(ABC):
    """The roles of N tokens at any budget. Refine is not part of `roles`: no token is MERGED there."""

    @abstractmethod
    def roles(self, budget: int) -> Tensor:
        """(N,) uint8 of `Role`. Raises InvalidInput outside 1..N."""

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

    @cached_property
    def history(self) -> dict[str, list[Any]]:
        """For every token the successive records of its nearest scan token as the scan set grows.

        The records of token i are entries offsets[i] .. offsets[i+1] - 1, ranks ascending. An entry (rank, anchor,
        similarity) holds from the moment the scan token of that rank is kept; so the nearest scan token at budget K is
        that of the last record with rank < K - k_focus. Ties go to the lower index, as in Refine. Kept tokens have no
        anchor, so a token's records end where it is kept itself. Similarities are cosines with seven decimals, which
        tells apart any two that Refine tells apart.
        """
        n = len(self.scan_rank)
        scan = torch.full((int((self.scan_rank >= 0).sum()),), -1)
        scanned = (self.scan_rank >= 0).nonzero()[:, 0].cpu()
        scan[self.scan_rank.cpu()[scanned]] = scanned
        token, rank, steps = _records(self.similarities, scan, self.scan_rank.cpu())
        offsets = torch.zeros(n + 1, dtype=torch.int64)
        offsets[1:] = torch.bincount(token, minlength=n).cumsum(0)
        return {
            "offsets": offsets.tolist(),
            "rank": rank.tolist(),
            "anchor": scan[rank].tolist(),
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
    for rank, j in enumerate(scan.tolist()):
        row = similarities.rows([j])[0].cpu()
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
    """

    n: int
    budgets: tuple[int, ...]
    at: Callable[[int], Tensor]

    def roles(self, budget: int) -> Tensor:
        check_budget(budget, self.n)
        roles = self.at(budget)
        return torch.where(roles == int(Role.MERGED), int(Role.DROPPED), roles)

    def to_json(self) -> dict[str, Any]:
        packed = [base64.b64encode(pack(self.at(k))).decode() for k in self.budgets]
        return {"kind": "table", "packing": "nibble", "n": self.n, "budgets": list(self.budgets), "roles": packed}


def table_budgets(n: int) -> tuple[int, ...]:
    """The budgets that a table holds: every one up to 1024 tokens, beyond that about 48, finer where they are small."""
    if n <= EVERY_BUDGET_UP_TO:
        return tuple(range(1, n + 1))
    ratio = n ** (1 / (TABLE_BUDGETS - 1))
    return tuple(sorted({min(n, round(ratio**i)) for i in range(TABLE_BUDGETS)} | {n}))


def pack(roles: Tensor) -> bytes:
    """(N,) uint8 below 16 -> two tokens a byte, token 2i in the low nibble."""
    padded = torch.zeros(len(roles) + len(roles) % 2, dtype=torch.uint8)
    padded[: len(roles)] = roles.cpu()
    return bytes((padded[0::2] | (padded[1::2] << 4)).tolist())


def unpack(packed: bytes, n: int) -> Tensor:
    """The inverse of `pack`."""
    if len(packed) != (n + 1) // 2:
        raise InvalidInput(f"{n} packed roles take {(n + 1) // 2} bytes, not {len(packed)}.")
    pairs = torch.tensor(list(packed), dtype=torch.uint8)
    return torch.stack([pairs & 15, pairs >> 4], dim=1).flatten()[:n]
