"""Per-sample results of lmms-eval (`--log_samples`) as the blocks of a sweep: an unpruned run beside pruned ones.

lmms-eval writes, in one folder a model, for every run DATE_results.json with the arguments, and a file
DATE_samples_TASK.jsonl a task. Runs of `--model fsr` say their method and budget; a run of any other model is an
unpruned one. What lmms-eval does not log (KL divergence, roles, pictures) is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsr.errors import InvalidInput
from fsr.sweep import metrics
from fsr.sweep.data import Item, Plain, plain
from fsr.sweep.measure import FULL
from fsr.sweep.rows import JsonLines
from fsr.sweep.run import BLOCK
from fsr.sweep.store import Store

OURS = "fsr"
OF_THE_MODEL = frozenset(
    [
        "pretrained",
        "method",
        "budget",
        "keep",
        "frames",
        "max_new_tokens",
        "batch_size",
        "device",
        "dtype",
        "framing",
        "mode",
        "relevance",
    ]
)
NO_SCORE = frozenset(
    [
        "doc_id",
        "doc",
        "target",
        "arguments",
        "resps",
        "filtered_resps",
        "token_counts",
        "doc_hash",
        "input",
        "input_media",
    ]
)  # what lmms-eval logs of every sample beside its metrics


@dataclass(frozen=True)
class Run:
    """One run. date: as lmms-eval writes it. model: the checkpoint. samples: task -> its file."""

    date: str
    model: str
    method: str
    budget: int | None
    samples: dict[str, Path] = field(compare=False)


@dataclass(frozen=True)
class Logged:
    """The samples of one task in one run, by the number of the question."""

    run: Run
    lines: JsonLines
    places: dict[int, int]

    def sample(self, question: int) -> dict[str, Any] | None:
        if question not in self.places:
            return None
        at = self.places[question]
        return next(iter(self.lines.read(at, at + 1)))  # type: ignore[no-any-return]


def read(folder: Path, out: Path, metric: str | None = None) -> None:
    """Write a sweep of what lmms-eval logged in `folder`, and below it.

    metric: a name that the samples have, or one of `fsr.sweep.metrics`; default: the first that is a number.
    Raises InvalidInput where a task has no unpruned run or no pruned one, for runs of several models, and for files
    that are none of lmms-eval's.
    """
    runs = found(folder)
    tasks = _by_task(runs)
    models = sorted({run.model for run in runs if any(run in [one.run for one in logged] for logged in tasks.values())})
    if len(models) > 1:
        raise InvalidInput(f"{folder} holds runs of several models ({', '.join(models)}): name the folder of one.")
    questions = [(task, number) for task in tasks for number in sorted(_unpruned(task, tasks[task]).places)]
    store = Store(out)
    store.begin(_settings(folder, models[0], tasks, metric, len(questions)))
    done = store.done()
    for block, start in enumerate(range(0, len(questions), BLOCK)):
        if block in done:
            continue
        items, rows = [], []
        for index, (task, number) in enumerate(questions[start : start + BLOCK], start):
            item, its_rows = _measured(index, task, number, tasks[task], metric)
            items.append(item)
            rows += its_rows
        store.commit(block, items, rows)


def found(folder: Path) -> list[Run]:
    """All runs with samples, oldest first. Raises InvalidInput where there is none."""
    runs = []
    for path in sorted(folder.rglob("*_results.json"), key=lambda path: path.name):
        date = path.name.removesuffix("_results.json")
        before = f"{date}_samples_"
        samples = {
            file.name.removeprefix(before).removesuffix(".jsonl"): file
            for file in sorted(path.parent.iterdir())
            if file.name.startswith(before) and file.name.endswith(".jsonl")
        }
        if samples:
            runs.append(_run(path, date, samples))
    if not runs:
        raise InvalidInput(f"{folder} holds no run of lmms-eval with samples (--output_path and --log_samples).")
    return runs


def _run(path: Path, date: str, samples: dict[str, Path]) -> Run:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))["config"]
        name, words = str(config["model"]), config["model_args"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is no result of lmms-eval.") from error
    told = words if isinstance(words, dict) else dict(one.partition("=")[::2] for one in str(words).split(",") if one)
    model = str(told.get("pretrained") or told.get("model") or name)
    method = str(told.get("method", OURS)) if name == OURS else FULL
    if method == FULL:
        return Run(date, model, FULL, None, samples)
    tuned = [f"{key}={value}" for key, value in told.items() if key not in OF_THE_MODEL]
    if "keep" in told:
        tuned.append(f"keep={told['keep']}")
    budget = str(told.get("budget", ""))
    return Run(date, model, " ".join([method, *tuned]), int(budget) if budget.isdigit() else None, samples)


def _by_task(runs: Sequence[Run]) -> dict[str, list[Logged]]:
    """The newest run of every method and budget of every task, the unpruned one first."""
    newest: dict[str, dict[tuple[str, int | None], Run]] = {}
    for run in runs:
        for task in run.samples:
            newest.setdefault(task, {})[run.method, run.budget] = run
    tasks = {}
    for task, of_task in sorted(newest.items()):
        chosen = sorted(of_task.values(), key=lambda run: (run.method != FULL, run.method, -(run.budget or 0)))
        tasks[task] = [_logged(run, run.samples[task]) for run in chosen]
        _unpruned(task, tasks[task])
    return tasks


def _unpruned(task: str, logged: Sequence[Logged]) -> Logged:
    if logged[0].run.method != FULL or len(logged) < 2:
        lacking = "a pruned run" if logged[0].run.method == FULL else "an unpruned run (method=full)"
        raise InvalidInput(f"task {task} lacks {lacking}: both are needed, of the same questions.")
    return logged[0]


def _logged(run: Run, path: Path) -> Logged:
    lines, places = JsonLines(path), {}
    for at, sample in enumerate(lines.read(0, len(lines))):
        number = sample.get("doc_id") if isinstance(sample, dict) else None
        if isinstance(number, bool) or not isinstance(number, int) or "filtered_resps" not in sample:
            raise InvalidInput(f"{path.name}, line {at + 1}: this is no sample of lmms-eval.")
        places[number] = at
    return Logged(run, lines, places)


def _settings(
    folder: Path, model: str, tasks: dict[str, list[Logged]], metric: str | None, questions: int
) -> dict[str, Any]:
    logged = [one for of_task in tasks.values() for one in of_task]
    methods = sorted({one.run.method for one in logged} - {FULL})
    return {
        "data": f"lmms-eval: {', '.join(tasks)}",
        "digest": "".join(one.lines.digest[:16] for one in logged),
        "items": questions,
        "model": model,
        "options": {},
        "methods": {name: {} for name in methods},
        "budgets": sorted({one.run.budget for one in logged if one.run.budget is not None}, reverse=True),
        "metric": metric or "lmms-eval's",
        "block": BLOCK,
        "max_new_tokens": None,
        "frames": 0,
    }


def _measured(
    index: int, task: str, number: int, logged: Sequence[Logged], metric: str | None
) -> tuple[Item, list[dict[str, Any]]]:
    """A question with the rows of all runs."""
    samples = [(one.run, sample) for one in logged if (sample := one.sample(number)) is not None]
    _, first = samples[0]
    unpruned, rows = _text(first["filtered_resps"]), []
    for run, sample in samples:
        answer = _text(sample["filtered_resps"])
        rows.append(
            {
                "item": index,
                "method": run.method,
                "budget": run.budget,
                "visual_tokens": None if run.budget is None else float(run.budget),
                "answer": answer,
                "unpruned": unpruned,
                "agrees": answer == unpruned,
                "score": _score(sample, answer, metric),
            }
        )
    columns: dict[str, Plain] = {"task": task, "doc": float(number), **_shared([sample for _, sample in samples])}
    target = first.get("target")
    known = () if target in (None, "") else (str(target),)
    asked = first.get("input")
    return Item(index, str(asked) if asked is not None else "", None, "", known, columns), rows


def _text(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _score(sample: dict[str, Any], answer: str, metric: str | None) -> float | None:
    """By the metric of that name, or the first that is a number; a metric of ours on the target."""
    if metric is None:
        return next((score for _, value in _values(sample) if (score := _number(value)) is not None), None)
    if metric in sample and metric not in NO_SCORE:
        return _number(sample[metric])
    target = sample.get("target")
    return metrics.metric(metric)(answer, [str(target)]) if target not in (None, "") else None


def _values(sample: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((name, value) for name, value in sample.items() if name not in NO_SCORE)


def _number(value: Any) -> float | None:
    """Of a metric: itself, or the `score` of what it tells of a sample."""
    if isinstance(value, dict):
        value = value.get("score")
    found = plain(value) if isinstance(value, bool | int | float) else None
    return None if found is None else float(found)


def _shared(samples: Sequence[dict[str, Any]]) -> dict[str, Plain]:
    """What metrics tell of the question itself, such as its category: texts that are the same in all runs."""
    told = [
        {
            name: value
            for _, metric in _values(sample)
            if isinstance(metric, dict)
            for name, value in metric.items()
            if isinstance(value, str)
        }
        for sample in samples
    ]
    same = {name: value for name, value in told[0].items() if all(one.get(name) == value for one in told)}
    return {name: plain(value) for name, value in same.items() if name not in ("prediction", "pred", "ground_truth")}
