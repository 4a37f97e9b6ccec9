"""`python -m fsr bench prefill`: what pruning saves on real-size models with random weights."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from fsr.cli.arguments import add_json, report, say, whole_numbers
from fsr.errors import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--architecture",
        default="llava-1.5-7b",
        help="llava-1.5-7b (default), llava-next-7b, llava-onevision-0.5b, llava-video-7b, qwen2.5-vl-3b or -7b, "
        "qwen3-vl-2b, -4b or -8b, qwen3.5-0.8b, smolvlm2-256m, -500m or -2.2b, gemma-3-4b "
        "or -12b, internvl3.5-1b, -2b or -8b",
    )
    parser.add_argument(
        "--random-weights", action="store_true", help="required: nothing is downloaded, weights are noise"
    )
    parser.add_argument("--dtype", default="bfloat16", help="bfloat16 (default), float16 or float32")
    parser.add_argument("--device", help="cpu or cuda; default cuda where there is one")
    parser.add_argument("--budgets", help="visual tokens to keep, with commas; default all, a third, 2/9 and a ninth")
    parser.add_argument("--layers", type=int, help="decoder layers to build, where memory is short; default all")
    parser.add_argument("--frames", type=int, default=8, help="frames of a video (llava-video-7b); default 8")
    parser.add_argument("--repeats", type=int, default=4, help="rounds; default 4")
    parser.add_argument("--new-tokens", type=int, default=3, help="tokens of each answer, for decode; default 3")
    parser.add_argument("--threads", type=int, help="default torch's own number")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="also loading, and encoding a photograph of 1280 x 960 and 8 frames of a clip, with the memory each takes",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if not args.random_weights:
        raise InvalidInput("bench prefill measures random weights and downloads nothing: give --random-weights.")
    from fsr.bench.prefill import prefill

    result = prefill(
        args.architecture,
        args.dtype,
        args.device,
        None if args.budgets is None else whole_numbers(args.budgets, "--budgets"),
        args.layers,
        args.frames,
        args.repeats,
        args.new_tokens,
        args.threads,
        say,
        args.whole,
    )
    return report(result, table(result), args.json)


def table(result: dict[str, Any]) -> str:
    """The result for people: one line a budget."""
    r, full = result, result["unpruned"]
    lines = [
        f"{r['title']}, random weights, {r['dtype']} on {r['device']} ({r['processor']}, {r['threads']} threads), "
        f"{r['layers']} of {r['full_layers']} layers, {r['weights_gb']:.1f} GB",
        f"{r['visual_tokens']} visual tokens, {r['text_tokens']} others; vision {full['vision_ms']:.0f} ms, question "
        f"{full['question_ms']:.0f} ms; unpruned prefill {full['prefill_ms']:.0f} ms, KV {full['kv_mb']:.1f} MB",
        *_before(r),
        "",
        *_lines(r["rows"]),
    ]
    if "extrapolated" in r:
        deeper = r["extrapolated"]
        lines += ["", f"ESTIMATED for {deeper['to_layers']} layers ({deeper['how']}):", *_lines(deeper["rows"])]
    return "\n".join(lines)


def _before(result: dict[str, Any]) -> list[str]:
    """What comes before a prompt is read, where it was measured."""
    if "load_s" not in result:
        return []
    lines = [f"loaded in {result['load_s']:.1f} s{_peak(result['load_memory_mb'])}"]
    for name in ("photograph", "clip"):
        if part := result.get(name):
            size = " x ".join(map(str, part["pixels"]))
            what = f"{part['frames']} frames of {size}" if part["frames"] > 1 else size
            took = f"{part['visual_tokens']} visual tokens, encoded in {part['encode_ms']:.0f} ms"
            lines.append(f"{name}, {what}: {took}{_peak(part['memory_mb'])}")
    answering = [row["memory_mb"] for row in (result["unpruned"], *result["rows"])]
    return [*lines, f"answering{_peak(max(answering))}"] if all(answering) else lines


def _peak(megabytes: float | None) -> str:
    return "" if megabytes is None else f", at most {megabytes / 1e3:.2f} GB of memory"


def _lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        f"{'budget':>7}{'select':>9}{'prefill':>10}{'ideal':>10}{'vs ideal':>10}{'speedup':>9}{'decode':>9}{'KV MB':>9}"
    ]
    for row in rows:
        decode = "" if row["decode_ms_per_token"] is None else f"{row['decode_ms_per_token']:.1f}"
        lines.append(
            f"{row['budget']:>7}{row['select_ms']:>9.1f}{row['prefill_ms']:>10.1f}{row['ideal_prefill_ms']:>10.1f}"
            f"{row['vs_ideal']:>10.3f}{row['speedup']:>9.2f}{decode:>9}{row['kv_mb']:>9.1f}"
        )
    return lines
