"""`python -m fsr why`: which tokens the pruned answer rests on, and which dropped ones bring the unpruned one back."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fsr.cli.answer import parsed
from fsr.cli.arguments import report, whole_numbers
from fsr.cli.inputs import add_model_arguments, frames_for, loaded, opened, quiet, seconds
from fsr.tokens import Role, Selection, check_budget

if TYPE_CHECKING:
    from fsr.vlm import VLM, Encoding

SHOWN = 20  # rows of the table
WORDS = 6  # columns of it; --json has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("media", help="a JPEG, PNG or WebP file, or a clip")
    parser.add_argument("question")
    parser.add_argument("--method", default="fsr", help="pruning method (see: methods); default fsr")
    parser.add_argument("--budget", type=int, help="visual tokens to keep; default a ninth of them")
    parser.add_argument("--frames", type=int, help="frames of a clip; default the model's own")
    parser.add_argument("--share", default="global", help="of the budget: global or per_group")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a method's parameter")
    parser.add_argument("--force-in", metavar="TOKENS", help="tokens that are kept whatever happens, with commas")
    parser.add_argument("--force-out", metavar="TOKENS", help="tokens that are never kept, with commas")
    parser.add_argument("--repair", action="store_true", help="look for dropped tokens that bring the answer back")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from fsr.pruners import make
    from fsr.pruners.forced import Forced
    from fsr.pruners.frames import with_share
    from fsr.pruners.whatif import with_forced
    from fsr.vlm.answers import greedy_answer
    from fsr.why import check_studied, influence, studied
    from fsr.why.words import words_of

    ways = [(args.force_in, "--force-in"), (args.force_out, "--force-out")]
    forced = Forced(*(tuple(whole_numbers(text, name)) if text else () for text, name in ways))
    single = make(args.method, **parsed(args.set))
    check_studied(single)
    frames, clip = loaded(args.media, frames_for(args))
    quiet()
    vlm = opened(args)
    encoding = vlm.encode(vlm.encode_media(frames, seconds(clip), single.requires), args.question, single.requires)
    n = len(encoding.tokens)
    budget = check_budget(max(1, round(n / 9)) if args.budget is None else args.budget, n)
    pruner = with_forced(with_share(single, args.share, encoding.media.group), forced)
    selection = studied(pruner(encoding.tokens, budget), encoding.tokens)
    ids = greedy_answer(vlm, encoding, args.max_new_tokens, selection=selection)
    unpruned = greedy_answer(vlm, encoding, args.max_new_tokens)
    *_, found = influence(vlm, encoding, selection, ids)
    record: dict[str, Any] = {
        "model": vlm.id,
        "question": encoding.question,
        "method": args.method,
        "budget": budget,
        "visual_tokens": n,
        "forced": forced.to_json(),
        "answer": vlm.text(ids),
        "unpruned": vlm.text(unpruned),
        "log_probability": found.base,
        "influence": [
            placed(encoding, selection, one.token) | {"delta": one.delta, "absorbed": list(one.absorbed)}
            for one in found.ranked
        ],
        "words": [
            {"text": word.text, "delta": [one.of(word.start, word.stop) for one in found.ranked]}
            for word in (words_of(vlm, ids) if vlm.text(ids).strip() else [])
        ],
    }
    if args.repair:
        record["repair"] = repaired(vlm, encoding, selection, unpruned, args.max_new_tokens)
    return report(record, table(record), args.json)


def placed(encoding: Encoding, selection: Selection, token: int) -> dict[str, Any]:
    """token, frame (where there are several), row and col (-1 outside the grid), and the name of its role."""
    layout = encoding.tokens.layout
    where = {"token": token, "row": int(layout.row[token]), "col": int(layout.col[token])}
    if len(layout.grids) > 1:
        where["frame"] = int(layout.frame[token])
    return {**where, "role": Role(int(selection.roles[token])).name.lower()}


def repaired(
    vlm: VLM, encoding: Encoding, selection: Selection, unpruned: list[int], max_new_tokens: int
) -> dict[str, Any]:
    """The outcome of `fsr.why.repair` with the answer that it leads to."""
    from fsr.vlm.answers import greedy_answer
    from fsr.why import regain, repair
    from fsr.why.changed import with_more

    *_, lost = regain(vlm, encoding, selection, unpruned)
    *_, found = repair(vlm, encoding, selection, unpruned, lost)
    more = with_more(selection, encoding.tokens, found.tokens)
    return {
        "found": found.found,
        "tokens": list(found.tokens),
        "places": [placed(encoding, selection, token) for token in found.tokens],
        "answer": vlm.text(greedy_answer(vlm, encoding, max_new_tokens, selection=more)),
        "forwards": found.forwards,
        "limit": found.limit,
        "note": found.note,
    }


def table(record: dict[str, Any]) -> str:
    """The record for people: both answers, the tokens with the largest influence, the repair."""
    said = record["answer"] or "(no text)"
    words = record["words"] if len(record["words"]) > 1 else []  # of a single word it is the same number again
    lines = [
        f"{record['method']}, {record['budget']} of {record['visual_tokens']} tokens: {said}",
        f"all tokens: {record['unpruned'] or '(no text)'}",
        "",
        f"{'token':>6}{'frame':>7}{'row':>5}{'col':>5}  {'role':<8}{'log P lost without it, nats':>28}{_heads(words)}",
    ]
    for i, one in enumerate(record["influence"][:SHOWN]):
        frame, merged = one.get("frame", 0), len(one["absorbed"])
        group = f"  with {merged} merged" if merged else ""
        lines.append(
            f"{one['token']:>6}{frame:>7}{one['row']:>5}{one['col']:>5}  {one['role']:<8}{one['delta']:>28.4g}"
            + "".join(f"{word['delta'][i]:>{_width(word)}.3g}" for word in words[:WORDS])
            + group
        )
    if left := len(record["influence"]) - SHOWN:
        lines += [f"and {left} more (--json has all)"] if left > 0 else []
    if "repair" in record:
        mended = record["repair"]
        tokens = ", ".join(map(str, mended["tokens"])) or "none"
        head = f"put back: {tokens}" if mended["found"] else f"best that was tried: {tokens}"
        lines += [
            "",
            f"{head}; the answer is then: {mended['answer']}",
            f"{mended['note']} ({mended['forwards']} prompts)",
        ]
    return "\n".join(lines)


def _heads(words: list[dict[str, Any]]) -> str:
    """Of what each word of the answer, behind those before it, loses without the token."""
    return "".join(f"{word['text']:>{_width(word)}}" for word in words[:WORDS])


def _width(word: dict[str, Any]) -> int:
    return max(11, len(word["text"]) + 2)
