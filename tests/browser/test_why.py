"""The Why tab and the card: why a token was kept, what the answer rests on, what was lost, and what if."""

from __future__ import annotations

import pytest

from tests.browser.conftest import frames
from tests.browser.test_page import STATE, set_budget, until_quiet


@pytest.fixture
def counting(visit, app):
    """The example where FSR answers 3, as all tokens do."""
    if not app.embedded:
        pytest.skip("random weights do not count")
    page = visit("?example=count")
    page.wait_for_function(f"{STATE}.example === 'count'")
    return page


def kept(page) -> set[int]:
    return set(page.evaluate(f"[...{STATE}.view.roles.keys()].filter((i) => {STATE}.view.roles[i] >= 2)"))


def at_token(page, token: int) -> tuple[float, float]:
    """The middle of a token on the canvas, in pixels of the window."""
    rect = page.evaluate(f"{STATE}.trace.tokens.rect[{token}]")
    box = page.locator(".fx-stage canvas").bounding_box()
    scale = box["width"] / page.evaluate(f"{STATE}.trace.frames[0].width")
    return box["x"] + scale * (rect[0] + rect[2]) / 2, box["y"] + scale * (rect[1] + rect[3]) / 2


def ask(page) -> None:
    page.click("#fx-askbutton")
    page.wait_for_function(f"{STATE}.status.phase === 'done'")


def study(page, name: str) -> None:
    page.click(f"[data-ref={name}]")
    page.wait_for_function(f"Object.values({STATE}.study.known).some((s) => s.what === '{name}' && s.phase === 'done')")


def test_the_card_says_why_and_shows_the_role_at_every_budget(page):
    set_budget(page, 64)
    dropped = page.evaluate(f"{STATE}.view.roles.findIndex((r) => r === 0)")
    page.mouse.move(*at_token(page, dropped))
    page.wait_for_selector(f".fx-card header b:text('#{dropped}')")
    sentence = page.locator(".fx-card .fx-because").inner_text()
    assert sentence.startswith("Dropped. Priority ")
    assert "Focus ended at" in sentence
    page.wait_for_selector(".fx-card .fx-strip i")
    assert "dropped at 1" in page.locator(".fx-card .fx-strip").get_attribute("aria-label")


def test_influence_is_measured_shown_pinned_and_kept_for_its_selection(counting):
    page = counting
    set_budget(page, 64)
    page.click("#fx-tab-why")
    study(page, "influence")
    rows = page.locator(".fx-why-list button")
    assert rows.count() == 12
    assert page.evaluate(f"{STATE}.layer") == "influence"
    assert page.evaluate(f"Object.values({STATE}.study.known)[0].influence.length") == 64
    rows.first.click()
    token = int(rows.first.get_attribute("data-token"))
    page.mouse.move(5, 5)
    assert page.evaluate(f"{STATE}.cursor") == token
    assert "Influence" in page.locator(".fx-card dl").inner_text()
    until_quiet(page)
    before = len(page.watch.requests)
    set_budget(page, 40)
    assert "no longer what is on the picture" in page.locator("[data-ref=influencestatus]").inner_text()
    set_budget(page, 64)
    assert page.locator("[data-ref=influencestatus]").is_hidden()
    assert page.watch.requests[before:] == []


@pytest.mark.slow
def test_what_was_lost_is_found_put_back_and_answered(visit, app):
    if not app.embedded:
        pytest.skip("random weights lose what they never knew")
    page = visit("?example=loss-count")
    set_budget(page, 32)
    ask(page)
    page.click("#fx-tab-why")
    assert "Pruning changed the answer" in page.locator("[data-ref=repairnote]").inner_text()
    study(page, "repair")
    assert "would have saved it: #" in page.locator(".fx-why [data-ref=found]").inner_text()
    page.click("[data-ref=putback]")
    page.wait_for_function(f"{STATE}.status.phase === 'idle' && {STATE}.forced.in.length > 0")
    missing = set(page.evaluate(f"{STATE}.forced.in"))
    assert missing <= kept(page)
    assert len(kept(page)) == 32 + len(missing)
    full = page.locator("[data-ref=fulltext]").inner_text()
    ask(page)
    page.click("#fx-tab-answer")
    assert page.locator("[data-ref=ourstext]").inner_text() == full


@pytest.mark.slow
def test_tokens_are_kept_and_dropped_by_mouse(counting):
    page = counting
    set_budget(page, 64)
    page.click("#fx-tab-why")
    page.click("[data-mode=keep]")
    page.mouse.move(*at_token(page, 0))
    page.mouse.down()
    page.mouse.move(*at_token(page, 26), steps=4)
    page.mouse.up()
    frames(page, 3)
    assert page.evaluate(f"{STATE}.forced") == {"in": [0, 1, 2, 24, 25, 26], "out": []}
    assert {0, 1, 2, 24, 25, 26} <= kept(page)  # at once, before the server has selected again
    assert len(kept(page)) == 64
    page.wait_for_function(f"{STATE}.status.phase === 'idle' && {STATE}.trace.methods.fsr.forced?.in.length === 6")
    assert {0, 1, 2, 24, 25, 26} <= kept(page)
    assert len(kept(page)) == 64
    page.click(".fx-why [data-ref=reset]")
    frames(page, 3)
    assert page.evaluate(f"{STATE}.forced") == {"in": [], "out": []}
    assert page.locator("[data-ref=ourstext]").inner_text() == "3"  # the recorded answer is back


def test_what_if_by_keyboard_alone(counting):
    page = counting
    set_budget(page, 64)
    page.locator(".fx-stage canvas").focus()
    page.keyboard.press("ArrowRight")
    token = page.evaluate(f"{STATE}.cursor")
    page.keyboard.press("k")
    frames(page, 3)
    assert page.evaluate(f"{STATE}.forced") == {"in": [token], "out": []}
    assert "Kept by hand" in page.locator(".fx-card .fx-because").inner_text()
    page.keyboard.press("x")
    frames(page, 3)
    assert page.evaluate(f"{STATE}.forced") == {"in": [], "out": [token]}
    assert token not in kept(page)
    page.wait_for_function(f"{STATE}.status.phase === 'idle' && {STATE}.trace.methods.fsr.forced?.out.length === 1")
    page.locator("#fx-tab-answer").focus()
    page.keyboard.press("ArrowRight")
    assert "1 dropped" in page.locator("[data-ref=forced]").inner_text()
    page.locator("[data-ref=influence]").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".fx-why-list button")
    page.locator(".fx-why-list button").first.focus()
    page.wait_for_function(f"{STATE}.cursor >= 0")
    page.locator(".fx-why [data-ref=reset]").focus()
    page.keyboard.press("Enter")
    frames(page, 3)
    assert page.evaluate(f"{STATE}.forced") == {"in": [], "out": []}


@pytest.mark.slow
def test_in_the_compare_view_the_tab_is_about_the_chosen_method(counting):
    page = counting
    page.click("[data-mode=compare]")
    page.click("#fx-tab-why")
    page.locator("#fx-why-about").select_option("1")
    label = page.locator("#fx-why-about option:checked").inner_text()
    page.evaluate("fsrExplorer.page.store.set({ cursor: 5 })")
    frames(page, 3)
    assert page.locator(".fx-why-token h3").inner_text() == f"#5, {label[2:].split(',')[0]}"
    study(page, "influence")
    assert page.locator(".fx-why-list button").count() > 0


@pytest.mark.slow
def test_of_a_clip_influence_is_measured_and_tokens_are_forced_on_the_frame_on_screen(visit, app):
    if not app.embedded:
        pytest.skip("there is no embedded clip model")
    page = visit("?example=overtake&frame=3&budget=64")
    page.wait_for_function(f"{STATE}.example === 'overtake' && {STATE}.frame === 2")
    page.click("#fx-tab-why")
    study(page, "influence")
    frame = page.evaluate(f"{STATE}.trace.tokens.frame")
    row = page.locator(".fx-why-list button").first
    token = int(row.get_attribute("data-token"))
    row.click()
    page.wait_for_function(f"{STATE}.frame === {frame[token]}")
    page.click("[data-mode=keep]")
    page.locator(".fx-stage canvas").scroll_into_view_if_needed()
    inside = page.evaluate(f"{STATE}.trace.tokens.frame.indexOf({STATE}.frame)")
    page.mouse.move(*at_token(page, inside))
    page.mouse.down()
    page.mouse.move(*at_token(page, inside + 1), steps=3)
    page.mouse.up()
    frames(page, 3)
    forced = page.evaluate(f"{STATE}.forced.in")
    assert forced
    assert {frame[i] for i in forced} == {frame[token]}, "of no other frame"
    page.wait_for_function(f"{STATE}.status.phase === 'idle' && {STATE}.trace.methods.fsr.forced?.in.length")
    assert set(forced) <= kept(page)
    assert len(kept(page)) == 64
    ask(page)
    study(page, "repair")
