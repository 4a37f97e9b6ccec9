"""The one function that measures: what it repeats, when it stops, and what it says of overlapping times."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from fsr.bench import recording
from fsr.bench.measure import FULL, Allowance, Measurement, differ, measure, quartiles, with_spread
from fsr.errors import FsrError, InvalidInput
from fsr.pruners import REGISTRY, make
from fsr.vlm.cost import Cost

PLENTY = Allowance(seconds=600, least=3, most=4)


@pytest.fixture(scope="module")
def encoding(tiny_vlm, picture):
    needs = frozenset().union(*(kind.requires for kind in REGISTRY.values()))
    return tiny_vlm.encode(tiny_vlm.encode_media([picture], needs=needs), "what is it?", needs)


def a_cost(prefill: float = 10.0, spread: tuple[float, float] | None = (9.5, 10.5), tokens: int = 25) -> Cost:
    times = {"prefill_ms": prefill, "first_token_ms": prefill, "decode_ms_per_token": None}
    ends = None if spread is None else {"prefill_ms": spread, "first_token_ms": spread}
    return Cost(tokens, 5.0, 0.0, **times, new_tokens=1, kv_bytes=1, peak_bytes=None, flops_estimated=1, spread=ends)


def test_answers_and_repeats_of_every_side(tiny_vlm, encoding, picture):
    budgets = {"fsr": 6, "cdpruner": 6, "pyramiddrop": 13}
    sides = {f"{name}@{budget}": (make(name), budget) for name, budget in budgets.items()}
    measured = measure(tiny_vlm, encoding, sides, 4, PLENTY, encode=lambda: tiny_vlm.encode_ms([picture]))
    costs = measured.costs()
    assert list(costs) == [FULL, *sides]
    for key, cost in costs.items():
        plain = list(tiny_vlm.generate(encoding, measured.sides[key].selection, 4))[-1]
        assert measured.sides[key].last.token_ids == plain.token_ids, "what is measured is the answer itself"
        assert cost.repeats == PLENTY.most
        for name, (low, high) in cost.spread.items():
            assert 0 <= low <= getattr(cost, name) <= high
        assert {"encode_ms", "prefill_ms", "first_token_ms"} <= cost.spread.keys()
        assert cost.to_json()["spread"]["prefill_ms"] == [round(x, 3) for x in cost.spread["prefill_ms"]]
    assert [cost.visual_tokens for cost in costs.values()] == [25, 6, 6, 13]
    assert costs["fsr@6"].first_token_ms > costs["fsr@6"].select_ms > 0


def test_sides_take_turns(tiny_vlm, encoding, monkeypatch):
    measured = Measurement(tiny_vlm, encoding, 2)
    measured.select("fsr@6", make("fsr"), 6)
    for key in (FULL, "fsr@6"):
        list(measured.answer(key))
    ran = []
    again = measured._again
    monkeypatch.setattr(measured, "_again", lambda side: ran.append(side.budget) or again(side))
    measured.repeat(PLENTY)
    assert ran == [25, 6, 6, 25, 25, 6, 6, 25]


def test_the_vision_tower_is_measured_without_keeping_anything(tiny_vlm, encoding, picture):
    held, ran = len(tiny_vlm._media), []
    handle = tiny_vlm.model.model.vision_tower.register_forward_hook(lambda *_: ran.append(1))
    try:
        measured = measure(tiny_vlm, encoding, {}, 1, PLENTY, encode=lambda: tiny_vlm.encode_ms([picture]))
    finally:
        handle.remove()
    assert len(ran) == PLENTY.most
    assert len(tiny_vlm._media) == held
    assert measured.costs()[FULL].encode_ms > 0


def test_nothing_is_repeated_without_room_or_after_a_stop_or_while_someone_waits(tiny_vlm, encoding):
    stop = threading.Event()
    measured = Measurement(tiny_vlm, encoding, 2, stop)
    list(measured.answer())
    for costs in (
        measured.repeat(Allowance(seconds=0)),
        measured.repeat(PLENTY, waiting=lambda: True),
        (stop.set(), measured.repeat(PLENTY))[1],
    ):
        assert (costs[FULL].repeats, costs[FULL].spread) == (1, None)
    assert list(measured.answer()) == []


def test_a_stop_in_the_middle_keeps_what_was_measured(tiny_vlm, encoding):
    stop, asked = threading.Event(), []

    def waiting() -> bool:
        asked.append(1)
        if len(asked) == 6:  # before a round and before its only side: in the third round
            stop.set()
        return False

    measured = Measurement(tiny_vlm, encoding, 2, stop)
    list(measured.answer())
    costs = measured.repeat(Allowance(seconds=600, least=1, most=50), waiting)
    assert costs[FULL].repeats == 3


def test_on_a_gpu_repeats_take_a_small_share_of_the_answers_time():
    allowance = Allowance(seconds=0.5, gpu_share=0.05)
    assert allowance.room(2, 8.0, gpu=False) == 1.0
    assert allowance.room(2, 8.0, gpu=True) == pytest.approx(0.4)
    assert allowance.room(2, 100.0, gpu=True) == 1.0


def test_a_budget_that_a_method_cannot_keep_is_said_before_anything_answers(tiny_vlm, encoding):
    measured = Measurement(tiny_vlm, encoding, 2)
    with pytest.raises(InvalidInput, match="choose a budget from 9 to 25"):
        measured.select("pyramiddrop@8", make("pyramiddrop"), 8)
    assert list(measured.sides) == [FULL]


def test_medians_and_quartiles():
    samples = {"prefill_ms": [3.0, 1.0, 2.0, 40.0, 2.5], "first_token_ms": [4.0, 4.0, 4.0]}
    cost = with_spread(a_cost(spread=None), samples, 5)
    assert (cost.prefill_ms, cost.spread["prefill_ms"], cost.repeats) == (2.5, (2.0, 3.0), 5)
    assert cost.spread["first_token_ms"] == (4.0, 4.0)
    assert quartiles([7.0]) == (7.0, 7.0)
    with pytest.raises(InvalidInput, match="no values"):
        quartiles([])


def test_rounds_of_a_slow_machine_are_left_out_for_every_side_alike(tiny_vlm, encoding, monkeypatch):
    measured = Measurement(tiny_vlm, encoding, 2)
    measured.select("fsr@6", make("fsr"), 6)
    for key in measured.sides:
        list(measured.answer(key))
    clock, speeds = [0.0], iter([1.5, 1.5, 1.0, 1.0, 1.05, 1.05, 1.6, 1.6, 1.02, 1.02])

    def again(side):
        speed = next(speeds)
        clock[0] += 5 * speed
        return a_cost(10 * speed if side.pruner is None else 4.0, None)

    monkeypatch.setattr(measured, "_again", again)
    monkeypatch.setattr("fsr.bench.measure.time.perf_counter", lambda: clock[0])
    every = measured.repeat(Allowance(seconds=600, least=3, most=5))
    assert every[FULL].repeats == 5
    assert every[FULL].spread["prefill_ms"] == pytest.approx((10.2, 15))
    assert measured.steady(1.15) == [False, True, True, False, True]
    steady = measured.costs(3, slower=1.15)
    assert (steady[FULL].repeats, steady["fsr@6"].repeats) == (3, 3), "also of the side that was fast all the time"
    assert steady[FULL].prefill_ms == pytest.approx(10.2)
    assert steady[FULL].spread["prefill_ms"][1] < 10.5


def test_times_differ_where_their_ranges_do_not_overlap():
    others = {(20, (19, 21)): True, (10.6, (10.4, 12)): False, (20, None): False}
    for (prefill, spread), different in others.items():
        other = a_cost(prefill, spread)
        assert differ(a_cost(), other, "prefill_ms") is different, spread
        assert differ(other, a_cost(), "prefill_ms") is different, spread


def test_a_recording_that_contradicts_itself_is_told():
    cases = {
        "": [a_cost(5, (4.9, 5.1), 6), a_cost(12, (11.9, 12.1), 25), a_cost(10.1, (9.9, 10.3), 6)],
        "the prefill of fsr@6 spreads by more than 30%": [a_cost(5, (4, 6), 6), a_cost(5, None, 6)],
        "the prefill of fsr@6 takes longer than that of all tokens": [a_cost(12, (11.9, 12.1), 6)],
    }
    for words, costs in cases.items():
        for ours in costs:
            told = recording.contradictions({FULL: a_cost(), "fsr@6": ours}, {FULL: None, "fsr@6": make("fsr")})
            assert (words in " ".join(told)) if words else told == [], ours


def test_a_machine_that_stays_busy_ends_with_a_sentence(tiny_vlm, encoding, monkeypatch):
    measured = Measurement(tiny_vlm, encoding, 2)
    list(measured.answer())
    tries = []

    def busy(allowance, anew, slower):
        assert anew is (not tries)
        tries.append(allowance.least)
        return {FULL: replace(a_cost(), spread={"prefill_ms": (1.0, 99.0), "first_token_ms": (10.0, 10.0)})}

    monkeypatch.setattr(measured, "repeat", busy)
    with pytest.raises(FsrError, match=r"too busy to record 'star': the prefill of full spreads .* 4 times"):
        recording.settled(measured, "star")
    assert tries == [recording.REPEATS.least] * recording.TRIES
    assert recording.REPEATS.least >= 7
