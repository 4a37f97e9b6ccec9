"""Fidelity against the same numbers found by other means: the whole sequence at once, step by step, every budget."""

from __future__ import annotations

import json
import math
import threading

import numpy as np
import pytest
import torch

from fsr.bench.fidelity import (
    Fidelity,
    Point,
    Smallest,
    _search,
    curve,
    fidelity,
    greedy_answer,
    smallest_budget,
    summarise,
)
from fsr.bench.intervals import interval
from fsr.cli.main import main
from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.vlm.decode import cache_argument
from tests.looping import each

N = 25
METHODS = ("fsr", "random", "saliency")


@pytest.fixture(scope="module")
def encoding(tiny_vlm, picture):
    return tiny_vlm.encode(tiny_vlm.encode_media([picture]), "what is it?")


@pytest.fixture(scope="module")
def answer(tiny_vlm, encoding):
    return greedy_answer(tiny_vlm, encoding, 12)


def whole_sequence(vlm, encoding, selection, ids) -> np.ndarray:
    """(A, V) float64 log-probabilities from one pass over prompt and answer without a cache."""
    prompt = vlm.language_inputs(encoding, selection)["inputs_embeds"]
    answer = vlm.model.get_input_embeddings()(torch.tensor([ids]))
    scores = vlm.decoder.logits(torch.cat([prompt, answer], dim=1))[prompt.shape[1] - 1 : -1].double().numpy()
    scores -= scores.max(1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


@each("method", METHODS)
@each("budget", [1, 8, 20])
def test_it_is_what_the_whole_sequence_gives(tiny_vlm, encoding, answer, method, budget):
    selection = make(method)(encoding.tokens, budget)
    (found,) = fidelity(tiny_vlm, encoding, answer, [selection])
    full = whole_sequence(tiny_vlm, encoding, None, answer)
    pruned = whole_sequence(tiny_vlm, encoding, selection, answer)
    kl = (np.exp(full) * (full - pruned)).sum(1)
    said = pruned[np.arange(len(answer)), answer]
    assert found.token_kl == pytest.approx(kl, rel=1e-3, abs=1e-5)
    assert found.kl == pytest.approx(kl.mean(), rel=1e-3)
    assert kl.mean() > 1e-3, "a comparison of equals shows nothing"
    assert found.token_log_probs == pytest.approx(said, abs=1e-4)
    assert found.probability == pytest.approx(np.exp(said.sum()), rel=1e-3)
    assert found.agrees == (pruned.argmax(1) == answer).tolist()
    assert found.agreement == np.mean(found.agrees)


@each("tokens", [1, 4, 64])
def test_the_scores_of_an_answer_are_those_that_it_is_forced_with(tiny_vlm, encoding, tokens):
    scores = []
    ids = greedy_answer(tiny_vlm, encoding, tokens, scores=scores)
    assert torch.stack(scores).argmax(dim=1).tolist() == ids
    assert torch.allclose(torch.stack(scores), tiny_vlm.forced(encoding, None, ids), atol=1e-4)


@each("method", ["full", "fsr", "random", "grid"])
def test_all_tokens_kept_moves_nothing(tiny_vlm, encoding, answer, method):
    kept, full = fidelity(tiny_vlm, encoding, answer, [make(method)(encoding.tokens, N), None])
    assert 0 <= kept.kl <= 1e-6
    assert max(kept.token_kl) <= 1e-6
    assert kept.probability == pytest.approx(full.probability, rel=1e-5)
    assert kept.agrees == full.agrees == [True] * len(answer)
    assert full.kl == 0


def test_an_answer_of_one_token(tiny_vlm, encoding, answer):
    selection = make("random")(encoding.tokens, 5)
    (one,), (all_,) = (list(fidelity(tiny_vlm, encoding, ids, [selection])) for ids in (answer[:1], answer))
    assert one.token_kl == pytest.approx(all_.token_kl[:1])
    assert one.token_log_probs == pytest.approx(all_.token_log_probs[:1])


def test_the_first_disagreement_is_where_the_answers_part(tiny_vlm, encoding, answer):
    parted = 0
    for seed in range(8):
        selection = make("random", seed=seed)(encoding.tokens, 18)
        (found,) = fidelity(tiny_vlm, encoding, answer, [selection])
        *_, last = tiny_vlm.generate(encoding, selection, 12)
        same = [a == b for a, b in zip(answer, last.token_ids, strict=False)]
        first = same.index(False) if False in same else len(same)
        assert all(found.agrees[:first])
        if first < len(same):
            assert not found.agrees[first]
            parted += 1
    assert parted


def test_the_answer_holds_the_end_of_text_that_the_model_chose(word_vlm, picture):
    """The tiny models never end by themselves, so the end is declared to be what they say second."""
    encoding = word_vlm.encode(word_vlm.encode_media([picture]), "what color is the star?")
    ids = greedy_answer(word_vlm, encoding, 12)
    assert len(ids) == 12
    at = next(i for i, token in enumerate(ids) if i and token != ids[0])
    kept, word_vlm.decoder.eos = word_vlm.decoder.eos, frozenset({ids[at], *word_vlm.decoder.eos})
    try:
        assert greedy_answer(word_vlm, encoding, 12) == ids[: at + 1]
        everything = make("random")(encoding.tokens, N)
        (found,) = fidelity(word_vlm, encoding, ids[: at + 1], [everything])
        assert found.agrees == [True] * (at + 1)
        assert smallest_budget(word_vlm, encoding, make("saliency"), ids[: at + 1]).budget
    finally:
        word_vlm.decoder.eos = kept


@each("ids", [[], [-1], [10**6], [True]])
def test_an_answer_that_is_none_is_refused(tiny_vlm, encoding, ids):
    with pytest.raises(InvalidInput, match="an answer is one or more token ids"):
        list(fidelity(tiny_vlm, encoding, ids, [None]))


# ----------------------------------------------------------------------------------------------------------- curves


def test_a_curve_is_the_single_comparisons_with_the_full_side_computed_once(tiny_vlm, encoding, answer, monkeypatch):
    read = []
    forced = tiny_vlm.forced
    monkeypatch.setattr(tiny_vlm, "forced", lambda e, s, ids: read.append(s) or forced(e, s, ids))
    pruners = {"ours": make("fsr"), "random": make("random"), "full": make("full")}
    points = list(curve(tiny_vlm, encoding, pruners, [20, 5], max_new_tokens=12))
    assert [(p.method, p.budget) for p in points] == [
        ("full", N),
        ("ours", 20),
        ("random", 20),
        ("ours", 5),
        ("random", 5),
    ]
    assert sum(s is None for s in read) == 1
    assert len(read) == 5
    for p in points[1:]:
        selection = pruners[p.method](encoding.tokens, p.budget)
        assert [p.fidelity] == list(fidelity(tiny_vlm, encoding, answer, [selection]))
    assert json.loads(json.dumps(points[1].to_json()))["kl"] == pytest.approx(points[1].fidelity.kl, rel=1e-6)


def test_a_curve_can_be_stopped(tiny_vlm, encoding):
    stop = threading.Event()
    points = curve(tiny_vlm, encoding, {"random": make("random")}, range(1, N), max_new_tokens=4, stop=stop)
    first = [next(points) for _ in range(3)]
    stop.set()
    assert list(points) == []
    assert [p.budget for p in first] == [N, 1, 2]
    assert list(curve(tiny_vlm, encoding, {"random": make("random")}, [3], stop=stop)) == []


@each("budgets", [[0], [5, 26], [2.5]])
def test_budgets_are_checked_before_the_model_runs(tiny_vlm, encoding, budgets):
    with pytest.raises(InvalidInput, match="budget must be a whole number from 1 to 25"):
        curve(tiny_vlm, encoding, {"random": make("random")}, budgets)


# -------------------------------------------------------------------------------------------------- smallest budget


@each("method", METHODS)
def test_the_smallest_budget_against_every_budget(tiny_vlm, picture, method):
    for question, length in (("what is it?", 1), ("where is the dog", 2)):
        encoding = tiny_vlm.encode(tiny_vlm.encode_media([picture]), question)
        ids = greedy_answer(tiny_vlm, encoding, length)
        pruner = make(method)
        every = {}
        for k in range(1, N + 1):
            *_, last = tiny_vlm.generate(encoding, pruner(encoding.tokens, k), length)
            every[k] = last.token_ids == ids
        found = smallest_budget(tiny_vlm, encoding, pruner, ids, below=3)
        check(found, every, below=3)


def check(found: Smallest, every: dict[int, bool], below: int) -> None:
    assert found.finished
    assert found.tried == {k: every[k] for k in found.tried}
    if found.budget is None:
        assert not any(found.tried.values())
        assert not every[len(every)]
        return
    assert every[found.budget]
    assert not any(every[k] for k in range(max(1, found.budget - below), found.budget))


@each("below", [1, 3])
def test_the_search_keeps_its_word_on_any_pattern(below):
    rng = np.random.default_rng(0)
    lowest = 0
    for _ in range(300):
        n = int(rng.integers(1, 60))
        every = {k: bool(rng.random() < k / n) for k in range(1, n + 1)}
        tried: dict[int, bool] = {}
        found = Smallest(_search(lambda k, t=tried, e=every: t.setdefault(k, e[k]), tried, 1, n, below), tried)
        check(found, every, below)
        lowest += found.budget == min((k for k in every if every[k]), default=None)
    assert 30 < lowest < 300, "the patterns must hold some that mislead a search"


@each("n", [1, 2, 25, 576])
def test_a_monotone_answer_is_found_exactly_and_in_few_runs(n):
    for smallest in range(1, n + 1):
        tried: dict[int, bool] = {}
        assert _search(lambda k, t=tried, s=smallest: t.setdefault(k, k >= s), tried, 1, n, 1) == smallest
        assert len(tried) <= 2 * math.ceil(math.log2(n)) + 2 if n > 1 else 1
    assert _search(lambda k: False, {}, 1, n, 1) is None


def test_the_search_can_be_stopped_and_reports_its_runs(tiny_vlm, encoding, answer):
    stop, seen = threading.Event(), []

    def progress(budget: int, same: bool) -> None:
        seen.append((budget, same))
        if len(seen) == 2:
            stop.set()

    found = smallest_budget(tiny_vlm, encoding, make("random"), answer, stop=stop, progress=progress)
    assert not found.finished
    assert found.runs == 2
    assert seen == list(found.tried.items())
    assert found.budget is None


def test_a_method_without_a_budget_has_no_smallest(tiny_vlm, encoding, answer):
    with pytest.raises(InvalidInput, match="decides itself how many"):
        smallest_budget(tiny_vlm, encoding, make("full"), answer)


# ----------------------------------------------------------------------------------------------------- methods inside


@each("method", ["fastv", "sparsevlm", "pyramiddrop", "dart"])
def test_inside_the_language_model_it_prunes_as_when_it_answers(tiny_vlm, encoding, answer, method):
    """One pass over the answer gives what decoding gives, step by step, on the cache that the prompt left."""
    from transformers import DynamicCache

    pruner = make(method)
    (found,) = fidelity(tiny_vlm, encoding, answer, [pruner(encoding.tokens, 14)])
    pruning = tiny_vlm._pruning(encoding, pruner(encoding.tokens, 14), len(answer))
    cache, inputs = DynamicCache(config=tiny_vlm.model.config), tiny_vlm.language_inputs(encoding, None)
    said = []
    for token in answer:
        with torch.no_grad(), pruning.hooks():
            held = {cache_argument(tiny_vlm.model): cache}
            scores = tiny_vlm.model(**held, use_cache=True, **inputs).logits[0, -1].double()
        said.append(float(scores.log_softmax(0)[token]))
        inputs = {"input_ids": torch.tensor([[token]])}
    assert found.token_log_probs == pytest.approx(said, abs=1e-4)
    assert found.kl > 1e-4
    (all_,) = fidelity(tiny_vlm, encoding, answer, [pruner(encoding.tokens, N)])
    assert all_.kl <= 1e-6


def test_budgets_too_small_for_a_method_inside_are_left_out(tiny_vlm, encoding, answer):
    pruners = {"fastv": make("fastv"), "pool2x2": make("pool2x2")}
    points = list(curve(tiny_vlm, encoding, pruners, [2, 14, 20], answer))
    assert [(p.method, p.budget) for p in points] == [
        ("full", N),
        ("pool2x2", None),
        ("fastv", 14),
        ("fastv", 20),
    ]
    assert all(abs(p.visual_tokens - p.budget) < 1 for p in points if p.budget)
    assert points[1].visual_tokens == len(make("pool2x2")(encoding.tokens, 1).sent)
    found = smallest_budget(tiny_vlm, encoding, make("fastv"), answer[:1])
    assert found.budget is None or found.budget >= 9  # the first of three layers reads all 25
    assert min(found.tried) >= 9


# ---------------------------------------------------------------------------------------------------------- summary


def point(method: str, budget: int | None, tokens: int, kl: float) -> Point:
    return Point(method, budget, tokens, Fidelity([kl, 3 * kl], [-kl, -kl], [True, kl < 1]))


def test_a_summary_has_means_intervals_and_counts():
    rng = np.random.default_rng(1)
    values = rng.random(40) * 2
    questions = [[point("fsr", 8, 8, x), point("own", None, 5 + i % 2, 1.0)] for i, x in enumerate(values)]
    found = summarise(questions)
    assert set(found) == {"fsr", "own"}
    assert list(found["own"]) == ["6"]  # 5.5 on average
    row = found["fsr"]["8"]
    mean, low, high = row["kl"]
    assert row["questions"] == 40
    assert mean == pytest.approx(2 * values.mean(), rel=1e-6)
    assert low < mean < high
    assert row["probability"][0] == pytest.approx(np.exp(-2 * values).mean(), rel=1e-6)
    assert row["agreement"][0] == pytest.approx(np.mean([1.0 if x < 1 else 0.5 for x in values]), rel=1e-6)
    assert found["own"]["6"]["kl"] == [2.0, 2.0, 2.0]


def test_an_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(100):
        low, high = interval(rng.exponential(size=150), seed)
        inside += low <= 1.0 <= high
    assert 86 <= inside <= 100


# ----------------------------------------------------------------------------------------------------- command line


@pytest.fixture(scope="module")
def picture_file(picture, tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "noise.png"
    picture.save(path)
    return str(path)


def test_the_command_prints_its_points_and_draws_them(picture_file, tiny_folder, tmp_path, capsys):
    figure = tmp_path / "curves.pdf"
    command = ["fidelity", picture_file, "what is it?", "--model", str(tiny_folder), "--max-new-tokens", "4"]
    command += ["--methods", "fsr,random", "--budgets", "12,6"]
    assert main([*command, "--json", "-", "--figure", str(figure)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [(p["method"], p["budget"]) for p in record["points"]] == [
        ("full", N),
        ("fsr", 12),
        ("random", 12),
        ("fsr", 6),
        ("random", 6),
    ]
    assert len(record["answer"]["ids"]) == 4
    assert all(p["kl"] > 0 for p in record["points"][1:])
    assert figure.read_bytes().startswith(b"%PDF")
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "the unpruned answer: " in out
    assert out.count("of 4") == 5


@each(
    ("arguments", "sentence"),
    [
        (["--methods", "magic"], "no method 'magic'"),
        (["--budgets", "many"], "whole numbers with commas"),
        (["--budgets", "26"], "from 1 to 25"),
        (["--figure", "curves.jpg"], "one of png, svg, pdf"),
        (["--figure", "curves"], "one of png, svg, pdf"),
    ],
)
def test_the_command_refuses_nonsense_in_one_sentence(picture_file, tiny_folder, capsys, arguments, sentence):
    assert main(["fidelity", picture_file, "what?", "--model", str(tiny_folder), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert sentence in captured.err
