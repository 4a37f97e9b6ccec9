"""A clip with its tokens to take away: a film, a contact sheet, or the record behind them.

Everything in a request comes from a visitor. The film is H.264 where ffmpeg is on PATH, else what OpenCV can write and
a browser plays; its name says which.
"""

from __future__ import annotations

import io
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from app.cells import ANCHOR, BY_NAME, DROPPED, MERGED, NAMES, UNENCODED, Cells, legend
from app.figures import read
from app.look import veil_for
from app.overlay import SCAN, counts, foreign_anchors, painted
from fsr.bench.look import CROSSED, MUTED, TEXT, VEILED, mixed, rgb
from fsr.errors import FsrError, InvalidInput
from fsr.pruners import REGISTRY
from fsr.pruners.reading import Reading
from fsr.tokens import Role
from fsr.trace import Trace

KINDS = ("mp4", "png")
LONGEST, NARROWEST = 960, 640  # pixels: the longer side of a drawn frame, the width of the film
SHEET_WIDTH = 1920
SLOWEST, FASTEST = 1.0, 10.0  # frames a second of the film
WAIT_S = 60
PAD = 14
MOST_LETTERS = 500  # of a question or an answer
# ending, four letters for OpenCV, how the name says it; what a browser plays comes first
CODECS = (("webm", "VP80", "vp8"), ("webm", "VP90", "vp9"), ("mp4", "avc1", "h264"), ("mp4", "mp4v", "mpeg4"))


@dataclass(frozen=True)
class Sent:
    """What the page asks for: a checked trace with answers, and which method at which budget is on the screen."""

    kind: str
    trace: dict[str, Any]
    method: str
    budget: int

    @staticmethod
    def checked(value: Any) -> Sent:
        """Raises InvalidInput with one sentence."""
        sent = value if isinstance(value, dict) else {}
        kind, method, budget, record = (sent.get(name) for name in ("kind", "method", "budget", "trace"))
        if kind not in KINDS:
            raise InvalidInput(f"a clip is saved as one of {', '.join(KINDS)}.")
        if not isinstance(record, str):
            raise InvalidInput("there is nothing to save yet; ask first.")
        trace = Trace.from_json(record).to_dict()
        if trace["clip"] is None:
            raise InvalidInput("this is a picture; only clips are saved as films and sheets.")
        if not isinstance(method, str) or method not in trace["methods"]:
            raise InvalidInput("what is kept by this method is not known yet; ask with it first.")
        if isinstance(budget, bool) or not isinstance(budget, int) or not 1 <= budget <= trace["tokens"]["n"]:
            raise InvalidInput(f"the budget must be a whole number from 1 to {trace['tokens']['n']} visual tokens.")
        return Sent(str(kind), trace, method, budget)

    @cached_property
    def reading(self) -> Reading:
        return read(self.trace, self.method, self.budget)

    @property
    def label(self) -> str:
        kind = REGISTRY.get(self.method)
        return kind.label if kind else self.method

    @property
    def words(self) -> list[str]:
        """The question and both answers, as far as there are any."""
        n, answers = self.trace["tokens"]["n"], self.trace["answers"]
        found = [self.trace["question"]]
        for title, key in (
            (f"All {n} tokens", "full"),
            (f"{self.label}, {self.budget} tokens", f"{self.method}@{self.budget}"),
        ):
            text = answers[key]["text"] or "(no text)" if key in answers else "not answered yet"
            found.append(f"{title}: {text}")
        return [" ".join(text[:MOST_LETTERS].split()) for text in found]


def saved(sent: Sent, frames: Sequence[Image.Image]) -> tuple[str, bytes]:
    """The name and the bytes of the file. frames: one picture for every frame of the trace. Raises FsrError."""
    if len(frames) != len(sent.trace["frames"]):
        raise InvalidInput("the frames on the page are no longer those of its trace; ask again.")
    stem = f"fsr-clip-{sent.method}-{sent.budget}"
    drawn, veil = drawn_frames(sent, frames), veil_for(frames[0])
    if sent.kind == "png":
        return f"{stem}.png", contact_sheet(sent, drawn, veil)
    clip = sent.trace["clip"]
    rate = min(max(len(frames) / max(clip["duration"], 1e-3), SLOWEST), FASTEST)
    ending, codec, data = film(lambda i: pane(sent, i, drawn[i], veil), len(drawn), rate)
    return f"{stem}-{codec}.{ending}", data


def drawn_frames(sent: Sent, frames: Sequence[Image.Image]) -> list[np.ndarray]:
    """(H, W, 3) RGB of every frame with its tokens, the longer side LONGEST pixels."""
    reading, of = sent.reading, sent.trace["tokens"]["frame"] or [0] * sent.trace["tokens"]["n"]
    foreign, veil = foreign_anchors(reading, of), veil_for(frames[0])
    found = []
    for i, frame in enumerate(frames):
        scale = LONGEST / max(frame.size)
        width, height = (max(2, round(side * scale / 2) * 2) for side in frame.size)
        large = frame.resize((width, height), Image.Resampling.LANCZOS)
        found.append(painted(large, Cells.of(sent.trace, i).pixels(width, height), reading, foreign, veil))
    return found


def caption(sent: Sent, frame: int) -> str:
    """Place in time and counts of one frame."""
    about, trace, reading = sent.trace["frames"][frame], sent.trace, sent.reading
    of = trace["tokens"]["frame"] or [0] * trace["tokens"]["n"]
    found = counts(reading, (i for i in range(trace["tokens"]["n"]) if of[i] == frame))
    parts = [f"{found[role]} {name.lower()}" for role, name in NAMES.items() if found[role]]
    merged = f", {found[Role.MERGED]} merged" if found[Role.MERGED] else ""
    kept = sum(found[role] for role in NAMES)
    which = f" ({' + '.join(parts)}{merged})" if parts and Role.KEPT not in found else ""
    return f"{about['time']:.2f} s: {kept} kept{which}"


def pane(sent: Sent, frame: int, image: np.ndarray, veil: str) -> np.ndarray:
    """One frame of the film: the drawn frame, and below it where it is, the question, both answers and the legend."""
    place = f"Frame {frame + 1} of {len(sent.trace['frames'])}, {caption(sent, frame)}"
    return captioned(image, place, sent.words, sent.reading, veil)


def captioned(image: np.ndarray, first: str, words: Sequence[str], reading: Reading, veil: str) -> np.ndarray:
    """The image, and below it a line that changes from frame to frame, further words, two lines each at most, and the
    legend. All frames of a film have one size where their words have as many lines."""
    width = max(NARROWEST, image.shape[1])
    font, small = letters(20), letters(16)
    question, *answers = words
    lines = [(line, font) for line in wrapped(question, font, width - 2 * PAD, 2)]
    for answer in answers:
        lines += [(line, small) for line in wrapped(answer, small, width - 2 * PAD, 2)]
    room = len(lines) * 26 + 26 * 2 + 2 * PAD
    height = (image.shape[0] + room + 1) // 2 * 2
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(Image.fromarray(image), ((width - image.shape[1]) // 2, 0))
    draw, y = ImageDraw.Draw(sheet), image.shape[0] + PAD
    draw.text((PAD, y), first, fill=rgb(MUTED), font=small)
    for i, (line, ink) in enumerate(lines):
        draw.text((PAD, y + 26 * (i + 1)), line, fill=rgb(TEXT), font=ink)
    draw_legend(draw, reading, PAD, y + 26 * (len(lines) + 1), small, veil)
    return np.asarray(sheet)


def contact_sheet(sent: Sent, drawn: Sequence[np.ndarray], veil: str) -> bytes:
    """PNG: all frames in the order of time, times and counts below each, question, answers and legend around."""
    n, (high, wide) = len(drawn), drawn[0].shape[:2]
    columns = min(n, max(1, math.ceil(math.sqrt(n * 1.6 * high / wide))))
    cell = (SHEET_WIDTH - PAD) // columns - PAD
    tall = round(cell * high / wide)
    font, small = letters(24), letters(max(11, min(18, cell // 18)))
    question, *answers = sent.words
    lines = [(line, font) for line in wrapped(question, font, SHEET_WIDTH - 2 * PAD, 2)]
    for answer in answers:
        lines += [(line, letters(18)) for line in wrapped(answer, letters(18), SHEET_WIDTH - 2 * PAD, 2)]
    step = small.size + 4
    top, row = PAD + 32 * len(lines), tall + 2 * step + PAD
    sheet = Image.new("RGB", (SHEET_WIDTH, top + row * math.ceil(n / columns) + 44), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (line, ink) in enumerate(lines):
        draw.text((PAD, PAD + 32 * i), line, fill=rgb(TEXT), font=ink)
    for i, image in enumerate(drawn):
        x, y = PAD + (i % columns) * (cell + PAD), top + (i // columns) * row
        sheet.paste(Image.fromarray(image).resize((cell, tall), Image.Resampling.LANCZOS), (x, y))
        for at, line in enumerate(wrapped(caption(sent, i), small, cell, 2)):
            draw.text((x, y + tall + 3 + step * at), line, fill=rgb(MUTED), font=small)
    draw_legend(draw, sent.reading, PAD, sheet.height - 38, letters(18), veil)
    out = io.BytesIO()
    sheet.save(out, "PNG", compress_level=6)
    return out.getvalue()


def draw_legend(
    draw: ImageDraw.ImageDraw, reading: Reading, x: float, y: float, font: ImageFont.FreeTypeFont, veil: str
) -> None:
    """What occurs, each with its sign. veil: what lies over dropped tokens of this picture."""
    size = font.size
    for name in legend([reading]):
        box, third = (x, y + 2, x + size, y + 2 + size), size / 3
        if name == ANCHOR:
            draw.ellipse(box, fill="white", outline=SCAN, width=max(2, round(size / 5)))
        elif name == MERGED:
            draw.rectangle(box, fill=rgb(mixed(veil, VEILED["merged"])))
            draw.ellipse((x + third, y + 2 + third, x + 2 * third, y + 2 + 2 * third), fill=SCAN)
        elif name in (DROPPED, UNENCODED):
            draw.rectangle(box, fill=rgb(mixed(veil, VEILED["dropped"])))
            if name == UNENCODED:
                draw.line((*box[:2], *box[2:]), fill=rgb(CROSSED))
                draw.line((box[0], box[3], box[2], box[1]), fill=rgb(CROSSED))
        else:
            draw.rectangle(box, outline=rgb(BY_NAME[name]), width=max(2, round(size / 5)))
            if name == NAMES[Role.FOCUS]:
                draw.polygon([(x, y + 2), (x + size / 2, y + 2), (x, y + 2 + size / 2)], fill=rgb(BY_NAME[name]))
        draw.text((x + size + 6, y), name, fill=rgb(TEXT), font=font)
        x += size + 26 + font.getlength(name)


@cache
def letters(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: float, most: int) -> list[str]:
    """At most so many lines of at most so many pixels; what does not fit ends in an ellipsis."""
    lines: list[str] = []
    rest = text
    while rest and len(lines) < most:
        fits = next((n for n in range(len(rest), 0, -1) if font.getlength(rest[:n]) <= width), 1)
        if fits < len(rest) and len(lines) < most - 1:
            fits = rest.rfind(" ", 1, fits + 1) if " " in rest[1 : fits + 1] else fits
        elif fits < len(rest):
            fits = max(1, fits - 1)
            rest = rest[:fits] + "…"
            fits += 1
        lines.append(rest[:fits].strip())
        rest = rest[fits:].strip()
    return lines or [""]


# -- films


def film(frame: Callable[[int], np.ndarray], count: int, rate: float) -> tuple[str, str, bytes]:
    """Ending, codec and bytes. frame: the i-th of `count` frames, (H, W, 3) RGB of one even size. Raises FsrError."""
    with tempfile.TemporaryDirectory(prefix="fsr-film-") as folder, open(Path(folder) / "raw", "w+b") as raw:
        for i in range(count):
            image = frame(i)
            raw.write(image.tobytes())
        height, width = image.shape[:2]
        writers = [("mp4", "h264", _ffmpeg(rate, width, height))] if film_format() == "H.264" else []
        for ending, letters, name in CODECS:
            script = str(Path(__file__).with_name("film_writer.py"))
            command = [sys.executable, "-I", script, letters, f"{rate:.4f}", str(width), str(height)]
            writers.append((ending, name, command))
        for ending, name, command in writers:
            path = Path(folder) / f"{name}.{ending}"
            raw.seek(0)
            if _written([*command, str(path)], raw) and path.is_file() and path.stat().st_size > 0:
                return ending, name, path.read_bytes()
            path.unlink(missing_ok=True)
    raise FsrError("no film can be written on this machine; save the contact sheet instead.")


def film_format() -> str:
    """What a film will be written as on this machine."""
    return "H.264" if shutil.which("ffmpeg") else "VP8"


def _ffmpeg(rate: float, width: int, height: int) -> list[str]:
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{rate:.4f}", "-i", "-"]
    how = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-threads", "2", "-movflags", "+faststart"]
    return ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *raw, *how]


def _written(command: list[str], raw: IO[bytes]) -> bool:
    try:
        done = subprocess.run(command, stdin=raw, capture_output=True, timeout=WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
