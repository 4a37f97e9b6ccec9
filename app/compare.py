"""Several methods at one budget, or one method at several: one encoding, and one answer after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

from app.request import Parameters, Request
from app.service import Service
from app.work import Effort, Event, Work, layers_patch, plan_patch
from fsr.bench.measure import FULL, Measurement
from fsr.errors import FsrError, InvalidInput, OutOfMemory
from fsr.pruners import REGISTRY
from fsr.pruners.inside import InsideSelection
from fsr.tokens import Role
from fsr.vlm.memory import release

MAX_RUNS = 6
HOW = f"choose 2 to {MAX_RUNS} methods at one budget, or one method at 2 to {MAX_RUNS} budgets."


def requests_of(asked: Request, methods: Any, budgets: Any, least: int = 2) -> list[Request]:
    """One request for each method at each budget; `methods` and `budgets` come from a visitor.

    Raises InvalidInput unless they are distinct and known and one of the two is single.
    """
    for values in (methods, budgets):
        if not isinstance(values, list):
            raise InvalidInput(f'a comparison takes lists, such as ["fsr"] and [64], not {str(values)[:40]!r}; {HOW}')
        if not 1 <= len(values) <= MAX_RUNS or len({str(v) for v in values}) < len(values):
            raise InvalidInput(f"a comparison takes different methods and budgets: {HOW}")
    if min(len(methods), len(budgets)) > 1 or len(methods) * len(budgets) < least:
        raise InvalidInput(f"this comparison has {len(methods)} methods and {len(budgets)} budgets; {HOW}")
    known = [name for name in REGISTRY if name != "full"]
    for name in methods:
        if not isinstance(name, str) or name not in known:
            raise InvalidInput(f"there is no method {str(name)[:40]!r} to compare; choose from {', '.join(known)}.")
    for budget in budgets:
        whole = isinstance(budget, (int, float)) and not isinstance(budget, bool) and budget % 1 == 0
        if not whole or not 1 <= budget <= 1e6:
            raise InvalidInput(f"a budget must be a whole number of visual tokens from 1, not {str(budget)[:40]!r}.")
    return [replace(asked, method=name, budget=int(k)) for name in methods for k in budgets]


def compare(
    service: Service,
    requests: Sequence[Request],
    stop: threading.Event | None = None,
    shown: str = "",
    held: Parameters | None = None,
) -> Iterator[Event]:
    """All tokens first, then every request, alone on the model each (see `in_turns`); then all again, to be measured.

    requests: from `requests_of`. shown: the `Request.setting` that the visitor's page draws, held: the parameters of
    the methods whose plans it has; what it has is not made again. A method that this model cannot run is told as a
    problem and the others go on.
    """
    requests = [service.checked(request) for request in requests]
    for request in requests:
        request.pruner()
    stop = stop or threading.Event()
    say = partial(Event, of=len(requests) + 1)
    act = partial(_compare, requests=requests, shown=shown, held=held or {})
    yield from service.in_turn(Effort(f"compare {len(requests)}", len(requests) + 1), requests[0], stop, say, act)


def _compare(work: Work, requests: list[Request], shown: str, held: Parameters) -> Iterator[Event]:
    first, of = requests[0], len(requests) + 1
    yield Event("encoding", work.first_step, of=of)
    encoding = work.encoded(first, needs_of(r.method for r in requests))
    n = len(encoding.tokens)
    requests = [replace(request, budget=request.budget_for(n), of=0) for request in requests]
    if first.setting != shown or work.fresh:
        base = work.trace(encoding, first)
        held = {name: record["parameters"] for name, record in base["methods"].items()}
        yield Event("encoding", "Planning every budget.", of=of, trace=base)
    measured = work.measurement(encoding)
    for event in work.stream(measured, FULL, ""):
        yield replace(event, at=1, of=of)
    inside: dict[str, list[InsideSelection]] = {}
    warmed: set[tuple[str, int]] = set()
    for at, request in enumerate(in_turns(requests), 2):
        if work.stop.is_set():
            break
        for event in _run(work, measured, request, held, inside, warmed):
            yield replace(event, at=at, of=of)
        held = held | {request.method: request.pruner().parameters()}
    if work.stop.is_set():
        yield Event("stopped", "Stopped.")
        return
    for event in work.repeats(measured, ""):
        yield replace(event, at=of, of=of)
    yield Event("done", "", at=of, of=of)


def _run(
    work: Work,
    measured: Measurement,
    request: Request,
    held: Parameters,
    inside: dict[str, list[InsideSelection]],
    warmed: set[tuple[str, int]],
) -> Iterator[Event]:
    """One method at one budget: its plan where the page lacks it, its timed selection, its answer.

    inside: what methods that prune inside the language model did so far; that is known after an answer only, and so is
    their plan. warmed: stages and budgets that the model has run at; the first of them runs once uncounted.
    """
    asked, encoding = f"{request.method}@{request.budget}", measured.encoding
    try:
        pruner = request.pruner(encoding)
        if pruner.stage == "before" and held.get(request.method) != pruner.parameters():
            yield Event("method", f"{pruner.label}: planning every budget.", asked)
            yield Event("method", f"{pruner.label}: selecting.", asked, patch=plan_patch(work.vlm, encoding, request))
        selection: Any = measured.select(asked, pruner, request.budget)
        if (pruner.stage, request.budget) not in warmed:
            measured.warm(asked)
            warmed.add((pruner.stage, request.budget))
        for event in work.stream(measured, asked, asked):
            text = f"{pruner.label}: {event.text[:1].lower()}{event.text[1:]}"
            yield replace(event, text=text, kept=kept_of(selection) if event.answer else None)
        if pruner.stage == "inside" and selection.depth is not None:
            done = inside.setdefault(request.method, [])
            done.append(selection)
            yield Event("method", f"{pruner.label}: answered.", asked, patch=layers_patch(encoding, pruner, done))
        return
    except FsrError as error:
        problem, full = str(error), isinstance(error, OutOfMemory)
    if full:
        release()  # for the next method
    yield Event("method", "", asked, asked, problem=problem)


def in_turns(requests: Sequence[Request]) -> list[Request]:
    """The requests from another one on for every question, so that no method always comes first."""
    start = int(requests[0].setting, 16) % len(requests)
    return [*requests[start:], *requests[:start]]


def needs_of(methods: Any) -> frozenset[str]:
    """Everything that these methods need captured."""
    return frozenset().union(*(REGISTRY[name].requires for name in methods))


def kept_of(selection: Any) -> tuple[int, ...] | None:
    """The tokens of the grid that reach the language model, or its last layer; None where that is not known yet."""
    if getattr(selection, "kept", None) is None:
        return None
    return tuple((selection.roles >= int(Role.KEPT)).nonzero()[:, 0].tolist())


def overlap(a: Sequence[int], b: Sequence[int]) -> float:
    """Intersection over union of two sets of tokens; 1 for two empty ones."""
    one, other = set(a), set(b)
    return len(one & other) / len(one | other) if one | other else 1.0


def report(events: Iterator[Event], requests: Sequence[Request]) -> dict[str, Any]:
    """A whole comparison as plain JSON values, in the order of its requests, whatever came first.

    answers: by key. agreement: whether the answer is that with all tokens. kept: token numbers. overlap: intersection
    over union of every pair, "a|b". problems: why a method gave no answer.
    """
    answers: dict[str, Any] = {}
    kept: dict[str, list[int]] = {}
    problems: dict[str, str] = {}
    for event in events:
        if event.problem:
            problems[event.key] = event.problem
        if event.answer is not None:
            answers[event.key] = event.answer
            if event.kept is not None:
                kept[event.key] = list(event.kept)
    order = ["full", *(f"{request.method}@{request.budget}" for request in requests)]
    answers, kept = ({key: found[key] for key in order if key in found} for found in (answers, kept))
    full = answers.get("full", {}).get("text", "")
    agreement = {key: answer["text"].strip() == full.strip() for key, answer in answers.items() if key != "full"}
    pairs = {f"{a}|{b}": overlap(kept[a], kept[b]) for a, b in combinations(kept, 2)}
    return {"answers": answers, "agreement": agreement, "kept": kept, "overlap": pairs, "problems": problems}
