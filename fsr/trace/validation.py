"""Checks for records that come from a file: every failure is one sentence that names the place."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Set
from itertools import pairwise
from typing import Any

from fsr.errors import InvalidInput
from fsr.pruners.plan import BITS, packed_size, unpack
from fsr.tokens import Role

MAX_TOKENS = 65_536
MAX_HISTORY = 4_000_000
MAX_LAYERS = 1024
MAX_LAYER_BUDGETS = 256


class TraceError(InvalidInput):
    """A record that is not a valid trace."""


class Checker:
    """Methods raise TraceError unless the value is what they are named after. `at`: the place, for the sentence."""

    def __init__(self, root: str) -> None:
        self.root = root

    def fail(self, at: str, must: str) -> TraceError:
        return TraceError(f"{self.root}{'.' + at[:120] if at else ''} {must}.")

    def table(self, value: Any, at: str, most: int) -> None:
        if not isinstance(value, dict) or len(value) > most:
            raise self.fail(at, f"must be an object with at most {most} entries")
        self.texts(list(value), at)

    def keys(self, value: Any, required: Set[str], optional: Set[str], at: str = "") -> None:
        if not isinstance(value, dict):
            raise self.fail(at, "must be an object")
        missing, unknown = required - value.keys(), value.keys() - required - optional
        if missing:
            raise self.fail(at, f"has no {', '.join(sorted(missing))}")
        if unknown:
            raise self.fail(at, f"has the unknown key {min(map(str, unknown))[:60]!r}")

    def text(self, value: Any, most: int, at: str) -> None:
        if not isinstance(value, str) or len(value) > most:
            raise self.fail(at, f"must be text of at most {most} characters")

    def texts(self, values: Any, at: str) -> None:
        for value in self.items(values, at, 0, 1000):
            self.text(value, 1000, at)

    def items(self, value: Any, at: str, least: int, most: int) -> list[Any]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            size = f"{least}" if least == most else f"{least} to {most}"
            raise self.fail(at, f"must be a list of {size} entries")
        return value

    def number(self, value: Any, at: str, low: float = -math.inf, high: float = math.inf) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or abs(value) > 1e300 or not math.isfinite(value) or not low <= value <= high:
            limits = "" if low == -math.inf else f" of at least {low:g}"
            raise self.fail(at, f"must be a finite number{limits}")

    def numbers(self, values: Any, n: int, at: str) -> list[float]:
        found: list[float] = self.items(values, at, n, n)
        for value in found:
            self.number(value, at)
        return found

    def whole(self, value: Any, low: int, high: int, at: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fail(at, f"must be a whole number from {low} to {high}")
        return value

    def wholes(self, values: Any, n: int, low: int, high: int, at: str) -> list[int]:
        found: list[int] = self.items(values, at, n, n)
        for value in found:
            self.whole(value, low, high, at)
        return found

    def scalars(self, value: Any, at: str) -> None:
        self.table(value, at, 64)
        for name, one in value.items():
            if isinstance(one, str):
                self.text(one, 200, f"{at}.{name}")
            elif one is not None and not isinstance(one, bool):
                self.number(one, f"{at}.{name}")

    # -- plans, see fsr.pruners.plan

    def plan(self, plan: Any, n: int, at: str) -> None:
        """One of the four kinds of `Plan.to_json` for n tokens."""
        kinds = {"nested": self._nested, "rank": self._rank, "table": self._table, "layers": self._layers}
        kind = plan.get("kind") if isinstance(plan, dict) else None
        if not isinstance(kind, str) or kind not in kinds:
            raise self.fail(at, f"must be of kind {', '.join(kinds)}")
        kinds[kind](plan, n, at)

    def _rank(self, plan: dict[str, Any], n: int, at: str) -> None:
        self.keys(plan, {"kind", "rank"}, set(), at)
        self.wholes(plan["rank"], n, 0, n - 1, f"{at}.rank")

    def _table(self, plan: dict[str, Any], n: int, at: str) -> None:
        self.keys(plan, {"kind", "packing", "budgets", "roles"}, {"n", "anchors", "phi", "own"}, at)
        budgets = self.items(plan["budgets"], f"{at}.budgets", 1, n)
        self.wholes(budgets, len(budgets), 1, n, f"{at}.budgets")
        packing = plan["packing"]
        known = isinstance(packing, str) and packing in BITS
        if not known or plan.get("n", n) != n or sorted(set(budgets)) != budgets:
            raise self.fail(at, f"must hold bits or nibbles of {n} tokens for ascending budgets")
        for packed in self.items(plan["roles"], f"{at}.roles", len(budgets), len(budgets)):
            self._packed(packed, n, packing, f"{at}.roles")
        if "anchors" in plan or "phi" in plan or "own" in plan:
            self.number(plan.get("own", 0), f"{at}.own", 0, 1)
            self.numbers(plan.get("phi"), n, f"{at}.phi")
            for packed, roles in zip(
                self.items(plan.get("anchors"), f"{at}.anchors", len(budgets), len(budgets)), plan["roles"], strict=True
            ):
                self._anchors(packed, unpack(base64.b64decode(roles), n, packing).tolist(), f"{at}.anchors")

    def _anchors(self, packed: Any, roles: list[int], at: str) -> None:
        """Of every MERGED token the kept token that absorbed it, two bytes each."""
        merged = roles.count(int(Role.MERGED))
        self.text(packed, 4 * merged + 8, at)
        try:
            anchors = [a for (a,) in struct.iter_unpack("<H", base64.b64decode(packed, validate=True))]
        except (binascii.Error, ValueError, struct.error) as error:
            raise self.fail(at, "must be base64 of two bytes a token") from error
        if len(anchors) != merged or any(a >= len(roles) or roles[a] < int(Role.KEPT) for a in anchors):
            raise self.fail(at, "must name a kept token for every merged one")

    def _packed(self, packed: Any, n: int, packing: str, at: str) -> None:
        self.text(packed, n + 8, at)
        try:
            data = base64.b64decode(packed, validate=True)
        except (binascii.Error, ValueError) as error:
            raise self.fail(at, "must be base64") from error
        high = max(Role)
        above = packing == "nibble" and any(b & 15 > high or b >> 4 > high for b in data)
        if above or len(data) != packed_size(n, packing):
            raise self.fail(at, f"must pack {n} roles from 0 to {int(high)}")

    def _layers(self, plan: dict[str, Any], n: int, at: str) -> None:
        self.keys(plan, {"kind", "layers", "budgets", "depth"}, set(), at)
        layers = self.whole(plan["layers"], 1, MAX_LAYERS, f"{at}.layers")
        budgets = self.items(plan["budgets"], f"{at}.budgets", 1, min(n, MAX_LAYER_BUDGETS))
        self.wholes(budgets, len(budgets), 1, n, f"{at}.budgets")
        if sorted(set(budgets)) != budgets:
            raise self.fail(f"{at}.budgets", "must be ascending")
        for depth in self.items(plan["depth"], f"{at}.depth", len(budgets), len(budgets)):
            self.wholes(depth, n, 0, layers, f"{at}.depth")

    def _nested(self, plan: dict[str, Any], n: int, at: str) -> None:
        self.keys(plan, {"kind", "focus_rank", "k_focus", "scan_rank", "kappa", "history", "phi"}, set(), at)
        focus = self.wholes(plan["focus_rank"], n, 0, n - 1, f"{at}.focus_rank")
        if len(set(focus)) != n:
            raise self.fail(f"{at}.focus_rank", "must hold every rank once")
        self.whole(plan["k_focus"], 1, n, f"{at}.k_focus")
        scan = self.wholes(plan["scan_rank"], n, -1, n - 1, f"{at}.scan_rank")
        scanned = sorted(s for s in scan if s >= 0)
        if scanned != list(range(len(scanned))):
            raise self.fail(f"{at}.scan_rank", "must hold every rank once")
        self.number(plan["kappa"], f"{at}.kappa", low=0)
        self.numbers(plan["phi"], n, f"{at}.phi")
        self._history(plan["history"], n, f"{at}.history")

    def _history(self, history: Any, n: int, at: str) -> None:
        self.keys(history, {"offsets", "rank", "anchor", "similarity"}, set(), at)
        size = len(self.items(history["rank"], f"{at}.rank", 0, MAX_HISTORY))
        offsets = self.wholes(history["offsets"], n + 1, 0, size, f"{at}.offsets")
        if offsets[0] != 0 or offsets[-1] != size or any(a > b for a, b in pairwise(offsets)):
            raise self.fail(f"{at}.offsets", f"must rise from 0 to {size}")
        self.wholes(history["rank"], size, 0, n - 1, f"{at}.rank")
        self.wholes(history["anchor"], size, 0, n - 1, f"{at}.anchor")
        for value in self.numbers(history["similarity"], size, f"{at}.similarity"):
            self.number(value, f"{at}.similarity", -1.001, 1.001)
