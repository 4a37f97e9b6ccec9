"""Scenes that visitors compose: drawn and asked about under addresses that hold them, and what the page composes with.

    ./scene/picture?scene=TEXT      the picture (PNG)
    ./scene/questions?scene=TEXT    [[type, question, answer], ...]
    ./scene/random?seed=7&icons=1   {"scene": TEXT}
    ./scene/icons/noto              an atlas of icons (WebP)

TEXT: see `fsr.world.scene`. Nothing is kept of a visitor: the same address has the same answer for everybody.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from PIL import Image
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from app.offers import Offer
from fsr.errors import InvalidInput
from fsr.shapes.scenes import COLORS, SHAPES, SIDE, WRITABLE
from fsr.world import icons
from fsr.world.drawing import draw
from fsr.world.grounds import GROUNDS
from fsr.world.names import ICONS, KIND_WORDS
from fsr.world.scene import LARGEST, LONGEST, MOST, SMALLEST, questions, random_scene, read_scene

KEPT = {"Cache-Control": "public, max-age=3600"}
DRAWN_AT_ONCE, ASKED_AT_ONCE = 2, 1  # scenes of all visitors; questions take longer, and no picture waits for them
STARTS = (
    {"title": "Empty", "scene": "1~plain-f4f1ea", "question": ""},
    {
        "title": "Dog, car, three apples",
        "scene": "1~plain-e9efe6~dog-84-236-104~car-236-240-112~apple-66-84-58~apple-168-76-58-t20~apple-270-92-58",
        "question": "what is left of the car?",
    },
    {
        "title": "Shapes",
        "scene": "1~plain-e7e6ea~circle-84-90-72-cred~star-250-84-80-cyellow~square-92-246-70-cblue-d4"
        "~ring-246-244-76-cgreen",
        "question": "what color is the star?",
    },
)  # fmt: skip


def address(text: str) -> str:
    """Where a scene's picture is, relative to the page."""
    return f"./scene/picture?scene={quote(text)}"


@lru_cache(maxsize=24)
def drawn(text: str) -> Image.Image:
    """The picture of a scene, which is the same for the page and for a model. Raises InvalidInput."""
    return Image.fromarray(draw(read_scene(text).picture()))


@lru_cache(maxsize=64)
def _png(text: str) -> bytes:
    out = io.BytesIO()
    drawn(text).save(out, "PNG", compress_level=1)
    return out.getvalue()


@lru_cache(maxsize=64)
def _asked(text: str) -> bytes:
    found = [[one.type, one.text, one.answer] for one in questions(read_scene(text))]
    return json.dumps(found, separators=(",", ":")).encode()


def routes() -> list[BaseRoute]:
    drawing, asking = CapacityLimiter(DRAWN_AT_ONCE), CapacityLimiter(ASKED_AT_ONCE)

    def route(answer: Callable[[Request], Response], limiter: CapacityLimiter = drawing) -> Any:
        async def told(request: Request) -> Response:
            return await to_thread.run_sync(partial(_said, answer, request), limiter=limiter)

        return told

    return [
        Route("/scene/picture", route(_picture)),
        Route("/scene/icons/{artist}", route(_icons)),
        Route("/scene/questions", route(_questions, asking)),
        Route("/scene/random", route(_random, asking)),
    ]


def _said(answer: Callable[[Request], Response], request: Request) -> Response:
    try:
        return answer(request)
    except InvalidInput as error:
        return PlainTextResponse(str(error), 400)


def _picture(request: Request) -> Response:
    return Response(_png(request.query_params.get("scene", "")), media_type="image/png", headers=KEPT)


def _questions(request: Request) -> Response:
    return Response(_asked(request.query_params.get("scene", "")), media_type="application/json", headers=KEPT)


def _random(request: Request) -> Response:
    seed, kind = request.query_params.get("seed", ""), request.query_params.get("icons", "1")
    if not (seed.isascii() and seed.isdigit() and len(seed) <= 9) or kind not in ("0", "1"):
        raise InvalidInput("a random scene needs seed, a whole number of at most nine digits, and icons, 0 or 1.")
    return JSONResponse({"scene": random_scene(int(seed), kind == "1").text}, headers=KEPT)


def _icons(request: Request) -> Response:
    artist = request.path_params["artist"]
    if artist not in icons.SHIPPED:
        raise InvalidInput(f"the icons here are those of {' and '.join(icons.SHIPPED)}.")
    return FileResponse(icons.ATLASES / f"{artist}.webp", headers=KEPT | {"Cache-Control": "public, max-age=86400"})


def composer() -> dict[str, Any]:
    """What the page composes with: names by kind, colours, bounds, scenes to start from."""
    kinds = {"shape": list(SHAPES)} | {kind: list(names) for kind, names in ICONS.items()}
    return {
        "kinds": kinds,
        "titles": {"shape": "shapes"} | {kind: many for kind, (_, many) in KIND_WORDS.items()},
        "colors": {name: f"#{red:02x}{green:02x}{blue:02x}" for name, (red, green, blue) in COLORS.items()},
        "writable": list(WRITABLE),
        "grounds": list(GROUNDS),
        "artists": list(icons.SHIPPED),
        "atlas": {"side": icons.atlases()["side"], "columns": icons.COLUMNS, "names": icons.atlases()["names"]},
        "bounds": {"side": SIDE, "smallest": SMALLEST, "largest": LARGEST, "most": MOST, "longest": LONGEST},
        "starts": list(STARTS),
    }


def words_of(offer: Offer) -> list[str] | None:
    """The words of a model that has one token a word; None of a model that reads any text."""
    return None if offer.folder is None else _words(offer.folder / "tokenizer.json")


@lru_cache(maxsize=32)
def _words(file: Path) -> list[str] | None:
    try:
        model = json.loads(file.read_text(encoding="utf-8"))["model"]
        return sorted(filter(str.isalpha, model["vocab"])) if model["type"] == "WordLevel" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
