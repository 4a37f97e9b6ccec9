"""Methods that prune inside the language model: what they are asked for, what they see, and what came of it.

Letters: N visual tokens, L layers, S positions of the sequence at a layer, V of them visual, H heads, G key heads.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.pruners.base import Pruner, numbers
from fsr.pruners.plan import Plan
from fsr.pruners.schedule import closest, scaled, total
from fsr.tokens import Role, Selection, VisualTokens, check_budget


@dataclass(eq=False)
class InsideSelection:
    """A request to prune inside the language model; what was kept is filled in when the model has read the prompt.

    budget: the average number of visual tokens a layer reads. n: N. Filled in: layers: L. depth: (N,) int64, how many
    layers each token was alive in. counts: visual tokens that each layer reads, recycled ones included. scores: (N,)
    float32, what the first pruning layer ranked by. facts: average, layers_pruned, first_layer, kept_last, recycled.
    """

    method: str
    budget: int
    pruner: InsidePruner
    n: int
    layers: int = 0
    depth: Tensor | None = None
    counts: list[int] = field(default_factory=list)
    scores: Tensor | None = None
    facts: dict[str, float] = field(default_factory=dict)

    def alive(self, layer: int) -> Tensor:
        """(N,) bool: the tokens that this layer reads. Raises InvalidInput before the prompt was read."""
        depth = self._read()
        if not 0 <= layer < self.layers:
            raise InvalidInput(f"the layer must be a whole number from 0 to {self.layers - 1}, not {layer!r}.")
        return depth > layer

    @property
    def kept(self) -> Tensor | None:
        """Ascending int64 indices of the tokens alive in the last layer; None before the prompt was read."""
        return None if self.depth is None else (self.depth == self.layers).nonzero()[:, 0]

    @property
    def roles(self) -> Tensor:
        """(N,) uint8: KEPT in the last layer, else DROPPED. Raises InvalidInput before the prompt was read."""
        return _roles(self._read(), self.layers)

    @property
    def average(self) -> float:
        """Visual tokens a layer reads, mean over all layers."""
        self._read()
        return sum(self.counts) / self.layers

    def _read(self) -> Tensor:
        if self.depth is None:
            raise InvalidInput(f"{self.method} chooses while the language model reads the prompt; let it answer first.")
        return self.depth


def _roles(depth: Tensor, layers: int) -> Tensor:
    return (depth == layers).to(torch.uint8) * int(Role.KEPT)


@dataclass(frozen=True, eq=False)
class LayerView:
    """What a method may look at in front of the layer where it prunes.

    hidden: (S, D), what enters the layer. visual: (V,) int64, ascending positions of the visual tokens. text: (T,)
    int64, positions after the last of them. keys: (S, G, d) and queries: (R,) rows -> (R, H, d), after RoPE, of the
    layer before or of this layer, as `InsidePruner.looks_at` says. norm: the language model's last norm.
    read_visual: (N, D) and read_text: (T, D), the embeddings of all visual tokens and of that text before layer 0.
    """

    hidden: Tensor
    visual: Tensor
    text: Tensor
    keys: Tensor
    queries: Callable[[Tensor], Tensor]
    scale: float
    norm: Callable[[Tensor], Tensor]
    read_visual: Tensor
    read_text: Tensor

    def attention(self, rows: Tensor) -> Tensor:
        """(R, S) float32: the causal attention of these positions to all, mean over heads."""
        q, k = self.queries(rows).float(), self.keys.float()
        q = q.unflatten(1, (k.shape[1], -1))  # the heads that share a key head lie next to each other
        scores = torch.einsum("rgnd,sgd->rgns", q, k) * self.scale
        future = torch.arange(len(k), device=k.device) > rows[:, None]
        return scores.masked_fill(future[:, None, None], -math.inf).softmax(dim=-1).mean(dim=(1, 2))


@dataclass(frozen=True, eq=False)
class Choice:
    """What a method keeps of the V visual tokens in front of a layer.

    kept: ascending int64 indices into the V. scores: (V,) float32. merged: (C, D), tokens made of dropped ones, put
    after the last visual token, or None. centres: (C,) int64, the index whose place on the picture each stands for.
    made_of: (C, V) float32, what part each token has in it; rows sum to 1.
    """

    kept: Tensor
    scores: Tensor
    merged: Tensor | None = None
    centres: Tensor | None = None
    made_of: Tensor | None = None


@dataclass(frozen=True)
class InsidePruner(Pruner):
    """`pruner(tokens, budget)` is a request; the choice is made while the language model reads the prompt.

    layers_of_32: the layers that read fewer tokens first, in a model of 32. looks_at: whose attention is read, that of
    the layer "before" the pruning one or its "own". positions: "original" or "renumbered" after pruning.
    """

    stage: ClassVar[str] = "inside"
    exact_count: ClassVar[bool] = False
    looks_at: ClassVar[str] = "before"
    positions: ClassVar[str] = "original"

    def __call__(self, tokens: VisualTokens, budget: int) -> InsideSelection:  # type: ignore[override]
        """Ask for `budget` of the N tokens as the average of all layers. Raises InvalidInput outside 1..N."""
        check_budget(budget, len(tokens))
        return InsideSelection(self.name, budget, self, len(tokens))

    def plan(self, tokens: VisualTokens) -> NoReturn:
        """Raises InvalidInput: there is no plan before the language model has read the prompt."""
        raise InvalidInput(
            f"{self.label} prunes inside the language model, so what it keeps is known only once the model has "
            "answered; ask for an answer at one budget."
        )

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        return self.plan(tokens)

    def _plan(self, tokens: VisualTokens) -> Plan:
        return self.plan(tokens)

    def why(self, tokens: VisualTokens, plan: Plan) -> dict[str, Any]:
        """score: what the first pruning layer ranked by, at the budgets that were run."""
        if not isinstance(plan, LayersPlan) or not plan.scores:
            return {}
        return {"budgets": list(plan.budgets), "at": {"score": [numbers(one) for one in plan.scores]}}

    @property
    @abstractmethod
    def layers_of_32(self) -> tuple[int, ...]: ...

    @abstractmethod
    def counts(self, share: float, n: int) -> list[int]:
        """How many are kept at each of `layers_of_32`, for a share in [0, 1]: 1 of each at 0, all N at 1."""

    @abstractmethod
    def choose(self, view: LayerView, count: int) -> Choice:
        """Keep `count` of the visual tokens in front of a layer. Ties go to the lower index."""

    def schedule(self, n: int, layers: int, budget: int) -> list[tuple[int, int]]:
        """(layer, kept from that layer on) so that the average over all layers is as close to the budget as it gets.

        Layer numbers are those of the paper scaled to this depth, see `fsr.pruners.schedule.scaled`. Counts are whole,
        so the average differs from the budget by less than one token; `InsideSelection.facts` has the average.
        Raises InvalidInput with the range that is possible.
        """
        check_budget(budget, n)
        at = scaled(self.layers_of_32, layers)

        def cost(counts: list[int]) -> int:
            return total(n, layers, list(zip(at, self._read(n, counts), strict=True)))

        least = cost([1] * len(at))
        if budget * layers < least:
            reads = "the first layer reads" if at[0] == 1 else f"the first {at[0]} layers read"
            raise InvalidInput(
                f"{self.label} cannot average {budget} of {n} visual tokens over {layers} layers, because {reads} all "
                f"of them; choose a budget from {math.ceil(least / layers)} to {n}."
            )
        counts = self._published(n, layers, budget)
        if counts is None:
            counts = closest(lambda share: self.counts(share, n)[: len(at)], cost, budget * layers)
        return list(zip(at, counts, strict=True))

    def _read(self, n: int, counts: Sequence[int]) -> list[int]:
        """Visual tokens that are read after keeping these counts; more where dropped ones are recycled."""
        return list(counts)

    def _published(self, n: int, layers: int, budget: int) -> list[int] | None:
        """The paper's own counts for this budget, where they are to be taken as they are."""
        return None


@dataclass(frozen=True, eq=False)
class LayersPlan(Plan):
    """How deep every token came, at the budgets that were run.

    layers: L. budgets: ascending. depth: (N,) int64 for each budget, in how many layers a token was alive. scores: (N,)
    float32 for each, what the first pruning layer ranked by; none where one is not known.
    """

    layers: int
    budgets: tuple[int, ...]
    depth: tuple[Tensor, ...]
    scores: tuple[Tensor, ...] = ()

    @staticmethod
    def of(selections: Sequence[InsideSelection]) -> LayersPlan:
        """The plan of one method from what it did at one or more budgets.

        Raises InvalidInput where one was not read, or by a model of other depth.
        """
        read = {s.budget: s for s in selections}
        if not read or any(s.depth is None for s in read.values()) or len({s.layers for s in read.values()}) > 1:
            raise InvalidInput("a plan of layers is made of answers of one model; let it answer at a budget first.")
        budgets = tuple(sorted(read))
        depth = tuple(d for k in budgets if (d := read[k].depth) is not None)
        scores = tuple(x for k in budgets if (x := read[k].scores) is not None)
        return LayersPlan(read[budgets[0]].layers, budgets, depth, scores if len(scores) == len(budgets) else ())

    def roles(self, budget: int) -> Tensor:
        """KEPT in the last layer at the nearest budget that was run, the lower of two."""
        check_budget(budget, len(self.depth[0]))
        nearest = min(range(len(self.budgets)), key=lambda i: (abs(self.budgets[i] - budget), i))
        return _roles(self.depth[nearest], self.layers)

    def to_json(self) -> dict[str, Any]:
        depth = [one.tolist() for one in self.depth]
        return {"kind": "layers", "layers": self.layers, "budgets": list(self.budgets), "depth": depth}
