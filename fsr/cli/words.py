"""`python -m fsr words`: where each word of an answer looked, with all visual tokens and with some."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fsr.cli.answer import parsed
from fsr.cli.arguments import report
from fsr.cli.inputs import add_model_arguments, frames_for, loaded, opened, quiet, seconds
from fsr.tokens import check_budget

if TYPE_CHECKING:
    from fsr.vlm import Encoding

TOP = 3  # tokens that the table names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("media", help="a JPEG, PNG or WebP file, or an MP4, MOV, WebM, Matroska or AVI clip")
    parser.add_argument("question")
    parser.add_argument("--method", default="fsr", help="pruning method (see: methods); default fsr")
    parser.add_argument("--budget", type=int, help="visual tokens to keep; default a ninth of them (64 of 576)")
    parser.add_argument("--frames", type=int, help="frames of a clip, evenly spaced in time; default the model's own")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a method's parameter")
    parser.add_argument(
        "--layers",
        default="all",
        help="of the language model: all, first, middle or last (a third each), or the number of one, from 1",
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from fsr.pruners import make
    from fsr.why.attention import words_record

    pruner = make(args.method, **parsed(args.set))
    frames, clip = loaded(args.media, frames_for(args))
    quiet()
    vlm = opened(args)
    encoding = vlm.encode(vlm.encode_media(frames, seconds(clip), pruner.requires), args.question, pruner.requires)
    n = len(encoding.tokens)
    budget = max(1, round(n / 9)) if args.budget is None else args.budget
    check_budget(budget, n)
    sides: dict[str, Any] = {"full": None}
    if args.method != "full":
        sides[args.method] = pruner(encoding.tokens, budget)
    answers = {}
    for name, selection in sides.items():
        *_, last = vlm.generate(encoding, selection, args.max_new_tokens)
        answers[name] = words_record(vlm, encoding, selection, last.token_ids, args.layers)
    record = {"model": vlm.id, "question": encoding.question, "visual_tokens": n, "budget": budget, "answers": answers}
    return report(record, described(record, encoding), args.json)


def described(record: dict[str, Any], encoding: Encoding) -> str:
    """For people: each word, how much of its attention went to the picture, and the tokens that got most of it."""
    layout = encoding.tokens.layout
    lines = ["Attention of the language model, which is not influence."]
    for name, answer in record["answers"].items():
        lines += ["", f"{name}, {answer['read']:.4g} visual tokens, layers {answer['layers']}: {answer['text']}"]
        for word in answer["words"]:
            most = sorted(range(len(word["attention"])), key=lambda i: -word["attention"][i])[:TOP]
            where = ", ".join(
                f"row {layout.row[i] + 1} column {layout.col[i] + 1} {100 * word['attention'][i]:.2g} %" for i in most
            )
            lines.append(f"  {word['text']:<14} {100 * word['share']:5.1f} % to the picture; most: {where}")
    return "\n".join(lines)
