"""A scene of the visitor's own: composed by keyboard, mouse and touch, asked about, brought back by its link."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_address import STATE, query

SLOW = 60_000
TWO = "1~plain-f4f1ea~star-84-90-80-cred~square-240-240-90-cblue"


def settled(page, text: str = "") -> str:
    """The scene on the stage once its tokens are there. text: a part of it that is waited for."""
    page.wait_for_function(f"{STATE}.drawn.includes('{text}') && {STATE}.drawn && {STATE}.trace", timeout=SLOW)
    return page.evaluate(f"{STATE}.drawn")


def test_a_scene_is_composed_by_keyboard_and_its_tokens_follow(page):
    page.click("#fx-makescene")
    started = settled(page)
    page.click("[data-thing=hexagon]")
    page.locator(".fx-object[data-name=hexagon]").focus()
    for key in ("Shift+ArrowRight", "+", "]"):
        page.keyboard.press(key)
    assert settled(page, "-t5").startswith(started + "~hexagon-")
    page.click(".fx-compose-done")
    expect(page.locator("#fx-makescene")).to_have_text("Edit the scene")


@pytest.mark.slow
def test_focus_stays_where_the_visitor_works_and_a_scene_put_aside_keeps_its_steps(page):
    focus = (
        "document.activeElement.dataset.thing ?? document.activeElement.dataset.name ?? document.activeElement.tagName"
    )
    page.click("#fx-makescene")
    settled(page)
    page.focus("[data-thing=hexagon]")
    for count in (1, 2):
        page.keyboard.press("Enter")
        page.wait_for_function(f"{STATE}.drawn.split('hexagon').length === {count + 1}", timeout=SLOW)
        page.wait_for_function(f"{STATE}.status.phase === 'idle' && {STATE}.trace", timeout=SLOW)
        assert page.evaluate(focus) == "hexagon"
        assert page.evaluate("document.activeElement.matches('[data-thing]')"), "the palette keeps it, for another one"
    page.click("[data-thing=ring]")
    assert page.evaluate("document.activeElement.matches('.fx-object[data-name=ring]')")
    place = page.locator(".fx-object[data-name=ring]").get_attribute("aria-label")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".fx-object[data-name=ring]")).not_to_have_attribute("aria-label", place)
    expect(page.locator("[data-ref=said].fx-compose-said")).to_be_empty()
    page.click(".fx-compose-done")
    page.click("#fx-makescene")
    page.keyboard.press("Control+z")
    expect(page.locator(".fx-object[data-name=ring]")).to_have_attribute("aria-label", place)
    expect(page.locator("[data-ref=said].fx-compose-said")).to_have_text("Undone.")


@pytest.mark.slow
def test_on_a_phone_what_is_composed_stays_in_sight(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    page.tap("#fx-makescene")
    settled(page)
    kinds = page.locator("[data-kind]").evaluate_all("(all) => all.map((n) => n.getBoundingClientRect().right)")
    assert max(kinds) <= 390, "no kind is out of sight"
    page.tap("[data-kind=animal]")
    page.locator("[data-thing=crab]").tap()
    box = page.locator(".fx-object[data-name=crab]").bounding_box()
    assert 0 <= box["y"] < box["y"] + box["height"] <= 844


@pytest.mark.slow
def test_a_step_back_brings_back_the_scene_and_a_scene_is_one_entry_of_the_history(page):
    entries = page.evaluate("history.length")
    page.click("#fx-makescene")
    started = settled(page)
    page.click("[data-thing=hexagon]")
    assert settled(page, "hexagon").startswith(started + "~hexagon-")
    budget = page.evaluate(f"{STATE}.budget")
    hexagon = page.locator(".fx-object[data-name=hexagon]")
    hexagon.focus()
    for key in ("Shift+ArrowRight", "+", "]"):
        page.keyboard.press(key)
    changed = settled(page, "-t5")
    assert page.evaluate(f"{STATE}.budget") == budget  # square brackets turn here
    expect(page.locator("#fx-askbutton")).to_be_visible()
    page.keyboard.press("Control+z")
    page.wait_for_function(f"{STATE}.drawn === '{changed.removesuffix('-t5')}' && {STATE}.trace", timeout=SLOW)
    expect(page.locator(".fx-offer").first).to_be_enabled()
    assert page.evaluate("history.length") == entries + 1
    page.wait_for_function(f"new URLSearchParams(location.search).get('scene') === {STATE}.drawn")
    hexagon.focus()
    page.keyboard.press("Delete")
    page.wait_for_function(f"{STATE}.drawn === '{started}' && {STATE}.trace", timeout=SLOW)
    page.click(".fx-compose-done")
    expect(page.locator(".fx-object")).to_have_count(0)
    expect(page.locator("#fx-makescene")).to_have_text("Edit the scene")


@pytest.mark.slow
def test_an_offered_question_is_asked_and_held_against_the_truth(visit):
    page = visit(f"?scene={TWO}", ready=False)

    page.wait_for_function(f"window.fsrExplorer && {STATE}.drawn === '{TWO}'", timeout=SLOW)
    page.get_by_role("button", name="Others").wait_for()
    page.locator(".fx-offer").first.click()
    page.wait_for_function(f"{STATE}.answers.full?.done && {STATE}.status.phase === 'done'", timeout=SLOW)
    truth = page.locator(".fx-truth")
    expect(truth).to_contain_text("In this scene:")
    said = page.evaluate(f"{STATE}.answers.full.text")
    told = truth.locator("[data-verdict]").first
    expect(told).to_contain_text(said)
    right = said == truth.locator("b").inner_text()  # one word, or two: nothing else is offered of two objects first
    assert told.get_attribute("data-verdict") == ("right" if right else "wrong")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1440, 390])
def test_an_object_is_dragged_and_a_slower_picture_never_overtakes(visit, width):
    page = visit(f"?scene={TWO}", ready=False, viewport={"width": width, "height": 844}, has_touch=width < 500)
    page.wait_for_function(f"window.fsrExplorer && {STATE}.drawn === '{TWO}'", timeout=SLOW)
    page.click("#fx-makescene")
    star = page.locator(".fx-object[data-name=star]")
    for step in range(4):
        box = star.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 20, y + 4 * step, steps=3)
        page.mouse.up()
    last = page.evaluate("document.querySelector('.fx-object[data-name=star]').getAttribute('aria-label')")
    x, y = re.search(r"at (\d+), (\d+)", last).groups()
    page.wait_for_function(f"{STATE}.drawn.includes('star-{x}-{y}-')", timeout=SLOW)
    page.wait_for_timeout(1500)
    assert f"star-{x}-{y}-" in page.evaluate(f"{STATE}.drawn")
    assert int(x) > 84 + 30
    page.wait_for_function("document.querySelector('.fx-compose-preview').hidden", timeout=SLOW)
    page.wait_for_function(f"{STATE}.status.phase === 'idle'", timeout=SLOW)
    targets = page.locator(".fx-composer button:visible").evaluate_all("(all) => all.map((n) => n.offsetHeight)")
    assert width > 500 or min(targets) >= 40


@pytest.mark.slow
def test_back_reload_and_a_bad_address(visit):
    page = visit()
    page.click("#fx-makescene")
    scene = settled(page)
    page.click(".fx-compose-done")
    page.wait_for_function("location.search.includes('scene=')")
    page.go_back()
    page.wait_for_function(f"{STATE}.example !== null && !{STATE}.drawn && {STATE}.trace", timeout=SLOW)
    page.go_forward()
    page.wait_for_function(f"{STATE}.drawn === '{scene}' && {STATE}.trace", timeout=SLOW)
    page.wait_for_function(f"{STATE}.status.phase === 'idle'", timeout=SLOW)
    page.wait_for_timeout(1000)  # Gradio tells of a stream that a reload breaks off
    page.reload()
    page.wait_for_function(f"window.fsrExplorer && {STATE}.drawn === '{scene}' && {STATE}.trace", timeout=SLOW)
    assert "picture" not in query(page)
    page.wait_for_function(f"{STATE}.status.phase === 'idle'", timeout=SLOW)
    bad = visit("?scene=1~plain-f4f1ea~dgo-1-1-20")
    expect(bad.locator(".fx-notes, body").first).to_contain_text("Ignored in the address", timeout=SLOW)
    assert bad.evaluate(f"{STATE}.example") is not None
