"""What every pruner is: a small frozen dataclass whose fields are its documented parameters."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsr.errors import InvalidInput, within_memory
from fsr.host import fetch, hand
from fsr.pruners.clips import check_frames
from fsr.pruners.forced import Forced
from fsr.pruners.plan import Plan, RankPlan
from fsr.tokens import Role, Selection, VisualTokens, check_budget


def number(default: float, low: float, high: float | None, doc: str, *, above: bool = False) -> Any:
    """A float parameter in [low, high], or (low, high] with `above`; high None: no upper end."""
    return _parameter(default, doc, {"low": low, "high": high, "above": above})


def optional_number(low: float, high: float, doc: str, *, above: bool = False) -> Any:
    """A float parameter as `number`, or None, the default."""
    return _parameter(None, doc, {"low": low, "high": high, "above": above, "optional": True})


def whole(default: int, low: int, high: int, doc: str) -> Any:
    """An int parameter in [low, high]."""
    return _parameter(default, doc, {"low": low, "high": high, "whole": True})


def optional_whole(low: int, high: int, doc: str) -> Any:
    """An int parameter as `whole`, or None, the default."""
    return _parameter(None, doc, {"low": low, "high": high, "whole": True, "optional": True})


def choice(default: object, choices: tuple[object, ...], doc: str) -> Any:
    """A parameter that is one of `choices`."""
    return _parameter(default, doc, {"choices": choices})


def _parameter(default: object, doc: str, allowed: dict[str, Any]) -> Any:
    return dataclasses.field(default=default, metadata={"doc": doc, **allowed})


@dataclass(frozen=True)
class Pruner(ABC):
    """`Pruner(**parameters)(tokens, budget) -> Selection`.

    requires: the fields of `VisualTokens` to capture, e.g. saliency, relevance, keys. optional: those of them that a
    model may lack. exact_count: whether exactly `budget` tokens reach the language model. stage: "before" the language
    model or "inside" it. caution: one sentence to read its choice by, where there is one.
    across_frames: whether it compares frames with the frame before, and so prunes clips alone.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    paper: ClassVar[str]
    caution: ClassVar[str] = ""
    requires: ClassVar[frozenset[str]] = frozenset()
    optional: ClassVar[frozenset[str]] = frozenset()
    exact_count: ClassVar[bool] = True
    across_frames: ClassVar[bool] = False
    stage: ClassVar[str] = "before"

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if not _allowed(value, f.metadata):
                raise InvalidInput(f"{self.name}: {f.name} must be {_sentence(f.metadata)}, not {value!r}.")

    def __call__(self, tokens: VisualTokens, budget: int) -> Selection:
        """Keep `budget` of the N tokens. Raises InvalidInput for a budget outside 1..N or a score that is missing."""
        check_budget(budget, len(tokens))
        self._check_scores(tokens)
        # what is cached on the tokens must outlive either mode
        with within_memory(), torch.inference_mode(False), torch.no_grad():
            return self._finished(tokens, self._select(tokens, budget))

    def plan(self, tokens: VisualTokens) -> Plan:
        """The role of every token at every budget."""
        self._check_scores(tokens)
        with within_memory(), torch.inference_mode(False), torch.no_grad():
            return self._plan(tokens)

    @abstractmethod
    def _select(self, tokens: VisualTokens, budget: int) -> Selection: ...

    @abstractmethod
    def _plan(self, tokens: VisualTokens) -> Plan: ...

    def _finished(self, tokens: VisualTokens, selection: Selection) -> Selection:
        """What a selection gets besides when it is asked for by itself, and a plan, which has roles only, does not
        need."""
        return selection

    @property
    def takes_budget(self) -> bool:
        """Whether the budget decides how much is kept: exactly, or inside the language model as the layers' average."""
        return self.exact_count or self.stage == "inside"

    def parameters(self) -> dict[str, Any]:
        """The value of every parameter, by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def tuned(self) -> dict[str, Any]:
        """The parameters that differ from the defaults, by name."""
        return {f.name: value for f in dataclasses.fields(self) if (value := getattr(self, f.name)) != f.default}

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """What a page or a command line needs to offer this method; plain JSON values."""
        return {
            "name": cls.name,
            "label": cls.label,
            "paper": cls.paper,
            "caution": cls.caution,
            "requires": sorted(cls.requires),
            "optional": sorted(cls.optional),
            "exact_count": cls.exact_count,
            "across_frames": cls.across_frames,
            "stage": cls.stage,
            "parameters": [_described(f) for f in dataclasses.fields(cls)],
        }

    def why(self, tokens: VisualTokens, plan: Plan) -> dict[str, Any]:
        """What a sentence about one token needs beyond plan and scores, as plain JSON values; {}: nothing more.

        every: name -> N numbers that hold at any budget. at: name -> N numbers for each of `budgets`, ascending.
        Names: of (a token, -1 for none), cosine (to it), relevance, residual, score and outlier (0 or 1).
        """
        return {}

    def _check_scores(self, tokens: VisualTokens) -> None:
        if self.across_frames:
            check_frames(self.label, tokens.layout)
        for score in sorted(self.requires - self.optional):
            if getattr(tokens, score) is None:
                raise InvalidInput(f"{self.label} needs {score}, which was not captured for these tokens.")


@dataclass(frozen=True)
class OrderedPruner(Pruner):
    """A method that keeps the first K of one order of all tokens, whatever K is."""

    @abstractmethod
    def order(self, tokens: VisualTokens) -> tuple[Tensor, dict[str, Tensor]]:
        """(N,) int64, token indices from first to last kept, and the scores that led there."""

    def order_around(self, tokens: VisualTokens, count: int, forced: Forced) -> tuple[Tensor, dict[str, Tensor]]:
        """At least the first `count` of the order around what is forced, and its scores: I first, O never.

        Here the order itself without I and O; a method whose picks depend on what is kept already has its own.
        """
        order, scores = self.order(tokens)
        first, closed = forced.tensors(order.device)
        return torch.cat([first, order[~torch.isin(order, torch.cat([first, closed]))]]), scores


@dataclass(frozen=True)
class RankPruner(OrderedPruner):
    """A method whose order is a sort."""

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        order, scores = self.order(tokens)
        return keep(self.name, tokens, order[:budget], scores)

    def _plan(self, tokens: VisualTokens) -> Plan:
        return RankPlan(rank_of(self.order(tokens)[0]))


# (count,) int64, tokens in the order in which they are kept, the scores that led there, facts; see `Selection`
Picks = tuple[Tensor, dict[str, Tensor], dict[str, float]]


@dataclass(frozen=True)
class GreedyPruner(OrderedPruner):
    """A method whose order is built pick by pick: a budget pays for its own picks alone."""

    @abstractmethod
    def picks(self, tokens: VisualTokens, count: int) -> Picks:
        """The first `count` tokens of the order."""

    def order(self, tokens: VisualTokens) -> tuple[Tensor, dict[str, Tensor]]:
        return self.picks(tokens, len(tokens))[:2]

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        order, scores, facts = self.picks(tokens, budget)
        return dataclasses.replace(keep(self.name, tokens, order, scores), facts=facts)

    def _plan(self, tokens: VisualTokens) -> Plan:
        return RankPlan(rank_of(fetch(self.order(tokens)[0])[0]))


def numbers(values: Tensor, digits: int = 3) -> list[float]:
    """Plain numbers with so many digits; 0 for what is not finite."""
    return [float(f"{x:.{digits}g}") if math.isfinite(x) else 0.0 for x in values.tolist()]


def rank_of(order: Tensor) -> Tensor:
    """(N,) int64, a permutation -> its inverse: the place of every token in the order."""
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return rank


def highest_first(score: Tensor) -> Tensor:
    """(N,) -> (N,) int64: indices by score, highest first, ties to the lower index."""
    return score.sort(descending=True, stable=True).indices


def keep(method: str, tokens: VisualTokens, indices: Tensor, scores: dict[str, Tensor] | None = None) -> Selection:
    """A selection that keeps these tokens as they are and merges none."""
    n, device = len(tokens), tokens.embeddings.device
    kept = hand(indices, device).sort().values
    roles = torch.full((n,), int(Role.DROPPED), dtype=torch.uint8, device=device)
    roles[kept] = int(Role.KEPT)
    return Selection(
        method=method,
        budget=len(kept),
        kept=kept,
        roles=roles,
        embeddings=tokens.embeddings[kept],
        anchor=torch.full((n,), -1, dtype=torch.int64, device=device),
        similarity=torch.full((n,), math.nan, device=device),
        weight=(roles == Role.KEPT).float(),
        scores=scores or {},
    )


def _allowed(value: Any, rule: Any) -> bool:
    if "choices" in rule:
        return any(value is c or (type(value) is type(c) and value == c) for c in rule["choices"])
    if value is None:
        return bool(rule.get("optional"))
    kinds = (int,) if rule.get("whole") else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
        return False
    low, high = rule["low"], rule["high"]
    return (value > low if rule.get("above") else value >= low) and (high is None or value <= high)


def _sentence(rule: Any) -> str:
    if "choices" in rule:
        return "one of " + ", ".join(str(c) for c in rule["choices"])
    kind = "a whole number" if rule.get("whole") else "a number"
    low = f"above {rule['low']:g}" if rule.get("above") else f"at least {rule['low']:g}"
    high = "" if rule["high"] is None else f" and at most {rule['high']:g}"
    return f"{kind} {low}{high}" + (" (or None)" if rule.get("optional") else "")


def _described(f: dataclasses.Field[Any]) -> dict[str, Any]:
    rule = dict(f.metadata)
    described = {"name": f.name, "default": f.default, "allowed": _sentence(rule), "doc": rule.pop("doc")}
    if "choices" in rule:
        rule["choices"] = list(rule["choices"])
    return {**described, **rule}
