"""A budget that every frame of a video, or tile of a picture, has its equal share of, for any method that prunes
before the language model.

By default all tokens compete (`global`). With `per_group` each frame is pruned by itself, as every port of the peers to
video does: scores are normalised and tokens merged within the frame. Tiles can stand for frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.host import hand
from fsr.pruners.base import Pruner
from fsr.pruners.plan import SLOW_UP_TO, Plan, RankPlan, TablePlan, table_budgets
from fsr.tokens import Layout, Role, Selection, VisualTokens

SHARES = ("global", "per_group")  # what has a budget: all tokens together, or each frame or tile
PER_TOKEN = ("features", "saliency", "relevance", "keys", "last_keys", "last_saliency", "pixels")
OF_ALL = ("k_focus",)  # facts that hold at any budget, so they count for frames that keep nothing, too
COUNTS = ("k_", "n_", "rows_")  # facts that begin so are counts, and are summed over frames
PRUNER = ("name", "label", "paper", "requires", "optional", "exact_count", "across_frames", "stage")


@dataclass(frozen=True)
class PerGroup(Pruner):
    """`pruner` on every frame by itself, each at its share of the budget (see `schedule`). Random keeps the same places
    in every frame.

    group: (N,) int64, what stands for the frame of every token, e.g. its tile; None: the layout's frames.
    facts: counts are summed over the frames that keep a token, of other numbers the largest is shown; k_focus is the
    sum over all frames. scores: each frame's own. before, after: those of all frames, in order.
    """

    pruner: Pruner
    group: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in PRUNER:
            object.__setattr__(self, name, getattr(self.pruner, name))

    @property
    def relevance_sign(self) -> int | None:
        return getattr(self.pruner, "relevance_sign", None)

    def parameters(self) -> dict[str, Any]:
        return self.pruner.parameters()

    def tuned(self) -> dict[str, Any]:
        return self.pruner.tuned()

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        parts = split(tokens, self.group)
        counts = divided([len(index) for index, _ in parts], budget)
        chosen = [self.pruner(part, max(1, count)) for (_, part), count in zip(parts, counts, strict=True)]
        return _joined(tokens, [index for index, _ in parts], chosen, counts)

    def _plan(self, tokens: VisualTokens) -> Plan:
        frames, n = split(tokens, self.group), len(tokens)
        to = tokens.embeddings.device
        indices, sizes = [hand(index, to) for index, _ in frames], [len(index) for index, _ in frames]
        plans = [self.pruner.plan(part) for _, part in frames]
        ranks = [plan.rank for plan in plans if isinstance(plan, RankPlan)]
        if len(ranks) == len(plans):
            return RankPlan(_joined_rank([index for index, _ in frames], ranks))

        @cache
        def chosen(frame: int, count: int) -> tuple[Tensor, Tensor | None]:
            roles, anchor = plans[frame].refined(count)
            return hand(roles, to), None if anchor is None else hand(anchor, to)

        def at(budget: int) -> Tensor:
            roles = torch.full((n,), int(Role.DROPPED), dtype=torch.uint8, device=to)
            for frame, count in enumerate(divided(sizes, budget)):
                if count:
                    roles[indices[frame]] = chosen(frame, count)[0]
            return roles

        def anchors(budget: int) -> Tensor:
            anchor = torch.full((n,), -1, device=to)
            for frame, count in enumerate(divided(sizes, budget)):
                index, own = indices[frame], chosen(frame, count)[1] if count else None
                if own is not None:
                    anchor[index] = torch.where(own < 0, -1, index[own])
            return anchor

        focus = getattr(self.pruner, "focus", None)
        if focus is None:
            return TablePlan(n, table_budgets(n, SLOW_UP_TO), at)
        phi = torch.zeros(n)
        for index, part in frames:
            phi[index] = focus(part).scores["priority"]
        return TablePlan(n, table_budgets(n, SLOW_UP_TO), at, anchors, phi)


def with_share(pruner: Pruner, share: str, group: Tensor | None = None) -> Pruner:
    """The pruner with its budget for all frames together (`global`) or shared equally by them (`per_group`).

    group: (N,) int64, other groups than frames, e.g. tiles, of the tokens that the pruner will see. A method without an
    exact count looks at each frame by itself in either case, so it is returned as it is.
    Raises InvalidInput for another share, and for `per_group` with a method that prunes inside the language model.
    """
    if share not in SHARES:
        raise InvalidInput(f"the budget's share must be one of {', '.join(SHARES)}, not {str(share)[:40]!r}.")
    if share == "global" or (pruner.stage == "before" and not pruner.exact_count):
        return pruner
    if pruner.across_frames:
        raise InvalidInput(
            f"{pruner.label} compares each frame with the one before it; its budget is for all frames together."
        )
    if pruner.stage != "before":
        raise InvalidInput(f"{pruner.label} prunes inside the language model; its budget is for all tokens together.")
    return PerGroup(pruner, group)


def schedule(sizes: Sequence[int]) -> Tensor:
    """(N,) int64: which frame the 1st, 2nd, ... N-th token of the budget goes to.

    One token each in turns; a frame that has no more is passed over. The order of a turn, which decides who gets a
    remainder, spreads over time: 0, 4, 2, 6, 1, 5, 3, 7 for eight frames. No frame loses a token as the budget grows.
    """
    bits = max(1, (len(sizes) - 1).bit_length())
    order = sorted(range(len(sizes)), key=lambda f: int(f"{f:0{bits}b}"[::-1], 2))
    place = torch.empty(len(sizes), dtype=torch.int64)
    place[torch.tensor(order)] = torch.arange(len(sizes))
    frame = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    turn = torch.cat([torch.arange(size) for size in sizes])
    return frame[(turn * len(sizes) + place[frame]).sort().indices]


def divided(sizes: Sequence[int], budget: int) -> list[int]:
    """How many tokens of the budget each frame keeps, at most its size, in total the budget."""
    return torch.bincount(schedule(sizes)[:budget], minlength=len(sizes)).tolist()


def split(tokens: VisualTokens, group: Tensor | None = None) -> list[tuple[Tensor, VisualTokens]]:
    """For every frame, or every group, the indices of its tokens, (n,) int64 on the CPU, and its tokens alone.

    The newlines of a frame are among them. A group that is no frame has no [CLS] state of its own. Raises InvalidInput
    for groups of another number of tokens.
    """
    if group is not None and group.shape != (len(tokens),):
        raise InvalidInput(f"group must be ({len(tokens)},) like the tokens, not {tuple(group.shape)}.")
    layout = tokens.layout
    of = layout.frame.cpu() if group is None else group.cpu()
    found = []
    for g in of.unique().tolist():
        index = (of == g).nonzero()[:, 0]
        first, last = int(index[0]), int(index[-1])
        at = slice(first, last + 1) if last - first + 1 == len(index) else index  # a slice copies nothing
        one = Layout(
            frame=torch.zeros_like(layout.frame[at]) if group is None else layout.frame[at],
            row=layout.row[at],
            col=layout.col[at],
            rect=layout.rect[at],
            grids=layout.grids[g : g + 1] if group is None else layout.grids,
        )
        scores = {name: value[at] for name in PER_TOKEN if (value := getattr(tokens, name)) is not None}
        summary = None if tokens.summary is None or group is not None else tokens.summary[g : g + 1]
        own = replace(tokens, embeddings=tokens.embeddings[at], layout=one, summary=summary, encode_some=None, **scores)
        found.append((index, own))
    return found


def _joined(
    tokens: VisualTokens, indices: Sequence[Tensor], chosen: Sequence[Selection], counts: Sequence[int]
) -> Selection:
    """One selection of all frames; those whose count is 0 keep nothing, of them only the scores are taken."""
    n, device = len(tokens), tokens.embeddings.device
    roles = torch.full((n,), int(Role.DROPPED), dtype=torch.uint8, device=device)
    anchor = torch.full((n,), -1, device=device)
    similarity = torch.full((n,), torch.nan, device=device)
    weight = torch.zeros(n, device=device)
    scores = {name: torch.zeros(n, dtype=x.dtype, device=x.device) for name, x in chosen[0].scores.items()}
    kept = []
    for index, one, count in zip(indices, chosen, counts, strict=True):
        at = index.to(device)
        for name, score in one.scores.items():
            scores[name][at.to(score.device)] = score
        if count:
            roles[at], similarity[at], weight[at] = one.roles, one.similarity, one.weight
            anchor[at] = torch.where(one.anchor < 0, -1, at[one.anchor])
            kept.append(at[one.kept])
    some = [one for one, count in zip(chosen, counts, strict=True) if count]
    order = torch.cat(kept).sort().indices
    return Selection(
        method=chosen[0].method,
        budget=sum(one.budget for one in some),
        kept=torch.cat(kept)[order],
        roles=roles,
        embeddings=torch.cat([one.embeddings for one in some])[order],
        anchor=anchor,
        similarity=similarity,
        weight=weight,
        scores=scores,
        facts=_joined_facts([one.facts for one in some], [one.facts for one in chosen]),
        before=_joined_extra([one.before for one in some]),
        after=_joined_extra([one.after for one in some]),
    )


def _joined_extra(parts: Sequence[Tensor | None]) -> Tensor | None:
    some = [part for part in parts if part is not None]
    return torch.cat(some) if some else None


def _joined_facts(some: Sequence[dict[str, float]], all_: Sequence[dict[str, float]]) -> dict[str, float]:
    facts = {}
    for name in dict.fromkeys(name for one in some for name in one):
        values = [one[name] for one in (all_ if name in OF_ALL else some) if name in one]
        facts[name] = sum(values) if name.startswith(COUNTS) else max(values)
    return facts


def _joined_rank(indices: Sequence[Tensor], ranks: Sequence[Tensor]) -> Tensor:
    """(N,) int64: a token comes in when its frame is given its (rank + 1)-th token."""
    turn = schedule([len(index) for index in indices])
    joined = torch.empty(len(turn), dtype=torch.int64)
    for frame, (index, rank) in enumerate(zip(indices, ranks, strict=True)):
        joined[index] = (turn == frame).nonzero()[:, 0][rank.cpu()]
    return joined


def anchors_from_other_frames(selection: Selection, layout: Layout) -> Tensor:
    """(N,) int64: how many tokens of other frames every anchor absorbed (temporal merging); 0 for all other tokens."""
    merged = (selection.roles == int(Role.MERGED)).nonzero()[:, 0].cpu()
    anchor, frame = selection.anchor.cpu()[merged], layout.frame.cpu()
    merged, anchor = merged[anchor >= 0], anchor[anchor >= 0]
    return torch.bincount(anchor[frame[anchor] != frame[merged]], minlength=len(layout))
