"""A trace with its pictures as one HTML page that needs no server and no network."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from fsr.errors import InvalidInput
from fsr.trace.record import Trace

LONGEST_SIDE = 1344  # pixels of a picture in the file; its tokens are drawn over it at any size
CLIP_SIDE = 512
QUALITY = 88


def to_html(trace: Trace, pictures: Sequence[Image.Image], method: str = "", budget: int = 0) -> str:
    """The page, built from app/viewer: canvas, slider, token cards, playback, answers.

    pictures: those that the trace is about, or one a frame of a clip. method, budget: shown first. Raises InvalidInput
    where the pictures are not as many as the trace needs.
    """
    needed = 1 + max(picture_of(trace.frames))
    if len(pictures) != needed:
        raise InvalidInput(f"the trace is about {needed} pictures, not {len(pictures)}.")
    data = {
        "trace": trace.to_dict(),
        "pictures": [_embedded(picture, CLIP_SIDE if trace.clip else LONGEST_SIDE) for picture in pictures],
        "method": method,
        "budget": budget,
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return _viewer().replace("{{DATA}}", text)


def picture_of(frames: Sequence[dict[str, Any]]) -> list[int]:
    """Which picture each frame of a trace is about: parts of one say it, other frames are pictures of their own."""
    return [frame["picture"] if "part" in frame else i for i, frame in enumerate(frames)]


@cache
def _viewer() -> str:
    return (Path(__file__).parent / "viewer.html").read_text(encoding="utf-8")


def _embedded(picture: Image.Image, longest: int) -> str:
    """The picture as a data address, at most `longest` pixels wide and high."""
    small = picture.convert("RGB")
    small.thumbnail((longest, longest))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


@dataclass(frozen=True)
class Explanation:
    """What `fsr.explain` found; a notebook shows it as the page's canvas."""

    trace: Trace
    pictures: tuple[Image.Image, ...]
    method: str
    budget: int

    @property
    def answer(self) -> str:
        """Of the pruned model."""
        return str(self.trace.answers[f"{self.method}@{self.budget}"]["text"])

    @property
    def unpruned(self) -> str:
        """Of the model that reads every token."""
        return str(self.trace.answers["full"]["text"])

    def to_html(self, path: str | Path | None = None) -> str:
        """The page; written to `path` where one is given."""
        page = to_html(self.trace, self.pictures, self.method, self.budget)
        if path is not None:
            try:
                Path(path).write_text(page, encoding="utf-8")
            except OSError as error:
                raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error
        return page

    def _repr_html_(self) -> str:
        page = html.escape(self.to_html(), quote=True)
        style = "width: 100%; height: 860px; border: 0"
        return f'<iframe sandbox="allow-scripts" title="Visual tokens" style="{style}" srcdoc="{page}"></iframe>'


def explain(
    model: Any,
    picture: str | Path | Image.Image,
    question: str,
    method: str = "fsr",
    budget: int | None = None,
    *,
    max_new_tokens: int = 128,
    **parameters: Any,
) -> Explanation:
    """Answer a question about a picture with all visual tokens and with few, and show which and why.

    model: of `fsr.vlm.load`, or its name. picture: a JPEG, PNG or WebP file, or a PIL picture. budget: visual tokens to
    keep; a ninth by default. parameters: the method's own. Methods that prune inside the language model have no plan of
    every budget and are refused. Raises InvalidInput.
    """
    from fsr.media.pictures import load_image
    from fsr.pruners import make
    from fsr.tokens import check_budget
    from fsr.trace.record import answer_record, build_trace
    from fsr.vlm import VLM, load

    vlm: VLM = load(str(model)) if isinstance(model, str | Path) else model
    image = picture if isinstance(picture, Image.Image) else load_image(picture)
    pruner = make(method, **parameters)
    if pruner.stage != "before":
        raise InvalidInput(f"{pruner.label} prunes inside the language model; choose a method that prunes before it.")
    encoding = vlm.encode(vlm.encode_media([image], None, pruner.requires), question, pruner.requires)
    n = len(encoding.tokens)
    kept = check_budget(max(1, round(n / 9)) if budget is None else budget, n)
    *_, full = vlm.generate(encoding, None, max_new_tokens)
    *_, ours = vlm.generate(encoding, pruner(encoding.tokens, kept), max_new_tokens)
    answers = {"full": answer_record("full", n, full), f"{method}@{kept}": answer_record(method, kept, ours)}
    plans = {method: (pruner, pruner.plan(encoding.tokens))}
    trace = build_trace(vlm, encoding, plans, answers, max_new_tokens=max_new_tokens)
    return Explanation(trace, (image,), method, kept)
