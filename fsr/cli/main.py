"""The command line: answer a question about a picture or a clip, list methods and models, run benchmarks.

Bad input ends with one sentence on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fsr.cli import answer, bench, check, fidelity, listing, record, sweep, why, words
from fsr.cli.arguments import add_json
from fsr.errors import FsrError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for input that cannot be used, 130 when interrupted."""
    args = build_parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except FsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def build_parser() -> argparse.ArgumentParser:
    """Every command adds its own arguments and says what runs it."""
    parser = argparse.ArgumentParser(prog="fsr", description="Focus-Scan-Refine visual token pruning.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, add_arguments, run, help_ in (
        (
            "answer",
            answer.add_arguments,
            answer.run,
            "answer a question about a picture or clip, pruned and unpruned",
        ),
        ("fidelity", fidelity.add_arguments, fidelity.run, "how far pruning moves the distribution behind the answer"),
        ("why", why.add_arguments, why.run, "which tokens the pruned answer rests on, and what would repair it"),
        ("words", words.add_arguments, words.run, "where each word of the answer looked, pruned and unpruned"),
        ("methods", add_json, listing.run_methods, "list the pruning methods and their parameters"),
        ("models", add_json, listing.run_models, "list the models that can be given by name"),
        ("sweep", sweep.add_arguments, sweep.run, "ask a whole data set, with every method at every budget"),
        ("check", check.add_arguments, check.run, "compare a checkpoint with the unmodified model behind it"),
        (
            "record",
            record.add_arguments,
            record.run,
            "record answers to examples, to be replayed without the model",
        ),
    ):
        command = commands.add_parser(name, help=help_)
        add_arguments(command)
        command.set_defaults(run=run)
    bench.add_commands(commands.add_parser("bench", help="measure the pruners on this machine"))
    return parser
