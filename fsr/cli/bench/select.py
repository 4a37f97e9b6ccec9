"""`python -m fsr bench select`: how long the selection itself takes."""

from __future__ import annotations

import argparse
from typing import Any

from fsr.bench.select import CASES, select
from fsr.cli.arguments import add_json, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cases", type=_cases, default=CASES, help="N x K x D, e.g. 576x64x4096,2880x320x4096")
    parser.add_argument("--threads", type=_wholes, default=(1, 2), help="thread counts, e.g. 1,2")
    parser.add_argument("--repeats", type=int, default=5, help="times each case is run; small ones run more often")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    result = select(args.cases, args.threads, args.repeats)
    return report(result, table(result), args.json)


def table(result: dict[str, Any]) -> str:
    """The result as text, one line a case: the Gram product in ms, then every method as a multiple of it."""
    names = list(result["cases"][0]["methods"])
    lines = ["     N     K     D  threads  features     scores  K_F    gram ms  " + "  ".join(names)]
    for c in result["cases"]:
        ratios = "  ".join(f"{c['methods'][m]['vs_gram']:>{len(m)}.2f}" for m in names)
        head = f"{c['n']:6}{c['k']:6}{c['d']:6}{c['threads']:9}  {c['features']:<13}{c['scores']:<6}{c['k_focus']:6}"
        lines.append(f"{head}{c['gram_ms']:10.1f}  {ratios}")
    return "\n".join(lines)


def _cases(text: str) -> tuple[tuple[int, ...], ...]:
    cases = tuple(tuple(int(x) for x in case.split("x")) for case in text.split(","))
    if any(len(case) != 3 for case in cases):
        raise argparse.ArgumentTypeError("a case is N x K x D, e.g. 576x64x4096")
    return cases


def _wholes(text: str) -> tuple[int, ...]:
    return tuple(int(x) for x in text.split(","))
