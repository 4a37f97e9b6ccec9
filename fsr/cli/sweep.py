"""`python -m fsr sweep`: every question of a data set, with every method at every budget."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsr.cli.arguments import report, say, whole_numbers
from fsr.cli.inputs import add_model_arguments, model_options, progress_line, quiet
from fsr.errors import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        nargs="?",
        help="a .jsonl, .csv or .parquet file, a folder with index.json, a data set of the hub, or shapes:N",
    )
    parser.add_argument(
        "--from-lmms-eval", metavar="DIR", help="instead of asking: rows of what lmms-eval logged there (--log_samples)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="where the rows go; begun again, it goes on there")
    parser.add_argument("--methods", default="fsr", help="pruning methods with commas; default fsr")
    parser.add_argument("--budgets", default="192,128,64", help="visual tokens to keep; default 192,128,64")
    parser.add_argument("--metric", help="exact (default), vqa, anls, choice, yesno or list (default of shapes:N)")
    parser.add_argument("--limit", type=int, help="the first so many questions only")
    parser.add_argument("--shard", default="1/1", help="i/n: every n-th block, from the i-th on; default 1/1")
    parser.add_argument(
        "--ray", metavar="ADDRESS", nargs="?", const="local", help="by a Ray cluster; alone: a local one"
    )
    parser.add_argument("--workers", type=int, help="with --ray: how many, each with the model; default 1")
    parser.add_argument("--frames", type=int, default=0, help="frames of a clip; default 8")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if (args.data is None) == (args.from_lmms_eval is None):
        raise InvalidInput("say what to ask, or --from-lmms-eval DIR.")
    if args.from_lmms_eval is not None:
        from fsr.sweep.compact import keep
        from fsr.sweep.from_lmms_eval import read

        read(Path(args.from_lmms_eval), Path(args.out), args.metric)
        keep(Path(args.out))
        return _told(args)
    return _asked(args)


def _asked(args: argparse.Namespace) -> int:
    from fsr.sweep.compact import keep
    from fsr.sweep.measure import FULL
    from fsr.sweep.metrics import metric
    from fsr.sweep.run import sweep
    from fsr.sweep.spread import spread
    from fsr.sweep.store import Store
    from fsr.sweep.wanted import Wanted

    wanted = Wanted(
        args.data,
        args.model,
        {name: {} for name in args.methods.split(",") if name != FULL},
        whole_numbers(args.budgets, "--budgets"),
        args.metric or ("list" if args.data.startswith("shapes:") else "exact"),
        args.limit,
        model_options(args),
        args.max_new_tokens,
        args.frames,
    )
    metric(wanted.metric)
    if args.workers is not None and args.workers < 1:
        raise InvalidInput(f"--workers must be at least 1, not {args.workers}.")
    shard, store, questions = shard_of(args.shard), Store(Path(args.out)), wanted.questions()
    store.begin(wanted.settings(questions))
    quiet()
    with stoppable() as stop:
        if args.ray is None:
            sweep(questions, wanted.asked(progress_line(sys.stderr)), store, shard, say, stop)
        else:
            spread(wanted, store, args.workers or 1, args.ray, shard, say, stop)
    if not stop.is_set():
        keep(store.folder)
    _told(args)
    return 130 if stop.is_set() else 0


def _told(args: argparse.Namespace) -> int:
    from fsr.sweep.report import found

    headline, problems = found(Path(args.out))
    told = {"headline": headline, "problems": problems, "folder": args.out}
    report(told, table(told), args.json)
    return 0


def shard_of(text: str) -> Any:
    from fsr.sweep.run import Shard

    number, slash, of = text.partition("/")
    if not (slash and number.isdigit() and of.isdigit()):
        raise InvalidInput(f"--shard takes i/n, for example 2/8, not {text!r}.")
    return Shard(int(number), int(of))


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, so that the block at work is put in its place; a second one ends at once."""
    stop = threading.Event()

    def first(*_: Any) -> None:
        say("stopping behind this block; once more to stop at once")
        stop.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def table(found: dict[str, Any]) -> str:
    """The result for people: a line a method and budget."""
    lines = [
        f"{'method':<14}{'budget':>7}{'questions':>11}{'score':>8}{'kept':>8}{'same':>8}{'lost':>6}{'won':>6}{'KL':>10}"
    ]
    for row in found["headline"]:
        budget = row["budget"] or ("all" if row["method"] == "full" else "own")
        score, kept, same = (_percent(row[name]) for name in ("score", "retention", "agreement"))
        lines.append(
            f"{row['method']:<14} {budget:>6}{row['questions']:>11}{score:>8}{kept:>8}{same:>8}{row['lost']:>6}"
            f"{row['won']:>6}{'' if row['kl'] is None else format(row['kl'], '.4f'):>10}"
        )
    if found["problems"]:
        lines.append(f"{found['problems']} questions could not be asked; the column problem says why.")
    return "\n".join([*lines, f"Rows are in {found['folder']}."])


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
