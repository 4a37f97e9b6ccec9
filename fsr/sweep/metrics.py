"""Whether an answer is right, by the metrics that the field's benchmarks name. Each gives a score from 0 to 1.

exact: the same words, case, articles and punctuation aside. vqa: VQA accuracy (Antol et al., ICCV 2015): the share of
leave-one-out sets of the people's answers in which at least three of them said it, min(count / 3, 1) each. anls:
average normalised Levenshtein similarity (Biten et al., ICCV 2019), 0 where it is below a half. choice: the letter of a
multiple-choice question. yesno: the first word, yes or no. list: as exact, parts between commas in any order.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence

from fsr.errors import InvalidInput

ARTICLES = frozenset({"a", "an", "the"})
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {word: str(i) for i, word in enumerate(WORDS)}
PUNCTUATION = str.maketrans({mark: " " for mark in string.punctuation if mark not in "'"})
LEAST = 0.5  # of ANLS


def normalised(text: str) -> str:
    """Lower case, digits for numbers up to ten, neither articles nor punctuation (but commas and points in numbers)."""
    text = re.sub(r"(?<=\d),(?=\d)", "", text.lower().strip())
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", " ", text)
    words = text.translate({code: mark for code, mark in PUNCTUATION.items() if code != ord(".")}).split()
    return " ".join(NUMBERS.get(word, word) for word in words if word not in ARTICLES)


def exact(answer: str, known: Sequence[str]) -> float:
    said = normalised(answer)
    return float(any(said == normalised(one) for one in known))


def vqa(answer: str, known: Sequence[str]) -> float:
    said, people = normalised(answer), [normalised(one) for one in known]
    if len(people) == 1:
        return float(said == people[0])
    left = [sum(said == other for j, other in enumerate(people) if j != i) for i in range(len(people))]
    return sum(min(count / 3, 1.0) for count in left) / len(left)


def listed(answer: str, known: Sequence[str]) -> float:
    said = _parts(answer)
    return float(any(said == _parts(one) for one in known))


def anls(answer: str, known: Sequence[str]) -> float:
    said = " ".join(answer.lower().split())
    best = max(_similarity(said, " ".join(one.lower().split())) for one in known)
    return best if best >= LEAST else 0.0


def choice(answer: str, known: Sequence[str]) -> float:
    letter = _letter(answer)
    return float(letter is not None and any(letter == _letter(one) for one in known))


def yesno(answer: str, known: Sequence[str]) -> float:
    said = _first(answer)
    return float(said in ("yes", "no") and any(said == _first(one) for one in known))


METRICS: dict[str, Callable[[str, Sequence[str]], float]] = {
    "exact": exact,
    "vqa": vqa,
    "anls": anls,
    "choice": choice,
    "yesno": yesno,
    "list": listed,
}


def metric(name: str) -> Callable[[str, Sequence[str]], float]:
    """The metric of that name, for an answer and at least one known one. Raises InvalidInput for another name."""
    if name not in METRICS:
        raise InvalidInput(f"there is no metric {name!r}; choose one of {', '.join(METRICS)}.")
    return METRICS[name]


def _parts(text: str) -> list[str]:
    return sorted(normalised(part) for part in text.split(","))


def _first(text: str) -> str:
    return next(iter(normalised(text).split()), "")


def _letter(text: str) -> str | None:
    """A of "A", "(a)", "A. the car" or "The answer is A"."""
    at_once = re.match(r"\s*\(?([A-Za-z])(?:[).:,\s]|$)", text)
    if at_once:
        return at_once[1].upper()
    alone = re.findall(r"\b([A-Z])\b", text)
    return alone[-1] if alone else None


def _similarity(a: str, b: str) -> float:
    longest = max(len(a), len(b))
    return 1.0 if not longest else 1 - _distance(a, b) / longest


def _distance(a: str, b: str) -> int:
    """Levenshtein's: insertions, deletions and replacements."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]
