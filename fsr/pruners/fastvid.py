from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsr.focus import SLACK, min_max
from fsr.host import fetch, hand
from fsr.pruners.base import Pruner, highest_first, number, optional_whole, whole
from fsr.pruners.frames import divided
from fsr.pruners.merging import absorbing, grid_first
from fsr.pruners.plan import SLOW_UP_TO, Plan, TablePlan, table_budgets, usual_budgets
from fsr.refine import merge
from fsr.similarity import STEPS, firsts
from fsr.tokens import Role, Selection, VisualTokens

NEAREST = 4  # tokens that density looks at, the token itself among them, as released
FRAMES_A_SEGMENT = 4  # released: at least 8 segments of 32 frames


@dataclass(frozen=True, eq=False)
class _Clip:
    """What no budget changes, on the CPU. Token indices are int64 and ascending but for `salient`.

    frames: the tokens of the grid of every frame. outside: all others. segments: places in `frames`. salient: the
    tokens of every frame, most salient first. distance: (n, n) of every frame, between its tokens in their order.
    cosines: (N, N) float32 in steps.
    """

    frames: list[Tensor]
    outside: Tensor
    segments: list[list[int]]
    salient: list[Tensor]
    distance: list[Tensor]
    cosines: Tensor


@dataclass(frozen=True, eq=False)
class _Choice:
    """What one budget keeps, (k,) int64 each: salient tokens, anchors, and tokens merged into `into`."""

    salient: Tensor
    anchors: Tensor
    merged: Tensor
    into: Tensor

    def roles(self, n: int) -> Tensor:
        roles = torch.full((n,), int(Role.DROPPED), dtype=torch.uint8)
        roles[self.salient] = roles[self.anchors] = int(Role.KEPT)
        roles[self.merged] = int(Role.MERGED)
        return roles

    def anchor(self, n: int) -> Tensor:
        return torch.full((n,), -1).index_put_((self.merged,), self.into)


@dataclass(frozen=True)
class FastVID(Pruner):
    """A clip in segments, each with its salient tokens and with dense ones that take in the rest: Shen et al., FastVID,
    NeurIPS 2025.

    Segments: the clip is cut between frames whose features have a cosine below tau, and at the c - 1 smallest cosines.
    Of a frame's equal share r of the budget r - floor(d r) are salient: those of the highest saliency. The floor(d r)
    of all frames of a segment are anchors, shared out to every p-th of its frames, counted from its last. In such a
    frame tokens that are not salient score density x separation: density exp(-mean of the squared distances to the 4
    nearest, itself among them), separation the distance to the nearest denser token (of the densest: the largest
    distance); the highest are anchors. Every other token of the segment, of whichever frame, goes to the anchor with
    the largest cosine, which becomes beta of itself and 1 - beta of the mean of its group, itself in it. So tokens are
    merged across time, and frames keep different numbers. c is 8 of 32 frames, tau 0.9, d 0.4, p 4, beta 0.6.

    Written from the formulas; the release is MIT. Ours: a frame's feature is the mean of its tokens' features (the
    release has the encoder's pooling head, after which 0.9 tells more); c is a quarter of the frames. A token goes to
    one anchor, where the release merges it once more for every further anchor frame of a segment longer than p. Exactly
    K are kept: frames without room for their anchors hand them to salient tokens of the segment. No noise is added: of
    equally dense tokens that of the lower index counts as denser. beta is at least 1/2, where the release's floor
    1 / (group + 1) never holds. Tokens outside the grid (newline) are kept only when all of the grid are, and never
    merged; K = N merges nothing. Tiles are segments of their own, and so is a picture.

    scores: saliency. facts: n_segments, n_salient, n_anchors, n_merged, and n_across of them into another frame.
    """

    name: ClassVar[str] = "fastvid"
    label: ClassVar[str] = "FastVID"
    paper: ClassVar[str] = "https://arxiv.org/abs/2503.11187"
    requires: ClassVar[frozenset[str]] = frozenset({"saliency", "features"})
    optional: ClassVar[frozenset[str]] = frozenset({"features"})

    segments: int | None = optional_whole(1, 64, "fewest segments, c; by default a quarter of the frames")
    tau: float = number(0.9, -1, 1, "cosine of neighbouring frames below which the clip is cut")
    context: float = number(0.4, 0, 1, "share of the budget for anchors that take in others, d")
    step: int = whole(4, 1, 64, "of so many frames of a segment one holds anchors, p")
    beta: float = number(0.6, 0.5, 1, "share of an anchor itself beside the mean of its group")

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        assert tokens.saliency is not None
        n, to = len(tokens), tokens.embeddings.device
        clip = self._clip(tokens)
        chosen = self._choose(clip, budget)
        frame, anchor, merged = tokens.layout.frame.cpu(), chosen.anchor(n), chosen.merged
        similarity = torch.full((n,), math.nan)
        similarity[merged] = clip.cosines[merged, chosen.into] / STEPS
        roles = chosen.roles(n)
        kept, weight = (roles == int(Role.KEPT)).nonzero()[:, 0], self._weights(chosen, roles)
        facts: dict[str, float] = {
            "n_segments": len(clip.segments),
            "n_salient": len(chosen.salient),
            "n_anchors": len(chosen.anchors),
            "n_merged": len(merged),
            "n_across": int((frame[merged] != frame[chosen.into]).sum()),
        }
        here = [hand(x, to) for x in (kept, roles, merged, anchor, similarity, weight)]
        kept, roles, merged, anchor, similarity, weight = here
        embeddings = merge(tokens.embeddings, kept, merged, anchor, weight)
        scores = {"saliency": min_max(tokens.saliency)}
        return Selection(self.name, budget, kept, roles, embeddings, anchor, similarity, weight, scores, facts)

    def _plan(self, tokens: VisualTokens) -> Plan:
        n, clip = len(tokens), self._clip(tokens)
        chosen = cache(lambda budget: self._choose(clip, budget))
        budgets = table_budgets(n, SLOW_UP_TO)
        return TablePlan(
            n, budgets, lambda k: chosen(k).roles(n), lambda k: chosen(k).anchor(n), torch.ones(n), self.beta
        )

    def why(self, tokens: VisualTokens, plan: Plan) -> dict[str, Any]:
        """of: the anchor that a token is merged into, and its cosine to it."""
        return absorbing(self, tokens, usual_budgets(len(tokens)))

    # -- what no budget changes

    def _clip(self, tokens: VisualTokens) -> _Clip:
        assert tokens.saliency is not None
        frame = tokens.layout.frame.cpu()
        inside, outside = grid_first(tokens.layout, torch.arange(len(tokens)))
        frames = [own for f in range(len(tokens.layout.grids)) if len(own := inside[frame[inside] == f])]
        x = tokens.embeddings if tokens.features is None else tokens.features
        means = torch.stack([x[hand(own, x.device)].double().mean(dim=0) for own in frames])
        distances = [_distance(tokens.embeddings[hand(own, x.device)]) for own in frames]
        found = fetch(tokens.saliency, tokens.gram("projected").matrix(), means, *distances)
        saliency, cosines, means = found[:3]
        salient = [own[highest_first(saliency[own])] for own in frames]
        parts = [bool(tokens.layout.grids[int(frame[own[0]])].part) for own in frames]
        return _Clip(frames, outside, self._segments(means, parts), salient, found[3:], cosines)

    def _segments(self, means: Tensor, parts: list[bool]) -> list[list[int]]:
        """Frames, from 0, of every segment. means: (F, C) float64. parts: whether a frame is no frame but a tile."""
        alike = torch.nn.functional.cosine_similarity(means[:-1], means[1:], dim=1)
        fewest = max(1, round(len(means) / FRAMES_A_SEGMENT)) if self.segments is None else self.segments
        cuts = {*alike.sort(stable=True).indices[: fewest - 1].tolist(), *(alike < self.tau).nonzero()[:, 0].tolist()}
        found: list[list[int]] = [[0]]
        for f in range(1, len(means)):
            if f - 1 in cuts or parts[f] or parts[f - 1]:
                found.append([])
            found[-1].append(f)
        return found

    # -- one budget

    def _choose(self, clip: _Clip, budget: int) -> _Choice:
        sizes = [len(own) for own in clip.frames]
        none = clip.outside[:0]
        if budget >= sum(sizes):
            return _Choice(torch.cat([*clip.frames, clip.outside[: budget - sum(sizes)]]), none, none, none)
        share = divided(sizes, budget)
        context = [math.floor(self.context * r + SLACK) for r in share]
        salient, anchors, merged, into = [none], [none], [none], [none]
        for segment in clip.segments:
            room = [sizes[f] - share[f] + context[f] for f in segment]
            counts = self._anchor_counts(room, sum(context[f] for f in segment))
            left = sum(context[f] for f in segment) - sum(counts)
            more = divided([r - c for r, c in zip(room, counts, strict=True)], left) if left else [0] * len(segment)
            own, rest = [none], [none]
            for f, count, extra in zip(segment, counts, more, strict=True):
                cut = share[f] - context[f] + extra
                salient.append(clip.salient[f][:cut])
                others = clip.salient[f][cut:].sort().values
                own.append(_densest(clip, f, others, count))
                rest.append(others)
            held, others = torch.cat(own), torch.cat(rest)
            anchors.append(held)
            if len(held):
                others = others[~torch.isin(others, held)]
                merged.append(others)
                into.append(held[clip.cosines[others][:, held].argmax(dim=1)] if len(others) else none)
        return _Choice(*(torch.cat(parts) for parts in (salient, anchors, merged, into)))

    def _anchor_counts(self, room: list[int], count: int) -> list[int]:
        """How many of `count` anchors each frame of a segment holds: every `step`-th from the last, as far as there is
        room."""
        last = len(room) - 1
        holds = [r if (last - i) % self.step == 0 else 0 for i, r in enumerate(room)]
        return divided(holds, min(count, sum(holds))) if count else [0] * len(room)

    def _weights(self, chosen: _Choice, roles: Tensor) -> Tensor:
        """(N,) float32: the share with which a token enters its merged embedding."""
        size = torch.bincount(chosen.into, minlength=len(roles)) + 1.0  # with the anchor itself
        weight: Tensor = (roles == int(Role.KEPT)).float()
        holds = chosen.into.unique()
        weight[holds] = self.beta + (1 - self.beta) / size[holds]
        weight[chosen.merged] = (1 - self.beta) / size[chosen.into]
        return weight


def _distance(x: Tensor) -> Tensor:
    """(n, D) -> (n, n) float64: Euclidean distances divided by sqrt(D); 0 between rows equal bit for bit."""
    first, rows = firsts(x), x.double()
    square = (rows * rows).sum(dim=1)
    distance: Tensor = (square[:, None] + square - 2 * (rows @ rows.T)).clamp(min=0).sqrt() / math.sqrt(x.shape[1])
    return distance[first][:, first].masked_fill(first[:, None] == first, 0.0)


def _densest(clip: _Clip, frame: int, tokens: Tensor, count: int) -> Tensor:
    """(count,) int64, ascending: the anchors among `tokens` of a frame, which are ascending; see `FastVID`."""
    if not count:
        return tokens[:0]
    at = torch.searchsorted(clip.frames[frame], tokens)
    score = density_score(clip.distance[frame][at][:, at])
    return tokens[highest_first(score)[:count].sort().values]


def density_score(distance: Tensor) -> Tensor:
    """(n, n) float64 -> (n,): density times the distance to the nearest denser token."""
    n = len(distance)
    nearest = distance.topk(min(NEAREST, n), dim=1, largest=False).values
    density = (-nearest.square().mean(dim=1)).exp()
    index = torch.arange(n)
    denser = (density > density[:, None]) | ((density == density[:, None]) & (index < index[:, None]))
    apart = distance.masked_fill(~denser, torch.inf).amin(dim=1)
    score: Tensor = density * torch.where(apart.isinf(), distance.max(), apart)
    return score
