"""`python -m fsr bench sweep-view`: how long the data-set view takes for many rows."""

from __future__ import annotations

import argparse

from fsr.cli.arguments import add_json, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=1_000_000, help="generated ones; default 1000000")
    parser.add_argument("--repeats", type=int, default=5, help="of every screen but the first; default 5")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from fsr.sweep.speed import SCREENS, speed

    found = speed(args.rows, args.repeats)
    lines = [f"{found['rows']} rows on {found['machine']['processor']}, {found['machine']['threads']} threads"]
    lines += [f"first screen   {found['first']:6.2f} s, {found['first_unkept']:.2f} s without compact files"]
    lines += [f"{name:<15}{found[name]:6.2f} s" for name in SCREENS]
    lines += [f"memory         {found['peak_mb']:6.0f} MB, {found['peak_unkept_mb']:.0f} MB without compact files"]
    return report(found, "\n".join(lines), args.json)
