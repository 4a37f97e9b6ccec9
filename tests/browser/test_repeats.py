"""Times that hold: both sides are measured again in turns after they have answered, and the page shows the spread."""

from __future__ import annotations

import pytest

from tests.browser.conftest import READY, launched
from tests.browser.test_asking import STATE, ask, until_done

ROWS = """() => [...document.querySelectorAll('.fx-costs tbody tr')].map((row) => ({
    name: row.querySelector('th').textContent, ratio: row.querySelector('.fx-ratio').textContent,
    spreads: row.querySelectorAll('.fx-spread').length }))"""
SIDES = f"[{STATE}.answers.full, {STATE}.answers[{STATE}.asked]]"
TIMES = {"Selection + prefill": "first_token_ms", "Decode per token": "decode_ms_per_token"}


@pytest.fixture(scope="module")
def patient(browser, model_and_gallery, tmp_path_factory):
    """An app with time for many repeats."""
    yield from launched(*model_and_gallery, tmp_path_factory.mktemp("patient"), FSR_REPEAT_S="4")


@pytest.fixture
def page(browser, patient):
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(patient.url)
    page.wait_for_selector(READY)
    yield page
    page.context.close()


def measuring(page) -> None:
    page.wait_for_function(f"{STATE}.status.phase === 'measuring'", timeout=120_000)


@pytest.mark.slow
def test_the_table_fills_with_medians_and_says_where_no_difference_was_measured(page):
    ask(page)
    measuring(page)
    assert all(page.evaluate(f"{SIDES}.map((answer) => answer.done)")), "both answers are on the page before"
    assert {row["name"]: row["ratio"] for row in page.evaluate(ROWS)}["Selection + prefill"] == ""
    until_done(page)
    full, ours = (answer["cost"] for answer in page.evaluate(SIDES))
    assert min(full["repeats"], ours["repeats"]) >= 3
    rows = {row["name"]: row for row in page.evaluate(ROWS)}
    assert [rows[name]["spreads"] for name in ("Vision encode", "Selection", "Prefill")] == [2, 1, 2]
    for name, key in TIMES.items():
        (a, b), (c, d) = full["spread"][key], ours["spread"][key]
        assert (rows[name]["ratio"] == "no difference measured") == (a <= d and c <= b), name
    assert f"medians of {min(full['repeats'], ours['repeats'])} runs" in page.inner_text("[data-ref=source]")


@pytest.mark.slow
def test_repeats_stop_with_stop_and_the_answers_stay(page):
    ask(page)
    measuring(page)
    page.click("#fx-stopbutton")
    until_done(page)
    assert all(page.evaluate(f"{SIDES}.map((answer) => answer.done)"))
    page.wait_for_selector("#fx-askbutton:visible")
