# ruff: noqa: E501  its prose is a page, not code
"""docs/paper.md: for each table of the FSR paper the commands, what they need, and the results there are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsr.lmms.tables import AROUND_S, CLIP_S, DECODE_S, NEW_TOKENS, OPERATIONS, TABLES, Run, Table

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / "measurements"
Results = dict[str, dict[str, float]]  # run -> task -> its metrics, added up

START = """# The tables of the paper

Nothing here has been run: the last column of every table is empty until somebody with a GPU fills it. One command does:

```
make paper-table1           # everything; begun again, it goes on where it ended
make paper-table1 GPUS=4    # on four GPUs
make paper-table1 MORE="--methods fsr,cdpruner --tasks gqa,pope --plan"   # a part; --plan: show commands and hours only
```

It sets up lmms-eval (docs/lmms-eval.md), runs it once for every benchmark, method and budget into `paper/`, keeps the results in
`measurements/paper-tableN.json` and writes this page anew. `python -m fsr sweep --from-lmms-eval paper/table1/gqa --out gqa` turns
what was logged into a sweep, question by question. What else is given is passed to lmms-eval (with `MORE="--limit 100"`, a trial, no result is kept).

* *Reported* is the paper's own average: percent of the unpruned model's score kept, mean over its benchmarks. It was read from the
  paper and its authors' repository and is not claimed for this code.
* *Measured here* is the same average from the runs, once all benchmarks of a row are there.
* VQAv2 is scored on its validation split, since the paper's (test-dev) is scored by the organisers' server only; MMBench and MM-Vet
  are scored by a judge behind an API (lmms-eval reads `OPENAI_API_KEY`), whose version the paper does not name; so is MMVU.
* Prompts are lmms-eval's, with its instruction behind the question ("Answer the question using a single word or phrase."), which
  the relevance of FSR and CDPruner reads too. Whether the paper's did is not known; nor is the sign of its relevance (docs/method.md).
* **Hours are estimates, not measurements**: of one GPU of the A100's class, in half precision, one question at a time. A question
  is {around} s for opening, encoding and pruning its picture ({clip} s for a clip), the prompt at {tera:.0f} TFLOP a second (2 operations a
  weight and position: 9.0 TFLOP for 576 tokens and 64 of text in LLaVA-1.5-7B, the paper's Table 7 says 9.04, and
  docs/measurements.md estimates the same by another count), and {tokens} new tokens of {decode:.0f} ms (Table 7: 22 to 24 ms on an
  RTX 3090). How prefill falls with the budget was measured on two cores of a CPU (measurements/prefill-llava-1.5-7b.json: 2.3, 3.0
  and 3.7 times faster at 192, 128 and 64 tokens).
"""
REST = """
## What is no table of benchmarks

* **Table 7**, what an answer costs at 64 tokens: `make gpu-check` measures FLOPs, prefill, decoding, cache and memory of LLaVA-1.5 7B's
  size on any card within 8 minutes (random weights: they change no time). The paper's card is an RTX 3090. Reported for FSR: 2.291 TFLOP,
  prefill 0.788 ms a token, decoding 22.317 ms a token, cache 32 MB, memory 13.2 GB.
* **Ablations** (alpha or beta 0, Focus alone, kappa 5; LLaVA-1.5-7B): parameters of a method are arguments of a run, for example
  `lmms-eval --model fsr --model_args pretrained=llava-hf/llava-1.5-7b-hf,method=fsr,budget=64,kappa=5 --tasks gqa,pope`; `fsr-focus`,
  `fsr-scan` and `fsr-no-refine` are methods of their own.
"""


def kept(table: Table, found: Results, run: Run) -> float | None:
    """Percent of the unpruned model, mean over the benchmarks; None unless both have all of them."""
    whole, pruned = found.get("full", {}), found.get(run.name, {})
    if not all(whole.get(task.name) and task.name in pruned for task in table.tasks):
        return None
    return 100 * sum(pruned[task.name] / whole[task.name] for task in table.tasks) / len(table.tasks)


def measured(number: int) -> dict[str, Any]:
    """What measurements/ holds of a table: empty where nobody has run it."""
    path = MEASURED / f"paper-table{number}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def page() -> str:
    """The whole page, from `TABLES` and what measurements/ holds."""
    start = START.format(
        around=AROUND_S, clip=CLIP_S, tera=OPERATIONS / 1e12, tokens=NEW_TOKENS, decode=1000 * DECODE_S
    )
    if any(measured(number) for number in TABLES):
        start = start.replace(
            "Nothing here has been run: the last column of every table is empty until somebody with a GPU fills it. One command does:",
            "A row without a result in its last column has not been run. One command does:",
        )
    return "\n".join([start, *map(_table, TABLES.values())]) + REST


def _table(table: Table) -> str:
    found = measured(table.number)
    fsr = tuple(run for run in table.runs if run.method in ("full", "fsr"))
    without = sum(table.hours((run,)) for run in table.runs)
    questions = sum(task.questions for task in table.tasks)
    lines = [
        f"## Table {table.number}: {table.title}",
        "",
        f"`make paper-table{table.number}`: `{table.model}`, a GPU with {table.gpu}. {len(table.tasks)} benchmarks with about "
        f"{questions:,} questions, {len(table.runs)} runs each: about {without:,.0f} hours; FSR and the unpruned model alone "
        f"(`--methods fsr`) about {table.hours(fsr):,.0f}. {_without_the_largest(table)}{table.note}".rstrip(),
        "",
        f"Benchmarks: {', '.join(f'{task.label} (`{task.name}`)' for task in table.tasks)}.",
        "",
        "| method | kept | `--model_args` of lmms-eval | reported, % | measured here, % |",
        "|---|---|---|---|---|",
        *(_row(table, run, found.get("results", {})) for run in table.runs),
        "",
    ]
    if found:
        lines[-1:] = ["", f"Measured on {found['device']}.", ""]
    return "\n".join(lines)


def _without_the_largest(table: Table) -> str:
    largest = max(table.tasks, key=lambda task: task.questions)
    rest = tuple(task for task in table.tasks if task != largest)
    if largest.questions < 10 * max(task.questions for task in rest):
        return ""
    return f"Without {largest.label}: about {replace(table, tasks=rest).hours():,.0f}. "


def _row(table: Table, run: Run, found: dict[str, dict[str, float]]) -> str:
    share = kept(table, found, run)
    amount = run.amount.replace("budget=", "").replace("keep=", "share ") or "all"
    reported = "" if run.reported is None else f"{run.reported:.1f}"
    return f"| {run.method} | {amount} | `{run.arguments(table)}` | {reported} | {'' if share is None else f'{share:.1f}'} |"
