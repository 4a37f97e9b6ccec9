"""What the methods share that merge tokens before the projector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from fsr.pruners.base import Pruner, numbers
from fsr.tokens import Layout, VisualTokens


def grid_first(layout: Layout, index: Tensor) -> tuple[Tensor, Tensor]:
    """`index` as the tokens on the grid and those outside it (newline, CLS); without a grid all count as on it."""
    inside = (layout.row.cpu() >= 0)[index]
    return (index[inside], index[~inside]) if bool(inside.any()) else (index, index[:0])


def merging_space(tokens: VisualTokens) -> tuple[Tensor, Callable[[Tensor], Tensor], bool]:
    """(N, C) what tokens are merged in, what makes embeddings of it, and whether that is before the projector.

    Where features or projector were not captured, the embeddings themselves.
    """
    if tokens.features is None or tokens.project is None:
        return tokens.embeddings, lambda x: x, False
    return tokens.features, tokens.project, True


def metric(tokens: VisualTokens, keys: Tensor | None) -> Tensor:
    """(N, d): what similarity is measured on: the keys, else the features, else the embeddings."""
    return next(x for x in (keys, tokens.features, tokens.embeddings) if x is not None)


def absorbing(pruner: Pruner, tokens: VisualTokens, budgets: Sequence[int]) -> dict[str, Any]:
    """`Pruner.why` of a method that merges at these budgets: of, the token that took one in, and their cosine."""
    chosen = [pruner(tokens, budget) for budget in budgets]
    of, cosine = [one.anchor.tolist() for one in chosen], [numbers(one.similarity) for one in chosen]
    return {"budgets": list(budgets), "at": {"of": of, "cosine": cosine}}
