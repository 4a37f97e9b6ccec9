"""How close methods stay to the unpruned model over budgets, and how few tokens keep the answer, step by step."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from app.compare import needs_of
from app.request import Request
from app.service import Service
from app.work import Effort, Work
from fsr.bench.fidelity import Reference, Smallest, smallest_budget
from fsr.errors import FsrError, OutOfMemory
from fsr.pruners.inside import InsideSelection
from fsr.pruners.plan import USUAL, usual_budgets
from fsr.vlm import Encoding
from fsr.vlm.answers import greedy_answer
from fsr.vlm.memory import release


@dataclass(frozen=True)
class Step:
    """A step of the curves. phase: waiting, loading, encoding, running, done or stopped. at, of: points so far.

    point: method, budget, tokens (that a layer reads, on average), kl (nats) and probability. problem: why `method` has
    no point at a budget. smallest: the outcome of the search for one method, where it was not stopped.
    """

    phase: str
    text: str = ""
    at: int = 0
    of: int = 0
    point: dict[str, Any] | None = None
    method: str = ""
    problem: str = ""
    smallest: Smallest | None = None


def curves(service: Service, requests: Sequence[Request], stop: threading.Event) -> Iterator[Step]:
    """One point a method and budget, large budgets first. requests: one a method, of one picture and question."""
    requests = [service.checked(request) for request in requests]
    for request in requests:
        request.pruner()
    act = partial(_curves, requests=requests)
    yield from service.in_turn(Effort(f"curves {len(requests)}", 1 + len(requests)), requests[0], stop, Step, act)


def _curves(work: Work, requests: list[Request]) -> Iterator[Step]:
    encoding, ids = yield from _answered(work, requests)
    if not work.stop.is_set():
        yield from _points(work, encoding, ids, requests)
    yield Step("stopped", "Stopped.") if work.stop.is_set() else Step("done")


def _points(work: Work, encoding: Encoding, ids: list[int], requests: list[Request]) -> Iterator[Step]:
    reference = Reference(work.vlm, encoding, ids)
    n = len(encoding.tokens)
    budgets = usual_budgets(n, (*USUAL, 1 / 2))[::-1]
    of, at = len(budgets) * len(requests), 0
    for place, budget in enumerate(budgets):
        for request in requests:
            if work.stop.is_set():
                return
            at += 1
            pruner = request.pruner()
            if place and not pruner.takes_budget:  # it keeps its own number of tokens: one point
                continue
            text = f"{pruner.label} at {budget} tokens."
            point, problem, full = None, "", False
            try:
                point = _point(reference, encoding, replace(request, budget=budget))
            except FsrError as error:
                problem, full = str(error), isinstance(error, OutOfMemory)
            if full:
                release()  # for the next point
            yield Step("running", text, at, of, point, request.method, problem)


def _point(reference: Reference, encoding: Encoding, request: Request) -> dict[str, Any]:
    selection: Any = request.pruner(encoding)(encoding.tokens, request.budget)
    found = reference.compare(selection)
    tokens = selection.average if isinstance(selection, InsideSelection) else len(selection.sent)
    return {
        "method": request.method,
        "budget": request.budget,
        "tokens": round(float(tokens), 1),
        "kl": found.kl,
        "probability": found.probability,
    }


def smallest(service: Service, request: Request, stop: threading.Event) -> Iterator[Step]:
    """Steps, and at last the smallest budget found at which the answer stays the same."""
    request = service.checked(request)
    pruner = request.pruner()
    act = partial(_smallest, request=request, label=pruner.label)
    yield from service.in_turn(Effort("smallest", 12), request, stop, Step, act)


def _smallest(work: Work, request: Request, label: str) -> Iterator[Step]:
    encoding, ids = yield from _answered(work, [request])
    yield Step("running", f"{label}: answering at one budget after the other.")
    found = smallest_budget(work.vlm, encoding, request.pruner(encoding), ids, stop=work.stop)
    if found.finished:
        yield Step("done", method=request.method, smallest=found)
    else:
        yield Step("stopped", "Stopped.", method=request.method)


def _answered(work: Work, requests: Sequence[Request]) -> Generator[Step, None, tuple[Encoding, list[int]]]:
    """The encoding that all methods share, and the unpruned answer."""
    yield Step("encoding", work.first_step)
    encoding = work.encoded(requests[0], needs_of(r.method for r in requests))
    yield Step("encoding", "Answering with all tokens.")
    ids = greedy_answer(work.vlm, encoding, work.settings.max_new_tokens, work.stop)
    return encoding, ids
