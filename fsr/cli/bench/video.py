"""`python -m fsr bench video`: the time and memory of the selection from a clip's frames."""

from __future__ import annotations

import argparse
from typing import Any

from fsr.bench.video import KEPT, LLAVA_VIDEO, measure
from fsr.cli.arguments import add_json, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    frames, rows, cols, width = LLAVA_VIDEO
    parser.add_argument("--frames", type=int, default=frames)
    parser.add_argument("--grid", type=_grid, default=(rows, cols), help=f"tokens of a frame; default {rows}x{cols}")
    parser.add_argument("--width", type=int, default=width, help=f"of an embedding; default {width}")
    parser.add_argument("--budget", type=int, help=f"tokens to keep; default {KEPT:g} of them")
    parser.add_argument("--methods", help="with commas; default all that select before the language model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    names = None if args.methods is None else args.methods.split(",")
    result = measure(args.frames, args.grid, args.width, args.budget, names, args.threads, args.repeats)
    return report(result, table(result), args.json)


def table(result: dict[str, Any]) -> str:
    """The result as text, one line a method and share."""
    rows, cols = result["grid"]
    lines = [
        f"{result['frames']} frames of {rows} x {cols} tokens = {result['n']}, {result['k']} kept, D {result['d']}, "
        f"{result['threads']} threads; Gram product {result['gram_ms']:.1f} ms",
        f"{'method':<18}{'share':<11}{'ms':>10}{'vs Gram':>9}{'vs FSR':>8}{'peak MB':>9}{'matrices':>10}",
    ]
    for name, shares in result["methods"].items():
        for share, m in shares.items():
            known = (m[key] for key in ("vs_fsr", "peak_mb", "peak_matrices"))
            fsr, peak, matrices = ("-" if value is None else f"{value:.2f}" for value in known)
            lines.append(f"{name:<18}{share:<11}{m['ms']:>10.1f}{m['vs_gram']:>9.2f}{fsr:>8}{peak:>9}{matrices:>10}")
    return "\n".join([*lines, *(f"{name}: {why}" for name, why in result["problems"].items())])


def _grid(text: str) -> tuple[int, int]:
    try:
        rows, cols = (int(x) for x in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError("a grid is rows x columns, e.g. 14x14") from None
    return rows, cols
