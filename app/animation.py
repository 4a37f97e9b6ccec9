"""A picture's tokens in motion, as a film or an animated WebP: the budget from all tokens down to few, or one selection
as it comes about, token by token. Everything in a request comes from a visitor.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from app.cells import Cells
from app.clip_export import captioned, film
from app.figures import read
from app.look import veil_for
from app.overlay import foreign_anchors, painted
from app.picture_figure import parameters_of
from fsr.errors import InvalidInput
from fsr.pruners.reading import Reading
from fsr.tokens import Role
from fsr.trace import Trace

MOVES = ("sweep", "playback")
FILES = ("film", "webp")
LONGEST = 720  # pixels of the picture's longer side
RATE = 8.0  # frames a second
STEPS, HELD = 48, 10  # at most so many steps; frames for which the first and the last are shown
FEWEST = 36  # a sweep ends at so small a part of the tokens
MOST_LETTERS = 60  # of an answer, so that it has one line
Step = tuple[Reading, str]

Pictures = Callable[[dict[str, Any]], Sequence[Image.Image]]


def animated(sent: dict[str, Any], pictures: Pictures) -> tuple[str, bytes]:
    """The file's name and its bytes. sent: `kind`, `format`, `trace` as JSON text, `method`, `budget` and `frame`.

    pictures: gives one for every frame of a trace. Raises InvalidInput; FsrError where no film can be written here.
    """
    kind, fmt, method, budget, frame = (sent.get(name) for name in ("kind", "format", "method", "budget", "frame"))
    if kind not in MOVES or fmt not in FILES:
        raise InvalidInput(f"an animation is one of {', '.join(MOVES)} as {' or '.join(FILES)}.")
    if not isinstance(sent.get("trace"), str) or not isinstance(method, str):
        raise InvalidInput("there is nothing to save yet; ask first.")
    trace = Trace.from_json(sent["trace"]).to_dict()
    if isinstance(budget, bool) or not isinstance(budget, int):
        raise InvalidInput("the budget of an animation must be a whole number of visual tokens.")
    if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < len(trace["frames"]):
        raise InvalidInput(f"the frame of an animation is a whole number from 0 to {len(trace['frames']) - 1}.")
    shown = pictures(trace)
    if len(shown) != len(trace["frames"]):
        raise InvalidInput("the frames on the page are no longer those of its trace; ask again.")
    steps = list(sweep(trace, method) if kind == "sweep" else playback(trace, method, budget))
    steps = [steps[0]] * HELD + steps + [steps[-1]] * HELD
    draw = _painter(shown[frame], trace, method, frame)
    stem = f"fsr-{kind}-{method}" + (f"-{budget}" if kind == "playback" else "")
    if fmt == "webp":
        return f"{stem}.webp", _webp([draw(*step) for step in steps])
    ending, codec, data = film(lambda i: draw(*steps[i]), len(steps), RATE)
    return f"{stem}-{codec}.{ending}", data


def sweep(trace: dict[str, Any], method: str) -> Iterator[Step]:
    """What is kept from all tokens down to a thirty-sixth, in equal ratios, with the answer last known on the way."""
    n, answers = trace["tokens"]["n"], trace["answers"]
    known = {a["budget"]: a["text"] for a in answers.values() if a["method"] == method}
    least = max(1, n // FEWEST)
    wanted = {round(n * (least / n) ** (i / (STEPS - 1))) for i in range(STEPS)}
    wanted |= {budget for budget in known if least <= budget <= n}
    said, before = "", None
    for budget in sorted(wanted, reverse=True):
        reading = read(trace, method, budget)
        said = (
            f"; answered at {reading.budget}: {known[reading.budget][:MOST_LETTERS]}"
            if reading.budget in known
            else said
        )
        if reading.budget != before:
            yield reading, f"{reading.budget} of {n} visual tokens, {100 * reading.budget / n:.3g} %{said}"
        before = reading.budget


def playback(trace: dict[str, Any], method: str, budget: int) -> Iterator[Step]:
    """One selection as it comes about: Focus by priority, Scan farthest first, then what is merged; or by rank."""
    end = read(trace, method, budget)
    plan = trace["methods"][method]["plan"]
    if plan["kind"] not in ("nested", "rank"):
        raise InvalidInput(
            f"{trace['methods'][method]['label']} has no order in which tokens are taken; save its sweep."
        )
    focus = sum(role == Role.FOCUS for role in end.roles)
    for k in sorted({max(1, round(budget * (i + 1) / STEPS)) for i in range(STEPS)}):
        reading = read(trace, method, k)
        plain = [Role.DROPPED if role == Role.MERGED else role for role in reading.roles]
        if plan["kind"] == "rank":
            text = f"{k} of {budget}, in the order of the score"
        elif k <= focus:
            text = f"Focus: {k} of {focus}, the highest priority first"
        else:
            text = f"Scan: {k - focus} of {budget - focus}, the farthest from all that is kept first"
        yield replace(reading, roles=plain, absorbed={}, anchor={}), text
    merged = sum(role == Role.MERGED for role in end.roles)
    if merged:
        yield end, f"Refine: {merged} dropped tokens merged into {len(end.absorbed)} anchors"


def _painter(
    picture: Image.Image, trace: dict[str, Any], method: str, frame: int
) -> Callable[[Reading, str], np.ndarray]:
    """Draws a step: the picture with its tokens, and words below it that take as many lines in every step."""
    scale = LONGEST / max(picture.size)
    width, height = (max(2, round(side * scale / 2) * 2) for side in picture.size)
    large = picture.resize((width, height), Image.Resampling.LANCZOS)
    cells, veil = Cells.of(trace, frame).pixels(width, height), veil_for(picture)
    of = trace["tokens"]["frame"] or [0] * trace["tokens"]["n"]
    about = " · ".join(
        filter(None, (trace["methods"][method]["label"], parameters_of(trace, method), trace["model"]["title"]))
    )
    full = trace["answers"].get("full", {}).get("text", "")
    words = [trace["question"][:500], about] + (
        [f"All {trace['tokens']['n']} tokens: {full[:MOST_LETTERS]}"] if full else []
    )

    def draw(reading: Reading, text: str) -> np.ndarray:
        image = painted(large, cells, reading, foreign_anchors(reading, of), veil)
        return captioned(image, text, words, reading, veil)

    return draw


def _webp(frames: Sequence[np.ndarray]) -> bytes:
    out = io.BytesIO()
    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(
        out, "WEBP", save_all=True, append_images=rest, duration=round(1000 / RATE), loop=0, quality=80, method=2
    )
    return out.getvalue()
