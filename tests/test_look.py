"""One source for colours and scales: what the page, its exports and the charts read is the same."""

from __future__ import annotations

import re

import pytest

from app import look as page
from app.serving import STATIC
from fsr.bench import look
from fsr.bench.look import Scale
from tests import javascript
from tests.looping import each


def test_the_pages_files_are_those_that_the_source_gives():
    for name, text in (("look.js", page.module()), ("look.css", page.stylesheet())):
        assert (STATIC / name).read_text() == text, "run python -m app.look"
    light = dict(
        re.findall(r"--fx-(text|muted|line): (#[0-9a-f]{6})", (STATIC / "theme.css").read_text().split(".dark")[0])
    )
    assert light == {"text": look.TEXT, "muted": look.MUTED, "line": look.LINE}


def test_no_other_file_of_the_page_has_a_colour_of_its_own_for_what_look_names():
    named = {*look.ROLES.values(), *look.ROLES_ON_DARK.values(), *look.SERIES, *look.PAIR.values(), look.GROUND}
    named -= {"#ffffff"}
    for path in [*STATIC.rglob("*.js"), *STATIC.rglob("*.css")]:
        if path.name not in ("look.js", "look.css"):
            assert not named & set(re.findall(r"#[0-9a-f]{6}", path.read_text().lower())), path


@each(
    ("values", "kind", "ends"),
    [
        ([0.0, 1e-9, 2e-4, 0.36], "log", (0.36 / look.LOG_SPAN, 0.36, True)),
        ([0.01, 0.1, 1.0], "log", (0.01, 1.0, False)),
        ([0.0, 0.0], "log", (0.0, 0.0, False)),
        ([-2.0, -1.0], "log", (-2.0, -1.0, False)),
        ([5.0, 5.0], "log", (5.0, 5.0, False)),
        ([-0.07, 0.0, 0.5], "linear", (-0.07, 0.5, False)),
    ],
    ids=["a zero", "none below", "nothing but zeros", "negative", "one value", "linear"],
)
def test_page_and_figures_place_values_alike(values, kind, ends):
    scale = Scale.of(values, kind)
    assert (scale.low, scale.high, scale.below) == pytest.approx(ends)
    colors = [look.heat(scale.at(v)) for v in values]
    drawn, found = javascript.run(
        ("color",),
        """({ values, kind }) => { const scale = color.scaleOf(values, kind);
        return [color.heatColors(values, scale), [scale.kind, scale.min, scale.max, scale.below]]; }""",
        {"values": values, "kind": kind},
    )
    assert found == [scale.kind, pytest.approx(scale.low), scale.high, scale.below]
    assert [tuple(map(int, re.findall(r"\d+", c))) for c in drawn] == [look.rgb(c) for c in colors]
