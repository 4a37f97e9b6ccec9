"""Random pictures: what training draws from, and what the tests hold out of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fsr.shapes.scenes import COLORS, PATCH, SHAPES, SIDE, UNSEEN_PAIRS, WRITABLE, Window
from fsr.world import icons
from fsr.world.colors import RGB, random_color
from fsr.world.grounds import GROUNDS
from fsr.world.names import ICONS, OBJECTS
from fsr.world.outlines import INNER, TURNS
from fsr.world.picture import Ground, Item, Look, Noise, Picture, Redrawn
from fsr.world.renderers import TRAINED

SMALLEST_SHAPE, SMALLEST_ICON, DIGIT_FROM = 19.0, 34.0, 42.0  # pixels of the full picture
DRAWN_SHAPE, DRAWN_ICON, DRAWN_DIGIT = 11.0, 22.0, 30.0  # pixels as drawn: below, nobody could tell
LARGEST_ALONE = 0.94 * SIDE
GAP = 5.0
_NAMES_OF_A_KIND = {kind: tuple(names) for kind, names in ICONS.items()}


@dataclass(frozen=True)
class World:
    """What a random picture is made of. unseen: 'never', or 'one': the first object is a pair kept out of training.

    icons: the share of the objects that are icons; None: it differs from picture to picture. redrawn: icons are now
    and then changed, as yet another artist would draw them (training only).
    """

    renderers: tuple[str, ...] = TRAINED
    artists: tuple[str, ...] = icons.TRAINED
    icons: float | None = None
    unseen: str = "never"
    redrawn: bool = False


def random_picture(rng: np.random.Generator, count: int, world: World, window: Window | None = None) -> Picture:
    """A picture with `count` objects that do not touch; fewer in a window that has no room for them."""
    window = window or Window()
    while True:
        found = _attempt(rng, count, world, window)
        if found is not None:
            return found


def _attempt(rng: np.random.Generator, count: int, world: World, window: Window) -> Picture | None:
    side = _random_side(rng)
    frame = _random_frame(rng, window)
    wanted = _random_names(rng, count, world)
    things = _placed(rng, wanted, window, frame, SIDE / side, world)
    if things is None:
        return None
    ground = _random_ground(rng, things)
    # where few pixels are drawn, hard edges leave nothing of a small shape
    least = min(min(t.width, t.height) for t in things) * side / SIDE
    soft = bool(rng.random() < 0.75 or least < 16)
    return Picture(
        things=tuple(things),
        window=window,
        ground=ground,
        renderer=str(rng.choice(world.renderers)),
        side=side,
        antialias=soft,
        noise=_random_noise(rng),
        frame=frame,
        frame_rgb=_grey(rng) if rng.random() < 0.3 else [(0, 0, 0), (255, 255, 255)][rng.integers(2)],
    )


def _random_side(rng: np.random.Generator) -> int:
    """Half as the model reads it, the rest anything from 32 to 1024, small ones more often: they are harder."""
    if rng.random() < 0.5:
        return SIDE
    return round(float(np.exp(rng.uniform(np.log(32), np.log(1024)))))


def _random_frame(rng: np.random.Generator, window: Window) -> tuple[float, float, float, float]:
    """Bars left and right, above and below, or around; none in a window."""
    if rng.random() < 0.86 or window != Window():
        return (0.0, 0.0, 0.0, 0.0)
    thick = float(rng.uniform(0.03, 0.2) * SIDE)
    form = rng.integers(3)
    across, down = (0.0 if form == 1 else thick), (0.0 if form == 0 else thick)
    return (across, down, across, down)


# ------------------------------------------------------------------------------------------------------------- objects


def _random_names(rng: np.random.Generator, count: int, world: World) -> list[tuple[str, str | None]]:
    """(name, colour) each, None for icons. Half of the pictures draw from a few names and colours, so that objects
    share them."""
    share = world.icons if world.icons is not None else float(rng.choice([0.0, 1.0, 0.5], p=[0.34, 0.33, 0.33]))
    few = rng.random() < 0.5
    colors = list(rng.choice(list(COLORS), rng.integers(2, 5), replace=False)) if few else list(COLORS)
    shapes = list(rng.choice(SHAPES, rng.integers(2, 5), replace=False)) if few else list(SHAPES)
    objects = list(OBJECTS)
    if few:
        kinds = rng.choice(list(ICONS), 2, replace=False)
        pool = [n for k in kinds for n in _NAMES_OF_A_KIND[str(k)]]
        objects = list(rng.choice(pool, min(len(pool), int(rng.integers(2, 5))), replace=False))
    found: list[tuple[str, str | None]] = []
    if world.unseen == "one":
        color, shape = sorted(UNSEEN_PAIRS)[rng.integers(len(UNSEEN_PAIRS))]
        found.append((shape, color))
    while len(found) < count:
        if rng.random() < share:
            found.append((str(rng.choice(objects)), None))
            continue
        pair = (str(rng.choice(colors)), str(rng.choice(shapes)))
        if pair in UNSEEN_PAIRS:
            colors, shapes = list(COLORS), list(SHAPES)
            continue
        found.append((pair[1], pair[0]))
    return found


def _placed(
    rng: np.random.Generator,
    wanted: list[tuple[str, str | None]],
    window: Window,
    frame: tuple[float, float, float, float],
    coarse: float,
    world: World,
) -> list[Item] | None:
    """coarse: pixels of the full picture that one drawn pixel stands for."""
    left, top = max(window.left * PATCH, frame[0]), max(window.top * PATCH, frame[1])
    right = min((window.left + window.cols) * PATCH, SIDE - frame[2])
    bottom = min((window.top + window.rows) * PATCH, SIDE - frame[3])
    width, height = right - left, bottom - top
    room = 1.25 * np.sqrt(width * height / len(wanted)) - 12
    alone = len(wanted) == 1
    largest = min(width, height) * 0.94 if alone else min(SIDE * 0.42, min(width, height) * 0.6, room)
    cut = not any(frame) and rng.random() < 0.12
    things: list[Item] = []
    for name, color in wanted:
        item = _random_item(rng, name, color, largest, coarse, alone, world)
        if item is None:
            return None
        for _ in range(40):
            w, h = item.width, item.height
            # cut by the border: up to a third of it lies outside
            out = 0.33 if cut and rng.random() < 0.6 else -2 / max(w, h)
            x0, x1 = left + w * (0.5 - out), right - w * (0.5 - out)
            y0, y1 = top + h * (0.5 - out), bottom - h * (0.5 - out)
            if x1 <= x0 or y1 <= y0:
                continue
            x, y = float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1))
            if all(abs(x - t.x) > (w + t.width) / 2 + GAP or abs(y - t.y) > (h + t.height) / 2 + GAP for t in things):
                break
        else:
            return None
        things.append(Item(**{**item.__dict__, "x": x, "y": y}))
    return things


def _random_item(
    rng: np.random.Generator,
    name: str,
    color: str | None,
    largest: float,
    coarse: float,
    alone: bool,
    world: World,
) -> Item | None:
    least, drawn = (SMALLEST_SHAPE, DRAWN_SHAPE) if color else (SMALLEST_ICON, DRAWN_ICON)
    least = max(least, drawn * coarse)
    if least > largest:
        return None
    form = rng.random()
    if alone and form < 0.35:
        side = rng.uniform(max(least, 0.45 * largest), largest)
    elif form < 0.45:
        side = rng.uniform(least, min(1.5 * least, largest))
    else:
        side = float(np.exp(rng.uniform(np.log(least), np.log(largest))))
    if color is None:
        return _random_icon(rng, name, float(side), world)
    return _random_shape(rng, name, color, float(side), coarse)


def _random_shape(rng: np.random.Generator, name: str, color: str, side: float, coarse: float) -> Item:
    inner = float(rng.uniform(*INNER[name]))
    width, height = side, side
    if name == "rectangle":
        width, height = (side, side * inner) if rng.random() < 0.5 else (side * inner, side)
    angle = float(rng.uniform(-TURNS[name], TURNS[name])) if rng.random() < 0.5 else 0.0
    form = rng.random()
    drawn = side / coarse
    rgb = random_color(rng, color)
    look = Look(
        inner=inner,
        filled=bool(form < 0.8 or drawn < 28 or name == "ring"),
        line=float(rng.uniform(0.04, 0.12)) if form > 0.62 and drawn >= 20 else 0.0,
        line_rgb=random_color(rng, "black") if rng.random() < 0.7 and color != "black" else random_color(rng, "white"),
        second=random_color(rng, color) if rng.random() < 0.2 else None,
        shadow=float(rng.uniform(0.04, 0.12)) if rng.random() < 0.12 and drawn > 24 else 0.0,
        hand=float(rng.uniform(0.01, 0.035)) if rng.random() < 0.15 and drawn > 30 else 0.0,
        seed=int(rng.integers(2**31)),
    )
    written = name in WRITABLE and min(width, height) >= max(DIGIT_FROM, DRAWN_DIGIT * coarse)
    digit = int(rng.integers(10)) if written and rng.random() < 0.75 else None
    return Item(name, color, 0, 0, width, height, rgb, digit, angle, None, look)


def _random_icon(rng: np.random.Generator, name: str, side: float, world: World) -> Item | None:
    artist = str(rng.choice(world.artists))
    drawn = icons.artist(artist)
    if name not in drawn.icons:
        return None
    angle = float(rng.normal(0, 9)) if rng.random() < 0.4 else 0.0
    redrawn = _random_redrawn(rng) if world.redrawn and rng.random() < 0.6 else None
    tinted = redrawn is not None and (redrawn.hue or redrawn.saturation < 0.6 or redrawn.brightness != 1)
    color = None if tinted else drawn.colors.get(name)
    return Item(name, color, 0, 0, side, side, _mean_color(artist, name), None, angle, artist, redrawn=redrawn)


@lru_cache(maxsize=1024)
def _mean_color(artist: str, name: str) -> RGB:
    icon = icons.artist(artist).icons[name]
    r, g, b = icon[..., :3][icon[..., 3] > 128].mean(0).astype(int)
    return int(r), int(g), int(b)


def _random_redrawn(rng: np.random.Generator) -> Redrawn:
    return Redrawn(
        edges=float(rng.uniform(0.015, 0.05)) if rng.random() < 0.6 else 0.0,
        hue=float(rng.normal(0, 18)) if rng.random() < 0.4 else 0.0,
        saturation=float(rng.choice([0.0, rng.uniform(0.4, 1.0), rng.uniform(1.0, 1.5)], p=[0.1, 0.3, 0.6])),
        brightness=float(rng.uniform(0.75, 1.15)) if rng.random() < 0.4 else 1.0,
        levels=int(rng.integers(3, 6)) if rng.random() < 0.35 else 0,
        mirrored=bool(rng.random() < 0.35),
        stretch=float(rng.uniform(0.82, 1.2)) if rng.random() < 0.3 else 1.0,
    )


# ------------------------------------------------------------------------------------------------- ground and the rest


def _grey(rng: np.random.Generator) -> RGB:
    r, g, b = np.clip(rng.uniform(10, 245) + rng.normal(0, 12, 3), 0, 255).astype(int)
    return int(r), int(g), int(b)


def _candidate(rng: np.random.Generator) -> np.ndarray:
    form = rng.random()
    if form < 0.3:
        return np.array([255.0, 255.0, 255.0]) if rng.random() < 0.75 else np.array([0.0, 0.0, 0.0])
    if form < 0.8:
        return np.clip(rng.uniform(15, 250) + rng.normal(0, 28, 3), 0, 255)
    return rng.uniform(0, 255, 3)


def _random_ground(rng: np.random.Generator, things: list[Item]) -> Ground:
    """In colours that no object is near: 80 of 441, or the best of 40."""
    colors = np.array([c for t in things for c in (t.rgb, t.look.second) if c is not None], float)

    def best(made: list[np.ndarray]) -> np.ndarray:
        """The first that is far enough, else the farthest."""
        far = np.linalg.norm(np.stack(made)[:, None] - colors, axis=2).min(1)
        enough = np.flatnonzero(far >= 80)
        return made[int(enough[0] if len(enough) else far.argmax())]

    first = best([_candidate(rng) for _ in range(40)])
    second = best([np.clip(first + rng.normal(0, 30, 3), 0, 255) for _ in range(30)])
    plain = rng.random() < 0.4 or np.linalg.norm(colors - second, axis=1).min() < 60
    kind = "plain" if plain else str(rng.choice(GROUNDS))
    rgb = [tuple(int(v) for v in c) for c in (first, second)]
    return Ground(kind, rgb[0], rgb[1], int(rng.integers(2**31)))  # type: ignore[arg-type]


def _random_noise(rng: np.random.Generator) -> Noise:
    form = rng.random()
    jpeg = int(rng.integers(35, 96)) if form < 0.25 else None
    colors = int(rng.choice([48, 64, 128])) if 0.25 <= form < 0.33 else None
    grain = float(rng.uniform(1, 9)) if rng.random() < 0.12 else 0.0
    return Noise(jpeg, colors, grain, int(rng.integers(2**31)))
