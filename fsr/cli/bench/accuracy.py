"""`python -m fsr bench accuracy`: how often every method answers right on drawn test scenes."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from PIL import Image

from fsr import pruners, vlm
from fsr.cli.arguments import add_json, report, say, whole_numbers
from fsr.errors import InvalidInput

METHODS = ",".join(name for name, kind in pruners.REGISTRY.items() if not kind.across_frames)  # of clips: by name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clips", action="store_true", help="the clip model on drawn clips, with both shares of budgets"
    )
    parser.add_argument(
        "--sets",
        help="instead of drawn scenes: pictures that others drew; own, renderer, artist, wordings, pairs, or all",
    )
    parser.add_argument("--questions", type=int, default=2000, help="of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", default=METHODS, help="default all that need one picture only")
    parser.add_argument("--budgets", help="default 192,128,64,32; for clips 576,460,346,230")
    parser.add_argument("--model", help="default shapes; for clips shapes-video")
    parser.add_argument("--stream", choices=("test", "validation"), default="test", help="which scenes to ask about")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from fsr.bench.accuracy import evaluate  # here: scenes are drawn with OpenCV, which other measurements do not need
    from fsr.bench.clip_accuracy import evaluate_clips
    from fsr.shapes.clip_questions import CLIP_TYPES
    from fsr.shapes.clips import FRAMES
    from fsr.shapes.questions import TYPES
    from fsr.shapes.scenes import SIDE

    methods, types = options.methods.split(","), CLIP_TYPES if options.clips else TYPES
    budgets = whole_numbers(options.budgets or ("576,460,346,230" if options.clips else "192,128,64,32"), "--budgets")
    for name in methods:
        pruners.make(name)
    if options.questions < len(types):
        raise InvalidInput(f"--questions must be at least {len(types)}, one of each type, not {options.questions}.")
    model = vlm.load(options.model or ("shapes-video" if options.clips else "shapes"))
    blank = [Image.new("RGB", (SIDE, SIDE))] * (FRAMES if options.clips else 1)
    times = list(map(float, range(len(blank)))) if options.clips else None
    bad = [b for b in budgets if not 1 <= b <= len(model.encode_media(blank, times).layout)]
    if bad:
        raise InvalidInput(
            f"budget {bad[0]} is outside what the model's {'clips' if options.clips else 'pictures'} have."
        )
    if options.sets:
        return _of_sets(options, model, methods, budgets)
    measure = evaluate_clips if options.clips else evaluate
    result = measure(model, options.questions, options.seed, methods, budgets, options.stream, say)
    result["command"] = f"python -m fsr bench accuracy {'--clips ' if options.clips else ''}{_asked(options)}"
    return report(result, f"{summary(result)}\n\n{costs(result)}", options.json)


def _asked(options: argparse.Namespace) -> str:
    asked = f"--questions {options.questions} --seed {options.seed}"
    asked += "" if options.methods == METHODS else f" --methods {options.methods}"
    asked += f" --budgets {options.budgets}" if options.budgets else ""
    asked += "" if options.stream == "test" else f" --stream {options.stream}"
    return asked


def _of_sets(options: argparse.Namespace, model: vlm.VLM, methods: list[str], budgets: list[int]) -> int:
    from fsr.bench.world_accuracy import SETS, evaluate_world

    names = list(SETS) if options.sets == "all" else options.sets.split(",")
    for name in names:
        if name not in SETS:
            raise InvalidInput(f"--sets knows {', '.join(SETS)} and all, not {name!r}.")
    if options.clips:
        raise InvalidInput("--sets are pictures: leave out --clips.")
    result = evaluate_world(model, names, options.questions, options.seed, methods, budgets, options.stream, say)
    result["command"] = f"python -m fsr bench accuracy --sets {options.sets} {_asked(options)}"
    tables = [f"{name}\n\n{summary(found)}\n\n{costs(found)}" for name, found in result["sets"].items()]
    return report(result, "\n\n".join(tables), options.json)


def summary(result: dict[str, Any]) -> str:
    """The measured accuracies as a Markdown table: percent, the 95 % interval, and what is a tie with FSR."""
    from fsr.bench.accuracy import REFERENCES

    accuracy, interval, own = result["accuracy"], result["interval"], result.get("own_count", {})
    alone = [*own, *REFERENCES]
    budgets = sorted({int(b) for m, row in accuracy.items() if m not in alone for b in row}, reverse=True)
    rows = ["| method | " + " | ".join(f"{b} tokens" for b in budgets) + " |", "|---" * (len(budgets) + 1) + "|"]
    ties = {(m, b) for m, row in result.get("versus_fsr", {}).items() for b, v in row.items() if v[0] <= 0 <= v[1]}
    for method, row in accuracy.items():
        if method not in alone:
            cells = [
                _cell(row[b], interval[method][b], (method, b) in ties) if b in row else "" for b in map(str, budgets)
            ]
            rows.append(f"| {method} | " + " | ".join(cells) + " |")
    for method in alone:
        for b, value in accuracy.get(method, {}).items():
            tokens = f"{b} tokens, its own number" if method in own else f"{b} tokens"
            rows.append(f"| {method} ({tokens}) | {_cell(value, interval[method][b])} |" + " |" * (len(budgets) - 1))
    if ties:
        rows += ["", "= a tie with FSR: the 95 % interval of the difference, paired by question, holds 0."]
    return "\n".join(rows)


def _cell(value: float, interval: list[float], tie: bool = False) -> str:
    return f"{100 * value:.1f} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" + (" =" if tie else "")


def costs(result: dict[str, Any]) -> str:
    """Measured milliseconds a question, for every method: choosing and answering, mean over its budgets."""
    cost = result["cost"]
    lines = [f"milliseconds a question: vision and question {cost['encode_ms']:.1f}"]
    for method, row in cost["answer_ms"].items():
        select = np.mean(list(cost["select_ms"][method].values()))
        lines.append(f"{method:<14}select {select:8.1f}   answer {np.mean(list(row.values())):8.1f}")
    return "\n".join(lines)
