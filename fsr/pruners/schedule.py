"""How many visual tokens each layer of the language model reads, so that the average over all layers is the budget.

Letters: N visual tokens, L layers, K the average wanted. A schedule is a list of (layer, count): from that layer on so
many are kept. Layers count from 0, so that `layer` is also the number of layers that read what came before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fsr.errors import InvalidInput

PAPER_LAYERS = 32  # the depth of the models that the papers' layer numbers are for


def scaled(layers: Sequence[int], depth: int) -> list[int]:
    """The papers' layer numbers in a model of `depth` layers: round(l * depth / 32), distinct and at least 1.

    Numbers that a shallow model has no layer for are left out. Raises InvalidInput where none is left.
    """
    found: list[int] = []
    for layer in layers:
        at = max(round(layer * depth / PAPER_LAYERS), found[-1] + 1 if found else 1)
        if at < depth:
            found.append(at)
    if not found:
        raise InvalidInput(f"a language model of {depth} layers has no layer left to prune in; it takes at least 2.")
    return found


def total(n: int, depth: int, stages: Sequence[tuple[int, int]]) -> int:
    """Visual tokens read, summed over all layers. stages: (first layer, tokens read from there on), ascending."""
    firsts = [0, *(layer for layer, _ in stages), depth]
    read = [n, *(count for _, count in stages)]
    return sum(count * (firsts[i + 1] - firsts[i]) for i, count in enumerate(read))


def closest(family: Callable[[float], list[int]], cost: Callable[[list[int]], int], target: int) -> list[int]:
    """The counts whose cost is closest to the target, near the family's own line.

    family: share in [0, 1] -> descending counts, non-decreasing in the share. The members on both sides of the target
    are taken, and the last count of each is moved towards it, from 1 up to the count before. Ties go to the lower cost,
    then to the least moved, then to more tokens kept.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(family(middle)) <= target else (low, middle)
    most = family(1.0)[0]
    lines = [family(low), family(high)]
    found = [(moved, abs(moved[-1] - line[-1])) for line in lines for moved in _moved(line, cost, target, most)]
    return min(found, key=lambda m: (abs(cost(m[0]) - target), cost(m[0]), m[1], [-c for c in m[0]]))[0]


def _moved(counts: list[int], cost: Callable[[list[int]], int], target: int, most: int) -> list[list[int]]:
    """The counts with the last one moved to where the target is met, and a little to either side."""
    *before, last = counts
    limit = before[-1] if before else most
    step = max(1, cost([*before, last + 1]) - cost(counts))
    near = last + (target - cost(counts)) // step
    tried = {last, *(min(limit, max(1, near + d)) for d in range(-3, 4))}
    return [[*before, value] for value in sorted(tried)]
