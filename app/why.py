"""Which tokens an answer rests on, what pruning lost, and what would have saved the answer: studies, step by step.

A study is asked for by the Why tab and answered with values for it. What crosses, both ways:

The page triggers `why.study(detail)`. detail: the fields of `page.view()` (method, budget, of, parameters, share,
about), and
    forced    {"in": [token, ...], "out": [token, ...]}, where any are
    what      "influence": leave each kept token out; "repair": put dropped ones back
    why       the page's number of this study; a later study, a question or `why.halt({"why": number})` ends it
    question  the question asked, if the box may hold another by now
The answers that a study is about are made where nobody made them yet; they and finished studies are kept for a while,
so asking again costs nothing.

The panel receives {"run", "about", "why", "study": text}; the text is JSON and holds everything so far, so that no
value can be missed:
    phase      waiting, loading, encoding, answering, influence, regain, repair; then done, stopped or failed
    text       what is at work, or what went wrong, in a sentence
    at, of     how much of this phase is done; of is 0 where nobody knows
    what, key  "influence" or "repair"; which selection, e.g. "fsr@64"
    scene      `Request.scene` of the selection: method, parameters, share, forced tokens, picture, question, model
    answer     {"text"}: with this selection; null until known, as all that follows
    unpruned   {"text"}: with all tokens
    base       log-probability of `answer` with this selection, in nats, end of text included
    influence  [{"token", "delta", "absorbed": [token, ...]}], grows: delta = log P(answer | all that is kept) minus
               log P(answer | all but this token), in nats; above 0 the token speaks for the answer. An anchor goes with
               the tokens that were merged into it
    words      once influence is done: [{"text", "delta": [nats, one for each of `influence`]}], the same of each word
               of the answer behind the words before it. They sum to the whole, but for the end of text
    regain     {"base", "regions": [{"tokens": [...], "gain"}], "tokens": [{"token", "gain"}]}, grows. base: log P of
               the *unpruned* answer with this selection; gain: by how much it rises with these tokens put back
    repair     {"found": bool, "tokens": [...], "answer", "forwards": n, "limit": n, "note": sentence,
               "kept_by": {"cdpruner": [token, ...], ...}}. tokens: of those found, put back in addition to what is
               kept; `answer` is the pruned answer with them, the unpruned one where found is true. forwards: prompts
               that the language model read for it. kept_by: which of `tokens` other methods keep at this budget
Influence and repair of the same selection are separate studies: a value of one leaves out the keys of the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from app.compare import needs_of
from app.request import Request
from app.service import Service
from app.studies import Answered, Study
from app.work import Effort, Work
from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY
from fsr.pruners.forced import NOTHING
from fsr.tokens import Selection
from fsr.vlm import Encoding
from fsr.vlm.answers import greedy_answer
from fsr.why import check_studied, influence, kept_by, regain, repair, studied
from fsr.why.changed import with_more
from fsr.why.words import words_of

WHATS = ("influence", "repair")
PATIENCE_S = 20.0  # a study that takes longer ends where somebody waits for the model
OTHERS_WAIT = "Stopped, because others wait for the model; ask again."


@dataclass(frozen=True)
class Step:
    """A step of a study; phase, text, at and of as above. study: what is known so far."""

    phase: str
    text: str = ""
    at: int = 0
    of: int = 0
    study: Study | None = None


def study(service: Service, request: Request, what: str, stop: threading.Event | None = None) -> Iterator[Step]:
    """Steps of "influence" or "repair"; the last is done or stopped. Raises InvalidInput, see `fsr.why.studied`."""
    if what not in WHATS:
        raise InvalidInput(f"a study is one of {', '.join(WHATS)}, not {str(what)[:40]!r}.")
    request, stop = service.checked(request), stop or threading.Event()
    check_studied(request.pruner())
    model = service.models.resolved(request.model)
    question, selection = (request.setting, model), (request.scene, model, request.budget, request.of)
    known = service.studies.get(selection, question)
    if known.has(what):
        yield Step("done", study=known)
        return
    act = partial(_study, request=request, what=what, known=known)
    for step in service.in_turn(Effort(f"why {what}", 6), request, stop, Step, act):
        if step.study is not None:
            known = step.study
        yield replace(step, study=known)
    service.studies.put(selection, question, known)


def _study(work: Work, request: Request, what: str, known: Study) -> Iterator[Step]:
    yield Step("encoding", work.first_step, study=known)
    others = [name for name, kind in REGISTRY.items() if kind.stage == "before" and kind.exact_count]
    encoding = work.encoded(request, needs_of(others) if what == "repair" else frozenset())
    budget = request.budget_for(len(encoding.tokens))
    known = replace(known, key=f"{request.method}@{budget}")
    selection = studied(request.pruner(encoding)(encoding.tokens, budget), encoding.tokens)
    began = time.monotonic()
    steps = _influence if what == "influence" else partial(_repair, request=replace(request, budget=budget, of=0))
    for step in steps(work, encoding, selection, known):
        if work.stop.is_set():  # what the step holds may have been cut short
            break
        yield step
        if step.phase == "done":
            return
        if work.hurried() and time.monotonic() - began > PATIENCE_S:
            break
    yield Step("stopped", "Stopped." if work.stop.is_set() else OTHERS_WAIT)


def _influence(work: Work, encoding: Encoding, selection: Selection, known: Study) -> Iterator[Step]:
    n = len(selection.kept)
    yield Step("answering", f"Answering with {n} tokens.", study=known)
    answer = known.answer or _answered(work, encoding, selection)
    known = replace(known, answer=answer)
    text = f"Leaving out each of {n} tokens."
    yield Step("influence", text, 0, n, known)
    for found in influence(work.vlm, encoding, selection, answer.ids, work.stop):
        known = replace(known, influences=found)
        yield Step("influence", text, len(found.found), found.of, known)
    words = words_of(work.vlm, answer.ids) if answer.text else []
    yield Step("done", study=replace(known, words=tuple(words)))


def _repair(work: Work, encoding: Encoding, selection: Selection, known: Study, request: Request) -> Iterator[Step]:
    yield Step("answering", f"Answering with all {len(encoding.tokens)} tokens.", study=known)
    known = replace(known, unpruned=known.unpruned or _answered(work, encoding, None))
    yield Step("answering", f"Answering with {len(selection.kept)} tokens.", study=known)
    known = replace(known, answer=known.answer or _answered(work, encoding, selection))
    yield Step("regain", "Putting back regions.", study=known)
    assert known.unpruned is not None
    ids, regained = known.unpruned.ids, None
    for regained in regain(work.vlm, encoding, selection, ids, work.stop):
        known = replace(known, regained=regained)
        what = "tokens of the best regions, one by one" if regained.tokens else "regions"
        yield Step("regain", f"Putting back {what}.", regained.forwards - 1, regained.of, known)
    assert regained is not None
    for found in repair(work.vlm, encoding, selection, ids, regained, work.stop):
        known = replace(known, repair=found)
        text = "Thinning out what was found." if found.found else "Looking for the fewest tokens that repair it."
        yield Step("repair", text, found.forwards, found.limit, known)
    yield Step("done", study=_concluded(work, encoding, selection, known, request))


def _concluded(work: Work, encoding: Encoding, selection: Selection, known: Study, request: Request) -> Study:
    """With the answer of the repaired selection, and what other methods keep of what was put back."""
    assert known.repair is not None
    assert known.unpruned is not None
    tokens = known.repair.tokens
    repaired = known.unpruned.text
    if not known.repair.found:
        repaired = _answered(work, encoding, with_more(selection, encoding.tokens, tokens)).text
    return replace(known, repaired=repaired, kept_by=kept_by(tokens, _others(encoding, request)) if tokens else {})


def _others(encoding: Encoding, request: Request) -> dict[str, Selection]:
    """What the other methods keep at this budget, those that can with what is captured."""
    chosen = {}
    for name, kind in REGISTRY.items():
        able = not kind.across_frames and all(
            getattr(encoding.tokens, score) is not None for score in kind.requires - kind.optional
        )
        if kind.stage == "before" and kind.exact_count and able and name != request.method:
            other = replace(request, method=name, forced=NOTHING)
            chosen[name] = other.pruner(encoding)(encoding.tokens, request.budget)
    return chosen


def _answered(work: Work, encoding: Encoding, selection: Selection | None) -> Answered:
    ids = greedy_answer(work.vlm, encoding, work.settings.max_new_tokens, work.stop, selection)
    return Answered(tuple(ids), work.vlm.text(ids))


def to_json(known: Study, what: str) -> dict[str, Any]:
    """What is known of one study as plain values, see the head of this file."""
    record: dict[str, Any] = {
        "key": known.key,
        "answer": known.answer and {"text": known.answer.text},
        "unpruned": known.unpruned and {"text": known.unpruned.text},
    }
    if what == "influence":
        found = known.influences
        record["base"] = found and _short(found.base)
        record["influence"] = found and [
            {"token": one.token, "delta": _short(one.delta), "absorbed": list(one.absorbed)} for one in found.found
        ]
        if known.words and found:
            record["words"] = [
                {"text": word.text, "delta": [float(f"{one.of(word.start, word.stop):.4g}") for one in found.found]}
                for word in known.words
            ]
        return record
    record["regain"] = record["repair"] = None
    if (lost := known.regained) is not None:
        record["regain"] = {
            "base": _short(lost.base.log_prob),
            "regions": [{"tokens": list(one.tokens), "gain": _short(one.gain)} for one in lost.regions],
            "tokens": [{"token": one.tokens[0], "gain": _short(one.gain)} for one in lost.tokens],
        }
    if (mended := known.repair) is not None and known.repaired:
        record["repair"] = {
            "found": mended.found,
            "tokens": list(mended.tokens),
            "answer": known.repaired,
            "forwards": mended.forwards,
            "limit": mended.limit,
            "note": mended.note,
            "kept_by": known.kept_by,
        }
    return record


def studied_whole(service: Service, request: Request, repairing: bool) -> dict[str, Any]:
    """Influence, largest first, and with `repairing` the repair as well, as plain values."""
    record: dict[str, Any] = {}
    for what in WHATS[: 1 + repairing]:
        *_, last = study(service, request, what)
        assert last.study is not None
        record |= {name: value for name, value in to_json(last.study, what).items() if value is not None}
    found = record["influence"]
    order = sorted(range(len(found)), key=lambda i: (-found[i]["delta"], found[i]["token"]))
    record["influence"] = [found[i] for i in order]
    for word in record.get("words", []):
        word["delta"] = [word["delta"][i] for i in order]
    return record


def _short(value: float) -> float:
    return float(f"{value:.7g}")
