"""`python -m fsr fidelity`: how far pruning moves the distribution behind the answer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fsr.cli.arguments import whole_numbers, write_json
from fsr.cli.inputs import add_model_arguments, frames_for, loaded, opened, quiet, seconds
from fsr.errors import InvalidInput
from fsr.tokens import check_budget


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("media", help="a JPEG, PNG or WebP file, or a clip")
    parser.add_argument("question")
    parser.add_argument("--methods", default="fsr,random", help="pruning methods with commas; default fsr,random")
    parser.add_argument("--budgets", help="visual tokens to keep, with commas; default a third of them to a 36th")
    parser.add_argument("--frames", type=int, help="frames of a clip; default the model's own")
    parser.add_argument("--figure", metavar="FILE", help="draw the curves into FILE, a .pdf, .svg or .png")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from fsr.bench.chart import checked_format
    from fsr.pruners import make
    from fsr.pruners.plan import usual_budgets

    pruners = {name: make(name) for name in args.methods.split(",") if name != "full"}
    if args.figure:
        checked_format(Path(args.figure).suffix.lower().removeprefix("."))
    frames, clip = loaded(args.media, frames_for(args))
    quiet()
    from fsr.bench.fidelity import curve
    from fsr.vlm.answers import greedy_answer

    vlm = opened(args)
    needs = frozenset().union(*(p.requires for p in pruners.values()))
    encoding = vlm.encode(vlm.encode_media(frames, seconds(clip), needs), args.question, needs)
    n = len(encoding.tokens)
    budgets = whole_numbers(args.budgets, "--budgets") if args.budgets else usual_budgets(n)[::-1]
    for budget in budgets:
        check_budget(budget, n)
    answer = greedy_answer(vlm, encoding, args.max_new_tokens)
    points = list(curve(vlm, encoding, pruners, budgets, answer))
    record = {
        "model": vlm.id,
        "device": str(vlm.device),
        "dtype": vlm.precision,
        "question": encoding.question,
        "unknown_words": encoding.unknown_words,
        "visual_tokens": n,
        "answer": {"text": vlm.text(answer), "ids": answer},
        "parameters": {name: pruner.parameters() for name, pruner in pruners.items()},
        "points": [point.to_json() for point in points],
    }
    if args.figure:
        _draw(record, {name: pruner.label for name, pruner in pruners.items()}, Path(args.figure))
    if args.json:
        return write_json(record, args.json)
    print(compared(record))
    return 0


def _draw(record: dict[str, Any], labels: dict[str, str], to: Path) -> None:
    from fsr.bench.chart import fidelity_curves

    rows: dict[str, dict[str, Any]] = {}
    for point in record["points"]:
        rows.setdefault(point["method"], {})[str(round(point["visual_tokens"]))] = point
    drawn = fidelity_curves(rows, to.suffix.lower().removeprefix("."), labels, record["question"])
    try:
        to.write_bytes(drawn)
    except OSError as error:
        raise InvalidInput(f"{to} cannot be written: {error.strerror}.") from error


def compared(record: dict[str, Any]) -> str:
    """The record of `fidelity` for people: one line a method and budget."""
    lines = [
        f"{record['model']} on {record['device']}, {record['dtype']}",
        f"the unpruned answer: {record['answer']['text'] or '(no text)'}",
        "",
        f"{'method':<16}{'tokens':>8}{'KL, nats':>12}{'probability':>14}{'same tokens':>14}",
    ]
    for point in record["points"]:
        same = f"{sum(point['agrees'])} of {len(point['agrees'])}"
        tokens, kl, probability = point["visual_tokens"], point["kl"], point["probability"]
        lines.append(f"{point['method']:<16}{tokens:>8.4g}{kl:>12.3g}{probability:>14.3g}{same:>14}")
    if record["unknown_words"]:
        lines += ["", f"The model does not know: {', '.join(record['unknown_words'])}."]
    return "\n".join(lines)
