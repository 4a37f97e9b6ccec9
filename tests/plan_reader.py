"""What the page does with a plan, in plain Python: the roles, anchors and weights at a budget, from the JSON alone."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

DROPPED, MERGED, KEPT, SCAN, FOCUS = range(5)


def read(plan: dict[str, Any], budget: int) -> tuple[list[int], list[int], list[float]]:
    """roles, anchor (-1: none) and weight of every token at this budget; a table knows the roles, and the others
    where it says who absorbed whom.

    A table of some budgets shows the nearest that is not above, or else its first; layers show the nearest of the
    budgets that were run, the lower of two, and keep what is alive in the last layer.
    """
    if plan["kind"] == "rank":
        roles = [KEPT if rank < budget else DROPPED for rank in plan["rank"]]
        return roles, [-1] * len(roles), [float(role == KEPT) for role in roles]
    if plan["kind"] == "table":
        below = [b for b in plan["budgets"] if b <= budget]
        at = max(0, len(below) - 1)
        roles = unpacked(plan, at)
        if "anchors" not in plan:
            return roles, [], []
        merged = [i for i, role in enumerate(roles) if role == MERGED]
        anchor = [-1] * len(roles)
        for i, j in zip(merged, struct.unpack(f"<{len(merged)}H", base64.b64decode(plan["anchors"][at])), strict=True):
            anchor[i] = j
        return roles, anchor, weights(roles, anchor, plan["phi"], plan.get("own", 0.0))
    if plan["kind"] == "layers":
        nearest = min(plan["budgets"], key=lambda b: (abs(b - budget), b))
        depth = plan["depth"][plan["budgets"].index(nearest)]
        return [KEPT if d == plan["layers"] else DROPPED for d in depth], [], []
    return nested(plan, budget)


def unpacked(plan: dict[str, Any], at: int) -> list[int]:
    data = base64.b64decode(plan["roles"][at])
    if plan["packing"] == "bit":
        return [KEPT if data[i // 8] & 1 << i % 8 else DROPPED for i in range(plan["n"])]
    assert plan["packing"] == "nibble"
    return [data[i // 2] >> 4 if i % 2 else data[i // 2] & 15 for i in range(plan["n"])]


def nested(plan: dict[str, Any], budget: int) -> tuple[list[int], list[int], list[float]]:
    n, phi = len(plan["phi"]), plan["phi"]
    n_focus = min(plan["k_focus"], budget)
    n_scan = budget - n_focus
    roles = [DROPPED] * n
    for i in range(n):
        if plan["focus_rank"][i] < n_focus:
            roles[i] = FOCUS
        elif 0 <= plan["scan_rank"][i] < n_scan:
            roles[i] = SCAN
    anchor, similarity = nearest(plan["history"], roles, n_scan)
    dropped = [i for i in range(n) if roles[i] == DROPPED]
    by_similarity = sorted(dropped, key=lambda i: (-similarity[i], i))
    merged = by_similarity[: math.floor(plan["kappa"] * n_scan + 1e-9)]
    for i in merged:
        roles[i] = MERGED
    return roles, anchor, weights(roles, anchor, phi)


def nearest(history: dict[str, list[Any]], roles: list[int], n_scan: int) -> tuple[list[int], list[float]]:
    """The nearest scan token of every dropped token and its similarity, from the last record that applies."""
    anchor, similarity = [-1] * len(roles), [math.nan] * len(roles)
    for i, role in enumerate(roles):
        if role != DROPPED:
            continue
        for at in range(history["offsets"][i], history["offsets"][i + 1]):
            if history["rank"][at] < n_scan:
                anchor[i], similarity[i] = history["anchor"][at], history["similarity"][at]
    return anchor, similarity


def weights(roles: list[int], anchor: list[int], phi: list[float], own: float = 0.0) -> list[float]:
    total = {anchor[i]: phi[anchor[i]] for i, role in enumerate(roles) if role == MERGED}
    for i, role in enumerate(roles):
        if role == MERGED:
            total[anchor[i]] += phi[i]
    weight = [1.0 if role >= KEPT else 0.0 for role in roles]
    for j, all_ in total.items():
        weight[j] = own + (1 - own) * phi[j] / all_ if all_ > 0 else 1.0
    for i, role in enumerate(roles):
        if role == MERGED and total[anchor[i]] > 0:
            weight[i] = (1 - own) * phi[i] / total[anchor[i]]
    return weight
