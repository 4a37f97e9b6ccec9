"""The rule by which scenes are taken for the gallery: wins and losses alike, from validation, drawn as they were."""

from __future__ import annotations

import json

import numpy as np

from fsr.bench.accuracy import cases
from fsr.bench.telling import PEERS, first_of, kinds_of, row_of
from fsr.shapes.gallery import picture_of


def test_a_win_and_a_loss_are_what_the_rule_says():
    right = {name: np.zeros(6, bool) for name in ("full", "fsr", *PEERS)}
    right["full"][:5] = True
    right["fsr"][[0, 1, 5]] = True
    right["random"][[1, 2, 3]] = right["cdpruner"][[1, 2]] = right["holov"][1] = True
    found = kinds_of(right, most=2)
    assert np.flatnonzero(found["win"]).tolist() == [0], "in 1 three peers are right as well, 5 the model cannot answer"
    assert np.flatnonzero(found["loss"]).tolist() == [2], "in 3 one peer alone is right, in 4 none"


def test_the_first_scenes_are_taken_each_of_another_type():
    chosen = np.array([False, True, True, True, True])
    assert first_of(chosen, ["a", "b", "b", "a", "c"], 2) == [1, 3]


def test_a_row_is_drawn_as_the_validation_scene_was():
    for i, case in enumerate(cases("validation", 0, 4)):
        row = json.loads(json.dumps(row_of(case, "win", 0, i, 32)))
        assert np.array_equal(np.asarray(picture_of(row)), np.asarray(case.picture))
        assert row["taken"] == {"stream": "validation", "seed": 0, "place": i, "kind": "win", "budget": 32}
