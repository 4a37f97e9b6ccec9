"""Measure every method at every budget on test scenes that training and validation cannot reach."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL import Image

from fsr import pruners, vlm
from fsr.bench.fidelity import possible
from fsr.bench.intervals import interval
from fsr.pruners import Pruner
from fsr.pruners.inside import InsideSelection
from fsr.shapes.questions import TYPES, Question, ask, correct
from fsr.shapes.scenes import Scene, Window, draw, generator, random_scene
from fsr.vlm.base import Chosen
from fsr.vlm.cost import timed

CHUNK = 24  # pictures in memory at a time, with the selections of all methods at all budgets
BATCH = 16
MAX_NEW_TOKENS = 48
WORD = re.compile(r"\w+|[^\w\s]")  # a token of the embedded models
LISTS = ("list", "frame")  # types whose answers are long
REFERENCES = ("full", "blind", "majority")  # without a budget of their own
OWN = -1  # the budget of a method that decides itself how many tokens it keeps, until the mean is known
Key = tuple[str, int]  # method, budget


class Asked(Protocol):
    """What is asked: a picture or a clip with a question."""

    @property
    def question(self) -> Question: ...

    @property
    def small(self) -> bool | None:
        """Whether the one object that it is about is small."""

    def encode(self, model: vlm.VLM, needs: frozenset[str]) -> vlm.Encoding: ...

    def right(self, answer: str) -> bool: ...


@dataclass(frozen=True)
class Case:
    scene: Scene
    question: Question

    @property
    def picture(self) -> Image.Image:
        return Image.fromarray(draw(self.scene))

    @property
    def small(self) -> bool | None:
        subject = self.question.subject
        return None if subject is None else self.scene.things[subject].small

    def encode(self, model: vlm.VLM, needs: frozenset[str]) -> vlm.Encoding:
        return model.encode(model.encode_media([self.picture], needs=needs), self.question.text, needs)

    def right(self, answer: str) -> bool:
        return correct(self.question, answer)


def cases(stream: str, seed: int, count: int, unseen: bool = False) -> Iterator[Case]:
    """`count` cases: types in turn, object count uniform from 1 to 8, yes and no in turn, half of the subjects small.

    unseen: every scene holds a colour-shape pair that training never shows, and the question is about it.
    """
    for i in range(count):
        yield case(stream, seed, i, unseen)


def case(stream: str, seed: int, i: int, unseen: bool = False) -> Case:
    """Number i of `cases`, alone."""
    rng = generator(stream, seed, i, int(unseen))
    kinds = [t for t in TYPES if t not in ("digit", "list")] if unseen else TYPES
    kind = kinds[i % len(kinds)]
    yes_or_no = ("yes", "no")[(i // len(kinds)) % 2]
    objects, small = int(rng.integers(1, 9)), bool(rng.random() < 0.5)
    return _case(rng, kind, objects, small, yes_or_no, unseen)


def _case(rng: np.random.Generator, kind: str, objects: int, small: bool, yes_or_no: str, unseen: bool) -> Case:
    while True:
        scene = random_scene(rng, objects, Window(), unseen="one" if unseen else "never")
        subject: int | None = 0 if unseen else None
        if not unseen and kind in ("color", "shape", "where", "relation"):
            wanted = [i for i, t in enumerate(scene.things) if t.small == small]
            if not wanted:
                continue
            subject = int(rng.choice(wanted))
        question = ask(scene, kind, rng, subject)
        if question is not None and (kind != "exists" or unseen or question.answer == yes_or_no):
            return Case(scene, question)


@dataclass(frozen=True, eq=False)
class Request:
    """One question to one method at one budget. row: the question's place."""

    key: Key
    row: int
    encoding: vlm.Encoding
    selection: Chosen

    @property
    def length(self) -> int:
        """Positions that the language model reads."""
        if self.selection is None or isinstance(self.selection, InsideSelection):
            return len(self.encoding.prompt)
        return len(self.encoding.prompt) - len(self.encoding.visual) + len(self.selection.sent)


@dataclass
class Measured:
    """right: (questions,) bool for every method and budget. k_focus: K_F of every question. own_count: the mean number
    of tokens of methods that decide it themselves. unended: how many answers were as long as is allowed. encode_ms,
    select_ms, answer_ms: a question's share of the time.

    What several methods share (similarities) is paid by the first that asks. Batches hold several methods and budgets;
    each of their rows is counted with the same share of the batch's time.
    """

    right: dict[Key, np.ndarray] = field(default_factory=dict)
    k_focus: list[float] = field(default_factory=list)
    own_count: dict[str, float] = field(default_factory=dict)
    unended: dict[Key, int] = field(default_factory=dict)
    encode_ms: float = 0.0
    select_ms: dict[Key, float] = field(default_factory=dict)
    answer_ms: dict[Key, float] = field(default_factory=dict)

    def cost(self) -> dict[str, Any]:
        select, answer = ({k: round(v, 2) for k, v in ms.items()} for ms in (self.select_ms, self.answer_ms))
        return {"encode_ms": round(self.encode_ms, 2), "select_ms": nested(select), "answer_ms": nested(answer)}


def run(
    model: vlm.VLM,
    todo: Sequence[Asked],
    methods: Sequence[str] | dict[str, Pruner],
    budgets: Sequence[int],
    say: Callable[[str], None] = lambda line: None,
) -> Measured:
    """Ask every question of every method at every budget, and once of methods that decide themselves how many to keep.

    methods: names of the registry, or any pruners by names of their own. Inside the language model only the budgets
    that its depth allows are run.
    """
    made = methods if isinstance(methods, dict) else {name: pruners.make(name) for name in methods}
    needs = frozenset().union(*(p.requires for p in made.values()))
    right: dict[Key, list[bool]] = defaultdict(list)
    select_ms: dict[Key, float] = defaultdict(float)
    answer_ms: dict[Key, float] = defaultdict(float)
    own: dict[str, list[int]] = defaultdict(list)
    unended: dict[Key, int] = defaultdict(int)
    out = Measured()
    for start in range(0, len(todo), CHUNK):
        part = todo[start : start + CHUNK]
        requests: list[Request] = []
        for row, case in enumerate(part):
            encoding, ms = timed(lambda c=case: c.encode(model, needs), model.device)  # type: ignore[misc]
            out.encode_ms += ms
            for key, selection, ms in selections(model, encoding, made, budgets):
                requests.append(Request(key, row, encoding, selection))
                select_ms[key] += ms
                if key == ("fsr", min(budgets)):
                    out.k_focus.append(selection.facts["k_focus"])
                if key[1] == OWN:
                    own[key[0]].append(len(selection.sent))
        for request, answer, ms in answered(model, requests, part):
            right[request.key].append(part[request.row].right(answer))
            answer_ms[request.key] += ms
            unended[request.key] += len(WORD.findall(answer)) >= MAX_NEW_TOKENS
        say(f"{min(start + CHUNK, len(todo))} of {len(todo)} questions")
    out.own_count = {name: round(float(np.mean(counts)), 1) for name, counts in own.items()}
    out.right = {_counted(k, out.own_count): np.array(v) for k, v in right.items()}
    out.unended = {_counted(k, out.own_count): v for k, v in unended.items()}
    out.encode_ms /= len(todo)
    out.select_ms = {_counted(k, out.own_count): v / len(todo) for k, v in select_ms.items()}
    out.answer_ms = {_counted(k, out.own_count): v / len(todo) for k, v in answer_ms.items()}
    return out


def _counted(key: Key, own_count: dict[str, float]) -> Key:
    return (key[0], round(own_count[key[0]])) if key[1] == OWN else key


def selections(
    model: vlm.VLM, encoding: vlm.Encoding, made: dict[str, Pruner], budgets: Sequence[int]
) -> Iterator[tuple[Key, Any, float]]:
    """What is to be read for one question, with the milliseconds that choosing it took; "blind" at the end."""
    tokens = encoding.tokens
    for name, pruner in made.items():
        if name == "full":
            yield (name, len(tokens)), None, 0.0
            continue
        for budget in budgets if pruner.takes_budget else budgets[:1]:
            if possible(model, encoding, pruner, budget):
                selection, ms = timed(lambda p=pruner, k=budget: p(tokens, k), model.device)  # type: ignore[misc]
                yield (name, budget if pruner.takes_budget else OWN), selection, ms
    yield ("blind", 0), vlm.without_picture(encoding), 0.0


def answered(model: vlm.VLM, requests: Iterable[Request], part: Sequence[Asked]) -> list[tuple[Request, str, float]]:
    """The answers with each one's milliseconds, in the order of the requests.

    Prompts of the same length share a batch, so that nothing is padded; lists, whose answers are long, go apart.
    """
    groups: dict[tuple[int, bool, int], list[tuple[int, Request]]] = defaultdict(list)
    for i, request in enumerate(requests):
        alone = i + 1 if isinstance(request.selection, InsideSelection) else 0
        groups[request.length, part[request.row].question.type in LISTS, alone].append((i, request))
    found = []
    for group in groups.values():
        asked = [(r.encoding, r.selection) for _, r in group]
        answers, ms = timed(lambda a=asked: model.generate_batch(a, MAX_NEW_TOKENS, BATCH), model.device)  # type: ignore[misc]
        found += [(i, r, answer, ms / len(group)) for (i, r), answer in zip(group, answers, strict=True)]
    return [(r, answer, ms) for _, r, answer, ms in sorted(found, key=lambda one: one[0])]


def majority(todo: Sequence[Asked], known: Iterable[Asked]) -> np.ndarray:
    """Right or wrong for answering each type with its commonest answer among known questions."""
    common: dict[str, Counter[str]] = defaultdict(Counter)
    for case in known:
        common[case.question.type][case.question.answer] += 1
    return np.array([c.right(common[c.question.type].most_common(1)[0][0]) for c in todo])


def bootstrap(right: np.ndarray, seed: int = 0) -> list[float]:
    """95 % percentile interval of a mean, resampling questions."""
    return [round(v, 4) for v in interval(right, seed)]


def nested(values: dict[Key, Any]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for (method, budget), value in values.items():
        out.setdefault(method, {})[str(budget)] = value
    return out


def mean(right: np.ndarray) -> float:
    return round(float(right.mean()), 4)


def versus_fsr(right: dict[Key, np.ndarray]) -> dict[str, dict[str, list[float]]]:
    """Method minus FSR at the same budget, paired by question: the 95 % interval in percent points.

    Where the interval holds 0 the two are a tie, whatever the two means are.
    """
    return nested(
        {
            (m, b): [round(100 * x, 2) for x in interval(v.astype(float) - right["fsr", b])]
            for (m, b), v in right.items()
            if m != "fsr" and m not in REFERENCES and ("fsr", b) in right
        }
    )


def report(
    todo: Sequence[Asked], measured: Measured, budgets: Sequence[int], types: Sequence[str] = TYPES
) -> dict[str, Any]:
    right, k_focus = measured.right, measured.k_focus
    kinds = np.array([c.question.type for c in todo])
    subjects = [small for c in todo if (small := c.small) is not None]
    out: dict[str, Any] = {
        "questions": len(todo),
        "accuracy": nested({k: mean(v) for k, v in right.items()}),
        "interval": nested({k: bootstrap(v) for k, v in right.items()}),
        "by_type": {t: nested({k: mean(v[kinds == t]) for k, v in right.items()}) for t in types if (kinds == t).any()},
        "unended": nested({k: n for k, n in measured.unended.items() if n}),
        "small_subjects": round(float(np.mean(subjects)), 3) if subjects else None,
    }
    full = next((v for (m, _), v in right.items() if m == "full"), None)
    if full is not None:
        out["retention"] = nested({k: round(float(v.mean() / full.mean()), 4) for k, v in right.items()})
    if ("fsr", budgets[0]) in right:
        out["versus_fsr"] = versus_fsr(right)
    if k_focus:
        shares = {str(b): round(float(np.median([max(0.0, b - k) / b for k in k_focus])), 3) for b in budgets}
        quantiles = [round(float(q), 1) for q in np.quantile(k_focus, [0.05, 0.25, 0.5, 0.75, 0.95])]
        out["k_focus"] = {"quantiles_5_25_50_75_95": quantiles, "median_share_left_to_scan": shares}
    if measured.own_count:
        out["own_count"] = measured.own_count
    return out


def evaluate(
    model: vlm.VLM,
    questions: int,
    seed: int,
    methods: list[str],
    budgets: list[int],
    stream: str,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    todo = list(cases(stream, seed, questions))
    measured = run(model, todo, methods, budgets, say)
    measured.right["majority", 0] = majority(todo, cases("train", 0, 800))
    out = report(todo, measured, budgets)
    out["cost"] = measured.cost()
    apart = list(cases(stream, seed, max(questions // 5, 6), unseen=True))
    unseen = run(model, apart, methods, budgets, say)
    accuracy = nested({k: mean(v) for k, v in unseen.right.items()})
    out["unseen_pairs"] = {"questions": len(apart), "accuracy": accuracy}
    return out
