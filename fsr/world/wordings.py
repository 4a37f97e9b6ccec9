"""How questions are worded. `[a|b]`: one of the alternatives; `{x}` is filled in; "isn't" is read as "is not".

Of every type some wordings are HELD_OUT: they appear in tests only. Each word of theirs stands in others too.

x, y: a name with its colour or without; a_x: with an article; xs: the plural; k, ks: a kind of things; d: a direction.
"""

from __future__ import annotations

import re

import numpy as np

PICTURE = "[picture|image|scene]"
_IN = f"in the {PICTURE}"
_HAS = "[show|contain|have]"

WORDINGS: dict[str, tuple[str, ...]] = {
    "color": (
        "[what|which] color is the {x}",
        "what is the color of the {x}",
        "[what|which] color does the {x} have",
        "the {x} is [what|which] color",
        "tell me the color of the {x}",
        f"what is the color of the {{x}} {_IN}",
        "name the color of the {x}",
        "what color do you see on the {x}",
        "[say|give me] which color the {x} [is|has]",
    ),
    "shape": (
        "[what|which] shape is the {x}",
        "what is the shape of the {x}",
        "[what|which] shape does the {x} have",
        "what is the {x}",
        "what kind of shape is the {x}",
        "tell me the shape of the {x}",
        "the {x} is [what|which] shape",
        "[say|give me] which shape the {x} [is|has]",
    ),
    "what": (
        "what is [in|at] the {place}",
        f"what is [in|at] the {{place}} of the {PICTURE}",
        f"which object is [in|at] the {{place}} of the {PICTURE}",
        "what do you see [in|at] the {place}",
        "what can you see [in|at] the {place}",
        "name the object [in|at] the {place}",
    ),
    "which": (
        "[which|what] {k} is there",
        f"[which|what] {{k}} is {_IN}",
        "[which|what] {k} do you see",
        f"[which|what] {{k}} does the {PICTURE} {_HAS}",
        "what kind of {k} is there",
        "name the {k}",
        "what is the {k}",
    ),
    "kind": ("what kind of thing is the {x}", "what kind of object is the {x}", "what is {a_x}"),
    "exists": (
        f"is there {{a_x}}[| {_IN}]",
        f"does the {PICTURE} {_HAS} {{a_x}}",
        "can you [see|find] {a_x}",
        "is {a_x} [present|visible]",
        f"do you [see|find] {{a_x}}[| {_IN}]",
        f"are there [|any ]{{xs}}[| {_IN}]",
        f"does the {PICTURE} {_HAS} any {{xs}}",
        "is {a_x} there",
        "is {a_x} to be seen",
        "tell me if there is {a_x}",
        f"{{a_x}} is {_IN} , [yes or no|right]",
    ),
    "both": (
        "is there {a_x} and {a_y}",
        f"are there [both |]{{a_x}} and {{a_y}}[| {_IN}]",
        f"does the {PICTURE} {_HAS} both {{a_x}} and {{a_y}}",
    ),
    "either": (
        f"is there {{a_x}} or {{a_y}}[| {_IN}]",
        "is there either {a_x} or {a_y}",
        f"does the {PICTURE} {_HAS} {{a_x}} or {{a_y}}",
        "do you see {a_x} or {a_y}",
    ),
    # yes where there is one: a question with "not" before the noun expects what the plain one does
    "not": (
        f"is there not {{a_x}}[| {_IN}]",
        "is not there {a_x}",
        "are there not any {xs}",
        "are not there any {xs}",
        "[do|can] you not see {a_x}",
        "[do|can] not you see {a_x}",
        f"does the {PICTURE} not {_HAS} {{a_x}}",
        f"does not the {PICTURE} {_HAS} {{a_x}}",
    ),
    # yes where there is none
    "none": (
        f"is there no {{x}}[| {_IN}]",
        f"are there no {{xs}}[| {_IN}]",
        "is no {x} [present|visible]",
        f"is no {{x}} {_IN}",
        "do you see no {xs}",
        f"does the {PICTURE} {_HAS} no {{x}}",
        f"is the {PICTURE} without {{a_x}}",
        f"is the {PICTURE} without [|any ]{{xs}}",
        "are none of the objects {xs}",
        "is none of the objects {a_x}",
        "there is no {x} , right",
        f"is not a single {{x}} {_IN}",
        "is it true that there is no {x}",
    ),
    "neither": (
        f"is there neither {{a_x}} nor {{a_y}}[| {_IN}]",
        f"does the {PICTURE} {_HAS} neither {{a_x}} nor {{a_y}}",
        "are there neither {xs} nor {ys}",
        "do you see neither {a_x} nor {a_y}",
        "is the picture without {a_x} and without {a_y}",
    ),
    "but": (
        "is there {a_x} but no {y}",
        f"does the {PICTURE} {_HAS} {{a_x}} but no {{y}}",
        "is there {a_x} without {a_y}",
    ),
    "others": (
        "how many {ks} are not {xs}",
        "how many of the {ks} are not {xs}",
        "how many {ks} are there that are not {xs}",
        "count the {ks} that are not {xs}",
        "without the {xs} , how many {ks} are there",
    ),
    "other": (
        "which {k} is not {a_x}",
        "what is the {k} that is not {a_x}",
        "name the {k} that is not {a_x}",
        "which {k} do you see that is not {a_x}",
    ),
    "count": (
        f"how many {{xs}} [are there|are {_IN}]",
        "how many {xs} [can|do] you [see|find]",
        f"how many {{xs}} does the {PICTURE} {_HAS}",
        "count the {xs}",
        f"count the {{xs}} {_IN}",
        "what is the number of {xs}",
        "how many {xs}",
        "tell me how many {xs} there are",
        "give me the number of {xs}",
        "how many {xs} are [visible|present]",
    ),
    "digit": (
        "[what|which] [digit|number] is on the {x}",
        "what [digit|number] is written on the {x}",
        "what is the [digit|number] on the {x}",
        "[what|which] [digit|number] does the {x} have",
        "read the [digit|number] on the {x}",
        "tell me the [digit|number] on the {x}",
        "[what|which] [digit|number] do you see on the {x}",
    ),
    "where": (
        "where is the {x}",
        f"where in the {PICTURE} is the {{x}}",
        f"in [which|what] part of the {PICTURE} is the {{x}}",
        "what is the position of the {x}",
        "where [can|do] you [see|find] the {x}",
        "tell me where the {x} is",
        "give me the position of the {x}",
    ),
    "relation": (
        "what is {d} the {x}",
        "[which|what] object is {d} the {x}",
        "what do you see {d} the {x}",
        "what can you see {d} the {x}",
        "name the object {d} the {x}",
        "tell me what is {d} the {x}",
        "{d} the {x} , what is there",
    ),
    "beside": ("is the {x} {d} the {y}", "tell me if the {x} is {d} the {y}", "do you see the {x} {d} the {y}"),
    "bigger": (
        "which is {size} , the {x} or the {y}",
        "what is {size} , the {x} or the {y}",
        "which object is {size} , the {x} or the {y}",
        "is the {x} or the {y} {size}",
        "tell me which is {size} , the {x} or the {y}",
    ),
    "than": ("is the {x} {size} than the {y}", "tell me if the {x} is {size} than the {y}"),
    "biggest": (
        "[what|which object] is the {most}",
        "what is the {most} object",
        "name the {most} object",
        f"which object is the {{most}} {_IN}",
        "tell me the {most} object",
    ),
    "list": (
        "what {ks} are there",
        f"what {{ks}} are {_IN}",
        "which {ks} [can|do] you see",
        "list the {ks}",
        "name the {ks}",
        f"what {{ks}} does the {PICTURE} {_HAS}",
        "tell me which {ks} there are",
        "list all {ks}",
    ),
    "everything": (
        f"what is {_IN}",
        "what do you see",
        "what can you see",
        f"describe the {PICTURE}",
        f"what does the {PICTURE} {_HAS}",
        "what is there",
        "list what you see",
        "tell me what you see",
    ),
}
HELD_OUT: dict[str, tuple[str, ...]] = {
    "color": ("give me the color of the {x}", f"the {{x}} {_IN} has which color", "say what color the {x} is"),
    "shape": ("name the shape of the {x}", "what shape do you see on the {x}", "give me the shape of the {x}"),
    "what": (f"tell me what is [in|at] the {{place}} of the {PICTURE}", "[in|at] the {place} , what do you see"),
    "which": ("tell me which {k} you see", f"name the {{k}} {_IN}", f"which {{k}} can you find {_IN}"),
    "kind": ("name the kind of thing that the {x} is", "tell me what kind of object the {x} is"),
    "exists": (f"tell me if the {PICTURE} has {{a_x}}", f"can {{a_x}} be seen {_IN}", "are any {xs} [visible|there]"),
    "both": ("do you see both {a_x} and {a_y}", f"can you see {{a_x}} and {{a_y}} {_IN}"),
    "either": (f"can you find {{a_x}} or {{a_y}} {_IN}", "is {a_x} or {a_y} [there|visible]"),
    "not": (f"can you not find any {{xs}} {_IN}", f"are there not [|any ]{{xs}} {_IN}", "is {a_x} not there"),
    "none": (f"can you see no {{x}} {_IN}", "is it true that you see no {xs}", f"are no {{xs}} [visible|{_IN}]"),
    "neither": (f"can you see neither {{xs}} nor {{ys}} {_IN}", "is neither {a_x} nor {a_y} there"),
    "but": ("do you see {a_x} but no {y}", "are there {xs} but no {ys}"),
    "others": ("give me the number of {ks} that are not {xs}", "how many {ks} do you see that are not {xs}"),
    "other": ("tell me which {k} is not {a_x}", f"what {{k}} {_IN} is not {{a_x}}"),
    "count": (f"what is the number of {{xs}} {_IN}", f"how many {{xs}} can be seen {_IN}", "say how many {xs} you see"),
    "digit": (
        "give me the [digit|number] on the {x}",
        "the {x} has which [digit|number]",
        "name the number on the {x}",
    ),
    "where": (f"tell me in which part of the {PICTURE} the {{x}} is", "say where you see the {x}"),
    "relation": ("{d} the {x} , what do you see", "say what is {d} the {x}", "can you tell me what is {d} the {x}"),
    "beside": ("can you see the {x} {d} the {y}", "is it true that the {x} is {d} the {y}"),
    "bigger": ("of the {x} and the {y} , which is {size}", "the {x} or the {y} : which is {size}"),
    "than": ("is it true that the {x} is {size} than the {y}", "do you see that the {x} is {size} than the {y}"),
    "biggest": ("give me the {most} object", f"which is the {{most}} object {_IN}"),
    "list": (f"tell me all {{ks}} {_IN}", "say which {ks} you see"),
    "everything": (f"tell me what is {_IN}", f"list all that you see {_IN}"),
}
assert WORDINGS.keys() == HELD_OUT.keys()
OPENINGS = (
    "please",
    "please ,",
    "tell me ,",
    "can you tell me ,",
    "say ,",
    "question :",
    "now ,",
    "so ,",
    "hello ,",
    "look at the picture :",
    "look :",
)
_OPENED = 0.12  # of the questions
_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")


def worded(rng: np.random.Generator, form: str, held_out: bool, **words: str) -> str:
    """A question of a form with its words put in; the first wordings are the plainest and come more often."""
    if held_out:
        text = str(rng.choice(HELD_OUT[form]))
    else:
        of = WORDINGS[form]
        weights = np.array([2.0 if i == 0 else 1.0 for i in range(len(of))])
        text = of[rng.choice(len(of), p=weights / weights.sum())]
    while "[" in text:
        text = _ALTERNATIVES.sub(lambda found: _one(rng, found[1]), text)
    text = text.format(**words)
    if rng.random() < _OPENED:
        text = f"{rng.choice(OPENINGS)} {text}"
    return " ".join(text.split())


def _one(rng: np.random.Generator, alternatives: str) -> str:
    found = alternatives.split("|")
    return found[rng.integers(len(found))]


def template_words(of: dict[str, tuple[str, ...]]) -> set[str]:
    """Every word and mark of the wordings, without those that are filled in."""
    text = " ".join(" ".join(group) for group in of.values())
    return set(re.sub(r"\{\w+\}|[\[\]|]", " ", text).split())
