"""Scenes on which methods differ, for the gallery: taken by a rule from validation scenes, wins and losses alike.

The rule. Scenes are those of `cases("validation", seed, count)` in their order; no test scene is ever drawn. Of the
questions that the unpruned model answers rightly, at one budget (an eighteenth of the tokens, 32 of 576):

- a win: FSR is right, and at least `most` of its four peers are wrong;
- a loss: FSR is wrong, and at least `most` of them are right.

The peers are the methods that the page compares with first. Of each kind the first `each` scenes are taken, every one
with a type of question of its own. Nobody looks at the pictures in between.

`python -m fsr.bench.telling` prints the rows for assets/examples/index.json, and how many there were to take from.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fsr.bench.accuracy import Case, cases, run
from fsr.shapes.scenes import Thing
from fsr.vlm import load

PEERS = ("random", "cdpruner", "vispruner", "holov")


def kinds_of(right: Mapping[str, np.ndarray], most: int) -> dict[str, np.ndarray]:
    """Which questions are wins and which are losses of FSR. right: by method, (questions,) bool each, with "full"."""
    peers = sum(right[name].astype(int) for name in PEERS)
    known, ours = right["full"], right["fsr"]
    return {"win": known & ours & (peers <= len(PEERS) - most), "loss": known & ~ours & (peers >= most)}


def first_of(chosen: np.ndarray, types: Sequence[str], each: int) -> list[int]:
    """The first `each` places, no two of the same type."""
    taken: dict[str, int] = {}
    for i in np.flatnonzero(chosen).tolist():
        taken.setdefault(types[i], i)
    return sorted(taken.values())[:each]


def row_of(case: Case, kind: str, seed: int, place: int, budget: int) -> dict[str, Any]:
    """A row of an index of examples, which `fsr.shapes.gallery` draws as the case was drawn, to the last pixel."""
    rule = {"stream": "validation", "seed": seed, "place": place, "kind": kind, "budget": budget}
    things = [_described(thing) for thing in case.scene.things]
    row = {"id": f"{kind}-{case.question.type}", "title": case.question.type.capitalize()}
    return row | {
        "question": case.question.text,
        "background": case.scene.background,
        "things": things,
        "taken": rule,
    }


def _described(thing: Thing) -> dict[str, Any]:
    size = {"width": thing.width, "height": thing.height}
    place = {"shape": thing.shape, "color": thing.color, "x": thing.x, "y": thing.y}
    return place | size | {"rgb": list(thing.rgb)} | ({} if thing.digit is None else {"digit": thing.digit})


def main() -> None:
    """Print rows and counts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=32)
    parser.add_argument("--most", type=int, default=2, help="of the four peers")
    parser.add_argument("--each", type=int, default=2)
    args = parser.parse_args()
    todo = list(cases("validation", args.seed, args.questions))
    measured = run(load("shapes"), todo, ["full", "fsr", *PEERS], [args.budget])
    right = {name: row for (name, _), row in measured.right.items() if name in ("full", "fsr", *PEERS)}
    found, types = kinds_of(right, args.most), [case.question.type for case in todo]
    rows = [
        row_of(todo[i], kind, args.seed, i, args.budget)
        for kind, chosen in found.items()
        for i in first_of(chosen, types, args.each)
    ]
    counts = {kind: int(chosen.sum()) for kind, chosen in found.items()} | {"questions": len(todo)}
    counts["answered rightly by the unpruned model"] = int(right["full"].sum())
    print(json.dumps({"counts": counts, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
