"""What people type -> the words that the model reads: short forms of "not", synonyms, British, one wrong letter.

All of it is a list of replacements, so that it can be part of a standard tokenizer file. What is no known word and not
within one letter of exactly one stays as it is: an unknown word.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from functools import cache

import numpy as np

from fsr.shapes.scenes import COLORS
from fsr.shapes.vocabulary import words as former_words
from fsr.world.names import ICONS, NAMES, SYNONYMS, plural
from fsr.world.wordings import WORDINGS, template_words

TYPED_WRONG_FROM = 5  # letters of a word; in a shorter one a wrong letter makes another word too often
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_VERBS = ("is", "are", "do", "does", "can", "could", "has", "have", "was", "were")
_BRITISH = {"colour": "color", "colours": "colors", "coloured": "colored", "centre": "center", "grape": "grapes"}
# Ordinary words within a letter of a known one: no typing errors.
_ORDINARY = """
horse horses mouse hose hoses towel power lower tow track trick trunk block slack slick write while whine whole
greed greet breed break bead tread dread skill scull cattle parrot beard board apply ample stairs stares starts
scars stats tests texts tenths canes capes cases caves care cares cars robes roles ropes noses poses cribs loons
fogs cover cloves clever closer align brow blown crown crows crops cress gross squire squad pants plans plates plan
pant planet place pools fools floods faces facts fades share shame shade sharp shapely think thinks thins colon
colors abject subject dame deal crash crabby clone close could clouds loud bread breads lamb tomb cake bird birds
seal sail sails snails tighter tiger house hours fence fries fried friend cherry sherry cheery berry merry kit kite
carrots cookies booked rocked racket rackets pocket locket hummer hamper robots pandas manila grape gripes parents
pencils pencil stencil pear pears bears hears years peas train trains brain basket biscuits wince wench trench winch
hospitals mushroom church march lion scissor temple template sample simple tempt tents tent sent moon noon moons
soon cloud flower flowers tower towers shower there three these where here what whale wheel whales clown clowns cow
cows owl fox foxes wolf goat goats sheep duck ducks chicken bridge king queen book books heart hearts arrow arrows
line lines point points oval ovals cube cubes
"""
ORDINARY = frozenset(_ORDINARY.split())


def _near(word: str) -> set[str]:
    """Every string one letter from a word and with its first: one left out, added, another, or two swapped."""
    found = set()
    for i in range(1, len(word)):
        found.add(word[:i] + word[i + 1 :])
        found |= {word[:i] + c + word[i + 1 :] for c in _LETTERS}
        found |= {word[:i] + c + word[i:] for c in _LETTERS}
        if i + 1 < len(word):
            found.add(word[:i] + word[i + 1] + word[i] + word[i + 2 :])
    found |= {word + c for c in _LETTERS}
    return found - {word}


def content_words() -> list[str]:
    """Words whose typing errors are read."""
    names = [*NAMES, *ICONS, "object", "thing"]
    return [*dict.fromkeys([*names, *map(plural, names), *COLORS, "color", "picture", "image", "scene", "biggest"])]


@cache
def typing_errors() -> dict[str, frozenset[str]]:
    """Known word -> the strings that are read as it."""
    words = content_words()
    others = {*former_words(clips=True), *template_words(WORDINGS)}
    taken = {*words, *others, *SYNONYMS, *map(plural, SYNONYMS), *_BRITISH, *ORDINARY}
    owners = defaultdict(set)
    for word in words:
        if len(word) >= TYPED_WRONG_FROM:
            for wrong in _near(word) - taken:
                owners[wrong].add(word)
    found = defaultdict(set)
    for wrong, of in owners.items():
        if len(of) == 1:
            found[next(iter(of))].add(wrong)
    return {word: frozenset(wrong) for word, wrong in found.items()}


def _pattern(word: str, wrong: Collection[str]) -> str:
    """A regular expression for the strings one letter from a word, without those that belong to another."""
    rest = "[a-z]"
    parts = []
    for i in range(1, len(word)):
        head, tail = word[:i], word[i + 1 :]
        parts += [f"{head}{rest}?{tail}", f"{head}{rest}{word[i:]}"]
        if i + 1 < len(word):
            parts.append(f"{head}{word[i + 1]}{word[i]}{word[i + 2 :]}")
    parts.append(word + rest)
    others = sorted(_near(word) - set(wrong))
    barred = f"(?!(?:{'|'.join([word, *others])})\\b)"
    return rf"\b{barred}(?:{'|'.join(dict.fromkeys(parts))})\b"


@cache
def replacements() -> tuple[tuple[str, str], ...]:
    """(regular expression, what stands in its place), in order, for lower-case text."""
    out = [("[\u2019\u0060\u00b4]", "'"), (r"\bcan(?:not|t|'t)\b", "can not")]
    out += [(rf"\b{v}n'?t\b", f"{v} not") for v in _VERBS if v != "can"]
    by_target = defaultdict(list)
    for word, target in (_BRITISH | SYNONYMS).items():
        by_target[target].append(word)
        if word not in _BRITISH and target in NAMES:
            by_target[plural(target)].append(plural(word))
    out += [(rf"\b(?:{'|'.join(sorted(set(words) - {target}))})\b", target) for target, words in by_target.items()]
    out += [(_pattern(word, wrong), word) for word, wrong in typing_errors().items()]
    return tuple(out)


def read(text: str) -> str:
    """The same text as the tokenizer reads it."""
    text = text.lower()
    for pattern, target in replacements():
        text = re.sub(pattern, target, text)
    return text


def disguised(text: str, rng: np.random.Generator) -> str:
    """The same question as somebody else would type it: `read` gives the same words back."""
    if rng.random() < 0.7:
        text = re.sub(rf"\b({'|'.join(_VERBS)}) not\b", lambda m: "can't" if m[1] == "can" else m[1] + "n't", text)
    words = text.split(" ")
    by_target = defaultdict(list)
    for word, target in SYNONYMS.items():
        by_target[target].append(word)
    at = int(rng.integers(len(words)))
    bare = words[at].strip("?,:")
    form = rng.random()
    if form < 0.4 and bare in by_target:
        words[at] = words[at].replace(bare, str(rng.choice(by_target[bare])))
    elif form < 0.8 and bare in typing_errors():
        words[at] = words[at].replace(bare, str(rng.choice(sorted(typing_errors()[bare]))))
    text = " ".join(words)
    if rng.random() < 0.3:
        text = text.replace("color", "colour")
    return text[0].upper() + text[1:] if rng.random() < 0.6 else text
