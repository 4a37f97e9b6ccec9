"""The lecture: playback on the picture, the first line, guided tours, lecture mode for a presenter's remote."""

from __future__ import annotations

import itertools
import json

import pytest

from app.settings import ROOT
from tests.browser.conftest import frames

STATE = "fsrExplorer.page.store.state"
STEP = ".fx-lecture [data-ref=stepcount]"


def pixels(page) -> str:
    return page.evaluate("document.querySelector('.fx-stage canvas').toDataURL()")


def focused(page) -> str:
    return page.evaluate(
        "(() => { const a = document.activeElement; return a.id || a.dataset.ref || a.dataset.stage || a.tagName; })()"
    )


@pytest.mark.slow
def test_the_method_is_stepped_through_by_keyboard_alone_without_the_server(visit):
    page = visit("?example=count")
    page.locator("#fx-tab-answer").focus()
    page.keyboard.press("End")
    assert focused(page) == "fx-tab-lecture"
    while focused(page) != "scrub":
        page.keyboard.press("Tab")
    asked, whole = len(page.watch.requests), pixels(page)
    told = []
    for step in range(72):
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f"{STEP}:text-is('Step {step + 1} of 72')")
        told.append(page.locator(".fx-step-text").inner_text())
        if step == 30:
            drawn = page.locator(".fx-entry[data-layer=focus] b").inner_text()
            assert int(drawn) < page.evaluate(f"{STATE}.view.counts[4]"), "the legend counts what is drawn so far"
    assert page.locator(STEP).inner_text() == "Step 72 of 72"
    assert len(set(told)) == 72
    assert "At 64" not in told[0]
    assert told[1].startswith("The vision encoder cuts the picture into patches")
    evidence = json.loads((ROOT / "assets/traces/count.json").read_text())["methods"]["fsr"]["facts"]["k_focus"]
    assert "at least 90.0" in told[4 + evidence]
    assert "Scan takes token" in told[4 + evidence + 1]
    assert told[-1].endswith("The same answer.")
    assert pixels(page) != whole, "the last steps show the tokens that are read, without the merged ones"
    page.keyboard.press("Home")
    assert page.locator(STEP).inner_text() == "Step 1 of 72"
    bare = page.evaluate(
        "(() => { const c = document.querySelector('.fx-stage canvas'); "
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.every((v) => v === 0); })()"
    )
    assert bare, "the picture alone"
    page.keyboard.press("Escape")
    frames(page)
    assert page.evaluate(f"{STATE}.playback") is None
    assert pixels(page) == whole
    assert page.watch.requests[asked:] == []


@pytest.mark.slow
def test_playing_ends_by_itself_and_leaving_the_tab_shows_the_selection_again(visit):
    page = visit("?example=count")
    page.evaluate("fsrExplorer.page.setBudget(4)")
    page.click("#fx-tab-lecture")
    page.select_option("[data-ref=stepspeed]", "4")
    page.click("[data-ref=stepplay]")
    page.wait_for_function(f"{STATE}.playback > 1")
    assert page.locator("[data-ref=stepplay]").inner_text().endswith("Pause")
    page.wait_for_function("document.querySelector('[data-ref=stepplay]').textContent.endsWith('Play')")
    assert page.locator(STEP).inner_text() == "Step 11 of 11"
    page.click("#fx-tab-answer")
    frames(page)
    assert page.evaluate(f"{STATE}.playback") is None


@pytest.mark.slow
def test_with_reduced_motion_nothing_plays_by_itself(visit):
    page = visit("?example=count", reduced_motion="reduce")
    page.click("#fx-tab-lecture")
    assert page.locator("[data-ref=stepplay]").is_hidden()
    assert page.locator("[data-ref=still]").is_visible()
    page.click("[data-ref=next]")
    assert page.evaluate(f"{STATE}.playback") == 0


@pytest.mark.slow
def test_a_clip_is_stepped_through_and_the_frame_follows(visit):
    page = visit("?example=overtake")
    page.wait_for_function(f"{STATE}.example === 'overtake' && {STATE}.view")
    page.click("#fx-tab-lecture")
    page.click("[data-stage=scan]")
    seen = set()
    for _ in range(8):
        page.click("[data-ref=next]")
        seen.add(page.evaluate(f"{STATE}.frame"))
        text = page.locator(".fx-step-text").inner_text()
        assert f"frame {page.evaluate(f'{STATE}.frame') + 1}," in text
    assert len(seen) > 1


@pytest.mark.slow
def test_the_first_line_is_told_once(visit):
    page = visit(locale="en-IE")  # a profile of its own
    hello = page.locator(".fx-hello")
    assert "Orange is what the question needs" in hello.inner_text()
    page.click("[data-ref=dismiss]")
    assert hello.is_hidden()
    assert focused(page) == "fx-range"
    again = visit(locale="en-IE")
    assert again.locator(".fx-hello").is_hidden()


@pytest.mark.slow
def test_the_tour_points_at_the_thing_itself(visit):
    page = visit("?tour=first")
    stop = page.locator(".fx-stop")
    stop.wait_for()
    for at in range(8):
        page.wait_for_function(f"document.querySelector('[data-ref=stopcount]').textContent === '{at + 1} of 8'")
        frames(page, 8)
        assert page.evaluate("document.activeElement.classList.contains('fx-stop')")
        card, spot = stop.bounding_box(), page.locator(".fx-spot").bounding_box()
        assert 0 <= card["x"] <= 1440 - card["width"]
        assert 0 <= card["y"] <= 900 - card["height"]
        assert min(spot["width"], spot["height"]) > 20
        if at < 7:
            page.keyboard.press("ArrowRight")
    assert page.evaluate(f"[{STATE}.mode, {STATE}.chosen.length]") == ["compare", 5]
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"{STATE}.mode === 'one' && {STATE}.budget === 16")
    page.keyboard.press("Escape")
    assert stop.is_hidden()
    assert page.locator(".fx-spot").is_hidden()


def test_a_remote_leads_through_the_lesson_in_lecture_mode(visit):
    page = visit("?tour=lesson&lecture=1", viewport={"width": 1920, "height": 1080})
    page.wait_for_selector("body.fx-lecturing .fx-stop")
    notes = page.locator(".fx-stop-notes")
    assert notes.is_hidden()
    page.keyboard.press("n")
    assert "Minutes 0 to 2" in notes.inner_text()
    size = "(s) => parseFloat(getComputedStyle(document.querySelector(s)).fontSize)"
    assert page.evaluate(size, ".fx-stop h2") >= 30
    assert page.evaluate(size, "#fx-stop-text") >= 24
    for _ in range(6):
        page.keyboard.press("PageDown")
    page.wait_for_function(f"{STATE}.example === 'digit' && {STATE}.view?.budget === 16")
    page.keyboard.press("PageUp")
    page.wait_for_function(f"{STATE}.example === 'count' && {STATE}.view?.budget === 64")
    page.keyboard.press("Escape")
    assert not page.evaluate("document.body.classList.contains('fx-projector')"), "as it was before"


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1920, 1080), (1440, 900)])
def test_on_a_wall_picture_question_and_answers_are_in_sight_at_a_stop_about_answers(visit, size):
    page = visit("?tour=lesson&lecture=1", viewport=dict(zip(("width", "height"), size, strict=True)))
    for stop in range(1, 9):
        page.wait_for_selector(f".fx-stop [data-ref=stopcount] >> text=/^{stop} of/")
        page.wait_for_function(f"{STATE}.trace && {STATE}.status.phase === 'idle'")
        frames(page, 30)  # as a lecturer, who lets each be seen
        if stop < 8:
            page.keyboard.press("PageDown")
    page.wait_for_function(f"{STATE}.example === 'loss-relation' && {STATE}.view?.budget === 32", timeout=15_000)
    frames(page, 30)
    edges = """(all) => all.map((selector) => document.querySelector(selector).getBoundingClientRect())
        .map(({ top, bottom }) => [top, bottom])"""
    at = page.evaluate(edges, [".fx-picture", "#fx-question", ".fx-answers .fx-text", ".fx-stop"])
    (picture, question, answer, card) = at
    assert min(picture[0], question[0], answer[0]) >= 0
    assert max(question[1], answer[1]) <= card[0]


@pytest.mark.slow
def test_a_tour_that_is_not_there_is_told(visit):
    page = visit("?tour=nobody")
    page.wait_for_selector(".fx-tour-problem:not([hidden])")
    assert page.locator(".fx-tour-problem").inner_text() == "there is no tour 'nobody'."
    page.watch.errors.clear()  # the browser's own word about the 404


@pytest.mark.slow
def test_the_question_is_one_step_away_and_headings_follow_each_other(visit):
    page = visit("?example=count")
    page.locator(".fx-skip").focus()
    assert page.locator(".fx-skip").bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement === document.querySelector('#fx-question textarea')")
    shown = "[...document.querySelectorAll('h1,h2,h3,h4')].filter((h) => h.getClientRects().length)"
    levels = page.evaluate(f"{shown}.map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    entry = page.locator(".fx-legend [data-layer=focus]")
    entry.hover()
    assert "what the question needs" in page.locator("#fx-tip").inner_text()
    page.mouse.move(5, 5)
    assert page.locator("#fx-tip").is_hidden()
    page.locator(".fx-rail [role=radio][aria-checked=true]").focus()
    page.keyboard.press("Tab")
    assert page.locator("#fx-tip").is_visible()
    assert entry.get_attribute("aria-describedby") == "fx-tip"
    page.keyboard.press("Escape")
    assert page.locator("#fx-tip").is_hidden()
    assert page.locator(".fx-tile").first.bounding_box()["y"] < 900, "scenes are in sight without scrolling"


@pytest.mark.slow
def test_a_wall_shows_large_type_all_tools_and_a_comparison_on_one_screen(visit):
    page = visit("?example=count", viewport={"width": 1920, "height": 1080})
    page.keyboard.press("p")
    size = "(s) => parseFloat(getComputedStyle(document.querySelector(s)).fontSize)"
    assert page.evaluate(size, ".fx-legend .fx-entry") >= 22
    assert page.evaluate(size, ".fx-answers .fx-text") >= 36
    for tool in ("link", "help", "drawer", "save"):
        assert page.locator(f"button[data-ref={tool}]").is_visible(), tool
    assert page.locator(".fx-tile").first.is_visible()
    side = page.locator("#fx-col-side").bounding_box()
    assert side["x"] + side["width"] > 1880
    page.keyboard.press("c")
    page.wait_for_selector(".fx-cell-run")
    cells = page.locator(".fx-cell-run").all()
    assert len(cells) == 5
    for cell in cells:
        box = cell.bounding_box()
        assert box["y"] + box["height"] <= 1080


@pytest.mark.slow
def test_a_phone_has_the_legend_near_the_picture_and_every_tool(visit):
    page = visit("?example=count", viewport={"width": 390, "height": 844})
    tops = [page.locator(s).first.bounding_box()["y"] for s in (
        ".fx-picture", ".fx-budget", ".fx-legend", ".fx-tile", "#fx-question", ".fx-tabs", ".fx-pair")]  # fmt: skip
    assert tops == sorted(tops)
    page.click("[data-ref=menu]")
    for tool in ("link", "save", "projector", "theme", "help"):
        box = page.locator(f"button[data-ref={tool}]").bounding_box()
        assert min(box["width"], box["height"]) >= 40, tool
    small = page.evaluate(
        "[...document.querySelectorAll('.fx-rail button, .fx-rail select, .fx-tabs button, .fx-tools button, "
        ".fx-menu, .fx-modes button, .fx-sweep button')].filter((n) => n.getClientRects().length && "
        "n.getBoundingClientRect().height < 40).map((n) => n.className + n.textContent)"
    )
    assert small == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
