"""The three stages written again, from the equations: loops over Python floats, nothing shared with the library.

Where two candidates are nearly equal a reference cannot say which one float32 arithmetic takes: `gap` is the smallest
margin by which any decision was made, and tests leave out the cases where it is tiny.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

CLEAR = 1e-5


@dataclass
class Margin:
    gap: float = math.inf

    def between(self, best: float, second: float) -> None:
        self.gap = min(self.gap, abs(best - second))


def min_max(score: list[float]) -> list[float]:
    low, high = min(score), max(score)
    return [1.0 if high == low else (s - low) / (high - low) for s in score]


def priority(saliency: list[float], relevance: list[float], alpha: float, beta: float) -> list[float]:
    return [r**alpha * s**beta for s, r in zip(saliency, relevance, strict=True)]


def by_value(value: list[float]) -> list[int]:
    """Highest first, ties to the lower index, by selection sort."""
    left, order = list(range(len(value))), []
    while left:
        best = left[0]
        for i in left:
            if value[i] > value[best]:
                best = i
        order.append(best)
        left.remove(best)
    return order


def focus_count(phi: list[float], rho: float, margin: Margin) -> int:
    total, mass = math.fsum(phi), 0.0
    for k, i in enumerate(by_value(phi), start=1):
        mass += phi[i]
        margin.between(mass, rho * total)
        if mass >= rho * total:
            return k
    return len(phi)


def cosine(a: list[float], b: list[float]) -> float:
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))


def scan(cosines: list[list[float]], focus: list[int], count: int, margin: Margin) -> list[int]:
    """Eq. 5, distances to all kept tokens looked at anew in every step."""
    kept = list(focus)
    for _ in range(count):
        best, farthest, second = -1, -math.inf, -math.inf
        for i in range(len(cosines)):
            if i in kept:
                continue
            distance = min(1 - cosines[i][j] for j in kept)
            if distance > farthest:
                best, farthest, second = i, distance, farthest
            else:
                second = max(second, distance)
        margin.between(farthest, second)
        kept.append(best)
    return kept[len(focus) :]


def radius(cosines: list[list[float]], kept: list[int]) -> float:
    """The largest chord from any token to the nearest kept one."""
    return max(min(math.sqrt(max(0.0, 2 - 2 * cosines[i][j])) for j in kept) for i in range(len(cosines)))


@dataclass
class Refined:
    anchor: dict[int, int] = field(default_factory=dict)  # dropped token -> nearest scan token
    similarity: dict[int, float] = field(default_factory=dict)
    merged: list[int] = field(default_factory=list)
    weight: dict[int, float] = field(default_factory=dict)  # of merged tokens and their anchors
    vectors: dict[int, list[float]] = field(default_factory=dict)  # of the anchors


def refine(
    vectors: list[list[float]],
    cosines: list[list[float]],
    phi: list[float],
    kept: list[int],
    scanned: list[int],
    kappa: float,
    margin: Margin,
) -> Refined:
    """Eq. 8 and Eq. 9, the running mean taken one token after the other as it is printed."""
    out = Refined()
    if not scanned:
        return out
    for i in range(len(vectors)):
        if i in kept:
            continue
        ranked = sorted(scanned, key=lambda j: (-cosines[i][j], j))
        out.anchor[i], out.similarity[i] = ranked[0], cosines[i][ranked[0]]
        if len(ranked) > 1:
            margin.between(cosines[i][ranked[0]], cosines[i][ranked[1]])
    order = sorted(out.anchor, key=lambda i: (-out.similarity[i], i))
    count = min(int(kappa * len(scanned)), len(order))
    if 0 < count < len(order):
        margin.between(out.similarity[order[count - 1]], out.similarity[order[count]])
    out.merged = sorted(order[:count])
    running = {}
    for i in out.merged:
        j = out.anchor[i]
        vector, weight = running.get(j, (vectors[j], phi[j]))
        total = weight + phi[i]
        if total > 0:
            vector = [(weight * v + phi[i] * x) / total for v, x in zip(vector, vectors[i], strict=True)]
        running[j] = (vector, total)
    for j, (vector, total) in running.items():
        out.vectors[j] = vector
        out.weight[j] = phi[j] / total if total > 0 else 1.0
    for i in out.merged:
        total = running[out.anchor[i]][1]
        out.weight[i] = phi[i] / total if total > 0 else 0.0
    return out


def reads(method, n, layers, stages):
    """Tokens that every layer reads, by hand: recycled ones counted."""
    alive, found = n, []
    for layer in range(layers):
        if layer in dict(stages):
            count = dict(stages)[layer]
            made = int((int(0.3 * (alive - count)) + 1) / 10) + 1 if method == "sparsevlm" and alive > count else 0
            alive = count + made
        found.append(alive)
    return found
