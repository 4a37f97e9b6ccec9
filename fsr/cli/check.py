"""`python -m fsr check`: one line a check of a checkpoint; the exit status is 1 where one failed."""

from __future__ import annotations

import argparse
from typing import Any

from fsr.cli.arguments import add_json, report, say, write_json
from fsr.cli.inputs import quiet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="shapes, a checkpoint directory or a hub id")
    parser.add_argument("--device", help="cpu or cuda; default cuda where there is one")
    parser.add_argument("--dtype", help="float32 (the strict check), float16 or bfloat16")
    parser.add_argument("--report", metavar="FILE", help="write a row for the table of families, to be sent in")
    parser.add_argument("--by", default="not said", help="who ran it, as the row is to say")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Check and report; 1 where a check failed."""
    quiet()
    from fsr.check.checkpoint import check
    from fsr.check.report import row

    result = check(args.model, args.device, args.dtype, say)
    report(result, table(result), args.json)
    if args.report:
        write_json(row(result, args.by), args.report)
        say(f"wrote {args.report}; to have it in the table of families, send it in as fsr/vlm/reported/NAME.json")
    return 0 if result["passed"] else 1


def table(result: dict[str, Any]) -> str:
    """The result for people: one line a check."""
    lines = [f"{result['model']} on {result['device']}, {result['dtype']}, batch of one"]
    for one in result["checks"]:
        figure = "" if one["figure"] is None else f"{one['figure']:.2g} (limit {one['limit']:.2g})  "
        lines.append(f"{one['status']}  {one['name']:<13}{figure}{one['detail']}")
    found = result["relevance_sign"]
    if "skipped" in found:
        lines.append(f"----  relevance sign: {found['skipped']}")
    else:
        ranks, used = found["mean_rank"], f"{found['in_use']:+d}"
        verdict = "the better one" if found["agrees"] else f"{found['better']:+d} would be better"
        lines.append(
            f"----  relevance sign: mean rank of the object's patches {ranks['+1']:.3f} with +1, {ranks['-1']:.3f} "
            f"with -1 (0 first, 1 last) on {found['pictures']} drawn scenes; in use {used}, {verdict}"
        )
    return "\n".join(lines)
