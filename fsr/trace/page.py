"""A trace with its pictures as one HTML page that needs no server and no network."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from fsr.errors import InvalidInput
from fsr.trace.record import Trace

LONGEST_SIDE = 1344  # pixels of a picture in the file; its tokens are drawn over it at any size
CLIP_SIDE = 512
QUALITY = 88
EXACT, EXACT_FRAME = 300_000, 40_000  # bytes of a picture, or of a clip's frame, that is kept to the pixel
EXACT_PIXELS = 600_000  # above, trying it takes long and such pictures are photographs


def record(
    trace: Trace, pictures: Sequence[Image.Image], method: str = "", budget: int = 0, saved: str = "", scene: str = ""
) -> dict[str, Any]:
    """What a saved view holds, as plain values: trace, pictures as data addresses, method, budget, and the day.

    pictures: those that the trace is about, or one a frame of a clip. Small ones are kept to the pixel. scene: the text
    of `fsr.world.scene` that the picture is drawn of, so that it can be edited again. Raises InvalidInput where there
    are not as many as the trace needs.
    """
    needed = 1 + max(picture_of(trace.frames))
    if len(pictures) != needed:
        raise InvalidInput(f"the trace is about {needed} pictures, not {len(pictures)}.")
    side, exact = (CLIP_SIDE, EXACT_FRAME) if trace.clip else (LONGEST_SIDE, EXACT)
    embedded = [_embedded(picture, side, exact) for picture in pictures]
    held = {"trace": trace.to_dict(), "pictures": embedded, "method": method, "budget": budget, "saved": saved}
    return held | ({"scene": scene} if scene else {})


def to_json(
    trace: Trace, pictures: Sequence[Image.Image], method: str = "", budget: int = 0, saved: str = "", scene: str = ""
) -> str:
    """`record` as one line of JSON, which `fsr.open_saved` and the page open again."""
    held = record(trace, pictures, method, budget, saved, scene)
    return json.dumps(held, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def to_html(
    trace: Trace, pictures: Sequence[Image.Image], method: str = "", budget: int = 0, saved: str = "", scene: str = ""
) -> str:
    """The page, built from app/viewer: canvas, slider, token cards, playback, answers.

    pictures: see `record`. method, budget: shown first. saved: the day, like 2026-01-31.
    """
    text = to_json(trace, pictures, method, budget, saved, scene).replace("<", "\\u003c")
    return _viewer().replace("{{DATA}}", text)


def picture_of(frames: Sequence[dict[str, Any]]) -> list[int]:
    """Which picture each frame of a trace is about: parts of one say it, other frames are pictures of their own."""
    return [frame["picture"] if "part" in frame else i for i, frame in enumerate(frames)]


@cache
def _viewer() -> str:
    return (Path(__file__).parent / "viewer.html").read_text(encoding="utf-8")


def _embedded(picture: Image.Image, longest: int, exact: int) -> str:
    """The picture as a data address, at most `longest` pixels wide and high; to the pixel in up to `exact` bytes."""
    small = picture.convert("RGB")
    small.thumbnail((longest, longest))
    data = b""
    if small.width * small.height <= EXACT_PIXELS:
        data = _webp(small, lossless=True)
    if not data or len(data) > exact:
        data = _webp(small, quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(data).decode()


def _webp(picture: Image.Image, **how: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, "WEBP", **how)
    return out.getvalue()


@dataclass(frozen=True)
class Explanation:
    """What `fsr.explain` found, or `fsr.open_saved` read; a notebook shows it as the page's canvas.

    saved: the day, where it is known. scene: as of `record`, where the picture was composed.
    """

    trace: Trace
    pictures: tuple[Image.Image, ...]
    method: str
    budget: int
    saved: str = ""
    scene: str = ""

    @property
    def answer(self) -> str:
        """Of the pruned model; empty where it was not asked."""
        return self._text(f"{self.method}@{self.budget}")

    @property
    def unpruned(self) -> str:
        """Of the model that reads every token; empty where it was not asked."""
        return self._text("full")

    def _text(self, key: str) -> str:
        return str(self.trace.answers[key]["text"]) if key in self.trace.answers else ""

    def to_html(self, path: str | Path | None = None) -> str:
        """The page; written to `path` where one is given."""
        return _written(path, to_html(self.trace, self.pictures, self.method, self.budget, self._day, self.scene))

    def to_json(self, path: str | Path | None = None) -> str:
        """The same record as JSON; written to `path` where one is given."""
        return _written(path, to_json(self.trace, self.pictures, self.method, self.budget, self._day, self.scene))

    @property
    def _day(self) -> str:
        return self.saved or date.today().isoformat()

    def _repr_html_(self) -> str:
        page = html.escape(self.to_html(), quote=True)
        style = "width: 100%; height: 860px; border: 0"
        return f'<iframe sandbox="allow-scripts" title="Visual tokens" style="{style}" srcdoc="{page}"></iframe>'


def _written(path: str | Path | None, text: str) -> str:
    if path is not None:
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error
    return text


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
