"""`python -m fsr answer`: a question about a picture or a clip, answered pruned and unpruned."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fsr.cli.arguments import say, write_json
from fsr.cli.inputs import add_model_arguments, frames_for, loaded, opened, quiet, seconds
from fsr.errors import InvalidInput
from fsr.tokens import check_budget

if TYPE_CHECKING:
    from fsr.bench.measure import Measurement
    from fsr.vlm.cost import Cost

ONE_PICTURE = "The embedded model was trained on single pictures: of a clip it sees the frames as so many pictures."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("media", help="a JPEG, PNG or WebP file, or an MP4, MOV, WebM, Matroska or AVI clip")
    parser.add_argument("question")
    parser.add_argument("--method", default="fsr", help="pruning method (see: methods); default fsr")
    parser.add_argument("--budget", type=int, help="visual tokens to keep; default a ninth of them (64 of 576)")
    parser.add_argument("--frames", type=int, help="frames of a clip, evenly spaced in time; default the model's own")
    parser.add_argument(
        "--share",
        default="global",
        help="of the budget: global (all compete) or per_group (each tile or frame alike)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a method's parameter")
    parser.add_argument("--only", action="store_true", help="do not run the unpruned model for comparison")
    parser.add_argument("--repeat-s", type=float, default=0.5, help="seconds of repeats a side; default 0.5")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from fsr.bench.measure import FULL, Allowance, measure
    from fsr.pruners import make
    from fsr.pruners.frames import with_share

    single = make(args.method, **parsed(args.set))
    with_share(single, args.share)  # a share that cannot be is told before anything is loaded
    frames, clip = loaded(args.media, frames_for(args))
    quiet()

    vlm = opened(args)
    media = vlm.encode_media(frames, seconds(clip), single.requires)
    encoding, closeness = vlm.encode(media, args.question, single.requires), vlm.closeness(media)
    pruner = with_share(single, args.share, media.group)
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
        "dtype": vlm.precision,
        "pathways": vlm.pathways,
        "question": encoding.question,
        "unknown_words": encoding.unknown_words,
        "visual_tokens": n,
        "share": args.share,
        "parameters": pruner.parameters(),
        "answers": answers,
    }
    if closeness is not None:
        record["familiar"] = closeness.to_json()
        if closeness.far:
            say(closeness.sentence(vlm.title, "picture" if clip is None else "clip"))
    if clip is not None:
        record["clip"] = clip
        if vlm.id == "shapes":
            record["note"] = ONE_PICTURE
    if args.json:
        write_json(record, args.json)
    else:
        print(described(record))
    return 0


def _answer(measured: Measurement, name: str, cost: Cost) -> dict[str, Any]:
    from fsr.pruners.inside import InsideSelection
    from fsr.trace import answer_record

    side = measured.sides[name]
    assert side.last is not None
    chosen = side.selection
    read = side.budget if chosen is None or isinstance(chosen, InsideSelection) else len(chosen.sent)
    record = answer_record(name, read, replace(side.last, cost=cost))
    return {**record, "facts": {} if chosen is None else chosen.facts}


def described(record: dict[str, Any]) -> str:
    """The record of `answer` for people: one block per answer, then what FSR did and which words were unknown."""
    lines = [f"{record['model']} on {record['device']}, {record['dtype']}"]
    if "clip" in record:
        clip = record["clip"]
        places = ", ".join(f"{i} ({t:.2f} s)" for i, t in zip(clip["indices"], clip["timestamps_s"], strict=True))
        lines += [
            f"clip: {clip['duration_s']:.3g} s, {clip['width']} x {clip['height']} pixels, {clip['fps']:.3g} frames/s",
            f"frames {places}, read by {clip['decoder']}; budget {record['share']}",
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
