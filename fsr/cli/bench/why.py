"""`python -m fsr bench why`: how long the influence of every kept token takes."""

from __future__ import annotations

import argparse
from typing import Any

from fsr.bench.influence import measure
from fsr.cli.arguments import add_json, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenes", type=int, default=8, help="of the embedded model")
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    result = measure(args.scenes, args.budget, args.repeats, args.threads)
    return report(result, table(result), args.json)


def table(result: dict[str, Any]) -> str:
    """The result as text, one line a side."""
    names = {"influence": "influence, in batches", "one_by_one": "the same, a prompt at a time", "answer": "the answer"}
    lines = [
        f"{result['model']}, {result['scenes']} scenes, {result['budget']} tokens kept by FSR, lists as answers; "
        f"{result['threads']} threads",
        f"{'':<30}{'ms':>10}{'vs influence':>14}",
    ]
    for key, name in names.items():
        lines.append(f"{name:<30}{result['ms'][key]:>10.1f}{result['ratio'].get(key, 1.0):>14.2f}")
    return "\n".join(lines)
