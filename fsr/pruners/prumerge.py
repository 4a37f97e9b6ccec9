from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsr.focus import min_max
from fsr.pruners.base import Pruner, choice, highest_first, whole
from fsr.pruners.merging import absorbing, grid_first, merging_space, metric
from fsr.pruners.plan import SLOW_UP_TO, Plan, TablePlan, table_budgets, usual_budgets
from fsr.similarity import STEPS, similarities_of
from fsr.tokens import Layout, Role, Selection, VisualTokens, unit_rows


@dataclass(frozen=True, eq=False)
class _Frame:
    """One frame. Token indices, int64 ascending on the CPU: kept, and pruned ones of the grid.

    n_top: how many were chosen by attention. rest: whether an extra token is sent for the pruned ones. unchanged:
    whether nothing is merged at all.
    """

    kept: Tensor
    pruned: Tensor
    n_top: int
    rest: bool
    unchanged: bool = False


@dataclass(frozen=True, eq=False)
class _Merged:
    """One frame after merging, on the device. states: (k, C). rest: (1, C) or (0, C).

    anchor: (p,) int64, for every pruned token the most similar kept one that took it in, or -1; similarity: (p,)
    float32, to it, else NaN.
    """

    states: Tensor
    rest: Tensor
    anchor: Tensor
    similarity: Tensor


@dataclass(frozen=True)
class PruMerge(Pruner):
    """Outliers of attention and an even grid, each with its neighbours merged in: Shang et al., PruMerge+, ICCV 2025.

    a: the attention from [CLS] in the tower's last layer, all heads as one. Tokens with a > Q3 + 1.5 (Q3 - Q1) are
    kept, the asked budget does not count. With `grid` (PruMerge+) every d-th token is added, d = (1/ratio) // 3 with
    the ratio of outliers, but for the last token. Every kept token becomes x_i + sum a_j x_j over the 32 other tokens,
    kept or pruned, whose keys of the last layer are most similar; the weights are not normalised, so changes are small.
    One token more, sum a_j x_j over all pruned ones, is sent after the others. All of that before the projector.

    Where more than a sixth are outliers d is 1 and nearly all tokens are kept, as released. Our rules: tokens stay in
    raster order, where the release sends them by attention. Without any outlier the token with the largest a counts as
    one; d is never 0. Each frame is pruned by itself. Tokens outside the grid (newline, CLS) are left out of all that.
    With adaptive False the budget counts: the largest a and the extra token make K (one token has no extra one), no
    grid is added, and where none is pruned none is changed. Substitutes: saliency for a and features for keys where
    they were not captured, and merging after the projector where that is not at hand (facts: last_layer 0,
    pre_projector 0).

    MERGED are pruned tokens that a kept one took in; their anchor is the most similar of those. `weight` is a as it
    enters, so the weights of a group do not sum to 1.
    """

    name: ClassVar[str] = "prumerge"
    label: ClassVar[str] = "PruMerge+"
    paper: ClassVar[str] = "https://arxiv.org/abs/2403.15388"
    requires: ClassVar[frozenset[str]] = frozenset({"saliency", "last_saliency", "last_keys", "features", "project"})
    optional: ClassVar[frozenset[str]] = frozenset({"last_saliency", "last_keys", "features", "project"})
    exact_count: ClassVar[bool] = False

    adaptive: bool = choice(True, (True, False), "whether the picture decides how many tokens are kept, not the budget")
    grid: bool = choice(True, (True, False), "whether evenly spaced tokens are added (PruMerge+); only if adaptive")
    neighbours: int = whole(32, 0, 1024, "tokens merged into each kept one")

    @property
    def takes_budget(self) -> bool:
        """Only if it is not adaptive."""
        return not self.adaptive

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        frames, to, n = self._frames(tokens, budget), tokens.embeddings.device, len(tokens)
        attention = _attention(tokens).to(to)
        states, project, before_projector = merging_space(tokens)
        anchor, similarity = torch.full((n,), -1, device=to), torch.full((n,), math.nan, device=to)
        embeddings, rest = tokens.embeddings.clone(), []
        for frame in frames:
            if frame.unchanged:
                continue
            one = self._merge(frame, states, metric(tokens, tokens.last_keys), attention)
            if self.neighbours:
                embeddings[frame.kept.to(to)] = project(one.states).to(embeddings.dtype)
            if frame.rest:
                rest.append(project(one.rest).to(embeddings.dtype))
            pruned = frame.pruned.to(to)
            anchor[pruned], similarity[pruned] = one.anchor, one.similarity
        kept = torch.cat([frame.kept for frame in frames]).sort().values.to(to)
        roles = torch.where(anchor >= 0, int(Role.MERGED), int(Role.DROPPED)).to(torch.uint8)
        roles[kept] = int(Role.KEPT)
        n_top = sum(frame.n_top for frame in frames)
        return Selection(
            method=self.name,
            budget=len(kept) + len(rest),
            kept=kept,
            roles=roles,
            embeddings=embeddings[kept],
            anchor=anchor,
            similarity=similarity,
            weight=torch.where(roles == int(Role.MERGED), attention, (roles == int(Role.KEPT)).float()),
            scores={"saliency": min_max(attention)},
            facts={
                "n_top": n_top,
                "n_grid": len(kept) - n_top,
                "n_rest": len(rest),
                "n_merged": int((roles == int(Role.MERGED)).sum()),
                "last_layer": int(tokens.last_saliency is not None),
                "pre_projector": int(before_projector),
            },
            after=torch.cat(rest) if rest else None,
        )

    def _plan(self, tokens: VisualTokens) -> Plan:
        n = len(tokens)
        if self.adaptive:
            selection = self._select(tokens, n)
            roles = selection.roles.cpu()
            return TablePlan(n, (selection.budget,), lambda budget: roles)
        grids = [grid_first(tokens.layout, index)[0] for index, _ in _frame_budgets(tokens.layout, n)]
        keys = metric(tokens, tokens.last_keys)
        nearest = [
            _nearest(keys[inside.to(keys.device)], torch.arange(len(inside)), self.neighbours)[1].cpu()
            for inside in grids
        ]

        def at(budget: int) -> Tensor:
            roles = torch.full((n,), int(Role.DROPPED), dtype=torch.uint8)
            for frame, inside, of_each in zip(self._frames(tokens, budget), grids, nearest, strict=True):
                if not frame.unchanged:
                    taken = of_each[torch.searchsorted(inside, frame.kept)]
                    roles[inside[taken.flatten()]] = int(Role.MERGED)
                roles[frame.kept] = int(Role.KEPT)
            return roles

        return TablePlan(n, table_budgets(n, SLOW_UP_TO), at)

    def why(self, tokens: VisualTokens, plan: Plan) -> dict[str, Any]:
        """of: the most similar kept token that took one in, and their cosine. outlier: kept for its attention, not as a
        part of the grid."""
        budgets = usual_budgets(len(tokens)) if self.takes_budget else plan.budgets  # type: ignore[attr-defined]
        found, attention = absorbing(self, tokens, budgets), _attention(tokens).cpu()
        found["at"]["outlier"] = []
        for budget in budgets:
            outlier = torch.zeros(len(tokens), dtype=torch.int64)
            for frame in self._frames(tokens, budget):
                outlier[frame.kept[highest_first(attention[frame.kept])[: frame.n_top]]] = 1
            found["at"]["outlier"].append(outlier.tolist())
        return found

    def _frames(self, tokens: VisualTokens, budget: int) -> list[_Frame]:
        attention = _attention(tokens).cpu()
        found = []
        for index, share in _frame_budgets(tokens.layout, budget):
            inside, outside = grid_first(tokens.layout, index)
            if self.adaptive:
                found.append(self._outliers(inside, attention[inside]))
            else:
                found.append(_highest(inside, outside, attention[inside], share))
        return found

    def _outliers(self, inside: Tensor, attention: Tensor) -> _Frame:
        """The outliers and the grid of one frame. inside: (m,) int64; attention: (m,)."""
        low, high = torch.quantile(attention.double(), torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist()
        n_top = max(1, int((attention.double() > high + 1.5 * (high - low)).sum()))
        m, is_kept = len(inside), torch.zeros(len(inside), dtype=torch.bool)
        is_kept[highest_first(attention)[:n_top]] = True
        if self.grid:
            is_kept[: m - 1 : max(1, m // n_top // 3)] = True
        return _Frame(inside[is_kept], inside[~is_kept], n_top, rest=not bool(is_kept.all()))

    def _merge(self, frame: _Frame, states: Tensor, keys: Tensor, attention: Tensor) -> _Merged:
        """states: (N, C); keys: (N, d); attention: (N,) float32."""
        to = states.device
        kept, pruned = frame.kept.to(to), frame.pruned.to(to)
        every = torch.cat([kept, pruned]).sort().values
        at, pruned_at = torch.searchsorted(every, kept), torch.searchsorted(every, pruned)
        x, a = states[every].float(), attention[every]
        steps, nearest = _nearest(keys[every], at, self.neighbours)
        taken = torch.zeros_like(steps, dtype=torch.bool).scatter_(1, nearest, True)
        merged = x[at] + (taken * a) @ x
        rest = (a[pruned_at, None] * x[pruned_at]).sum(dim=0, keepdim=True)
        closest = steps.masked_fill(~taken, -math.inf)[:, pruned_at]
        if not closest.numel():
            anchor, similarity = torch.full_like(pruned, -1), torch.full((len(pruned),), math.nan, device=to)
        else:
            best, which = closest.max(dim=0)
            anchor = torch.where(best > -math.inf, kept[which], -1)
            similarity = torch.where(best > -math.inf, best / STEPS, math.nan)
        return _Merged(merged.to(states.dtype), rest.to(states.dtype), anchor, similarity)


def _frame_budgets(layout: Layout, budget: int) -> list[tuple[Tensor, int]]:
    """The tokens of every frame, (n,) int64 on the CPU, and the frame's share of the budget, in proportion to n."""
    frame, n, before = layout.frame.cpu(), len(layout), 0
    found = []
    for f in frame.unique().tolist():
        index = (frame == f).nonzero()[:, 0]
        after = before + len(index)
        found.append((index, after * budget // n - before * budget // n))
        before = after
    return found


def _highest(inside: Tensor, outside: Tensor, attention: Tensor, budget: int) -> _Frame:
    """The tokens of one frame with the largest attention; with the extra token they are `budget`."""
    everything = budget == len(inside) + len(outside)
    n_top = budget if everything or budget < 2 or budget > len(inside) else budget - 1
    is_kept = torch.zeros(len(inside), dtype=torch.bool)
    is_kept[highest_first(attention)[:n_top]] = True
    kept = torch.cat([inside[is_kept], outside[: max(0, n_top - len(inside))]]).sort().values
    pruned = inside[~is_kept]
    return _Frame(kept, pruned, len(kept), rest=budget > 1 and len(pruned) > 0, unchanged=not len(pruned))


def _nearest(keys: Tensor, at: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Of the tokens `at` (k,) the cosines to all, (k, m) in steps, and the `count` most similar others, (k, count).

    keys: (m, d). Ties go to the lower index; where there are fewer others, all of them.
    """
    steps = similarities_of(keys, unit_rows(keys)).complete().rows(at)
    others = steps.scatter(1, at[:, None].to(steps.device), -math.inf)
    return steps, others.sort(dim=1, descending=True, stable=True).indices[:, : min(count, len(keys) - 1)]


def _attention(tokens: VisualTokens) -> Tensor:
    """(N,) float32: of the last layer, else saliency."""
    attention = tokens.saliency if tokens.last_saliency is None else tokens.last_saliency
    assert attention is not None
    return attention.float()
