"""Colours and scales of everything that is drawn: the one place for the page, its exports and the charts.

`python -m app.look` writes app/static/look.js and look.css from this file. Colours of roles and lines are those of
Okabe and Ito, which colour-blind readers can tell apart; heat is viridis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

ROLES = {"focus": "#e69f00", "scan": "#0072b2", "kept": "#009e73"}
ROLES_ON_DARK = {"scan": "#56b4e9"}  # where the page is dark; files are always light
HALO = "#ffffff"
SERIES = ("#e69f00", "#0072b2", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")  # of methods, by their place
PAIR = {"one": "#cc79a7", "other": "#f0e442", "both": "#ffffff"}
VEIL_ON_BRIGHT, VEIL_ON_DARK = "#181b21", "#d6d9de"  # what lies over dropped tokens
BRIGHT = 0.42  # mean luminance from which a picture gets the dark veil
VEILED = {"dropped": 0.62, "merged": 0.42, "unseen": 0.82}
CROSSED = "#8d939b"  # over what was never encoded, and what the model never saw
CROSS_INSET = 0.22  # from its token's edge, a share of the token
GROUND = "#8d9096"  # what a picture is in a legend's swatch
TEXT, MUTED, LINE = "#1b1d20", "#5c6067", "#dcdcd8"

HEAT = (
    "#440154", "#471365", "#482475", "#463480", "#414487", "#3b528b", "#355f8d", "#2f6b8e", "#2a788e", "#25848e",
    "#21918c", "#1e9c89", "#22a884", "#2fb47c", "#44bf70", "#5ec962", "#7ad151", "#9bd93c", "#bddf26", "#dfe318",
    "#fde725",
)  # fmt: skip
HEAT_OPACITY = 0.8
SCALES = {"saliency": "linear", "relevance": "linear", "priority": "log"}
LOG_SPAN = 1e6  # a logarithmic scale ends so far below its highest value; what is less, and 0, has the lowest colour
LOWEST_KL = 1e-5  # nats, where a logarithmic axis ends; below, differences are rounding


@dataclass(frozen=True)
class Scale:
    """From `low` to `high`, linear or log. below: whether some values are less than `low`, which only "log" has."""

    kind: str
    low: float
    high: float
    below: bool = False

    @staticmethod
    def of(values: Iterable[float], kind: str = "linear") -> Scale:
        """The scale of some values; "log" becomes linear where none is above 0. Raises ValueError for no values."""
        found = list(values)
        low, high = min(found), max(found)
        if kind != "log" or high <= 0:
            return Scale("linear", low, high)
        least = max(min(v for v in found if v > 0), high / LOG_SPAN)
        return Scale("log", least, high, low < least)

    def at(self, value: float) -> float:
        """The value's place, from 0 to 1; 0 on a scale without length."""
        if self.high <= self.low:
            return 0.0
        if self.kind == "log":
            place = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            place = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, place))


def heat(place: float) -> str:
    """The colour at a place from 0 to 1, "#rrggbb", one of 256."""
    x = math.floor(min(1.0, max(0.0, place)) * 255 + 0.5) / 255 * (len(HEAT) - 1)
    low = min(len(HEAT) - 2, int(x))
    pair = zip(rgb(HEAT[low]), rgb(HEAT[low + 1]), strict=True)
    return "#" + "".join(f"{math.floor(a + (x - low) * (b - a) + 0.5):02x}" for a, b in pair)


def rgb(color: str) -> tuple[int, int, int]:
    """ "#rrggbb" as three numbers from 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def mixed(over: str, opacity: float, under: str = GROUND) -> str:
    """One colour over another, "#rrggbb"."""
    pair = zip(rgb(over), rgb(under), strict=True)
    return "#" + "".join(f"{round(opacity * a + (1 - opacity) * b):02x}" for a, b in pair)
