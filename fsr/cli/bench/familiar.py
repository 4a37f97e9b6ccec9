"""`python -m fsr bench familiar`: how far pictures lie from those that an embedded model learnt from."""

from __future__ import annotations

import argparse
from typing import Any

from fsr.cli.arguments import add_json, report, say
from fsr.errors import InvalidInput
from fsr.vlm.checkpoint import EMBEDDED, NAMES
from fsr.vlm.familiar import Familiar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="shapes", choices=list(NAMES), help="default shapes")
    parser.add_argument("--scenes", type=int, default=100, help="of each set, for each of three parts; default 100")
    parser.add_argument("--keep", action="store_true", help="write the file beside the weights")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from fsr import vlm
    from fsr.bench.familiar import calibrate

    if options.scenes < 4:
        raise InvalidInput(f"--scenes must be at least 4, not {options.scenes}.")
    found = calibrate(vlm.load(options.model), options.scenes, say)
    if options.keep:
        say(f"wrote {found.write(EMBEDDED.parent / options.model)}")
    result = result_of(found)
    return report(result, summary(result), options.json)


def result_of(found: Familiar) -> dict[str, Any]:
    """All that was measured, as plain values."""
    rates = {"false_alarms": vars(found.false_alarms), "detected": vars(found.detected)}
    return {"measure": found.measure, "limit": found.limit, **rates, **found.record}


def summary(result: dict[str, Any]) -> str:
    """What was measured, as Markdown tables in percent, with 95 % intervals."""
    bold = {name: "**" if name == result["measure"] else "" for name in result["measures"]}
    lines = [f"| distance | AUROC on the {result['choosing']} photographs that choose |", "|---|---|"]
    lines += [f"| {bold[k]}{row['words']}{bold[k]} | {row['auroc']:.3f} |" for k, row in result["measures"].items()]
    lines += ["", f"The limit is {result['limit']:.4g}. AUROC on the other photographs: {result['auroc']:.3f}.", ""]
    lines += ["| pictures | number | called unlike, % (95 % interval) |", "|---|---|---|"]
    rows = {"photographs": result["detected"], **result["between"], "test scenes": result["false_alarms"]}
    rows |= {f"test scenes, {name}": row for name, row in result["sets"].items()}
    for name, row in rows.items():
        low, high = 100 * row["low"], 100 * row["high"]
        lines.append(f"| {name} | {row['of']} | {100 * row['share']:.1f} ({low:.1f} to {high:.1f}) |")
    return "\n".join(lines)
