"""`python -m fsr bench gpu`: prove and measure everything on one card; exit status 1 where something is wrong."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fsr.cli.arguments import say
from fsr.cli.bench import prefill
from fsr.cli.inputs import quiet

QUOTED = (
    "quoted, not measured here: the paper's Table 7, LLaVA-1.5-7B with 64 tokens on one RTX 3090, has a prefill "
    "3.88 x as fast and a KV cache of the visual tokens of 288 -> 32 MB"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="default measurements/<name of the card>.json")
    parser.add_argument("--seconds", type=float, default=480, help="when to end; default 480")
    parser.add_argument(
        "--rehearse", action="store_true", help="every part on the CPU with tiny sizes, which measures nothing"
    )


def run(args: argparse.Namespace) -> int:
    quiet()
    from fsr.bench.gpu import gpu_check
    from fsr.bench.parts import passed

    where = None if args.json is None else Path(args.json)
    result = gpu_check(args.rehearse, where, args.seconds, say)
    print(table(result))
    return 0 if passed(result) else 1


def table(result: dict[str, Any]) -> str:
    """The result for people: a heading and a few lines a part."""
    versions = [
        f"{name} {result[name]}" for name in ("driver", "cuda", "torch", "transformers", "triton") if result[name]
    ]
    commit = f", commit {result['commit']}" if result["commit"] else ""
    memory = f", {result['memory_gb']:.0f} GB" if result["memory_gb"] else ""
    rehearsal = "REHEARSAL, no measurement: " if result["rehearsal"] else ""
    lines = [f"{rehearsal}{result['card']}{memory}; {', '.join(versions)}; {result['date']}{commit}"]
    for name, part in result["parts"].items():
        lines += ["", f"{name} ({part['seconds']:.0f} s)" if "seconds" in part else name]
        reason = next((f"{kind}: {part[kind]}" for kind in ("skipped", "failed") if kind in part), None)
        lines += [reason] if reason else _lines(part)
    if not result["complete"]:
        lines += ["", "the run was ended before the rest"]
    return "\n".join(lines)


def _lines(part: dict[str, Any]) -> list[str]:
    if "checks" in part:
        return [line for check in part["checks"] for line in _check(check)]
    if "cases" in part:
        return [line for case in part["cases"] for line in _selection(case)]
    if "whole_question" in part:
        return _page(part)
    return [*prefill.table(part).splitlines(), *([QUOTED] if part["title"] == "LLaVA-1.5 7B" else [])]


def _check(check: dict[str, Any]) -> list[str]:
    return [f"{'FAIL' if check['problems'] else 'PASS'}  {check['name']}", *(f"      {p}" for p in check["problems"])]


def _selection(case: dict[str, Any]) -> list[str]:
    low, high = case["spread"]
    lines = [
        f"{case['n']} to {case['k']} tokens, D {case['d']}, scores {case['scores']}, K_F {case['k_focus']}, "
        f"{case['repeats']} repeats; one Gram product {case['gram_ms']:.3f} ms ({low:.3f} to {high:.3f})",
        f"{'method':<17}{'ms':>9}{'quartiles':>20}{'vs Gram':>9}{'vs FSR':>8}{'asking, ms':>12}{'vs asking':>11}",
    ]
    for name, row in case["methods"].items():
        low, high = row["spread"]
        asking = f"{row['asking_ms']:>12.2f}{row['vs_asking']:>11.3f}" if "asking_ms" in row else ""
        spread = f"{low:.3f} to {high:.3f}"
        lines.append(f"{name:<17}{row['ms']:>9.3f}{spread:>20}{row['vs_gram']:>9.2f}{row['vs_fsr']:>8.2f}{asking}")
    return lines


def _page(part: dict[str, Any]) -> list[str]:
    first, whole = part["first_word"], part["whole_question"]
    return [
        f"{part['questions']} questions about {part['pictures']} pictures to {part['model']}, random weights, "
        f"{part['dtype']}; all tokens and {part['budget']}, {part['new_tokens']} new tokens each",
        f"first word   p50 {first['p50_ms']:>8.0f} ms   p95 {first['p95_ms']:>8.0f} ms",
        f"all of it    p50 {whole['p50_ms']:>8.0f} ms   p95 {whole['p95_ms']:>8.0f} ms",
    ]
