"""Questions in ordinary English about drawn clips: what happens, to which object, in which order, and still ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from fsr.shapes.clips import EVENTS, Clip
from fsr.shapes.questions import Question, Reference, filled, finished

CLIP_TYPES = (
    "color",
    "shape",
    "direction",
    "moves",
    "appears",
    "disappears",
    "turns",
    "overtakes",
    "order",
    "happens",
    "count",
    "frame",
)
ONE_OBJECT = 0.7  # share of the yes-or-no questions that name an object; the others ask whether anything does it


def ask_clip(clip: Clip, kind: str, rng: np.random.Generator, answer: str | None = None) -> Question | None:
    """One question of a type; None where the clip allows no unambiguous one. answer: the one it must have, if any."""
    question = _MAKERS[kind](clip, rng)
    if question is None or (answer is not None and question.answer != answer):
        return None
    return finished(question, rng)


def correct_clip(question: Question, answer: str) -> bool:
    """Word for word, but objects of a frame may be named in any order."""
    answer = " ".join(answer.lower().replace(".", " ").split())
    if question.type != "frame":
        return answer == question.answer
    return Counter(p.strip() for p in answer.split(",")) == Counter(question.answer.split(", "))


# ------------------------------------------------------------------------------------------------ naming an object


def _names(clip: Clip, i: int, by: tuple[str, ...] = ("both", "color", "shape")) -> list[Reference]:
    """The references of these forms that fit actor i alone, whatever colour the others ever have."""
    thing, found = clip.actors[i].thing, []
    for form in by:
        color = thing.color if form in ("both", "color") else None
        shape = thing.shape if form in ("both", "shape") else None
        fits = [(color is None or color in a.colors) and (shape is None or shape == a.thing.shape) for a in clip.actors]
        if sum(fits) == 1:
            found.append(Reference(color, shape))
    return found


def _named(clip: Clip, rng: np.random.Generator, actors: list[int], by: tuple[str, ...]) -> tuple[int, str] | None:
    """One of the actors, and a noun for it."""
    for i in rng.permutation(actors) if actors else []:
        names = _names(clip, int(i), by)
        if names:
            return int(i), names[rng.integers(len(names))].noun(rng)
    return None


def _pair(clip: Clip, i: int) -> str:
    """What an object is called in answers: its look at the beginning."""
    return " ".join(clip.actors[i].thing.pair)


def _steady(clip: Clip) -> list[int]:
    return [i for i, a in enumerate(clip.actors) if a.turns is None]


def _ask(rng: np.random.Generator, templates: list[str], **words: str) -> str:
    return filled(rng, templates, ("clip", "video"), **words)


# ------------------------------------------------------------------------------------------------ types of questions


def _color(clip: Clip, rng: np.random.Generator) -> Question | None:
    found = _named(clip, rng, _steady(clip), ("shape",))
    if found is None:
        return None
    forms = ["what color is the {x}", "what is the color of the {x}", "which color does the {x} have"]
    return Question("color", _ask(rng, forms, x=found[1]), clip.actors[found[0]].thing.color, (found[0],), found[0])


def _shape(clip: Clip, rng: np.random.Generator) -> Question | None:
    found = _named(clip, rng, _steady(clip), ("color",))
    if found is None:
        return None
    forms = ["what shape is the {x}", "what is the shape of the {x}", "which shape does the {x} have"]
    return Question("shape", _ask(rng, forms, x=found[1]), clip.actors[found[0]].thing.shape, (found[0],), found[0])


def _direction(clip: Clip, rng: np.random.Generator) -> Question | None:
    movers = clip.of("move")
    if len(movers) == 1 and rng.random() < 0.2:
        found: tuple[int, str] | None = (movers[0], "object that moves")
    else:
        found = _named(clip, rng, movers, ("both", "color", "shape"))
    if found is None:
        return None
    way = str(clip.actors[found[0]].way)
    choice = "left or right" if way in ("left", "right") else "up or down"
    forms = [f"does the {{x}} move {choice}", f"does the {{x}} go {choice}", "which way does the {x} move"]
    forms += ["in which direction does the {x} move", "which way does the {x} go"]
    return Question("direction", _ask(rng, forms, x=found[1]), way, (found[0],), found[0])


_WHICH = {
    "move": [
        "which object moves",
        "what moves",
        "which shape moves",
        "what object is moving",
        "which object is moving",
    ],
    "appear": ["which object appears", "what appears", "which shape appears", "what object appears"],
    "vanish": ["which object disappears", "what disappears", "which shape disappears", "which object vanishes"],
    "turn": ["which object changes color", "what changes color", "which shape changes color", "what changes its color"],
}
_WHICH_COLOR = {
    "move": ["what color is the object that moves", "what is the color of the moving object"],
    "appear": ["what color is the object that appears", "what is the color of the object that appears"],
    "vanish": ["what color is the object that disappears", "what is the color of the object that disappears"],
}


def _which(kind: str, event: str) -> Callable[[Clip, np.random.Generator], Question | None]:
    """The only object to which it happens, or its colour."""

    def make(clip: Clip, rng: np.random.Generator) -> Question | None:
        found = clip.of(event)
        if len(found) != 1:
            return None
        if rng.random() < 0.3:
            text, answer = _ask(rng, _WHICH_COLOR[event]), clip.actors[found[0]].thing.color
        else:
            text, answer = _ask(rng, _WHICH[event]), _pair(clip, found[0])
        return Question(kind, text, answer, (found[0],), found[0])

    return make


def _turns(clip: Clip, rng: np.random.Generator) -> Question | None:
    changed = clip.of("turn")
    if len(changed) == 1 and rng.random() < 0.35:
        i = changed[0]
        if rng.random() < 0.6:
            return Question("turns", _ask(rng, _WHICH["turn"]), _pair(clip, i), (i,), i)
        found: tuple[int, str] | None = (i, "object that changes color")
    else:
        found = _named(clip, rng, changed, ("both", "shape", "shape"))
    if found is None:
        return None
    actor = clip.actors[found[0]]
    assert actor.turned is not None
    forms = ["what color does the {x} turn", "what color does the {x} become", "which color does the {x} turn"]
    forms += ["what color does the {x} change to", "what is the color of the {x} in the last frame"]
    return Question("turns", _ask(rng, forms, x=found[1]), actor.turned.color, (found[0],), found[0])


def _overtakes(clip: Clip, rng: np.random.Generator) -> Question | None:
    if clip.overtaking is None:
        return None
    fast, slow = clip.overtaking
    form = rng.random()
    if form < 0.65:
        forms = ["which object overtakes the other", "what overtakes the other", "which shape overtakes the other"]
        forms += ["which object is faster", "which object passes the other"]
        return Question("overtakes", _ask(rng, forms), _pair(clip, fast), (fast, slow), fast)
    one, other = (fast, slow) if form < 0.825 else (slow, fast)
    forms = ["does the {x} overtake the {y}", "does the {x} pass the {y}", "is the {x} faster than the {y}"]
    text = _ask(rng, forms, x=_pair(clip, one), y=_pair(clip, other))
    return Question("overtakes", text, "yes" if one == fast else "no", (one, other), one)


def _order(clip: Clip, rng: np.random.Generator) -> Question | None:
    event = str(rng.choice(["appear", "appear", "vanish"]))
    found = clip.of(event)
    if len(found) < 2:
        return None
    which, i = ("last", found[-1]) if rng.random() < 0.6 else ("first", found[0])
    word = "appear" if event == "appear" else str(rng.choice(["disappear", "disappear", "vanish"]))
    if rng.random() < 0.5:
        forms = [f"what color is the {which} object to {word}", f"what is the color of the {which} object to {word}"]
        return Question("order", _ask(rng, forms), clip.actors[i].thing.color, tuple(found), i)
    ending = "es" if word == "vanish" else "s"
    forms = [f"which object {word}{ending} {which}", f"what is the {which} object to {word}"]
    return Question("order", _ask(rng, forms), _pair(clip, i), tuple(found), i)


_ANY = {
    "move": ["does anything move", "does an object move", "is anything moving", "does something move"],
    "appear": ["does anything appear", "does an object appear", "does something appear"],
    "vanish": ["does anything disappear", "does an object disappear", "does anything vanish"],
    "turn": ["does anything change color", "does an object change color", "does anything change its color"],
}
_ONE = {
    "move": ["does the {x} move", "is the {x} moving"],
    "appear": ["does the {x} appear"],
    "vanish": ["does the {x} disappear", "does the {x} vanish"],
    "turn": ["does the {x} change color", "does the {x} change its color"],
}


def _happens(clip: Clip, rng: np.random.Generator) -> Question | None:
    """Half of the time about something that happens."""
    event = _event(clip, rng, 0.5)
    hit = clip.of(event)
    if rng.random() >= ONE_OBJECT:
        return Question("happens", _ask(rng, _ANY[event]), "yes" if hit else "no", tuple(hit))
    others = [i for i in range(len(clip.actors)) if i not in hit]
    found = _named(clip, rng, hit if hit and rng.random() < 0.75 else others, ("both", "color", "shape"))
    if found is None:
        return None
    answer = "yes" if found[0] in hit else "no"
    return Question("happens", _ask(rng, _ONE[event], x=found[1]), answer, (found[0],), found[0])


def _event(clip: Clip, rng: np.random.Generator, real: float) -> str:
    """An event, with probability `real` one that happens in the clip."""
    happening = sorted({a.event for a in clip.actors if a.event})
    return str(rng.choice(happening if happening and rng.random() < real else EVENTS))


def _count(clip: Clip, rng: np.random.Generator) -> Question | None:
    form = rng.random()
    if form < 0.25:
        where, time = [("first", 0.0), ("last", 1.0)][rng.integers(2)]
        about = tuple(i for i, a in enumerate(clip.actors) if a.shown(time))
        forms = [f"how many {{xs}} are in the {where} frame", f"how many {{xs}} are there in the {where} frame"]
    else:
        event = _event(clip, rng, 0.75)
        verb = {"move": "move", "appear": "appear", "vanish": "disappear", "turn": "change color"}[event]
        about = tuple(clip.of(event))
        forms = [
            f"how many {{xs}} {verb}",
            f"how many {{xs}} {verb} in the {{picture}}",
            f"count the {{xs}} that {verb}",
        ]
    text = _ask(rng, forms, xs=str(rng.choice(["objects", "shapes", "things"], p=[0.6, 0.3, 0.1])))
    return Question("count", text, str(len(about)), about)


def _frame(clip: Clip, rng: np.random.Generator) -> Question | None:
    where, time = [("first", 0.0), ("last", 1.0)][rng.integers(2)]
    shown = [i for i, a in enumerate(clip.actors) if a.shown(time)]
    if not shown:
        return None
    shown.sort(key=lambda i: clip.actors[i].at(time).x)
    forms = [f"what is in the {where} frame", f"what objects are in the {where} frame"]
    forms += [f"what do you see in the {where} frame", f"list the objects in the {where} frame"]
    answer = ", ".join(" ".join(clip.actors[i].at(time).pair) for i in shown)
    return Question("frame", _ask(rng, forms), answer, tuple(shown))


_MAKERS: dict[str, Callable[[Clip, np.random.Generator], Question | None]] = {
    "color": _color,
    "shape": _shape,
    "direction": _direction,
    "moves": _which("moves", "move"),
    "appears": _which("appears", "appear"),
    "disappears": _which("disappears", "vanish"),
    "turns": _turns,
    "overtakes": _overtakes,
    "order": _order,
    "happens": _happens,
    "count": _count,
    "frame": _frame,
}
