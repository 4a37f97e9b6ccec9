"""What commands open: the picture or clip and the model that their arguments name."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from fsr.cli.arguments import add_json

if TYPE_CHECKING:
    from PIL.Image import Image

    from fsr.vlm import VLM
    from fsr.vlm.progress import LoadProgress


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="shapes", help="shapes, a checkpoint directory or a hub id; default shapes")
    parser.add_argument("--device", help="cpu, cuda, or auto: over all devices; default cuda where there is one")
    parser.add_argument("--dtype", help="float32, float16, bfloat16 or 4bit")
    parser.add_argument("--framing", default="processor", help="processor or pad (to a square)")
    parser.add_argument("--mode", help="of LLaVA-NeXT: native, or paper (2 x 2 tiles without newlines, 2880 tokens)")
    parser.add_argument("--relevance", default="clip", help="clip or llm_embedding; default clip")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    add_json(parser)


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


def opened(args: argparse.Namespace) -> VLM:
    """The model that the arguments name; while it is loaded a terminal is told how far that is."""
    import fsr.vlm

    return fsr.vlm.load(args.model, progress=progress_line(sys.stderr), **model_options(args))


def model_options(args: argparse.Namespace) -> dict[str, Any]:
    """What the arguments say of how the model is loaded, for `fsr.vlm.load`."""
    names = ("device", "dtype", "framing", "relevance", *(["mode"] if args.mode is not None else []))
    return {name: getattr(args, name) for name in names}


def progress_line(stream: TextIO) -> Callable[[LoadProgress], None] | None:
    """Writes one line that is written over, and empties it at the end; None where nobody looks at the stream."""
    if not stream.isatty():
        return None

    def show(step: LoadProgress) -> None:
        ended = step.phase == "weights" and step.done >= step.total
        stream.write(f"\r\033[K{'' if ended else step}")
        stream.flush()

    return show


def quiet() -> None:
    """No progress bars and no advice from transformers between our lines."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
