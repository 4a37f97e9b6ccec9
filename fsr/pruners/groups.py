"""One budget for all tiles or frames, or an equal share for each."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fsr.pruners.base import Pruner
from fsr.tokens import InvalidInput, Layout, Selection, VisualTokens, check_budget

_ROWS = ("embeddings", "features", "saliency", "relevance", "keys", "last_keys", "last_saliency")


def shares(sizes: list[int], budget: int) -> list[int]:
    """The budget split evenly over groups of these sizes; what a small group cannot use goes to the others.

    What remains of an uneven split goes to the first groups.
    """
    got = [0] * len(sizes)
    while (left := budget - sum(got)) > 0:
        room = [i for i, size in enumerate(sizes) if got[i] < size]
        each, over = divmod(left, len(room))
        for place, i in enumerate(room):
            got[i] += min(sizes[i] - got[i], each + (place < over))
    return got


def per_group(pruner: Pruner, tokens: VisualTokens, budget: int, group: Tensor) -> Selection:
    """The selection of a method that is applied to every group of tokens alone, with an equal share of the budget.

    group: (N,) int64, e.g. the tile or the frame of every token. Scores are normalised within a group. Raises
    InvalidInput where the budget leaves a group without a token, or for a method that sends tokens outside the grid.
    """
    check_budget(budget, len(tokens))
    if group.shape != (len(tokens),):
        raise InvalidInput(f"group must be ({len(tokens)},) like the tokens, not {tuple(group.shape)}.")
    members = [(group == g).nonzero()[:, 0] for g in group.unique().tolist()]
    counts = shares([len(m) for m in members], budget)
    if min(counts) == 0:
        raise InvalidInput(f"a budget of {budget} leaves some of {len(members)} groups without a token.")
    parts = [pruner(_part(tokens, m), k) for m, k in zip(members, counts, strict=True)]
    if any(part.before is not None or part.after is not None for part in parts):
        raise InvalidInput(f"{pruner.label} sends tokens outside the grid and cannot be applied group by group.")
    return _joined(tokens, budget, members, parts)


def _part(tokens: VisualTokens, members: Tensor) -> VisualTokens:
    rows = {name: getattr(tokens, name) for name in _ROWS}
    rows = {name: None if x is None else x[members.to(x.device)] for name, x in rows.items()}
    where = tokens.layout
    at = members.to(where.row.device)
    layout = Layout(where.frame[at], where.row[at], where.col[at], where.rect[at], where.grids)
    return replace(tokens, **rows, layout=layout, shared=False)


def _joined(tokens: VisualTokens, budget: int, members: list[Tensor], parts: list[Selection]) -> Selection:
    device = tokens.embeddings.device
    first = parts[0]

    def spread(values: list[Tensor]) -> Tensor:
        whole = torch.zeros(len(tokens), dtype=values[0].dtype, device=device)
        for m, value in zip(members, values, strict=True):
            whole[m.to(device)] = value.to(device)
        return whole

    kept = torch.cat([m.to(device)[p.kept] for m, p in zip(members, parts, strict=True)])
    order = kept.argsort()
    anchors = [
        torch.where(p.anchor < 0, p.anchor, m.to(p.anchor.device)[p.anchor])
        for m, p in zip(members, parts, strict=True)
    ]
    return Selection(
        method=first.method,
        budget=budget,
        kept=kept[order],
        roles=spread([p.roles for p in parts]),
        embeddings=torch.cat([p.embeddings for p in parts])[order],
        anchor=spread(anchors),
        similarity=spread([p.similarity for p in parts]),
        weight=spread([p.weight for p in parts]),
        scores={name: spread([p.scores[name] for p in parts]) for name in first.scores},
        facts={"groups": len(parts)},
    )
