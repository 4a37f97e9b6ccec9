"""The page of data sets: from the worst flips to what they share, and to one of them in the explorer."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

ROW = ".fx-row[data-item]"
COUNT = "[data-ref=count]"


@pytest.fixture
def data(visit):
    """data(query, **context) -> the page of data sets, with its first rows."""

    def opened(query: str = "", rows: bool = True, **context):
        page = visit("data" + query, ready=False, **context)
        if rows:
            page.wait_for_selector(".fx-bar, [data-ref=commonstatus]:not(:empty)")
            page.wait_for_selector(f"{ROW} .fx-col-own")
        return page

    return opened


def asked(page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def conditions(page) -> list[str]:
    return [f"{one['column']} {one['is']} {one.get('value')}" for one in json.loads(asked(page).get("filter", "[]"))]


def numbers(page, cell: str) -> list[float]:
    return [float(text) for text in page.locator(f"{ROW} .fx-col-{cell}").evaluate_all(
        "(cells) => cells.map((cell) => cell.lastChild.textContent)"
    )]  # fmt: skip


def counted(page, before: str) -> None:
    """Until the list holds another number of questions."""
    expect(page.locator(COUNT)).not_to_have_text(re.compile(f"^(…|{before})$"))


def test_the_first_screen_holds_the_ten_worst_flips_of_fsr_at_64_and_what_they_share(data):
    page = data()
    assert (asked(page)["method"], asked(page)["budget"]) == ("fsr", "64")
    assert conditions(page) == ["flip = lost"]
    rows = page.locator(ROW)
    tenth = rows.nth(9).bounding_box()
    assert tenth["y"] + tenth["height"] <= 900
    assert numbers(page, "kl") == sorted(numbers(page, "kl"), reverse=True)
    assert set(page.locator(f"{ROW} .fx-flip").all_text_contents()) == {"−Lost"}
    picture = page.locator(f"{ROW} img[src]").first
    assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") >= 52
    bar = page.locator(".fx-bar").filter(has_not_text="0 of").first
    before = page.locator(COUNT).inner_text()
    bar.click()
    counted(page, before)
    assert len(conditions(page)) >= 2
    assert page.locator(".fx-bar[aria-pressed=true]").count() == 1
    link = rows.first.locator("a").get_attribute("href")
    item = rows.first.get_attribute("data-item")
    assert link == f"./?sweep={asked(page)['sweep']}&method=fsr&budget=64&item={item}"
    page.go_back()
    expect(page.locator(COUNT)).to_have_text(before)
    assert conditions(page) == ["flip = lost"]
