"""A scene that somebody composes: a ground and up to 24 objects, as a short text and as a `Picture`.

    1~plain-f4f1ea~dog-88-236-104~apple-250-76-56-t15~star-60-70-48-cred-d3

version ~ ground ~ object ~ object ..., the objects from back to front.

* ground: `plain-rrggbb`, or `kind-rrggbb-rrggbb-seed` with a kind of `grounds.GROUNDS`, two colours and 0 to 9999.
* object: `name-x-y-size`: its middle and its side before it is turned, in pixels of the 336 x 336 picture. Then, each
  where it is not as by default and in this order: `-c` and the colour (of shapes, and always), `-t` and degrees
  clockwise, `-d` and a digit (drawn where a shape has room for it), `-o`: its outline only, `-f`: by the artist of
  Fluent Emoji Flat instead of Noto's (of icons), `-m`: mirrored (of icons).

Every scene has one such text: what is written otherwise is refused, and so is everything out of bounds.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from fsr.errors import InvalidInput
from fsr.shapes.questions import Question
from fsr.shapes.scenes import COLORS, SHAPES, SIDE, WRITABLE
from fsr.world import icons
from fsr.world.asking import TYPES, ask
from fsr.world.drawing import draw, spread
from fsr.world.grounds import GROUNDS
from fsr.world.names import NAMES
from fsr.world.outlines import INNER
from fsr.world.picture import Ground, Item, Look, Picture, Redrawn
from fsr.world.sampling import DIGIT_FROM, World, random_picture
from fsr.world.wordings import OPENINGS

VERSION = "1"
MOST, LONGEST = 24, 1200  # objects; characters of the text
SMALLEST, LARGEST = 16, SIDE  # of an object's size
DRAWN = 672  # pixels of the drawn square: two for one, and the model scales it as it scales any picture
NOTO, FLUENT = icons.SHIPPED
LINE = 0.09  # width of an outline, a share of the object's size
VISIBLE = 0.5  # share of an object that must be seen, for questions to have one answer
SEEN_BY, _LOOKED_AT = 24, 112  # by how much of 255 an object changes its pixels; side at which that is looked at
DRAWS = 2000  # of questions, over all types and objects
_GROUND = re.compile(r"([a-z]{4,8})-([0-9a-f]{6})(?:-([0-9a-f]{6})-(0|[1-9][0-9]{0,3}))?")
_PIECE = re.compile(
    r"([a-z]{3,12})-(0|[1-9][0-9]{0,2})-(0|[1-9][0-9]{0,2})-([1-9][0-9]{1,2})"
    r"(?:-c([a-z]{3,6}))?(?:-t([1-9][0-9]{0,2}))?(?:-d([0-9]))?(-o)?(-f)?(-m)?"
)
_OPENINGS = tuple(f"{opening} " for opening in OPENINGS)
_INNER = {name: round((low + high) / 2, 2) for name, (low, high) in INNER.items()}


@dataclass(frozen=True)
class Piece:
    """One object. x, y: its middle; size: its side, or its longer one, before it is turned; pixels of the full picture.

    color: of a shape; an icon has its own. turn: whole degrees, clockwise. outline: its line only. artist, mirrored: of
    an icon.
    """

    name: str
    x: int
    y: int
    size: int
    color: str | None = None
    turn: int = 0
    digit: int | None = None
    outline: bool = False
    artist: str = NOTO
    mirrored: bool = False

    @property
    def text(self) -> str:
        parts = [self.name, str(self.x), str(self.y), str(self.size)]
        parts += [f"c{self.color}"] if self.color else []
        parts += [f"t{self.turn}"] if self.turn else []
        parts += [f"d{self.digit}"] if self.digit is not None else []
        flags = {"o": self.outline, "f": self.artist == FLUENT, "m": self.mirrored}
        return "-".join([*parts, *(letter for letter, on in flags.items() if on)])

    def item(self) -> Item:
        if self.name in SHAPES:
            assert self.color is not None
            inner = _INNER[self.name]
            height = self.size * inner if self.name == "rectangle" else self.size
            digit = self.digit if min(self.size, height) >= DIGIT_FROM else None
            look = Look(inner=inner, filled=not self.outline, line=LINE if self.outline else 0.0)
            rgb = COLORS[self.color]
            return Item(self.name, self.color, self.x, self.y, self.size, height, rgb, digit, self.turn, None, look)
        side = self.size * spread(self.turn)
        redrawn = Redrawn(mirrored=True) if self.mirrored else None
        color = icons.artist(self.artist).colors.get(self.name)
        return Item(self.name, color, self.x, self.y, side, side, angle=self.turn, artist=self.artist, redrawn=redrawn)


@dataclass(frozen=True)
class Composed:
    """A scene: its pieces from back to front, on a ground."""

    pieces: tuple[Piece, ...] = ()
    ground: Ground = field(default_factory=lambda: Ground(first=(244, 241, 234)))

    @property
    def text(self) -> str:
        """What `read_scene` reads."""
        g = self.ground
        ground = f"{g.kind}-{_hex(g.first)}" + ("" if g.kind == "plain" else f"-{_hex(g.second)}-{g.seed}")
        return "~".join([VERSION, ground, *(piece.text for piece in self.pieces)])

    def picture(self) -> Picture:
        """What `fsr.world.drawing.draw` draws: (672, 672, 3)."""
        return Picture(tuple(piece.item() for piece in self.pieces), ground=self.ground, side=DRAWN)


def _hex(rgb: tuple[int, int, int]) -> str:
    return "".join(f"{v:02x}" for v in rgb)


def _rgb(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


# ------------------------------------------------------------------------------------------------------------- reading


def read_scene(text: object) -> Composed:
    """The scene of an untrusted text. Raises InvalidInput with one sentence."""
    if not isinstance(text, str) or not text:
        raise InvalidInput("there is no scene; write it as 1~plain-f4f1ea~dog-88-236-104.")
    if len(text) > LONGEST:
        raise InvalidInput(f"the scene has {len(text)} characters, at most {LONGEST} are allowed.")
    version, *parts = text.split("~")
    if version != VERSION or not parts:
        raise InvalidInput(f"the scene {text[:40]!r} must begin with {VERSION}~ and its ground, as 1~plain-f4f1ea.")
    ground, *pieces = parts
    if len(pieces) > MOST:
        raise InvalidInput(f"the scene has {len(pieces)} objects, at most {MOST} are allowed.")
    return Composed(tuple(_piece(one, at) for at, one in enumerate(pieces, 1)), _ground(ground))


def _ground(text: str) -> Ground:
    found = _GROUND.fullmatch(text)
    kind, first, second, seed = found.groups() if found else ("", "", None, "0")
    if kind not in GROUNDS or (kind == "plain") != (second is None):
        raise InvalidInput(
            f"the ground of the scene, {text[:40]!r}, must be plain-rrggbb or kind-rrggbb-rrggbb-seed, with a kind of "
            f"{', '.join(GROUNDS[1:])} and a seed up to 9999."
        )
    return Ground(kind, _rgb(first)) if second is None else Ground(kind, _rgb(first), _rgb(second), int(seed or 0))


def _piece(text: str, at: int) -> Piece:
    found = _PIECE.fullmatch(text)
    if found is None:
        raise InvalidInput(
            f"object {at} of the scene, {text[:40]!r}, must be name-x-y-size with whole numbers, as dog-88-236-104, "
            "and then, in this order, -c and a colour, -t and degrees, -d and a digit, -o, -f, -m."
        )
    name, x, y, size, color, turn, digit, outline, fluent, mirrored = found.groups()
    piece = Piece(
        name, int(x), int(y), int(size), color, int(turn or 0), None if digit is None else int(digit),
        bool(outline), FLUENT if fluent else NOTO, bool(mirrored),
    )  # fmt: skip
    if wrong := _wrong(piece):
        raise InvalidInput(f"object {at} of the scene, {text[:40]!r}: {wrong}.")
    return piece


def _wrong(piece: Piece) -> str:
    """What is not allowed of it; empty where all is."""
    shape = piece.name in SHAPES
    if piece.name not in NAMES:
        return f"there is no {piece.name}; there are {', '.join(SHAPES)} and the icons of fsr.world.names"
    if max(piece.x, piece.y) > SIDE:
        return f"its middle must be within 0 to {SIDE}"
    if not SMALLEST <= piece.size <= LARGEST:
        return f"its size must be {SMALLEST} to {LARGEST}"
    if piece.turn >= 360:
        return "it may be turned by 1 to 359 degrees"
    if shape and piece.color not in COLORS:
        return f"a shape has one of the colours {', '.join(COLORS)}"
    if shape and (piece.artist != NOTO or piece.mirrored):
        return "-f and -m are of icons"
    if not shape and (piece.color or piece.digit is not None or piece.outline):
        return "-c, -d and -o are of shapes"
    if piece.digit is not None and piece.name not in WRITABLE:
        return f"a digit has room on {', '.join(WRITABLE)}"
    return "a ring is no outline" if piece.outline and piece.name == "ring" else ""


# ------------------------------------------------------------------------------------------------------------ questions


def visible(composed: Composed) -> tuple[float, ...]:
    """Of every object the share that can be seen: 0 to about 1. What others cover, what lies outside the picture and
    what has the colour of the ground cannot."""
    whole = replace(composed.picture(), side=_LOOKED_AT)
    image = draw(whole)
    found = []
    for at, item in enumerate(whole.things):
        without = draw(replace(whole, things=whole.things[:at] + whole.things[at + 1 :]))
        changed = int((np.abs(image.astype(int) - without).max(2) > SEEN_BY).sum())
        found.append(changed / max(1, _pixels(item)))
    return tuple(found)


def _pixels(item: Item) -> int:
    """How many an object covers where nothing is in its way."""
    alone = Picture((replace(item, x=SIDE / 2, y=SIDE / 2),), side=_LOOKED_AT)
    on_black, on_white = (draw(replace(alone, ground=Ground(first=(v, v, v)))).astype(int) for v in (0, 255))
    return int(((on_white - on_black).max(2) < 128).sum())


def questions(composed: Composed, most: int = 500) -> list[Question]:
    """Questions about the scene with their true answers, each once, the shortest first, the same for the same scene.

    None where an object can hardly be seen (`visible`): people would differ about what is there.
    """
    picture = composed.picture()
    if not picture.things or min(visible(composed)) < VISIBLE:
        return []
    seed = zlib.crc32(composed.text.encode())
    kinds = [kind for kind in TYPES if kind != "unknown"]
    subjects = (None, *range(len(picture.things)))
    found: dict[str, Question] = {}
    for rng in (_Plainest(np.random.PCG64(seed)), np.random.default_rng(seed)):
        for _ in range(max(3, DRAWS // (2 * len(kinds) * len(subjects)))):
            for kind, subject in product(kinds, subjects):
                question = ask(picture, kind, rng, subject=subject)
                if question is not None and not question.text.startswith(_OPENINGS):
                    text = question.text.removesuffix("?")
                    found.setdefault(text, replace(question, text=text))
    return sorted(found.values(), key=lambda question: (len(question.text), question.text))[:most]


class _Plainest(np.random.Generator):
    """Where one choice is likelier than others, as the plainest wordings are, it is the one."""

    def choice(  # type: ignore[override]
        self, a: Any, size: Any = None, replace: Any = True, p: Any = None, **how: Any
    ) -> Any:
        return super().choice(a, size, replace, p, **how) if p is None else int(np.argmax(p))


# -------------------------------------------------------------------------------------------------------- random scenes


def random_scene(seed: int, with_icons: bool = True) -> Composed:
    """A scene from the sampler that training draws from, in plain looks. with_icons: else shapes only."""
    rng = np.random.default_rng(seed)
    world = World(renderers=("opencv",), artists=icons.SHIPPED, icons=None if with_icons else 0.0)
    while True:
        picture = random_picture(rng, int(rng.integers(3, 8)), world)
        composed = Composed(
            tuple(map(_piece_of, picture.things)), replace(picture.ground, seed=picture.ground.seed % 10000)
        )
        if all(SMALLEST <= p.size <= LARGEST for p in composed.pieces) and min(visible(composed)) >= VISIBLE:
            return read_scene(composed.text)


def _piece_of(item: Item) -> Piece:
    """The nearest that can be composed."""
    x, y = (min(SIDE, max(0, round(v))) for v in (item.x, item.y))
    upright = 90 if item.name == "rectangle" and item.height > item.width else 0
    turn = round(item.angle + upright) % 360
    if item.artist is not None:
        return Piece(item.name, x, y, round(item.width / spread(turn)), turn=turn, artist=item.artist)
    outline = not item.look.filled and item.name != "ring"
    return Piece(item.name, x, y, round(max(item.width, item.height)), item.color, turn, item.digit, outline)
