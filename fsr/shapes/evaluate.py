"""Measure every method at every budget on test scenes that training and validation cannot reach."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from fsr import pruners, vlm
from fsr.shapes.questions import TYPES, Question, ask, correct
from fsr.shapes.scenes import SIDE, Scene, Window, draw, generator, random_scene
from fsr.tokens import InvalidInput, Selection

CHUNK = 48  # pictures in memory at a time
RESAMPLES = 2000
REFERENCES = ("full", "blind", "majority")  # without a budget of their own
Key = tuple[str, int]


@dataclass(frozen=True)
class Case:
    scene: Scene
    question: Question

    @property
    def picture(self) -> Image.Image:
        return Image.fromarray(draw(self.scene))


def cases(stream: str, seed: int, count: int, unseen: bool = False) -> Iterator[Case]:
    """`count` cases: types in turn, object count uniform from 1 to 8, yes and no in turn, half of the subjects small.

    unseen: every scene holds a colour-shape pair that training never shows, and the question is about it.
    """
    for i in range(count):
        rng = generator(stream, seed, i, int(unseen))
        kinds = [t for t in TYPES if t not in ("digit", "list")] if unseen else TYPES
        kind = kinds[i % len(kinds)]
        yes_or_no = ("yes", "no")[(i // len(kinds)) % 2]
        objects, small = int(rng.integers(1, 9)), bool(rng.random() < 0.5)
        yield _case(rng, kind, objects, small, yes_or_no, unseen)


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


def selections(
    encoding: vlm.Encoding, methods: list[str], budgets: list[int]
) -> Iterator[tuple[Key, Selection | None]]:
    tokens = encoding.tokens
    for name in methods:
        if name == "full":
            yield (name, len(tokens)), None
            continue
        pruner = pruners.make(name)
        for budget in budgets:
            yield (name, budget), pruner(tokens, budget)
    yield ("blind", 0), vlm.without_picture(encoding)


def run(
    model: vlm.VLM, todo: list[Case], methods: list[str], budgets: list[int], note: bool = True
) -> tuple[dict[Key, np.ndarray], list[float]]:
    """Right or wrong for every method and budget, (questions,) bool each, and K_F of every question."""
    right: dict[Key, list[bool]] = defaultdict(list)
    k_focus: list[float] = []
    for start in range(0, len(todo), CHUNK):
        part = todo[start : start + CHUNK]
        requests: dict[Key, list] = defaultdict(list)
        for case in part:
            encoding = model.encode(model.encode_media([case.picture]), case.question.text)
            for key, selection in selections(encoding, methods, budgets):
                requests[key].append((encoding, selection))
                if selection is not None and key == ("fsr", min(budgets)):
                    k_focus.append(selection.facts["k_focus"])
        for key, rows in requests.items():
            answers = model.generate_batch(rows, max_new_tokens=48, batch_size=24)
            right[key] += [correct(c.question, a) for c, a in zip(part, answers, strict=True)]
        if note:
            print(f"{min(start + CHUNK, len(todo))} of {len(todo)} questions", file=sys.stderr, flush=True)
    return {k: np.array(v) for k, v in right.items()}, k_focus


def majority(todo: list[Case]) -> np.ndarray:
    """Right or wrong for answering each type with its commonest answer in training scenes."""
    common: dict[str, Counter[str]] = defaultdict(Counter)
    for case in cases("train", 0, 800):
        common[case.question.type][case.question.answer] += 1
    return np.array([correct(c.question, common[c.question.type].most_common(1)[0][0]) for c in todo])


def bootstrap(right: np.ndarray, seed: int = 0) -> list[float]:
    """95 % percentile interval of a mean, resampling questions."""
    rng = np.random.default_rng(seed)
    means = right[rng.integers(len(right), size=(RESAMPLES, len(right)))].mean(1)
    return [round(float(v), 4) for v in np.percentile(means, [2.5, 97.5])]


def nested(values: dict[Key, Any]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for (method, budget), value in values.items():
        out.setdefault(method, {})[str(budget)] = value
    return out


def mean(right: np.ndarray) -> float:
    return round(float(right.mean()), 4)


def report(todo: list[Case], right: dict[Key, np.ndarray], k_focus: list[float], budgets: list[int]) -> dict[str, Any]:
    kinds = np.array([c.question.type for c in todo])
    subjects = [c.scene.things[c.question.subject].small for c in todo if c.question.subject is not None]
    out: dict[str, Any] = {
        "questions": len(todo),
        "accuracy": nested({k: mean(v) for k, v in right.items()}),
        "interval": nested({k: bootstrap(v) for k, v in right.items()}),
        "by_type": {t: nested({k: mean(v[kinds == t]) for k, v in right.items()}) for t in TYPES if (kinds == t).any()},
        "small_subjects": round(float(np.mean(subjects)), 3) if subjects else None,
    }
    full = next((v for (m, _), v in right.items() if m == "full"), None)
    if full is not None:
        out["retention"] = nested({k: round(float(v.mean() / full.mean()), 4) for k, v in right.items()})
    if ("fsr", budgets[0]) in right:
        out["fsr_minus"] = nested(
            {
                (m, b): bootstrap(right["fsr", b].astype(float) - v)
                for (m, b), v in right.items()
                if m != "fsr" and m not in REFERENCES
            }
        )
        shares = {str(b): round(float(np.median([max(0.0, b - k) / b for k in k_focus])), 3) for b in budgets}
        quantiles = [round(float(q), 1) for q in np.quantile(k_focus, [0.05, 0.25, 0.5, 0.75, 0.95])]
        out["k_focus"] = {"quantiles_5_25_50_75_95": quantiles, "median_share_left_to_scan": shares}
    return out


def evaluate(model: vlm.VLM, questions: int, seed: int, methods: list[str], budgets: list[int], stream: str) -> dict:
    todo = list(cases(stream, seed, questions))
    right, k_focus = run(model, todo, methods, budgets)
    right["majority", 0] = majority(todo)
    out = report(todo, right, k_focus, budgets)
    apart = list(cases(stream, seed, max(questions // 5, 6), unseen=True))
    unseen, _ = run(model, apart, methods, budgets)
    accuracy = nested({k: mean(v) for k, v in unseen.items()})
    out["unseen_pairs"] = {"questions": len(apart), "accuracy": accuracy}
    return out


def summary(result: dict[str, Any]) -> str:
    """The measured accuracies as a Markdown table: percent, the 95 % interval, and the share of the full accuracy."""
    accuracy, interval = result["accuracy"], result["interval"]
    budgets = sorted({int(b) for m, row in accuracy.items() if m not in REFERENCES for b in row}, reverse=True)
    rows = ["| method | " + " | ".join(f"{b} tokens" for b in budgets) + " |", "|---" * (len(budgets) + 1) + "|"]
    for method, row in accuracy.items():
        if method not in REFERENCES:
            cells = [_cell(row[str(b)], interval[method][str(b)]) for b in budgets]
            rows.append(f"| {method} | " + " | ".join(cells) + " |")
    for method in REFERENCES:
        for b, value in accuracy.get(method, {}).items():
            rows.append(f"| {method} ({b} tokens) | {_cell(value, interval[method][b])} |" + " |" * (len(budgets) - 1))
    return "\n".join(rows)


def _cell(value: float, interval: list[float]) -> str:
    return f"{100 * value:.1f} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", default="full,fsr,random,grid,saliency,relevance")
    parser.add_argument("--budgets", default="192,128,64,32")
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--stream", choices=("test", "validation"), default="test", help="which scenes to ask about")
    parser.add_argument("--json", metavar="FILE", help="write the JSON there, '-' for standard output")


def main(options: argparse.Namespace) -> int:
    methods = options.methods.split(",")
    try:
        budgets = [int(b) for b in options.budgets.split(",")]
    except ValueError:
        raise InvalidInput(f"--budgets must be whole numbers with commas, not {options.budgets!r}.") from None
    for name in methods:
        pruners.make(name)
    if options.questions < len(TYPES):
        raise InvalidInput(f"--questions must be at least {len(TYPES)}, one of each type, not {options.questions}.")
    model = vlm.load(options.model)
    side = (SIDE, SIDE)
    bad = [b for b in budgets if not 1 <= b <= len(model.encode_media([Image.new("RGB", side)]).layout)]
    if bad:
        raise InvalidInput(f"budget {bad[0]} is outside what the model's pictures have.")
    result = evaluate(model, options.questions, options.seed, methods, budgets, options.stream)
    result["command"] = f"python -m fsr.shapes evaluate --questions {options.questions} --seed {options.seed}"
    text = json.dumps(result, indent=1)
    if options.json == "-":
        print(text)
    else:
        print(summary(result))
        if options.json:
            with open(options.json, "w") as file:
                file.write(text + "\n")
    return 0
