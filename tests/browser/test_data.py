"""The page of data sets: from the worst flips to what they share, and to one of them in the explorer."""

from __future__ import annotations

import csv
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
            page.wait_for_selector(".fx-bar", state="attached")
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


def test_the_first_screen_holds_up_to_ten_of_the_worst_flips_of_fsr_at_64_and_what_they_share(data):
    page = data()
    assert (asked(page)["method"], asked(page)["budget"]) == ("fsr", "64")
    assert conditions(page) == ["flip = lost"]
    rows = page.locator(ROW)
    expect(rows.first).to_be_visible()
    assert rows.count() >= 5
    tenth = rows.nth(min(rows.count(), 10) - 1).bounding_box()
    assert tenth["y"] + tenth["height"] <= 900
    assert numbers(page, "kl") == sorted(numbers(page, "kl"), reverse=True)
    assert set(page.locator(f"{ROW} .fx-flip").all_text_contents()) == {"−Lost"}
    picture = page.locator(f"{ROW} img[src]").first
    assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") >= 52
    before = page.locator(COUNT).inner_text()
    none_or_all = re.compile(rf"(?<!\d)(0|{before.partition(' of')[0]}) of")
    bar = page.locator(".fx-bar").filter(has_not_text=none_or_all).first
    bar.click()
    counted(page, before)
    assert len(conditions(page)) >= 2
    expect(
        page.locator(
            "[data-ref=common]:not([data-pale]) .fx-bar[aria-pressed=true] ~ .fx-bar, "
            "[data-ref=common]:not([data-pale]) .fx-bar:has(~ .fx-bar[aria-pressed=true])"
        ).first
    ).to_be_visible()
    link = rows.first.locator("a").get_attribute("href")
    item = rows.first.get_attribute("data-item")
    assert link.startswith(f"./?sweep={asked(page)['sweep']}&method=fsr&budget=64&item={item}&list=sweep%3D")
    page.go_back()
    expect(page.locator(COUNT)).to_have_text(before)
    assert conditions(page) == ["flip = lost"]


def fulfilled(page, path: str, value, status: int = 200) -> list[str]:
    """Answers what the page asks for there; value: JSON, or a function of the query. Returns the queries."""
    queries: list[str] = []

    def answer(route) -> None:
        query = urlsplit(route.request.url).query
        queries.append(query)
        route.fulfill(json=value(parse_qs(query)) if callable(value) else value, status=status)

    page.route(f"**/data/{path}?*", answer)
    return queries


@pytest.mark.slow
def test_keys_go_from_question_to_question_and_open_one(data):
    page = data()
    page.keyboard.press("/")
    page.keyboard.type("describe")
    expect(page.locator(".fx-row").first).to_contain_text("describe")
    assert "anywhere has describe" in conditions(page)
    page.keyboard.press("Escape")
    expect(page.locator(".fx-row").first).not_to_contain_text("describe")
    page.locator("[data-preset='3']").click()
    expect(page.locator(COUNT)).to_have_text("all 304")
    page.evaluate("document.activeElement.blur()")
    for key, index in (("ArrowDown", 0), ("ArrowDown", 1), ("End", 303), ("ArrowUp", 302)):
        page.keyboard.press(key)
        expect(page.locator(f".fx-row[data-index='{index}'] a")).to_be_focused()
    expect(page.locator(".fx-row[data-index='302']")).to_have_attribute("data-item", "302")
    outline = page.locator(".fx-row[data-index='302'] a").evaluate("(a) => getComputedStyle(a, '::after').outlineStyle")
    assert outline == "solid"
    page.reload()
    expect(page.locator(".fx-row[data-at]")).to_have_attribute("data-item", "302")
    page.locator(".fx-row[data-at] a").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".fx-stage")
    assert asked(page)["item"] == "302"


@pytest.mark.slow
def test_a_late_answer_never_takes_the_place_of_a_newer_one(data):
    page = data()
    late = []
    page.route("**/data/api/*?*data_type*", lambda route: late.append(route))
    page.locator(".fx-bar").filter(has_not_text="0 of").first.click()
    page.locator("[data-preset='1']").click()
    expect(page.locator(".fx-row .fx-flip").first).to_have_text("+Won")
    count = page.locator(COUNT).inner_text()
    for route in late:
        route.continue_()
    page.wait_for_timeout(600)
    assert page.locator(COUNT).inner_text() == count
    assert set(page.locator(".fx-row .fx-flip").all_text_contents()) == {"+Won"}


@pytest.mark.slow
def test_the_last_of_a_million_rows_is_a_few_requests_away(data):
    page = data()
    about = {"question": "what?", "answers": [], "unpruned": "a", "answer": "b", "flip": "lost", "kl": 1, "columns": {}}

    def rows(query):
        first = int(query["offset"][0])
        return {"total": 10**6, "rows": [about | {"item": item} for item in range(first, min(10**6, first + 50))]}

    fulfilled(page, "picture", {})
    queries = fulfilled(page, "api/questions", rows)
    page.locator("[data-preset='3']").click()
    expect(page.locator(COUNT)).to_have_text("1000000 of 304")
    page.locator(".fx-row a").first.focus()
    page.keyboard.press("End")
    expect(page.locator(".fx-row[data-index='999999']")).to_have_attribute("data-item", "999999")
    page.keyboard.press("PageUp")
    page.mouse.move(400, 600)
    for _ in range(20):
        page.mouse.wheel(0, -4000)
    page.wait_for_timeout(300)
    assert len(queries) <= 8, "scrolling asks where it rests"
    assert page.locator(".fx-row").count() < 40


@pytest.mark.slow
def test_what_a_data_file_holds_is_text_and_what_fails_is_a_sentence(data):
    page = data()
    hostile = "<img src=x onerror=document.title=1><script>document.title=1</script>"
    row = {"item": 1, "question": hostile, "answers": [hostile], "unpruned": hostile, "answer": hostile, "flip": "lost"}
    fulfilled(page, "picture", {})
    fulfilled(page, "api/questions", {"total": 1, "rows": [row | {"kl": None, "columns": {"data_type": hostile}}]})
    page.locator("[data-preset='3']").click()
    expect(page.locator(".fx-row a")).to_have_text(hostile)
    assert page.title() == "Data sets · FSR Explorer"
    for path, where in (("questions", "liststatus"), ("common", "commonstatus"), ("headline", "headlinestatus")):
        fulfilled(page, f"api/{path}", {"error": "there is not enough memory for this."}, 503)
        page.locator("[data-ref=add]").click()
        page.select_option("[data-ref=column]", label="objects")
        page.locator("[data-ref=value]").fill(str(len(path)))
        page.keyboard.press("Enter")
        expect(page.locator(f"[data-ref={where}]")).to_contain_text("not enough memory")
    page.unroute_all()
    page.goto(page.url.split("?")[0] + "?sweep=shapes&method=none&budget=1&filter=[1]&sort=kl")
    expect(page.locator("[data-ref=notes]")).to_contain_text("has no method “none”")
    assert all("503" in error for error in page.watch.errors), "the browser tells of each status"
    page.watch.errors.clear()


@pytest.mark.slow
def test_a_selection_is_downloaded_and_another_method_stands_beside(data):
    page = data()
    rows = page.locator(COUNT).inner_text().split()[0]
    with page.expect_download() as download:
        page.locator("[data-ref=csv]").click()
    assert download.value.suggested_filename.endswith(".csv")
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == int(rows)
    page.locator("[data-preset='2']").click()
    expect(page.locator(".fx-row .fx-col-beside .fx-flip").first).to_be_visible()
    page.locator("[data-ref=besidemethod]").select_option("random")
    expect(page.locator(".fx-listhead .fx-col-beside")).to_have_text("Random")
    page.locator("[data-show=curves]").click()
    expect(page.locator(".fx-curves .fx-curve")).to_have_count(6)
    page.locator("tr[data-method=random]").first.evaluate("(row) => row.click()")
    assert (asked(page)["show"], asked(page)["beside_method"]) == ("curves", "random")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1024, 768), (1920, 1080)])
def test_nothing_is_wider_than_the_window_and_a_phones_targets_are_large(data, width, height):
    page = data(viewport={"width": width, "height": height}, has_touch=width < 760)
    for part in ("questions", "methods", "common") if width < 760 else ("",):
        if part:
            page.locator(f"button[data-part={part}]").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        small = page.evaluate(
            """() => [...document.querySelectorAll('button, select, input, summary, .fx-exports a, .fx-row a')]
            .map((node) => [node, node.getBoundingClientRect()])
            .filter(([node, box]) => box.width && box.height && (box.height < 39.5 || box.width < 39.5))
            .filter(([node]) => !node.matches('.fx-row a')) // the whole row is one
            .map(([node]) => node.outerHTML.slice(0, 90))"""
        )
        assert width > 760 or small == []


@pytest.mark.slow
def test_without_known_answers_it_opens_on_what_changed(data):
    page = data()

    def unknown(route) -> None:
        told = route.fetch().json()
        for column in told["columns"]:
            if column["name"] == "unpruned_score":
                column["min"] = column["max"] = None
        route.fulfill(json=told)

    page.route("**/data/api/about?*", unknown)
    page.goto(page.url.split("?")[0])
    expect(page.locator("[data-ref=flips] button")).to_have_text([re.compile("Changed"), re.compile("Same")])
    expect(page.locator(f"{ROW} .fx-flip").first).to_have_text("≠Changed")
    assert conditions(page) == ["flip = changed"]
    assert asked(page)["flip"] == "changed"
