"""Influence against single runs, repairs against answers, on every kind of family, pictures and clips."""

from __future__ import annotations

import json

import pytest
import torch

import fsr.vlm
from fsr.cli.main import main
from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.vlm.answers import greedy_answer
from fsr.why import influence, regain, repair
from fsr.why.changed import with_more, without
from tests.tiny_families import QUESTION, noise, save_next, save_onevision, save_qwen

TIMES = (0.0, 1.0, 2.0, 3.0)


@pytest.fixture(scope="module")
def encodings(tiny_vlm, tmp_path_factory):
    """(model, encoding) by name."""
    root = tmp_path_factory.mktemp("why")
    frames = [noise(200, 130, seed) for seed in range(4)]
    made = {"llava": (tiny_vlm, [noise(160, 100)], None), "llava frames": (tiny_vlm, frames[:2], None)}
    for name, save in (("next", save_next), ("onevision", save_onevision), ("qwen", save_qwen)):
        vlm = fsr.vlm.load(str(save(root / name)))
        made[name] = (vlm, [noise(160, 100)], None)
        if vlm.reads_clips:
            made[f"{name} clip"] = (vlm, frames, TIMES)
    return {name: (vlm, vlm.encode(vlm.encode_media(f, t), QUESTION)) for name, (vlm, f, t) in made.items()}


NAMES = ["llava", "llava frames", "next", "onevision", "onevision clip", "qwen", "qwen clip"]


def single(vlm, encoding, selection, ids) -> float:
    return float(singles(vlm, encoding, selection, ids).sum())


def singles(vlm, encoding, selection, ids) -> torch.Tensor:
    """(A,) log-probability of each token of the answer."""
    scores = vlm.forced(encoding, selection, ids).double().log_softmax(dim=-1)
    return scores[torch.arange(len(ids)), ids].cpu()


@pytest.mark.parametrize("name", NAMES)
def test_influence_is_what_single_runs_without_each_token_give(encodings, name):
    vlm, encoding = encodings[name]
    for method in ("fsr", "visionzip" if vlm.captures else "grid"):
        selection = make(method)(encoding.tokens, 7)
        ids = greedy_answer(vlm, encoding, 6, selection=selection)
        *_, found = influence(vlm, encoding, selection, ids)
        assert [one.token for one in found.found] == selection.kept.tolist()
        base = singles(vlm, encoding, selection, ids)
        assert found.base == pytest.approx(float(base.sum()), abs=1e-4)
        for one in found.found:
            expected = base - singles(vlm, encoding, without(selection, one.token), ids)
            assert one.delta == pytest.approx(float(expected.sum()), abs=1e-4)
            assert one.by_answer_token == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("name", ["llava", "onevision clip", "qwen"])
def test_gains_are_single_runs_and_what_is_found_was_answered(encodings, name):
    vlm, encoding = encodings[name]
    selection = make("random")(encoding.tokens, 2)
    ids = greedy_answer(vlm, encoding, 4)
    *_, lost = regain(vlm, encoding, selection, ids)
    base = single(vlm, encoding, selection, ids)
    for gain in (*lost.regions[:3], *lost.tokens[:5]):
        more = with_more(selection, encoding.tokens, gain.tokens)
        assert gain.gain == pytest.approx(single(vlm, encoding, more, ids) - base, abs=1e-4)
    *_, found = repair(vlm, encoding, selection, ids, lost)
    if found.found:
        more = with_more(selection, encoding.tokens, found.tokens)
        assert greedy_answer(vlm, encoding, 4, selection=more) == ids
    if found.minimal:
        for token in found.tokens:
            rest = with_more(selection, encoding.tokens, [t for t in found.tokens if t != token])
            assert greedy_answer(vlm, encoding, 4, selection=rest) != ids
    *_, short = repair(vlm, encoding, selection, ids, lost, limit=lost.forwards)
    assert short.found or "Not found within" in short.note


def test_the_last_token_can_be_left_out_as_well(encodings):
    vlm, encoding = encodings["llava"]
    selection = make("random")(encoding.tokens, 1)
    *_, found = influence(vlm, encoding, selection, greedy_answer(vlm, encoding, 4, selection=selection))
    assert len(found.found) == 1


def test_inside_the_language_model_no_token_can_be_left_out(encodings):
    vlm, encoding = encodings["llava"]
    with pytest.raises(InvalidInput, match="FastV prunes inside the language model"):
        influence(vlm, encoding, make("fastv")(encoding.tokens, 12), [5])


def test_the_command_prints_influence_and_repair(tiny_folder, picture, tmp_path, capsys):
    picture.save(tmp_path / "p.png")
    command = ["why", str(tmp_path / "p.png"), "what?", "--model", str(tiny_folder), "--budget", "4", "--repair"]
    command += ["--max-new-tokens", "4", "--force-in", "3,7", "--force-out", "0"]
    assert main([*command, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    kept = {one["token"] for one in record["influence"]}
    assert {3, 7} <= kept
    assert 0 not in kept
    assert {"token", "row", "col", "role", "delta"} <= record["influence"][0].keys()
    assert {"tokens", "answer", "forwards"} <= record["repair"].keys()
    assert record["words"]
    for word in record["words"]:
        assert len(word["delta"]) == len(record["influence"])
    assert not record["repair"]["found"] or record["repair"]["answer"] == record["unpruned"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "log P lost" in out
    assert len(record["words"]) == 1 or record["words"][0]["text"] in out.split("log P lost")[1].splitlines()[0]
