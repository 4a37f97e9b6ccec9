"""`python -m fsr record`: record what a model answers to a folder of examples, to be replayed without it."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from fsr.cli.inputs import quiet
from fsr.errors import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
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


def run(args: argparse.Namespace) -> int:
    quiet()
    from fsr.bench.recording import record, rows_of
    from fsr.vlm import load
    from fsr.vlm.clips import clip_frames

    first = "clips.json" if args.clips else "index.json"
    rows_of(args.examples, first)  # what cannot be read is told before a model is loaded
    name = Path(args.model).name if Path(args.model).is_dir() else args.model  # no path of this machine in a trace
    vlm = load(args.model, args.device, args.dtype, name=name)
    frames = clip_frames(args.model) if args.frames is None else args.frames
    if args.clips and not frames:
        raise InvalidInput(f"{vlm.title} reads pictures only; --clips is for models that read clips.")
    timed, pictures = not args.untimed, not args.clips
    say = partial(print, flush=True)
    record(vlm, args.examples, args.out, args.only, args.max_new_tokens, args.draw, frames or 0, pictures, timed, say)
    return 0
