"""The tables of the FSR paper by lmms-eval: `python -m fsr.lmms.paper 1`, begun again where it ended.

One run of lmms-eval for every benchmark, method and budget, in a folder of its own; one whose result is there is not
run again. Results are kept in measurements/paper-tableN.json, and docs/paper.md is written from them.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fsr.errors import FsrError, InvalidInput
from fsr.lmms.page import MEASURED, ROOT, Results, kept, page
from fsr.lmms.tables import Run, Table, Task, numbered

FOLDER = ROOT / "paper"


@dataclass(frozen=True)
class How:
    """Where runs are kept, on how many GPUs they are, and what lmms-eval is told besides."""

    folder: Path = FOLDER
    gpus: int = 1
    more: tuple[str, ...] = ()

    def place(self, table: Table, task: Task, run: Run) -> Path:
        return self.folder / f"table{table.number}" / task.name / run.name

    def command(self, table: Table, task: Task, run: Run) -> list[str]:
        """One run, as words of a command line."""
        launch = ["-m", "accelerate.commands.launch", "--num_processes", str(self.gpus)] if self.gpus > 1 else []
        asked = ["--model", "fsr", "--model_args", run.arguments(table), "--tasks", task.name]
        kept = ["--output_path", str(self.place(table, task, run)), "--log_samples"]
        return [sys.executable, *launch, "-m", "lmms_eval", *asked, *kept, *self.more]


def result(folder: Path, task: Task) -> float | None:
    """What lmms-eval found, its metrics added up; None where no run in this folder has ended."""
    for path in sorted(folder.rglob("*_results.json"), reverse=True):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["results"][task.name]
            values = [float(found[f"{name},none"]) for name in task.metrics]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return sum(values)
    return None


def results(table: Table, how: How) -> Results:
    """Of all runs that have ended."""
    found: Results = {}
    for run in table.runs:
        for task in table.tasks:
            value = result(how.place(table, task, run), task)
            if value is not None:
                found.setdefault(run.name, {})[task.name] = value
    return found


def done(table: Table, how: How) -> Results:
    """Run what has no result yet, the unpruned model first; a run that gives none is told and left for the next time.

    Raises FsrError where not one could be run.
    """
    failed = []
    for run in table.runs:
        for task in table.tasks:
            place = how.place(table, task, run)
            if result(place, task) is not None:
                continue
            command = how.command(table, task, run)
            print(shlex.join(command), flush=True)
            place.mkdir(parents=True, exist_ok=True)
            with (place / "log.txt").open("wb") as log:
                subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ, check=False)
            if result(place, task) is None:
                failed.append(place / "log.txt")
                print(f"no result: see {failed[-1]}", file=sys.stderr)
    found = results(table, how)
    if failed and not found:
        raise FsrError(f"no run of table {table.number} gave a result: see {failed[0]}.")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fsr.lmms.paper", description="A table of the FSR paper.")
    parser.add_argument("number", type=int, help="of the table")
    parser.add_argument("--gpus", type=int, default=1, help="processes, each with the model on a GPU of its own")
    parser.add_argument("--methods", help="these alone, with commas, and the unpruned model")
    parser.add_argument("--tasks", help="these alone, with commas")
    parser.add_argument("--plan", action="store_true", help="show commands and estimated hours; nothing is run")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the runs are kept; default paper/")
    args, more = parser.parse_known_args(argv)
    try:
        table = _chosen(numbered(args.number), args.methods, args.tasks)
        how = How(args.folder.absolute(), args.gpus, tuple(more))
        if args.plan:
            for run in table.runs:
                for task in table.tasks:
                    print(shlex.join(how.command(table, task, run)))
            print(f"# about {table.hours():.0f} hours of one GPU, estimated: see docs/paper.md")
            return 0
        found = done(table, how)
        for run in table.runs:
            share = kept(table, found, run)
            print(f"{run.name:<24}{'' if share is None else f'{share:.1f} %'}")
        if not any(word.startswith("--limit") for word in more):  # a part of a benchmark is no result
            keep(table, found)
    except FsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _chosen(table: Table, methods: str | None, tasks: str | None) -> Table:
    wanted = None if methods is None else {"full", *methods.split(",")}
    runs = tuple(run for run in table.runs if wanted is None or run.method in wanted)
    asked = tuple(task for task in table.tasks if tasks is None or task.name in tasks.split(","))
    if not asked or len(runs) < 2:
        names = ", ".join(task.name for task in table.tasks)
        raise InvalidInput(f"table {table.number} has none of these; its tasks are {names}.")
    return replace(table, runs=runs, tasks=asked)


def keep(table: Table, found: Results) -> None:
    """Add the results to measurements/paper-tableN.json, and write docs/paper.md from all of them."""
    path = MEASURED / f"paper-table{table.number}.json"
    before = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else {}
    for run, values in found.items():
        before[run] = {**before.get(run, {}), **values}
    path.write_text(json.dumps({"table": table.number, "device": _device(), "results": before}, indent=1) + "\n")
    (ROOT / "docs" / "paper.md").write_text(page(), encoding="utf-8")


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    sys.exit(main())
