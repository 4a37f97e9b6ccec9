"""Questions about a picture, their answers, and which objects each is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from fsr.shapes.questions import DIRECTIONS, Question, neighbour, third_of
from fsr.shapes.scenes import COLORS
from fsr.world.names import KIND_WORDS
from fsr.world.nouns import KINDS, Noun, absent, anything, colored, listed, named, nouns_of, of_kind, only, some
from fsr.world.picture import Picture
from fsr.world.wordings import worded

UNKNOWN = "unknown word"
NOTHING = "nothing"
# type -> its forms, those that come more often more than once
FORMS = {
    "color": ("color",),
    "name": ("shape", "what", "which", "which", "kind"),
    "exists": ("exists", "exists", "exists", "both", "either"),
    "negation": ("none", "none", "none", "not", "not", "neither", "but", "others", "other"),
    "count": ("count",),
    "digit": ("digit",),
    "where": ("where",),
    "relation": ("relation", "relation", "relation", "beside"),
    "size": ("bigger", "bigger", "than", "biggest"),
    "list": ("list", "everything", "everything"),
    "unknown": ("unknown",),
}
TYPES = tuple(FORMS)
CLEARLY = 1.6  # ratio of the areas of two boxes from which one is bigger
# Words that the world has no meaning for; any other unknown word reads the same.
STRANGE = (
    *(
        "zebra",
        "dragon",
        "violin",
        "volcano",
        "submarine",
        "kangaroo",
        "guitar",
        "wizard",
        "spoon",
        "candle",
        "mermaid",
    ),
    *("helmet", "beige", "octagon", "pentagon", "trapezoid", "crocodile", "broccoli", "ladder", "anchor", "feather"),
    *(
        "pillow",
        "tuba",
        "canoe",
        "yeti",
        "lantern",
        "cobra",
        "mango",
        "bagel",
        "igloo",
        "unicycle",
        "teapot",
        "saxophone",
    ),
)
PHRASES = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above",),
    "below": ("below", "under"),
}
Maker = Callable[[Picture, np.random.Generator, bool, int | None], Question | None]


def ask(
    picture: Picture, kind: str, rng: np.random.Generator, held_out: bool = False, subject: int | None = None
) -> Question | None:
    """One question of a type, about object `subject` if given; None where the picture allows no unambiguous one.

    held_out: in a wording that training never shows.
    """
    form = str(rng.choice(FORMS[kind]))
    found = _MAKERS[form](picture, rng, held_out, subject)
    if found is None:
        return None
    text = found.text if rng.random() < 0.3 else found.text + "?"
    return Question(kind, text, found.answer, found.about, found.subject)


def correct(question: Question, answer: str) -> bool:
    """Word for word, but a list may name its objects in any order."""
    answer = " ".join(answer.lower().replace(".", " ").split())
    if question.type != "list":
        return answer == question.answer
    return Counter(p.strip() for p in answer.split(",")) == Counter(question.answer.split(", "))


def _order(picture: Picture, rng: np.random.Generator, subject: int | None) -> list[int]:
    return [subject] if subject is not None else [int(i) for i in rng.permutation(len(picture.things))]


def _words(**nouns: Noun) -> dict[str, str]:
    """For each noun `n`: n, ns and a_n, as the wordings name them."""
    out: dict[str, str] = {}
    for key, noun in nouns.items():
        out |= {key: noun.one, key + "s": noun.many, "a_" + key: noun.with_article}
    return out


# ------------------------------------------------------------------------------------------------------- one object


def _color(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    for i in _order(picture, rng, subject):
        color, noun = picture.things[i].color, only(picture, i, rng, "name")
        if color and noun:
            return Question("color", worded(rng, "color", held_out, **_words(x=noun)), color, (i,), i)
    return None


def _shape(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    for i in _order(picture, rng, subject):
        noun = only(picture, i, rng, "color") if picture.things[i].kind == "shape" else None
        if noun:
            text = worded(rng, "shape", held_out, **_words(x=noun))
            return Question("shape", text, picture.things[i].name, (i,), i)
    return None


def _what(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    places = [third_of(t) for t in picture.things]
    if None in places:
        return None
    for i in _order(picture, rng, subject):
        if places.count(places[i]) == 1:
            text = worded(rng, "what", held_out, place=str(places[i]))
            return Question("what", text, picture.things[i].called, (i,), i)
    return None


def _which(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    """The only one of its kind."""
    for i in _order(picture, rng, subject):
        noun = of_kind(picture, picture.things[i].kind)
        if len(picture.things) == 1 and rng.random() < 0.4:
            noun = anything(picture, rng)
        if noun and noun.fits == (i,):
            text = worded(rng, "which", held_out, k=noun.one)
            return Question("which", text, picture.things[i].called, (i,), i)
    return None


def _kind(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    for i in _order(picture, rng, subject):
        item = picture.things[i]
        if item.kind != "shape":
            noun = named(picture, item.name)
            text = worded(rng, "kind", held_out, **_words(x=noun))
            return Question("kind", text, KIND_WORDS[item.kind][0], noun.fits, i if len(noun.fits) == 1 else None)
    return None


def _digit(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    for i in _order(picture, rng, subject):
        digit = picture.things[i].digit
        noun = only(picture, i, rng) if digit is not None else None
        if noun:
            return Question("digit", worded(rng, "digit", held_out, **_words(x=noun)), str(digit), (i,), i)
    return None


def _where(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    for i in _order(picture, rng, subject):
        place, noun = third_of(picture.things[i]), only(picture, i, rng)
        if place and noun:
            return Question("where", worded(rng, "where", held_out, **_words(x=noun)), place, (i,), i)
    return None


# ------------------------------------------------------------------------------------------------- is there, is none


def _either_way(picture: Picture, rng: np.random.Generator, present: bool, subject: int | None = None) -> Noun:
    if not present:
        return absent(picture, rng)
    return some(picture, rng) if subject is None else nouns_of(picture, subject, rng)[0]


def _one_noun(form: str, when_present: str) -> Maker:
    """A yes-or-no question about one noun. when_present: the answer where it fits an object."""

    def make(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
        present = subject is not None or bool(rng.random() < 0.5)
        noun = _either_way(picture, rng, present, subject)
        answer = when_present if present else {"yes": "no", "no": "yes"}[when_present]
        text = worded(rng, form, held_out, **_words(x=noun))
        return Question(form, text, answer, noun.fits, noun.fits[0] if len(noun.fits) == 1 else None)

    return make


def _two_nouns(form: str, says: Callable[[bool, bool], bool]) -> Maker:
    """A yes-or-no question about two nouns; half of the answers are yes."""

    def make(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
        wanted = bool(rng.random() < 0.5)
        cases = [(a, b) for a in (True, False) for b in (True, False) if says(a, b) == wanted]
        one, other = cases[rng.integers(len(cases))]
        x, y = _either_way(picture, rng, one), _either_way(picture, rng, other)
        if x.one == y.one or (x.fits and x.fits == y.fits):
            return None
        text = worded(rng, form, held_out, **_words(x=x, y=y))
        return Question(form, text, "yes" if wanted else "no", tuple(sorted({*x.fits, *y.fits})))

    return make


def _others(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    """How many of a group are not so."""
    found = _group(picture, rng, subject)
    if found is None:
        return None
    group, noun = found
    rest = tuple(i for i in group.fits if i not in noun.fits)
    text = worded(rng, "others", held_out, ks=group.many, **_words(x=noun))
    return Question("others", text, str(len(rest)), rest)


def _other(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    """The only one of a group that is not so."""
    for _ in range(6):
        found = _group(picture, rng, None)
        if found is None:
            return None
        group, noun = found
        rest = [i for i in group.fits if i not in noun.fits]
        if len(rest) == 1 and len(group.fits) > 1:
            text = worded(rng, "other", held_out, k=group.one, **_words(x=noun))
            return Question("other", text, picture.things[rest[0]].called, (rest[0],), rest[0])
    return None


def _group(picture: Picture, rng: np.random.Generator, subject: int | None) -> tuple[Noun, Noun] | None:
    """A group of objects and a name that fits some of them: objects and dogs, shapes and red shapes."""
    i = int(rng.integers(len(picture.things))) if subject is None else subject
    item = picture.things[i]
    noun = named(picture, item.name)
    if item.kind == "shape" and rng.random() < 0.35:
        noun = colored(picture, str(item.color), rng)
    elif item.kind == "shape" and rng.random() < 0.3:
        noun = named(picture, item.name, item.color)
    group: Noun | None = anything(picture, rng)
    if rng.random() < 0.5:
        group = of_kind(picture, item.kind)
    elif rng.random() < 0.3:
        kind = of_kind(picture, item.kind)
        noun = kind if kind is not None else noun
    return None if group is None else (group, noun)


# ------------------------------------------------------------------------------------------------- several objects


def _count(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    form, noun = rng.random(), None
    if subject is not None:
        noun = nouns_of(picture, subject, rng)[0]
    elif form < 0.15:
        noun = anything(picture, rng)
    elif form < 0.27:
        noun = absent(picture, rng)
    elif form < 0.7:  # the commonest, so that large counts are asked too
        noun = _commonest(picture, rng)
    if noun is None:
        noun = some(picture, rng)
    text = worded(rng, "count", held_out, **_words(x=noun))
    return Question("count", text, str(len(noun.fits)), noun.fits, noun.fits[0] if len(noun.fits) == 1 else None)


def _commonest(picture: Picture, rng: np.random.Generator) -> Noun | None:
    form = rng.random()
    if form < 0.45:
        return named(picture, Counter(t.name for t in picture.things).most_common(1)[0][0])
    if form < 0.75:
        return of_kind(picture, Counter(t.kind for t in picture.things).most_common(1)[0][0])
    colors = Counter(t.color for t in picture.things if t.kind == "shape")
    return colored(picture, str(colors.most_common(1)[0][0]), rng) if colors else None


def _relation(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    for i in _order(picture, rng, subject):
        noun = only(picture, i, rng)
        if noun is None:
            continue
        for direction in rng.permutation(list(DIRECTIONS)):
            j = neighbour(picture, i, str(direction))
            if j is None or (j == -1 and len(picture.things) > 1 and rng.random() < 0.8):
                continue
            text = worded(rng, "relation", held_out, d=str(rng.choice(PHRASES[str(direction)])), **_words(x=noun))
            answer = NOTHING if j == -1 else picture.things[j].called
            return Question("relation", text, answer, (i,) if j == -1 else (i, j), i)
    return None


def _pair(picture: Picture, rng: np.random.Generator, subject: int | None) -> tuple[int, int, Noun, Noun] | None:
    """Two objects that can be told apart by their names."""
    if len(picture.things) < 2:
        return None
    order = [int(i) for i in rng.permutation(len(picture.things))]
    if subject is not None:
        order = [subject, *(i for i in order if i != subject)]
    i, j = order[:2]
    x, y = only(picture, i, rng), only(picture, j, rng)
    return (i, j, x, y) if x and y else None


def _beside(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    found = _pair(picture, rng, subject)
    if found is None:
        return None
    i, j, x, y = found
    a, b = picture.things[i], picture.things[j]
    way = str(rng.choice(list(DIRECTIONS)))
    dx, dy = DIRECTIONS[way]
    ahead, aside = (a.x - b.x) * dx + (a.y - b.y) * dy, abs((a.x - b.x) * dy) + abs((a.y - b.y) * dx)
    if abs(ahead) < max(aside, 20):
        return None
    text = worded(rng, "beside", held_out, d=str(rng.choice(PHRASES[way])), **_words(x=x, y=y))
    return Question("beside", text, "yes" if ahead > 0 else "no", (i, j), i)


_SIZES = ((("bigger", "larger"), 1), (("smaller",), -1))


def _clear(picture: Picture, i: int, j: int) -> bool | None:
    """Whether object i is bigger than j; None where that is not clear."""
    ratio = picture.things[i].area / picture.things[j].area
    return None if 1 / CLEARLY < ratio < CLEARLY else ratio > 1


def _compared(
    picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None, form: str
) -> tuple[str, tuple[int, int], tuple[Noun, Noun], bool] | None:
    """Two objects of clearly different size: text, both, their nouns, and whether the first is what is asked for."""
    found = _pair(picture, rng, subject)
    larger = _clear(picture, *found[:2]) if found else None
    if found is None or larger is None:
        return None
    i, j, x, y = found
    words, sign = _SIZES[rng.integers(2)]
    text = worded(rng, form, held_out, size=str(rng.choice(words)), **_words(x=x, y=y))
    return text, (i, j), (x, y), larger == (sign > 0)


def _bigger(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    if (found := _compared(picture, rng, held_out, subject, "bigger")) is None:
        return None
    text, both, nouns, is_first = found
    winner = 0 if is_first else 1
    return Question("bigger", text, nouns[winner].one, both, both[winner])


def _than(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    if (found := _compared(picture, rng, held_out, subject, "than")) is None:
        return None
    text, both, _, is_first = found
    return Question("than", text, "yes" if is_first else "no", both, both[0])


def _biggest(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    order = sorted(range(len(picture.things)), key=lambda i: -picture.things[i].area)
    if len(order) < 2:
        return None
    first = bool(rng.random() < 0.6)
    i, j = (order[0], order[1]) if first else (order[-1], order[-2])
    if _clear(picture, i, j) is None or (subject is not None and i != subject):
        return None
    most = str(rng.choice(["biggest", "largest"])) if first else "smallest"
    text = worded(rng, "biggest", held_out, most=most)
    return Question("biggest", text, picture.things[i].called, (i,), i)


def _list(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    form, noun = rng.random(), None
    if form < 0.25:
        noun = anything(picture, rng)
    elif form < 0.85:
        kinds = [t.kind for t in picture.things]
        noun = of_kind(picture, str(rng.choice(kinds if rng.random() < 0.8 else KINDS)))
    elif shapes := [t for t in picture.things if t.kind == "shape"]:
        noun = colored(picture, str(shapes[rng.integers(len(shapes))].color), rng)
    if noun is None:
        return None
    order = tuple(sorted(noun.fits, key=lambda i: picture.things[i].x))
    answer = listed([picture.things[i] for i in order])
    return Question("list", worded(rng, "list", held_out, ks=noun.many), answer, order)


def _everything(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    order = tuple(sorted(range(len(picture.things)), key=lambda i: picture.things[i].x))
    return Question("everything", worded(rng, "everything", held_out), listed(list(picture.things)), order)


def _unknown(picture: Picture, rng: np.random.Generator, held_out: bool, subject: int | None) -> Question | None:
    """In any form that names something: a word that means nothing here."""
    strange = str(rng.choice(STRANGE))
    if rng.random() < 0.25:
        strange = f"{rng.choice(list(COLORS))} {strange}"
    noun = Noun(strange, strange + "s", ())
    other = _either_way(picture, rng, bool(rng.random() < 0.5))
    x, y = (noun, other) if rng.random() < 0.6 else (other, noun)
    form = str(rng.choice(["color", "exists", "count", "digit", "where", "relation", "kind", "not", "none", "list"]))
    if y is noun:
        form = str(rng.choice(["bigger", "than", "both", "either", "neither", "but", "beside"]))
    words = _words(x=x, y=y) | {"d": str(rng.choice(["left of", "above"])), "size": "bigger", "ks": x.many}
    return Question("unknown", worded(rng, form, held_out, **words), UNKNOWN, ())


_MAKERS: dict[str, Maker] = {
    "color": _color,
    "shape": _shape,
    "what": _what,
    "which": _which,
    "kind": _kind,
    "exists": _one_noun("exists", "yes"),
    "not": _one_noun("not", "yes"),
    "none": _one_noun("none", "no"),
    "both": _two_nouns("both", lambda a, b: a and b),
    "either": _two_nouns("either", lambda a, b: a or b),
    "neither": _two_nouns("neither", lambda a, b: not a and not b),
    "but": _two_nouns("but", lambda a, b: a and not b),
    "others": _others,
    "other": _other,
    "count": _count,
    "digit": _digit,
    "where": _where,
    "relation": _relation,
    "beside": _beside,
    "bigger": _bigger,
    "than": _than,
    "biggest": _biggest,
    "list": _list,
    "everything": _everything,
    "unknown": _unknown,
}
