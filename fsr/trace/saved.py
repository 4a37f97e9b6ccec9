"""A saved view read again: the file is anybody's, so everything in it is checked before it is used.

Nothing of a page is run or rendered: its record is found in the text. Pictures go through the door of `fsr.media`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from pathlib import Path
from typing import Any

from PIL import Image

from fsr.errors import InvalidInput
from fsr.media.pictures import MAX_PIXELS, read_image
from fsr.trace.checking import no_constant
from fsr.trace.page import Explanation, picture_of
from fsr.trace.record import Trace
from fsr.trace.validation import Checker

MAX_BYTES = 32_000_000  # of the file
MAX_PARTS = 1_000_000  # lists, objects and keys: views have about 10,000, and each takes a hundred bytes of memory
MAX_ALL_PIXELS = 40_000_000  # of all pictures in a file
SKEW = 0.02  # by which a picture's shape may differ from its frame's, after scaling to whole pixels
START = '<script type="application/json" id="fsr-data">'
END = "</script>"
SNIFFED = 256
PICTURE = re.compile(r"data:image/(?:webp|png|jpeg);base64,")
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
WHAT = "open a page (HTML) or a record (JSON) that Save wrote"


def is_saved(path: str | Path) -> bool:
    """Whether the file begins like a page or like JSON, whatever its name."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(SNIFFED).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    except OSError:
        return False
    return start.startswith((b"{", b"<!doctype html", b"<html"))


def open_saved(path: str | Path, max_bytes: int = MAX_BYTES, max_side: int | None = None) -> Explanation:
    """The view that was saved as a page or as JSON: trace, pictures, method and budget.

    max_side: larger pictures are scaled down to it (None: never). Raises InvalidInput with one sentence that says what
    is wrong and what is allowed.
    """
    record = _record(_read(Path(path), max_bytes))
    check = Checker("saved view")
    check.keys(record, {"trace", "pictures", "method", "budget"}, {"saved", "scene"})
    if not isinstance(record["trace"], dict):
        raise check.fail("trace", "must be an object")
    trace = Trace.from_json(record["trace"])
    _check_names(check, trace)
    needed = picture_of(trace.frames)
    pictures = check.items(record["pictures"], "pictures", 1 + max(needed), 1 + max(needed))
    left = MAX_ALL_PIXELS
    opened: list[Image.Image] = []
    for at, text in enumerate(pictures):
        opened.append(_picture(text, at, left, max_side))
        left -= opened[-1].width * opened[-1].height
    for at, (frame, of) in enumerate(zip(trace.frames, needed, strict=True)):
        _check_shape(check, frame, opened[of], f"pictures[{of}]", at)
    check.text(record["method"], 40, "method")
    budget = check.whole(record["budget"], 0, trace.tokens["n"], "budget")
    method = record["method"] if record["method"] in trace.methods else next(iter(trace.methods), "")
    saved = record.get("saved", "")
    if saved != "" and not (isinstance(saved, str) and DAY.fullmatch(saved)):
        raise check.fail("saved", "must be a day like 2026-01-31")
    scene = _scene(record["scene"]) if "scene" in record else ""
    return Explanation(trace, tuple(opened), method, budget or max(1, round(trace.tokens["n"] / 9)), saved, scene)


def _scene(text: Any) -> str:
    from fsr.world.scene import read_scene  # few views are of a composed scene, and drawing needs OpenCV

    return read_scene(text).text


def _read(path: Path, max_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InvalidInput(f"there is no file {path.name!r} that can be read.") from error
    if len(data) > max_bytes:
        raise InvalidInput(f"the saved view is larger than {max_bytes / 1e6:g} MB.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the file is not text in UTF-8; {WHAT}.") from error


def _record(text: str) -> dict[str, Any]:
    """The object in the file: the file itself, or what a page holds for its script."""
    if text.lstrip().startswith("<"):
        _, found, rest = text.partition(START)
        text, ended, _ = rest.partition(END)
        if not found or not ended:
            raise InvalidInput(f"the page holds no saved view; {WHAT}.")
    if sum(map(text.count, "[{:")) > MAX_PARTS:
        raise InvalidInput(f"the saved view has more than {MAX_PARTS:,} parts; {WHAT}.")
    try:
        record = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the file is not valid JSON; {WHAT}.") from error
    if not isinstance(record, dict):
        raise InvalidInput(f"the file holds no saved view; {WHAT}.")
    if "pictures" not in record and "frames" in record:
        raise InvalidInput("the file is a trace without its picture; save the view again, as Page or as Record.")
    return record


def _check_names(check: Checker, trace: Trace) -> None:
    """Keys that programs look things up by are what they must be."""
    for name in trace.methods:
        if not NAME.fullmatch(name):
            raise check.fail("trace.methods", "must be named by small letters, digits, _ and -")
    for key, answer in trace.answers.items():
        full = answer["method"] == "full"
        if key != ("full" if full else f"{answer['method']}@{answer['budget']}"):
            raise check.fail("trace.answers", "must be named full, or by method and budget like fsr@64")


def _picture(text: Any, at: int, left: int, max_side: int | None) -> Image.Image:
    """left: how many pixels the file may still have."""
    start = PICTURE.match(text) if isinstance(text, str) else None
    if start is None:
        raise InvalidInput(f"picture {at + 1} of the saved view must be a WebP, PNG or JPEG data address.")
    try:
        data = base64.b64decode(text[start.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"picture {at + 1} of the saved view is not base64.") from error
    try:
        return read_image(data, max_pixels=min(MAX_PIXELS, left), max_side=max_side)
    except InvalidInput as error:
        raise InvalidInput(f"picture {at + 1} of the saved view cannot be opened: {error}") from error


def _check_shape(check: Checker, frame: dict[str, Any], picture: Image.Image, name: str, at: int) -> None:
    """Tokens are drawn in shares of their frame: a picture of another shape would have them in wrong places."""
    shape, drawn = frame["width"] / frame["height"], picture.width / picture.height
    if abs(shape / drawn - 1) > SKEW + 1 / min(picture.size):
        raise check.fail(name, f"must have the shape of trace.frames[{at}], {frame['width']} x {frame['height']}")
