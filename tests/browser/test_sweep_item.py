"""An item of a recorded sweep opens in the explorer, and its address brings it back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import forgive_left_streams
from tests.browser.test_address import STATE, query

SLOW = 60_000


@pytest.mark.slow
def test_an_item_of_a_sweep_opens_at_its_tokens_and_back_brings_it_back(visit, app):
    page = visit("?sweep=shapes&item=12&method=vispruner&budget=32")
    opened = f"{STATE}.trace && {STATE}.source?.item === 12"
    page.wait_for_function(opened, timeout=SLOW)
    expect(page.locator("#fx-question textarea")).to_have_value("what is the digit on the hexagon?")
    assert page.evaluate(f"[{STATE}.method, {STATE}.budget, {STATE}.example]") == ["vispruner", 32, None]
    assert query(page) == {"sweep": "shapes", "item": "12", "method": "vispruner", "budget": "32"}
    assert page.evaluate(f"{STATE}.linkOf()") == page.url
    page.click(".fx-tile[data-example=count]")
    page.wait_for_function("location.search.includes('example=count')", timeout=SLOW)
    page.go_back()
    page.wait_for_function(opened, timeout=SLOW)
    assert query(page)["sweep"] == "shapes"
    page.click("#fx-askbutton")
    page.wait_for_function(f"{STATE}.answers.full?.done", timeout=SLOW)
    assert "5" in page.evaluate(f"{STATE}.answers.full.text")


@pytest.mark.slow
def test_from_a_list_to_its_next_question_and_back_to_the_list(visit):
    page = visit("data", ready=False)
    count = page.locator("[data-ref=count]")
    expect(count).to_have_text(re.compile(r"^\d+ of 304$"))
    every = count.inner_text()
    page.locator("[data-ref=search]").fill("hexagon")
    expect(count).to_have_text(re.compile(rf"^(?!{every}$)\d+ of 304$"))
    found = count.inner_text()
    many = found.split()[0]
    page.locator(".fx-row[data-item] a").nth(1).click()
    place = page.locator("[data-ref=listplace]")
    first = query(page)["item"]

    def stands_second() -> None:
        expect(place).to_have_text(f"2 of {many}", timeout=SLOW)
        page.wait_for_function(f"{STATE}.trace && {STATE}.source.item === {first}", timeout=SLOW)

    stands_second()
    page.click("[data-ref=later]")
    expect(place).to_have_text(f"3 of {many}", timeout=SLOW)
    page.wait_for_function(f"{STATE}.trace && {STATE}.source.item !== {first}", timeout=SLOW)
    page.go_back()
    stands_second()
    page.goto(page.url)  # as in a new tab
    stands_second()
    page.click("[data-ref=backtolist]")
    expect(count).to_have_text(found)
    expect(page.locator(".fx-row[data-at]")).to_have_attribute("data-item", first)
    forgive_left_streams(page)


@pytest.mark.slow
def test_a_sweep_that_is_not_there_gets_a_sentence(visit):
    page = visit("?sweep=other&item=12")
    expect(page.locator(".toast-body")).to_contain_text("There is no sweep 'other'; there are shapes.", timeout=SLOW)
    page.wait_for_function(f"{STATE}.example !== null", timeout=SLOW)
