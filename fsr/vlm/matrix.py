"""One table of the model families: what is proven for each, by which test, and who ran it on real weights.

Nothing in it is written by hand: the tests say what they prove (`make docs` writes proven.json), and
whoever has the weights sends in what `python -m fsr check MODEL --report FILE` wrote, a file each in reported/.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fsr.errors import InvalidInput
from fsr.vlm.catalogue import CATALOGUE, FAMILIES, Registered, uses

PROVEN = Path(__file__).parent / "proven.json"
REPORTED = Path(__file__).parent / "reported"
COLUMNS = {  # what can be proven -> what it means
    "pictures": "with all tokens of a picture kept, the logits of the unmodified model",
    "several": "the same for several pictures in one prompt",
    "clips": "the same for the frames of a clip",
    "ten": "the same for ten generated tokens, with all tokens and with few",
    "kept": "with few tokens, the logits of a prompt built by hand or of the whole prompt with the others masked",
    "positions": "kept tokens stand where the method says that they do",
    "saliency": "the scores are the model's own attention",
    "relevance": "the scores are the cosines to the question",
    "places": "painting a token's rectangle changes that token",
    "inside": "methods that prune inside the language model work",
    "prune": "fsr.prune gives a script's own model the same answers",
    "check": "python -m fsr check passes",
    "page": "a saved checkpoint answers and is compared through the page's service",
}
NOT_RUN, REAL = "not run", "real weights"
TEXTS = ("model", "family", "by", "date", "transformers", "torch", "device", "dtype")
FIELDS: dict[str, type] = {**dict.fromkeys(TEXTS, str), "passed": bool, "checks": list}
LONGEST = 200  # characters of a text in a report


@dataclass(frozen=True)
class Cell:
    """What holds, in a few words, and the tests that prove it, as module::name."""

    text: str
    tests: tuple[str, ...] = ()


@dataclass(frozen=True)
class FamilyRow:
    """One family. cells: one for every column, in their order. runs: of real weights, as sent in, newest first."""

    family: str
    title: str
    loads: str
    cells: dict[str, Cell]
    runs: list[dict[str, Any]]

    @property
    def real(self) -> str:
        """Whether anybody ran it on real weights: what, on what, by whom."""
        return "; ".join(_said(run) for run in self.runs) or NOT_RUN

    def to_json(self) -> dict[str, Any]:
        cells = {column: vars(cell) for column, cell in self.cells.items()}
        return {"family": self.family, "title": self.title, "loads": self.loads, "cells": cells, "real": self.real}


@cache
def matrix() -> tuple[FamilyRow, ...]:
    """A row for every family of the registry, in its order."""
    proven: dict[str, dict[str, list[str]]] = json.loads(PROVEN.read_text(encoding="utf-8"))
    runs = reports()
    return tuple(
        FamilyRow(
            name,
            title(name),
            one.loads,
            _cells(one, proven.get(name, {})),
            [run for run in runs if run["family"] == name],
        )
        for name, one in FAMILIES.items()
    )


def _cells(one: Registered, proven: dict[str, list[str]]) -> dict[str, Cell]:
    words = uses(one.tower)
    if not one.clip_frames:
        words["clips"] = "reads pictures"
    found = {}
    for column in COLUMNS:
        if tests := proven.get(column):
            found[column] = Cell(words.get(column, "yes"), tuple(tests))
        else:
            said = words.get(column, "")
            found[column] = Cell(said if said in ("none", "reads pictures") else NOT_RUN)
    return found


def _said(run: dict[str, Any]) -> str:
    verdict = "passed" if run["passed"] else "failed"
    how = f"{run['dtype']} on {run['device']}, transformers {run['transformers']}"
    return f"{run['model']} {verdict}, {how}, {run['date']}, by {run['by']}"


def title(family: str) -> str:
    """What the family is called: the words that begin the names of all its checkpoints."""
    names = [listed.title.split() for listed in CATALOGUE.values() if listed.family == family]
    shared = [words[0] for words in zip(*names, strict=False) if len(set(words)) == 1]
    return re.sub(r" [\d.]+[BM]$", "", " ".join(shared)) or family


def reports(folder: Path = REPORTED) -> list[dict[str, Any]]:
    """What was sent in, newest first. Raises InvalidInput for a file that is no report."""
    found = [checked(path.name, json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("*.json")]
    return sorted(found, key=lambda run: str(run["date"]), reverse=True)


def checked(name: str, run: Any) -> dict[str, Any]:
    """A report, as `fsr.check.report` writes it. Raises InvalidInput with what is wrong in it."""
    if not isinstance(run, dict) or set(run) != set(FIELDS):
        raise InvalidInput(f"{name} is no report of python -m fsr check: it must have {', '.join(FIELDS)}.")
    for field, kind in FIELDS.items():
        value = run[field]
        if not isinstance(value, kind) or (isinstance(value, str) and not 0 < len(value) <= LONGEST):
            raise InvalidInput(f"{name}: {field} must be a {kind.__name__} of at most {LONGEST} characters.")
    if run["family"] not in FAMILIES:
        raise InvalidInput(f"{name}: the family must be one of {', '.join(FAMILIES)}, not {run['family']!r}.")
    if not all(_is_finding(one) for one in run["checks"]):
        raise InvalidInput(f"{name}: every check has a name, a status (PASS, FAIL or SKIP), a figure and a limit.")
    if run["passed"] != all(one["status"] != "FAIL" for one in run["checks"]):
        raise InvalidInput(f"{name} says that it passed, or not, against its own checks.")
    return run


def _is_finding(one: Any) -> bool:
    if not isinstance(one, dict) or set(one) != {"name", "status", "figure", "limit"}:
        return False
    numbers = [one["figure"], one["limit"]]
    return (
        isinstance(one["name"], str)
        and len(one["name"]) <= LONGEST
        and one["status"] in ("PASS", "FAIL", "SKIP")
        and all(x is None or (isinstance(x, float | int) and math.isfinite(x)) for x in numbers)
    )
