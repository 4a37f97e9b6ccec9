"""The description of a picture: a few numbers from which `drawing.draw` makes the same pixels each time.

Lengths are pixels of the full picture (`SIDE` x `SIDE`), whatever the size it is drawn at.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fsr.shapes.scenes import PATCH, Thing, Window
from fsr.world.colors import RGB
from fsr.world.names import KIND_OF


@dataclass(frozen=True)
class Look:
    """How a shape is drawn.

    inner: what the outline leaves free (a star's inner radius, a ring's hole, a rectangle's shorter side ...), 0 to 1.
    filled: else only its line. line: its width, a share of the object's size; 0 for none. second: the colour at the
    end of a gradient. shadow: its offset, a share of the size; 0 for none. hand: how far a hand's stroke strays, a
    share of the size. seed: of the hand.
    """

    inner: float = 0.5
    filled: bool = True
    line: float = 0.0
    line_rgb: RGB = (20, 20, 22)
    second: RGB | None = None
    shadow: float = 0.0
    hand: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Redrawn:
    """An icon as yet another artist would draw it.

    edges: width of black lines, a share of its size, 0 for none. hue: degrees turned. saturation, brightness: factors.
    levels: so many shades a channel, 0 for all. mirrored: left to right. stretch: width over height.
    """

    edges: float = 0.0
    hue: float = 0.0
    saturation: float = 1.0
    brightness: float = 1.0
    levels: int = 0
    mirrored: bool = False
    stretch: float = 1.0


@dataclass(frozen=True)
class Item:
    """One object: a shape, or the icon of an artist. x, y: its centre; width, height: of its upright box.

    color: what a person would call it, None where an icon has no single one. angle: degrees, clockwise.
    """

    name: str
    color: str | None
    x: float
    y: float
    width: float
    height: float
    rgb: RGB = (128, 128, 128)
    digit: int | None = None
    angle: float = 0.0
    artist: str | None = None
    look: Look = field(default_factory=Look)
    redrawn: Redrawn | None = None

    @property
    def kind(self) -> str:
        """Of an icon what it is (`names.ICONS`), else "shape"."""
        return KIND_OF.get(self.name, "shape")

    @property
    def shape(self) -> str:
        return self.name

    @property
    def called(self) -> str:
        """What it is called in answers."""
        return f"{self.color} {self.name}" if self.kind == "shape" else self.name

    @property
    def pair(self) -> tuple[str, str]:
        return self.color or "", self.name

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def small(self) -> bool:
        """At most four patches in area, an icon at most nine."""
        return self.area <= (4 if self.kind == "shape" else 9) * PATCH * PATCH


def item_of(thing: Thing) -> Item:
    """An object of `fsr.shapes.scenes`."""
    return Item(thing.shape, thing.color, thing.x, thing.y, thing.width, thing.height, thing.rgb, thing.digit)


@dataclass(frozen=True)
class Ground:
    """kind: one of `grounds.GROUNDS`. first, second: its colours. seed: of what is random in it."""

    kind: str = "plain"
    first: RGB = (235, 235, 235)
    second: RGB = (200, 200, 200)
    seed: int = 0


@dataclass(frozen=True)
class Noise:
    """What befell the file. jpeg: quality. colors: of a palette. grain: standard deviation of 255."""

    jpeg: int | None = None
    colors: int | None = None
    grain: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Picture:
    """things: objects that do not touch. window: the drawn part. side: pixels of the drawn square, before it is scaled.

    frame: (left, top, right, bottom) bars around the content, of frame_rgb. antialias: soft edges.
    """

    things: tuple[Item, ...]
    window: Window = field(default_factory=Window)
    ground: Ground = field(default_factory=Ground)
    renderer: str = "opencv"
    side: int = 336
    antialias: bool = True
    noise: Noise = field(default_factory=Noise)
    frame: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    frame_rgb: RGB = (0, 0, 0)
