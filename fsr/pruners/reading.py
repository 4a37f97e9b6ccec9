"""Plans read back from their JSON: what became of every token at a budget, without the tokens themselves."""

from __future__ import annotations

import base64
import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fsr.errors import InvalidInput
from fsr.pruners.plan import unpack
from fsr.tokens import Role, check_budget


@dataclass(frozen=True)
class Reading:
    """roles: N values of `Role`. budget: the one that is shown, where a plan holds only some. absorbed: anchor -> how
    many tokens were merged into it, for plans that know. anchor: merged token -> its anchor, for the same plans.
    never_encoded: whether what was dropped never entered the vision tower."""

    roles: list[int]
    budget: int
    absorbed: dict[int, int] = field(default_factory=dict)
    anchor: dict[int, int] = field(default_factory=dict)
    never_encoded: bool = False

    @property
    def kept(self) -> set[int]:
        """The tokens that reach the language model (its last layer, where a method prunes inside)."""
        return {i for i, role in enumerate(self.roles) if role >= Role.KEPT}


def read_plan(plan: Mapping[str, Any], n: int, budget: int) -> Reading:
    """A plan's `to_json` at a budget. A table of some budgets shows the nearest not above; layers, the nearest run."""
    check_budget(budget, n)
    if plan["kind"] == "rank":
        return Reading([Role.KEPT if rank < budget else Role.DROPPED for rank in plan["rank"]], budget)
    if plan["kind"] == "table":
        at = max(0, sum(b <= budget for b in plan["budgets"]) - 1)
        packed = base64.b64decode(plan["roles"][at])
        roles = unpack(packed, n, plan["packing"]).tolist()
        anchors = _anchors(plan["anchors"][at], roles) if "anchors" in plan else {}
        return Reading(roles, plan["budgets"][at], dict(Counter(anchors.values())), anchors)
    if plan["kind"] == "layers":
        nearest = min(plan["budgets"], key=lambda b: (abs(b - budget), b))
        depth = plan["depth"][plan["budgets"].index(nearest)]
        return Reading([Role.KEPT if d == plan["layers"] else Role.DROPPED for d in depth], nearest)
    if plan["kind"] == "nested":
        return _nested(plan, budget)
    raise InvalidInput(f"there is no plan of kind {plan['kind']!r}.")


def _anchors(packed: str, roles: list[int]) -> dict[int, int]:
    """Merged token -> anchor, from `TablePlan.to_json`."""
    merged = [i for i, role in enumerate(roles) if role == Role.MERGED]
    absorbing = [anchor for (anchor,) in struct.iter_unpack("<H", base64.b64decode(packed))]
    return dict(zip(merged, absorbing, strict=True))


def _nested(plan: Mapping[str, Any], budget: int) -> Reading:
    n_focus = min(plan["k_focus"], budget)
    n_scan = budget - n_focus
    roles = [Role.FOCUS if rank < n_focus else Role.DROPPED for rank in plan["focus_rank"]]
    for i, rank in enumerate(plan["scan_rank"]):
        if 0 <= rank < n_scan:
            roles[i] = Role.SCAN
    history, found = plan["history"], []
    for i, role in enumerate(roles):
        if role == Role.DROPPED:
            records = range(history["offsets"][i], history["offsets"][i + 1])
            last = max((at for at in records if history["rank"][at] < n_scan), default=None)
            if last is not None:
                found.append((-history["similarity"][last], i, history["anchor"][last]))
    merged = sorted(found)[: math.floor(plan["kappa"] * n_scan + 1e-9)]
    for _, i, _ in merged:
        roles[i] = Role.MERGED
    anchors = {i: anchor for _, i, anchor in merged}
    return Reading([int(r) for r in roles], budget, dict(Counter(anchors.values())), anchors)
