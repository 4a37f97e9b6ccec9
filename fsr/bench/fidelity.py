"""Fidelity beyond the words: how far pruning moves the distribution behind an answer, and how few tokens keep it.

The unpruned model's greedy answer is forced through the pruned model: the pruned prompt first, then the whole answer in
one pass on its cache. So methods that prune inside the language model by the last token of the prompt prune here
exactly as they do when they answer. Letters: A answer tokens, the end-of-text token included; V vocabulary.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fsr.bench.intervals import interval
from fsr.errors import InvalidInput
from fsr.pruners.base import Pruner
from fsr.pruners.inside import InsidePruner, InsideSelection
from fsr.tokens import Selection, check_budget
from fsr.vlm.answers import answers_the_same, greedy_answer
from fsr.vlm.base import VLM, Chosen
from fsr.vlm.media import Encoding

MEASURES = ("kl", "probability", "agreement")


@dataclass(frozen=True)
class Fidelity:
    """One pruned model against the unpruned one, on the same answer. Every list has A entries.

    token_kl: KL(full || pruned) in nats of the next-token distribution before each answer token. token_log_probs: the
    log-probability that the pruned model gives to each answer token. agrees: whether its greedy choice is that token.
    """

    token_kl: list[float]
    token_log_probs: list[float]
    agrees: list[bool]

    @property
    def kl(self) -> float:
        """Mean of `token_kl`, in nats."""
        return math.fsum(self.token_kl) / len(self.token_kl)

    @property
    def probability(self) -> float:
        """Of the whole answer, end of text included, under the pruned model."""
        return math.exp(math.fsum(self.token_log_probs))

    @property
    def agreement(self) -> float:
        """Share of the answer tokens that the pruned model would choose as well, given those before."""
        return sum(self.agrees) / len(self.agrees)

    def to_json(self) -> dict[str, Any]:
        """Plain values, numbers with seven digits."""
        return {
            **{name: _short(getattr(self, name)) for name in MEASURES},
            "token_kl": [_short(x) for x in self.token_kl],
            "token_log_probs": [_short(x) for x in self.token_log_probs],
            "agrees": self.agrees,
        }


@dataclass(frozen=True)
class Point:
    """One method at one budget. budget: None for a method that decides itself how many tokens it keeps.

    visual_tokens: how many the language model read; for a method inside it the average of its layers.
    """

    method: str
    budget: int | None
    visual_tokens: float
    fidelity: Fidelity

    def to_json(self) -> dict[str, Any]:
        """Plain values, the fidelity's among them."""
        about = {"method": self.method, "budget": self.budget, "visual_tokens": self.visual_tokens}
        return {**about, **self.fidelity.to_json()}


class Reference:
    """The unpruned model's side of a comparison: its scores before every token of the answer, (A, V) float32."""

    def __init__(self, vlm: VLM, encoding: Encoding, answer_ids: Sequence[int], scores: Tensor | None = None) -> None:
        """scores: (A, V), where the answer was just given by `greedy_answer`, which tells them.

        Raises InvalidInput for an empty answer or an id outside the vocabulary.
        """
        vocabulary = vlm.shape.vocabulary
        if not answer_ids or any(isinstance(i, bool) or not 0 <= i < vocabulary for i in answer_ids):
            raise InvalidInput(f"an answer is one or more token ids from 0 to {vocabulary - 1}.")
        self.vlm, self.encoding, self.answer_ids = vlm, encoding, list(answer_ids)
        self.scores = (vlm.forced(encoding, None, self.answer_ids) if scores is None else scores).float()

    def compare(self, selection: Chosen) -> Fidelity:
        """The pruned model on the same answer; None compares the unpruned model with itself, at no cost."""
        if selection is None:
            return compared(self.scores, self.scores, self.answer_ids)
        return compared(self.scores, self.vlm.forced(self.encoding, selection, self.answer_ids), self.answer_ids)

    def compare_all(self, selections: Sequence[Chosen]) -> list[Fidelity]:
        """`compare` for each, several prompts at a time: the same up to rounding. Inside the model one by one."""
        before = [(i, one) for i, one in enumerate(selections) if isinstance(one, Selection)]
        found = {i: self.compare(one) for i, one in enumerate(selections) if not isinstance(one, Selection)}
        batched = self.vlm.forced_scores(self.encoding, [one for _, one in before], self.answer_ids)
        for at, scores in batched:
            found[before[at][0]] = compared(self.scores, scores, self.answer_ids)
        return [found[i] for i in range(len(selections))]


def compared(full: Tensor, pruned: Tensor, answer_ids: Sequence[int]) -> Fidelity:
    """(A, V) next-token scores of both models before each answer token -> Fidelity, in float64, a row at a time."""
    kl, log_probs, agrees = [], [], []
    for p, q, token in zip(full, pruned, answer_ids, strict=True):
        log_p, log_q = p.double().log_softmax(dim=-1), q.double().log_softmax(dim=-1)
        kl.append(max(0.0, float((log_p.exp() * (log_p - log_q)).sum())))  # rounding can leave -1e-17
        log_probs.append(float(log_q[token]))
        agrees.append(int(q.argmax()) == token)
    return Fidelity(kl, log_probs, agrees)


def fidelity(
    vlm: VLM,
    encoding: Encoding,
    answer_ids: Sequence[int],
    selections: Sequence[Chosen],
    stop: threading.Event | None = None,
) -> Iterator[Fidelity]:
    """Compare each selection with the unpruned model on this answer, as they finish; ends early when `stop` is set.

    answer_ids: what `greedy_answer` gives. Raises InvalidInput for an empty answer or an id outside the vocabulary.
    """
    reference = Reference(vlm, encoding, answer_ids)
    for selection in selections:
        if _stopped(stop):
            return
        yield reference.compare(selection)


def curve(
    vlm: VLM,
    encoding: Encoding,
    pruners: Mapping[str, Pruner],
    budgets: Sequence[int],
    answer_ids: Sequence[int] | None = None,
    max_new_tokens: int = 128,
    stop: threading.Event | None = None,
) -> Iterator[Point]:
    """Fidelity of several methods at several budgets, each point as it finishes, the unpruned model ("full") first.

    pruners: by the name that the points carry. The unpruned side is computed once. answer_ids: default the unpruned
    model's greedy answer. A method that decides itself how many tokens it keeps gives one point; a method inside the
    language model gives none at a budget that is too small for it (see `possible`). Ends early when `stop` is set.
    Raises InvalidInput for a budget outside 1..N.
    """
    n = len(encoding.tokens)
    for budget in budgets:
        check_budget(budget, n)
    return _points(vlm, encoding, pruners, budgets, answer_ids, max_new_tokens, stop)


def _points(
    vlm: VLM,
    encoding: Encoding,
    pruners: Mapping[str, Pruner],
    budgets: Sequence[int],
    answer_ids: Sequence[int] | None,
    max_new_tokens: int,
    stop: threading.Event | None,
) -> Iterator[Point]:
    n = len(encoding.tokens)
    ids = greedy_answer(vlm, encoding, max_new_tokens, stop) if answer_ids is None else answer_ids
    if _stopped(stop):
        return
    reference = Reference(vlm, encoding, ids)
    yield Point("full", n, n, reference.compare(None))
    for place, budget in enumerate(budgets):
        for name, pruner in pruners.items():
            if (
                pruner.name == "full"
                or (place and not pruner.takes_budget)
                or not possible(vlm, encoding, pruner, budget)
            ):
                continue
            if _stopped(stop):
                return
            selection = pruner(encoding.tokens, budget)
            found = reference.compare(selection)
            read = selection.average if isinstance(selection, InsideSelection) else len(selection.sent)
            yield Point(name, budget if pruner.takes_budget else None, read, found)


def possible(vlm: VLM, encoding: Encoding, pruner: Pruner, budget: int) -> bool:
    """Whether the method can keep to this budget: inside the language model the first layers read every token."""
    if isinstance(pruner, InsidePruner):
        try:
            pruner.schedule(len(encoding.tokens), vlm.shape.layers, budget)
        except InvalidInput:
            return False
    return True


@dataclass(frozen=True)
class Smallest:
    """The outcome of `smallest_budget`.

    budget: where the answer is the same, None where none was found (yet). tried: budget -> whether the answer was the
    same there, in the order of the runs. finished: False where it was stopped before the search was done.
    """

    budget: int | None
    tried: dict[int, bool] = field(default_factory=dict)
    finished: bool = True

    @property
    def runs(self) -> int:
        """How often the pruned model answered."""
        return len(self.tried)


def smallest_budget(
    vlm: VLM,
    encoding: Encoding,
    pruner: Pruner,
    answer_ids: Sequence[int],
    below: int = 3,
    stop: threading.Event | None = None,
    progress: Callable[[int, bool], None] | None = None,
) -> Smallest:
    """A budget K with the same greedy answer, by doubling and bisection, about 2 log2 K + `below` answers.

    Whether the answer is the same is not monotone in the budget, so only what was run is certain: at K the answer is
    the same, token by token, and at each of K-1 .. K-below it differs (those from 1 on, or from the least budget that
    is possible inside the language model). A smaller budget with the same answer can exist further down. `budget` is
    None where the answer differs at every budget tried, N among them.
    progress: called after every run with the budget and whether the answer was the same.
    Raises InvalidInput for a method that decides itself how many tokens it keeps.
    """
    if not pruner.takes_budget:
        raise InvalidInput(f"{pruner.label} decides itself how many tokens it keeps, so it has no smallest budget.")
    if below < 1:
        raise InvalidInput(f"below must be at least 1, not {below!r}.")
    tried: dict[int, bool] = {}

    def same(budget: int) -> bool:
        if budget not in tried:
            if _stopped(stop):
                raise _Stopped
            tried[budget] = answers_the_same(vlm, encoding, pruner(encoding.tokens, budget), answer_ids)
            if progress is not None:
                progress(budget, tried[budget])
        return tried[budget]

    try:
        n = len(encoding.tokens)
        least = next(k for k in range(1, n + 1) if possible(vlm, encoding, pruner, k))
        found = _search(same, tried, least, n, below)
    except _Stopped:
        return Smallest(min((k for k, is_same in tried.items() if is_same), default=None), tried, finished=False)
    return Smallest(found, tried)


class _Stopped(Exception):  # noqa: N818
    """Unwinds a search that was told to stop."""


def _search(same: Callable[[int], bool], tried: dict[int, bool], least: int, n: int, below: int) -> int | None:
    high = least
    while not same(high):
        if high == n:
            return None
        high = min(2 * high, n)
    while True:
        low = max((k for k, is_same in tried.items() if k < high and not is_same), default=least - 1)
        while high - low > 1:  # the answer differs at low (or too small) and is the same at high
            middle = (low + high) // 2
            low, high = (low, middle) if same(middle) else (middle, high)
        again = next((k for k in range(high - 1, max(high - 1 - below, least - 1), -1) if same(k)), None)
        if again is None:
            return high
        high = again


def summarise(questions: Sequence[Sequence[Point]], seed: int = 0) -> dict[str, dict[str, dict[str, Any]]]:
    """Means over questions with their bootstrap 95 % intervals: method -> budget -> measure -> [mean, low, high].

    questions: the points of each question's `curve`. A method that decides itself how many tokens it keeps stands under
    the mean of what it kept. Beside the measures (kl, probability, agreement) stands the number of questions.
    """
    groups: dict[tuple[str, int | None], list[Point]] = {}
    for points in questions:
        for point in points:
            groups.setdefault((point.method, point.budget), []).append(point)
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for (method, budget), points in groups.items():
        tokens = round(math.fsum(p.visual_tokens for p in points) / len(points)) if budget is None else budget
        row: dict[str, Any] = {"questions": len(points)}
        for name in MEASURES:
            values = [getattr(p.fidelity, name) for p in points]
            row[name] = [_short(x) for x in (math.fsum(values) / len(values), *interval(values, seed))]
        out.setdefault(method, {})[str(tokens)] = row
    return out


def _stopped(stop: threading.Event | None) -> bool:
    return stop is not None and stop.is_set()


def _short(value: float) -> float:
    return float(f"{value:.7g}")
