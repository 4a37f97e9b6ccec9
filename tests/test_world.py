"""Pictures that others drew: renderers, names, colours, questions, spelling, tests that are balanced."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fsr.bench.world_accuracy import SETS, world_cases
from fsr.shapes.questions import Question
from fsr.shapes.scenes import COLORS, GRID, PATCH, SHAPES, SIDE, UNSEEN_PAIRS, Window, generator
from fsr.world import asking, icons, renderers
from fsr.world.asking import STRANGE, TYPES, UNKNOWN, ask, correct
from fsr.world.colors import color_of, random_color
from fsr.world.drawing import FILTERS, coverage, draw, scaled
from fsr.world.names import ICONS, NAMES, OBJECTS, SYNONYMS, plural
from fsr.world.nouns import Noun, anything, named
from fsr.world.outlines import INNER, placed
from fsr.world.picture import Ground, Item, Look, Picture
from fsr.world.sampling import World, random_picture
from fsr.world.spelling import disguised, read, typing_errors
from fsr.world.wordings import HELD_OUT, OPENINGS, WORDINGS, template_words
from fsr.world.words import build_world_tokenizer, token_ids, words
from tests.looping import each
from tests.world_icons import discs


@pytest.fixture
def drawn_icons(monkeypatch: pytest.MonkeyPatch) -> None:
    every = discs()
    monkeypatch.setattr(icons, "artist", lambda name: every)


def pictures(count: int, world: World | None = None) -> list[Picture]:
    rng = generator("train", 10, 99, 3)
    return [random_picture(rng, 1 + i % 8, world or World()) for i in range(count)]


# ------------------------------------------------------------------------------------------------------------ pictures


def test_there_are_sixty_objects_in_eight_kinds():
    assert len(OBJECTS) >= 60
    assert len(ICONS) >= 8
    assert len(set(NAMES)) == len(NAMES)


def test_nothing_held_out_is_trained_on():
    assert renderers.HELD_OUT not in World().renderers
    assert icons.HELD_OUT not in World().artists
    assert {r for p in pictures(40, World(icons=0.0)) for r in [p.renderer]} == set(renderers.TRAINED)
    pairs = {t.pair for p in pictures(80, World(icons=0.0)) for t in p.things}
    assert not pairs & UNSEEN_PAIRS


@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
@pytest.mark.parametrize("name", renderers.RENDERERS)
def test_renderers_agree_on_what_a_shape_covers(name, soft):
    """Each against the area of its own outline, by the shoelace formula."""
    renderer = renderers.RENDERERS[name]
    for shape in SHAPES:
        item = Item(
            shape, "red", 60, 50, 70, 70 * 0.55 if shape == "rectangle" else 70, look=Look(inner=INNER[shape][1])
        )
        outlines = placed(item, renderer.outline(shape))
        area = 0.0
        for sign, c in zip((1, -1), outlines, strict=False):
            x, y = c.T
            area += sign * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
        mask = renderer.fill(outlines, 100, 120, soft)
        assert mask.shape == (100, 120)
        edge = sum(np.linalg.norm(c - np.roll(c, 1, 0), axis=1).sum() for c in outlines)
        assert abs(mask.sum() / 255 - area) < edge, shape  # less than a pixel: some fill the outline too
        if not soft:
            assert set(np.unique(mask)) <= {0, 255}


@pytest.mark.parametrize("name", renderers.RENDERERS)
def test_a_picture_is_the_same_each_time_and_shows_its_colors(name):
    things = (
        Item("star", "red", 80, 90, 90, 90, (230, 20, 20)),
        Item("square", "blue", 240, 230, 80, 80, (20, 40, 230), digit=4),
    )
    picture = Picture(things, ground=Ground(first=(255, 255, 255)), renderer=name, side=200)
    once, again = draw(picture), draw(picture)
    assert (once == again).all()
    assert once.shape == (200, 200, 3)
    for item in things:
        x, y = round(item.x * 200 / SIDE), round((item.y + (30 if item.digit else 0)) * 200 / SIDE)
        assert np.abs(once[y, x].astype(int) - item.rgb).max() < 12, item.name
    assert (once[2, 2] == 255).all()


def test_coverage_is_where_the_picture_differs_from_its_ground(drawn_icons):
    things = (Item("circle", "red", 70, 80, 60, 60, (230, 20, 20)), Item("cat", None, 230, 210, 120, 120, artist="any"))
    picture = Picture(things, ground=Ground(first=(255, 255, 255)))
    covered = coverage(picture)
    inked = (np.abs(draw(picture).astype(int) - 255).max(2) > 60).reshape(GRID, PATCH, GRID, PATCH).mean((1, 3))
    assert covered.shape == (2, GRID, GRID)
    assert np.abs(covered.sum(0) - inked).max() < 0.2
    assert abs(covered.sum() - inked.sum()) < 0.05 * inked.sum()


def test_a_window_shows_its_part_of_the_picture():
    item = Item("square", "blue", 200, 120, 40, 40, (20, 40, 230))
    whole = draw(Picture((item,), ground=Ground(first=(255, 255, 255))))
    part = draw(Picture((item,), Window(5, 10, 8, 8), Ground(first=(255, 255, 255))))
    assert (part == whole[5 * PATCH : 13 * PATCH, 10 * PATCH : 18 * PATCH]).all()


def test_every_picture_can_be_drawn_and_scaled_and_its_objects_lie_apart(drawn_icons):
    for i, picture in enumerate(pictures(40, World(redrawn=True))):
        image = scaled(draw(picture), 84, 84, list(FILTERS)[i % len(FILTERS)])
        assert image.shape == (84, 84, 3)
        assert image.dtype == np.uint8
        boxes = [(t.x - t.width / 2, t.y - t.height / 2, t.x + t.width / 2, t.y + t.height / 2) for t in picture.things]
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


def test_named_colors_are_read_back_as_themselves():
    rng = generator("train", 10, 99, 1)
    for name in COLORS:
        patch = np.zeros((4, 4, 4), np.uint8)
        right = 0
        for _ in range(30):
            patch[:] = (*random_color(rng, name), 255)
            right += color_of(patch) == name
        assert right >= 24, name


# ----------------------------------------------------------------------------------------------------------- questions


def asked(held_out: bool, count: int = 60) -> list[tuple[Picture, Question]]:
    rng = generator("train", 10, 99, 2)
    found = [(p, ask(p, kind, rng, held_out)) for p in pictures(count) for kind in TYPES]
    return [(p, q) for p, q in found if q is not None]


def test_held_out_wordings_are_in_words_that_training_knows():
    assert template_words(HELD_OUT) <= template_words(WORDINGS) | set(" ".join(OPENINGS).split())
    for form, group in HELD_OUT.items():
        assert not set(group) & set(WORDINGS[form])


def test_every_question_is_in_the_vocabulary_and_only_unknown_words_are_not(drawn_icons):
    tokenizer = build_world_tokenizer()
    ids = {w: i for i, w in enumerate(words())}
    seen = Counter()
    for held_out in (False, True):
        for _, q in asked(held_out, 24):
            seen[q.type] += 1
            theirs = tokenizer(q.text)["input_ids"]
            assert theirs[1:] == list(token_ids(q.text, ids)), q
            assert (tokenizer.unk_token_id in theirs) == (q.answer == UNKNOWN), q
            assert tokenizer.unk_token_id not in token_ids(q.answer, ids), q
    assert all(seen[kind] >= 6 for kind in TYPES), seen


def test_answers_of_yes_and_no_agree_with_the_picture(drawn_icons):
    """Again from the objects alone, by other means: names in the text, and where "no" and "not" stand."""
    checked = Counter()
    for picture, q in asked(False, 150):
        if q.answer not in ("yes", "no") or q.type not in ("exists", "negation"):
            continue
        text = q.text.rstrip("?")
        if any(w in text for w in (" or ", " and ", " nor ", " but ", "without a", "kind", "sign", "shape")):
            continue
        names = {n: n for n in NAMES} | {plural(n): n for n in NAMES}
        named = [names[w] for w in text.split() if w in names]
        if len(named) != 1:
            continue
        color = next((w for w in text.split() if w in COLORS), None)
        there = any(t.name == named[0] and color in (None, t.color) for t in picture.things)
        none = any(w in text.split() for w in ("no", "none", "without", "single")) and "yes or no" not in text
        assert (q.answer == "yes") == (there != none), (q, [t.called for t in picture.things])
        checked[q.type] += 1
    assert min(checked.values()) > 30


@each(
    ("form", "nouns", "answer"),
    [
        ("none", ("cat",), "no"),
        ("none", ("dog",), "yes"),
        ("not", ("cat",), "yes"),
        ("not", ("dog",), "no"),
        ("neither", ("dog", "star"), "yes"),
        ("neither", ("cat", "dog"), "no"),
        ("but", ("cat", "dog"), "yes"),
        ("but", ("cat", "circle"), "no"),
        ("both", ("cat", "circle"), "yes"),
        ("either", ("dog", "circle"), "yes"),
        ("either", ("dog", "star"), "no"),
        ("others", ("cat",), "2"),
    ],
)
def test_negation_is_answered_as_documented(form, nouns, answer, monkeypatch):
    """Two cats and two circles; what is asked is whatever is named in the text."""
    things = tuple(Item("cat", None, 60 + 90 * i, 100, 40, 40, artist="any") for i in range(2))
    things += tuple(Item("circle", "red", 60 + 90 * i, 250, 40, 40) for i in range(2))
    picture, left = Picture(things), iter(nouns)
    monkeypatch.setattr(asking, "_either_way", lambda picture, rng, present, subject=None: noun_of(picture, present))

    def noun_of(picture: Picture, present: bool) -> Noun:
        found = named(picture, next(left))
        if bool(found.fits) != present:
            raise LookupError  # the maker drew the other case
        return found

    group = (anything(picture, np.random.default_rng(0)), named(picture, nouns[0]))
    monkeypatch.setattr(asking, "_group", lambda *_: group)
    for seed in range(100):
        left = iter(nouns)
        rng = np.random.default_rng(seed)
        try:
            q = asking._MAKERS[form](picture, rng, False, None)
        except LookupError:
            continue
        assert q is not None
        assert q.answer == answer, q
        return
    pytest.fail("never asked")


def test_a_list_may_come_in_any_order():
    q = Question("list", "what objects are there", "dog, red star", (0, 1))
    assert correct(q, "red star, dog")
    assert not correct(q, "dog")


# ------------------------------------------------------------------------------------------------------------ spelling


@each(
    ("typed", "reads"),
    [
        ("Isn't there a dog?", "is not there a dog?"),
        ("Can’t you see any kittens", "can not you see any cats"),
        ("What COLOUR is the lorry?", "what color is the truck?"),
        ("how many bananas and pinapples", "how many bananas and pineapples"),
        ("is there a triangel", "is there a triangle"),
        ("is there a horse", "is there a horse"),
        ("start", "start"),
        ("the grey plane", "the gray airplane"),
    ],
)
def test_what_people_type_is_read(typed, reads):
    tokenizer = build_world_tokenizer()
    assert read(typed.replace("’", "'")) == reads
    assert tokenizer(typed)["input_ids"] == tokenizer(reads)["input_ids"]


def test_spelling_changes_no_known_and_no_strange_word():
    for word in words():
        if word.isalpha() and word not in ("colour",):
            assert read(word) == word
    for word in STRANGE:
        assert read(word) == word
        assert word not in words()
    assert all(len(word) >= 5 for word in typing_errors())
    assert set(SYNONYMS.values()) <= {*words()}


def test_a_disguised_question_reads_as_the_plain_one(drawn_icons):
    rng = generator("train", 10, 99, 4)
    changed = 0
    for _, q in asked(True, 20):
        typed = disguised(q.text, rng)
        changed += typed != q.text
        assert read(typed) == read(q.text), typed
    assert changed > 60


def test_the_former_words_keep_their_ids():
    from fsr.shapes.vocabulary import words as former_words

    assert words()[: len(former_words(clips=True))] == former_words(clips=True)


# ----------------------------------------------------------------------------------------------------------- test sets


@pytest.mark.parametrize("name", SETS)
def test_sets_are_balanced_and_hold_what_they_say(name, drawn_icons):
    of = SETS[name]
    todo = list(world_cases(name, "test", 4, 6 * len(of.types)))
    assert set(Counter(c.question.type for c in todo).values()) == {6}
    yes_no = Counter(c.question.answer for c in todo if c.question.type == "exists")
    assert yes_no["yes"] == yes_no["no"] == 3
    assert {c.drawn.renderer for c in todo} <= set(of.world.renderers)
    for c in todo:
        assert (c.drawn.things[0].pair in UNSEEN_PAIRS) == of.pairs
        assert {t.artist for t in c.drawn.things} - {None} <= set(of.world.artists)
        assert c.right(c.question.answer)
    again = list(world_cases(name, "test", 4, 8))
    assert [c.typed for c in again] == [c.typed for c in todo[:8]]
