from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsr.focus import SLACK, min_max
from fsr.host import fetch
from fsr.pruners.base import Pruner, choice, highest_first, number
from fsr.pruners.merging import absorbing, grid_first, merging_space, metric
from fsr.pruners.plan import SLOW_UP_TO, Plan, TablePlan, table_budgets, usual_budgets
from fsr.refine import merge, nearest_anchor
from fsr.similarity import STEPS, similarities_of
from fsr.tokens import Role, Selection, VisualTokens, unit_rows


@dataclass(frozen=True, eq=False)
class _Choice:
    """What one budget keeps. Token indices, int64 on the CPU: dominant, targets of merging, and what is merged.

    n_cls: how many [CLS] states are sent, one a frame or none.
    """

    dominant: Tensor
    targets: Tensor
    merged: Tensor
    n_cls: int = 0

    def roles(self, n: int) -> Tensor:
        roles = torch.full((n,), int(Role.DROPPED), dtype=torch.uint8)
        roles[self.dominant] = roles[self.targets] = int(Role.KEPT)
        roles[self.merged] = int(Role.MERGED)
        return roles


@dataclass(frozen=True)
class VisionZip(Pruner):
    """Salient tokens, and the rest averaged into evenly spaced ones: Yang et al., VisionZip, CVPR 2025.

    Of a budget K, floor(contextual_share K + 1/2) tokens are contextual, the others dominant: the [CLS] state of the
    picture, sent before all others, and the most salient tokens. Of the R tokens that remain every (R // contextual)-th
    is a target; each other one goes to the target with the largest cosine of the attention keys. A target becomes
    itself plus the mean of its tokens, before the projector, as released: about twice as long as a feature.
    mean_with_target takes the mean of them all instead.

    Our rules: targets stay in raster order among the dominant tokens, where the release sends them last. [CLS], one a
    frame, is sent if no more than half of the dominant tokens are [CLS], so not at K = 1. K = N sends all tokens as
    they are and no [CLS]. Tokens outside the grid (newline, CLS) are kept only when all of the grid are, and never
    merged. Without keys similarity is that of features, without [CLS] all K are tokens, and where features or projector
    are missing embeddings are merged (facts: pre_projector 0).
    """

    name: ClassVar[str] = "visionzip"
    label: ClassVar[str] = "VisionZip"
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.04467"
    requires: ClassVar[frozenset[str]] = frozenset({"saliency", "keys", "features", "summary", "project"})
    optional: ClassVar[frozenset[str]] = frozenset({"keys", "features", "summary", "project"})

    contextual_share: float = number(10 / 64, 0, 1, "share of the budget for contextual tokens; released: 10 of 64")
    mean_with_target: bool = choice(
        False, (False, True), "whether a contextual token is the mean of its group; released: target + mean of the rest"
    )

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        assert tokens.saliency is not None
        chosen, to = self._choose(tokens, fetch(tokens.saliency)[0], budget), tokens.embeddings.device
        roles = chosen.roles(len(tokens)).to(to)
        kept, merged = (roles == int(Role.KEPT)).nonzero()[:, 0], chosen.merged.to(to)
        anchor, similarity = _nearest(metric(tokens, tokens.keys), chosen)
        weight = self._weights(anchor, merged)
        weight[kept[~torch.isin(kept, anchor[merged])]] = 1.0
        states, project, before_projector = merging_space(tokens)
        embeddings = tokens.embeddings[kept]
        if len(merged):
            targets = anchor[merged].unique()
            entering = weight if self.mean_with_target else 2 * weight
            states = project(merge(states, targets, merged, anchor, entering))
            embeddings[torch.searchsorted(kept, targets)] = states.to(embeddings.dtype)
        return Selection(
            method=self.name,
            budget=budget,
            kept=kept,
            roles=roles,
            embeddings=embeddings,
            anchor=anchor,
            similarity=similarity,
            weight=weight,
            scores={"saliency": min_max(tokens.saliency)},
            facts={
                "n_cls": chosen.n_cls,
                "n_dominant": len(chosen.dominant),
                "n_contextual": len(chosen.targets),
                "n_merged": len(merged),
                "pre_projector": int(before_projector),
            },
            before=tokens.summary if chosen.n_cls else None,
        )

    def _plan(self, tokens: VisualTokens) -> Plan:
        assert tokens.saliency is not None
        n, saliency = len(tokens), fetch(tokens.saliency)[0]
        return TablePlan(
            n, table_budgets(n, SLOW_UP_TO), lambda budget: self._choose(tokens, saliency, budget).roles(n)
        )

    def why(self, tokens: VisualTokens, plan: Plan) -> dict[str, Any]:
        """of: the contextual token that a token is merged into, and its cosine to it."""
        return absorbing(self, tokens, usual_budgets(len(tokens)))

    def _choose(self, tokens: VisualTokens, saliency: Tensor, budget: int) -> _Choice:
        """saliency: that of the tokens, on the CPU."""
        every = torch.arange(len(tokens))
        if budget == len(tokens):
            return _Choice(every, every[:0], every[:0])
        n_context = math.floor(self.contextual_share * budget + 0.5 + SLACK)
        n_cls = 0 if tokens.summary is None else len(tokens.summary)
        if 2 * n_cls > budget - n_context:
            n_cls = 0
        patches = budget - n_cls
        inside, outside = grid_first(tokens.layout, every)
        if patches >= len(inside):
            return _Choice(torch.cat([inside, outside[: patches - len(inside)]]), every[:0], every[:0], n_cls)
        order = inside[highest_first(saliency[inside])]
        dominant, rest = order[: patches - n_context], order[patches - n_context :].sort().values
        if n_context == 0:
            return _Choice(dominant, rest[:0], rest[:0], n_cls)
        step = len(rest) // n_context
        is_target = torch.zeros(len(rest), dtype=torch.bool)
        is_target[: n_context * step : step] = True
        return _Choice(dominant, rest[is_target], rest[~is_target], n_cls)

    def _weights(self, anchor: Tensor, merged: Tensor) -> Tensor:
        """(N,) float32: the share of every token of a group in it, 0 outside."""
        size = torch.bincount(anchor[merged], minlength=len(anchor)).float()  # of the tokens merged into each
        weight = torch.zeros_like(size)
        weight[size > 0] = 1 / (1 + size[size > 0]) if self.mean_with_target else 0.5
        weight[merged] = 1 / (1 + size[anchor[merged]]) if self.mean_with_target else 0.5 / size[anchor[merged]]
        return weight


def _nearest(states: Tensor, chosen: _Choice) -> tuple[Tensor, Tensor]:
    """The most similar target of every token that is merged, (N,) int64, else -1, and its cosine, (N,) float32."""
    to = states.device
    anchor, similarity = torch.full((len(states),), -1, device=to), torch.full((len(states),), math.nan, device=to)
    if len(chosen.merged):
        merged, targets = chosen.merged.to(to), chosen.targets.to(to)
        rest = torch.cat([targets, merged]).sort().values
        similarities = similarities_of(states[rest], unit_rows(states[rest]))
        nearest, steps = nearest_anchor(similarities, torch.searchsorted(rest, targets))
        at = torch.searchsorted(rest, merged)
        anchor[merged], similarity[merged] = rest[nearest[at]], steps[at] / STEPS
    return anchor, similarity
