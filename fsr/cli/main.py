"""The command line: answer a question about a picture or a clip, list methods and models, run benchmarks.

Bad input ends with one sentence on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fsr.cli.arguments import add_json, whole_numbers, write_json
from fsr.errors import FsrError, InvalidInput
from fsr.tokens import check_budget

if TYPE_CHECKING:
    from PIL.Image import Image

    from fsr.bench.measure import Measurement
    from fsr.vlm import VLM
    from fsr.vlm.cost import Cost
    from fsr.vlm.progress import LoadProgress

SHARES = ("global", "per_group")
ONE_PICTURE = "The embedded model was trained on single pictures: of a clip it sees the frames as so many pictures."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for input that cannot be used, 130 when interrupted."""
    argv = sys.argv[1:] if argv is None else list(argv)
    args = build_parser(bench=argv[:1] == ["bench"]).parse_args(argv)
    try:
        return args.run(args)
    except FsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser(bench: bool = False) -> argparse.ArgumentParser:
    """bench: also read the arguments of that command, which needs its code."""
    parser = argparse.ArgumentParser(prog="fsr", description="Focus-Scan-Refine visual token pruning.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    answer = commands.add_parser("answer", help="answer a question about a picture or a clip, pruned and unpruned")
    _add_answer_arguments(answer)
    answer.set_defaults(run=run_answer)
    fidelity = commands.add_parser("fidelity", help="how far pruning moves the distribution behind the answer")
    _add_fidelity_arguments(fidelity)
    fidelity.set_defaults(run=run_fidelity)
    methods = commands.add_parser("methods", help="list the pruning methods and their parameters")
    add_json(methods)
    methods.set_defaults(run=run_methods)
    models = commands.add_parser("models", help="list the models that can be given by name")
    add_json(models)
    models.set_defaults(run=run_models)
    check = commands.add_parser("check", help="compare a checkpoint with the unmodified model behind it")
    _add_check_arguments(check)
    check.set_defaults(run=run_check)
    record = commands.add_parser("record", help="record what a model answers to examples, to be replayed without it")
    _add_record_arguments(record)
    record.set_defaults(run=run_record)
    measure = commands.add_parser("bench", help="measure the pruners on this machine")
    measure.set_defaults(run=run_bench)
    if bench:
        from fsr.bench.select import add_arguments

        add_arguments(measure)
    return parser


def _add_answer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("media", help="a JPEG, PNG or WebP file, or an MP4, MOV, WebM, Matroska or AVI clip")
    parser.add_argument("question")
    parser.add_argument("--method", default="fsr", help="pruning method (see: methods); default fsr")
    parser.add_argument("--budget", type=int, help="visual tokens to keep; default a ninth of them (64 of 576)")
    parser.add_argument("--frames", type=int, help="frames of a clip, evenly spaced in time; default the model's own")
    parser.add_argument("--budget-mode", default="global", help="global (frames compete) or per_frame (equal shares)")
    parser.add_argument(
        "--share", default="global", help="global, or per_group: an equal share for every tile or frame"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a method's parameter")
    parser.add_argument("--only", action="store_true", help="do not run the unpruned model for comparison")
    parser.add_argument("--repeat-s", type=float, default=0.5, help="seconds of repeats a side; default 0.5")
    _add_model_arguments(parser)


def _add_fidelity_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("media", help="a JPEG, PNG or WebP file, or a clip")
    parser.add_argument("question")
    parser.add_argument("--methods", default="fsr,random", help="pruning methods with commas; default fsr,random")
    parser.add_argument("--budgets", help="visual tokens to keep, with commas; default a third of them to a 36th")
    parser.add_argument("--frames", type=int, help="frames of a clip; default the model's own")
    parser.add_argument("--figure", metavar="FILE", help="draw the curves into FILE, a .pdf, .svg or .png")
    _add_model_arguments(parser)


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="shapes", help="shapes, a checkpoint directory or a hub id; default shapes")
    parser.add_argument("--device", help="cpu, cuda, or auto: over all devices; default cuda where there is one")
    parser.add_argument("--dtype", help="float32, float16, bfloat16 or 4bit")
    parser.add_argument("--framing", default="processor", help="processor or pad (to a square)")
    parser.add_argument("--mode", help="of LLaVA-NeXT: native, or paper (2 x 2 tiles without newlines, 2880 tokens)")
    parser.add_argument("--relevance", default="clip", help="clip or llm_embedding; default clip")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    add_json(parser)


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="shapes, a checkpoint directory or a hub id")
    parser.add_argument("--device", help="cpu or cuda; default cuda where there is one")
    parser.add_argument("--dtype", help="float32 (the strict check), float16 or bfloat16")
    add_json(parser)


def _add_record_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="shapes", help="shapes, a checkpoint directory or a hub id; default shapes")
    parser.add_argument("--examples", type=Path, required=True, help="the folder with index.json and the pictures")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the traces, e.g. assets/traces/NAME")
    parser.add_argument("--only", metavar="ID", help="record this example alone")
    parser.add_argument("--draw", action="store_true", help="draw the scenes that the index describes anew")
    parser.add_argument("--clips", action="store_true", help="record the clips alone, not the pictures")
    parser.add_argument("--untimed", action="store_true", help="measure every time once: for a busy machine")
    parser.add_argument("--frames", type=int, help="frames of a clip; default what the model reads")
    parser.add_argument("--device", help="cpu or cuda; default cuda where there is one")
    parser.add_argument("--dtype", help="float32, float16 or bfloat16")
    parser.add_argument("--max-new-tokens", type=int, default=128)


def run_answer(args: argparse.Namespace) -> int:
    from fsr.bench.measure import FULL, Allowance, measure
    from fsr.pruners import make
    from fsr.pruners.frames import in_mode

    by_groups = args.share == "per_group"
    if args.share not in SHARES:
        raise InvalidInput(f"the budget's share must be one of {', '.join(SHARES)}, not {args.share!r}.")
    if by_groups and args.budget_mode != "global":
        raise InvalidInput("give --share or --budget-mode, not both.")
    single = make(args.method, **parsed(args.set))
    pruner = in_mode(single, "per_frame" if by_groups else args.budget_mode)
    frames, clip = loaded(args.media, frames_for(args))
    _quiet()

    vlm = opened(args)
    media = vlm.encode_media(frames, seconds(clip), pruner.requires)
    encoding = vlm.encode(media, args.question, pruner.requires)
    if by_groups:
        pruner = in_mode(single, "per_frame", media.group)
    n = len(encoding.tokens)
    budget = max(1, round(n / 9)) if args.budget is None else args.budget
    check_budget(budget, n)  # an impossible budget is refused before anything answers
    sides = {} if args.method == FULL else {args.method: (pruner, budget)}
    again = partial(vlm.encode_ms, frames, seconds(clip))
    allowance, full = Allowance(seconds=args.repeat_s), not args.only or not sides
    measured = measure(vlm, encoding, sides, args.max_new_tokens, allowance, again, full)
    answers = {name: _answer(measured, name, cost) for name, cost in measured.costs().items()}
    record = {
        "model": vlm.id,
        "device": str(vlm.device),
        "dtype": vlm.numbers,
        "pathways": vlm.pathways,
        "question": encoding.question,
        "unknown_words": encoding.unknown_words,
        "visual_tokens": n,
        "budget_mode": args.budget_mode,
        "share": args.share,
        "parameters": pruner.parameters(),
        "answers": answers,
    }
    if clip is not None:
        record["clip"] = clip
        if vlm.id == "shapes":
            record["note"] = ONE_PICTURE
    if args.json:
        write_json(record, args.json)
    else:
        print(described(record))
    return 0


def frames_for(args: argparse.Namespace) -> int:
    """Those asked for, or what the model reads by default."""
    from fsr.media.video import FRAMES
    from fsr.vlm.clips import clip_frames

    return args.frames if args.frames is not None else clip_frames(args.model) or FRAMES


def seconds(clip: dict[str, Any] | None) -> list[float] | None:
    """When each frame is shown, counted from the first; None for a picture."""
    return None if clip is None else [t - clip["timestamps_s"][0] for t in clip["timestamps_s"]]


def loaded(path: str, count: int) -> tuple[list[Image], dict[str, Any] | None]:
    """The picture in a file, or `count` frames of the clip in it and the clip's facts: the content decides."""
    from fsr.media.pictures import load_image
    from fsr.media.video import is_clip, load_clip

    if not is_clip(path):
        return [load_image(path)], None
    clip = load_clip(path, count)
    return clip.frames, clip.facts()


def _answer(measured: Measurement, name: str, cost: Cost) -> dict[str, Any]:
    from fsr.pruners.inside import InsideSelection
    from fsr.trace import answer_record

    side = measured.sides[name]
    assert side.last is not None
    chosen = side.selection
    read = side.budget if chosen is None or isinstance(chosen, InsideSelection) else len(chosen.sent)
    record = answer_record(name, read, replace(side.last, cost=cost))
    return {**record, "facts": {} if chosen is None else chosen.facts}


def run_fidelity(args: argparse.Namespace) -> int:
    from fsr.bench.chart import checked_format
    from fsr.pruners import make
    from fsr.pruners.plan import usual_budgets

    pruners = {name: make(name) for name in args.methods.split(",") if name != "full"}
    if args.figure:
        checked_format(Path(args.figure).suffix.lower().removeprefix("."))
    frames, clip = loaded(args.media, frames_for(args))
    _quiet()
    from fsr.bench.fidelity import curve, greedy_answer

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
        "dtype": vlm.numbers,
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


def described(record: dict[str, Any]) -> str:
    """The record of `answer` for people: one block per answer, then what FSR did and which words were unknown."""
    lines = [f"{record['model']} on {record['device']}, {record['dtype']}"]
    if "clip" in record:
        clip = record["clip"]
        places = ", ".join(f"{i} ({t:.2f} s)" for i, t in zip(clip["indices"], clip["timestamps_s"], strict=True))
        lines += [
            f"clip: {clip['duration_s']:.3g} s, {clip['width']} x {clip['height']} pixels, {clip['fps']:.3g} frames/s",
            f"frames {places}, read by {clip['decoder']}; budget {record['budget_mode']}",
        ]
    if "note" in record:
        lines.append(record["note"])
    for name, answer in record["answers"].items():
        cost = answer["cost"]
        decode = (
            f", decode {ms:.3g} ms/token{_ends(cost, 'decode_ms_per_token')}"
            if (ms := cost["decode_ms_per_token"]) is not None
            else ""
        )
        times = ", ".join(
            f"{name} {cost[f'{name}_ms']:.3g} ms{_ends(cost, f'{name}_ms')}" for name in ("encode", "select", "prefill")
        )
        peak = f", peak {cost['peak_bytes'] / 1e9:.2f} GB" if cost["peak_bytes"] else ""
        lines += [
            "",
            f"{name}, {answer['budget']} of {record['visual_tokens']} visual tokens",
            f"  {answer['text'] or '(no text)'}",
            f"  {times}{decode}, {cost['new_tokens']} new tokens",
            f"  {repeated(cost['repeats'])}",
            f"  KV cache {cost['kv_bytes'] / 1e6:.3g} MB{peak}, estimated {cost['flops_estimated'] / 1e9:.3g} GFLOP",
        ]
        if answer["facts"]:
            lines.append("  " + ", ".join(f"{k} {v:.4g}" for k, v in answer["facts"].items()))
    if record["unknown_words"]:
        lines += ["", f"The model does not know: {', '.join(record['unknown_words'])}."]
    return "\n".join(lines)


def _ends(cost: dict[str, Any], name: str) -> str:
    """Where the middle half of the repeats lies: " (5.8 to 6.6)"."""
    low, high = cost.get("spread", {}).get(name, (None, None))
    return "" if low is None else f" ({low:.3g} to {high:.3g})"


def repeated(times: int) -> str:
    """What the times are, in words."""
    return "times measured once" if times == 1 else f"medians of {times} runs in turns; in brackets their middle half"


def parsed(settings: Sequence[str]) -> dict[str, Any]:
    """["alpha=2", "focus_cap=none"] -> {"alpha": 2.0, "focus_cap": None}; numbers, none, else text."""
    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise InvalidInput(f"--set takes NAME=VALUE, for example alpha=2, not {setting!r}.")
        found[name.strip()] = _value(value.strip())
    return found


def _value(text: str) -> int | float | str | None:
    if text.lower() == "none":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def run_methods(args: argparse.Namespace) -> int:
    from fsr.pruners import describe

    methods = describe()
    if args.json:
        return write_json(methods, args.json)
    for method in methods:
        needs = f"  needs {', '.join(method['requires'])}" if method["requires"] else ""
        print(f"{method['name']:<12}{method['label']}{needs}  {method['paper']}".rstrip())
        for one in method["parameters"]:
            print(f"{'':<12}{one['name']} = {one['default']}  {one.get('doc', '')}".rstrip())
    return 0


def run_models(args: argparse.Namespace) -> int:
    from fsr.vlm import available

    models = available()
    if args.json:
        return write_json(models, args.json)
    for model in models:
        print(f"{model['id']:<28}{'here' if model['here'] else 'not here yet':<14}{model['title']}")
    print("Any directory with a LLaVA checkpoint of transformers works as well.")
    return 0


def run_check(args: argparse.Namespace) -> int:
    _quiet()
    from fsr.check import checkpoint

    return checkpoint.run(args)


def run_record(args: argparse.Namespace) -> int:
    _quiet()
    from fsr.cli import record

    return record.run(args)


def run_bench(args: argparse.Namespace) -> int:
    from fsr.bench import select

    return select.run(args)


def opened(args: argparse.Namespace) -> VLM:
    """The model that the arguments name; while it is loaded a terminal is told how far that is."""
    import fsr.vlm

    options = {} if args.mode is None else {"mode": args.mode}
    return fsr.vlm.load(
        args.model,
        args.device,
        args.dtype,
        framing=args.framing,
        relevance=args.relevance,
        progress=progress_line(sys.stderr),
        **options,
    )


def progress_line(stream: TextIO) -> Callable[[LoadProgress], None] | None:
    """Writes one line that is written over, and empties it at the end; None where nobody looks at the stream."""
    if not stream.isatty():
        return None

    def show(step: LoadProgress) -> None:
        ended = step.phase == "weights" and step.done >= step.total
        stream.write(f"\r\033[K{'' if ended else step}")
        stream.flush()

    return show


def _quiet() -> None:
    """No progress bars and no advice from transformers between our lines."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
