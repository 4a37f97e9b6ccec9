"""Scenes that somebody composes: their text, what is drawn of them, and questions with true answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fsr.errors import InvalidInput
from fsr.shapes.scenes import COLORS, SHAPES
from fsr.world import icons
from fsr.world.drawing import draw
from fsr.world.names import OBJECTS
from fsr.world.scene import FLUENT, LONGEST, MOST, NOTO, Composed, Piece, questions, random_scene, read_scene, visible
from tests.looping import each

TEXTS = json.loads((Path(__file__).parent / "scenes.json").read_text())  # the page's own reader is held to the same
APPLES = TEXTS["good"][1]


@pytest.fixture(autouse=True)
def shipped_icons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine that was never trained on."""
    monkeypatch.setenv("FSR_ICONS", str(tmp_path))


def test_a_scene_has_one_text():
    for text in TEXTS["good"]:
        assert read_scene(text).text == text
    piece = Piece("square", 1, 2, 50, "red", 30, 4, outline=True)
    assert read_scene(Composed((piece,)).text).pieces == (piece,)


MANY = "~".join(["1~plain-f4f1ea", *["dog-1-1-20"] * (MOST + 1)])


@each("text", [*TEXTS["bad"], MANY, "1~" + "9" * LONGEST, "~" * LONGEST, None, 7, ["1~plain-f4f1ea"]])
def test_anything_else_is_refused_in_one_sentence(text):
    with pytest.raises(InvalidInput) as refused:
        read_scene(text)
    assert str(refused.value).endswith(".")
    assert len(str(refused.value)) < 320


@pytest.mark.parametrize("artist", icons.SHIPPED)
def test_both_shipped_artists_drew_every_object(artist):
    found = icons.artist(artist)
    assert tuple(found.icons) == OBJECTS
    assert {icon.shape for icon in found.icons.values()} == {(192, 192, 4)}
    assert set(found.colors.values()) <= set(COLORS)
    drawn = icons.DEFAULT / f"{artist}.npz"
    if drawn.exists():
        with np.load(drawn) as arrays:
            assert all(np.array_equal(arrays[name], found.icons[name]) for name in OBJECTS)


def test_what_is_composed_is_drawn_where_it_was_put():
    image = draw(read_scene("1~plain-ffffff~dog-84-236-104~square-250-60-40-cblue").picture()).astype(int)
    assert image.shape == (672, 672, 3)
    drawn = np.argwhere(image.min(2) < 240)
    left, right = drawn[drawn[:, 1] < 336], drawn[drawn[:, 1] >= 336]
    assert np.allclose((left.min(0) + left.max(0)) / 4, (236, 84), atol=3)
    assert np.allclose(right.max(0) - right.min(0), 2 * 40 * 0.96, atol=3)
    other = draw(read_scene("1~plain-ffffff~dog-84-236-104-f").picture())
    assert not np.array_equal(other[:, :336], image[:, :336])


def test_questions_of_the_lecture_have_true_answers():
    found = {q.text: q.answer for q in questions(read_scene(APPLES))}
    assert found["what is left of the car"] == "dog"
    assert found["how many apples"] == "3"
    assert {q.type for q in questions(read_scene(APPLES))} >= {
        "relation",
        "count",
        "exists",
        "negation",
        "where",
        "list",
    }
    assert found == {q.text: q.answer for q in questions(read_scene(APPLES))}


@pytest.mark.parametrize(
    "text",
    [
        "1~plain-f4f1ea",
        "1~plain-f4f1ea~dog-84-236-60~car-84-236-110",
        "1~plain-de2428~star-84-236-60-cred",
        "1~plain-f4f1ea~dog-0-0-60",
    ],
    ids=["empty", "behind another", "in the colour of the ground", "outside"],
)
def test_nothing_is_asked_where_people_would_differ(text):
    assert questions(read_scene(text)) == []


def test_what_is_seen_of_an_object():
    shares = visible(read_scene("1~plain-ffffff~dog-84-236-80~ring-250-60-60-cred~square-250-236-60-cblue-o"))
    assert min(shares) > 0.9


def test_random_scenes_are_seeded_and_hold_what_is_wanted():
    assert random_scene(3).text == random_scene(3).text != random_scene(4).text
    for seed in range(3):
        shapes = random_scene(seed, with_icons=False)
        assert {piece.name for piece in shapes.pieces} <= set(SHAPES)
        assert read_scene(shapes.text) == shapes
    artists = {p.artist for seed in range(8) for p in random_scene(seed).pieces if p.name in OBJECTS}
    assert artists == {NOTO, FLUENT}
