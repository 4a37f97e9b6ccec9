"""The address holds the view: reload, Back and Forward bring it back; what is no view is said, not swallowed."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from app.settings import ROOT
from tests.browser.conftest import READY, forgive_left_streams, frames

STATE = "fsrExplorer.page.store.state"
SLOW = 60_000


def query(page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def until(page, **wanted: str) -> dict[str, str]:
    """Until the address holds this; but for a new place, it is written when the page has been quiet for a moment."""
    page.wait_for_function(
        """(wanted) => { const query = new URLSearchParams(location.search);
        return Object.entries(wanted).every(([name, text]) => (query.get(name) ?? "") === text); }""",
        arg=wanted,
    )
    return query(page)


def view(page) -> dict[str, object]:
    return page.evaluate(
        f"""() => {{ const names = ["example", "method", "budget", "layer", "pinned", "cursor", "tab", "mode", "chosen",
        "arrange", "rowMethod", "pair", "edited", "theme", "projector", "frame", "region"];
        return {{ ...Object.fromEntries(names.map((name) => [name, {STATE}[name]])),
        layers: [...{STATE}.layers].sort(), question: document.querySelector("#fx-question textarea").value }}; }}"""
    )


def test_a_page_that_nobody_touched_keeps_its_address(page, app):
    frames(page, 40)
    assert page.url == f"{app.url}/"


def test_reload_restores_the_whole_view(visit, app):
    page = visit("?example=count")
    canvas = page.locator(".fx-stage canvas")
    page.select_option("#fx-method", "vispruner")
    page.evaluate("fsrExplorer.page.setBudget(100)")
    page.click(".fx-segments [data-layer=saliency]")
    page.click(".fx-entry[data-layer=dropped]")
    page.keyboard.press("t")
    page.click("[data-tab=words]")
    canvas.click(position={"x": 100, "y": 120})
    token = page.evaluate(f"{STATE}.cursor")
    page.fill("#fx-question textarea", "is there a star, 100% & more?")
    page.click("[data-ref=theme]")
    page.keyboard.press("p")
    page.mouse.move(5, 5)
    until(page, token=str(token), projector="1", question="is there a star, 100% & more?")
    before = view(page)
    assert (before["pinned"], before["cursor"]) == (token, token), "what was clicked stays inspected"
    page.reload()
    page.wait_for_selector(f"{READY}[data-cursor='{token}']")
    page.wait_for_function("document.querySelector('#fx-question textarea').value.startsWith('is there a star')")
    assert view(page) == before
    assert "dark" in page.get_attribute("body", "class")
    page.wait_for_selector("[data-kind=question] >> text=Ask answers it")
    page.click("[data-kind=question] [aria-label=Dismiss]")
    assert page.locator("[data-kind=question]").count() == 0
    forgive_left_streams(page)


@pytest.mark.slow
def test_tuned_parameters_are_planned_again_after_a_reload(visit, app):
    if not app.embedded:
        pytest.skip("the recorded scenes are of the embedded model")
    page = visit("?example=star&tune=fsr.alpha:1,fsr.rho:0.5&budget=64")
    page.wait_for_function(f"{STATE}.trace.methods.fsr.parameters.alpha === 1", timeout=SLOW)
    assert page.evaluate(f"{STATE}.trace.methods.fsr.parameters.rho") == 0.5
    page.keyboard.press("]")
    assert until(page, budget="65")["tune"] == "fsr.alpha:1,fsr.rho:0.5"


@pytest.mark.slow
def test_back_and_forward_go_through_pictures_and_views(visit):
    page = visit("?example=star&budget=50")
    page.click(".fx-tile[data-example=digit]")
    until(page, example="digit")
    page.evaluate("fsrExplorer.page.setBudget(33)")
    until(page, budget="33")
    page.click("[data-mode=compare]")
    until(page, view="compare")
    page.go_back()
    page.wait_for_function(f"{STATE}.mode === 'one' && {STATE}.example === 'digit' && {STATE}.budget === 33")
    page.go_back()
    page.wait_for_selector(".fx-tile[data-example=star][aria-pressed=true]")
    page.wait_for_selector(f"{READY}[data-budget='50']")
    assert "star" in page.locator("#fx-question textarea").input_value()
    page.go_forward()
    page.wait_for_selector(".fx-tile[data-example=digit][aria-pressed=true]")
    page.wait_for_selector(f"{READY}[data-budget='33']")
    assert query(page)["example"] == "digit"


def test_what_is_wrong_in_an_address_is_said_once_and_the_rest_is_shown(visit):
    page = visit("?example=count&budget=abc&layer=saliency&token=99999&theme=<b>blue")
    note = page.locator("[data-kind=ignored]")
    text = note.inner_text()
    assert text.startswith("Ignored in the address: ")
    n = page.evaluate(f"{STATE}.trace.tokens.n")
    for said in (f"budget=abc (a whole number from 1 to {n})", "token=99999 (", "theme=<b>blue (one of dark, light)"):
        assert said in text
    assert page.evaluate(f"{STATE}.layer") == "saliency"
    note.get_by_role("button", name="Dismiss").focus()
    page.keyboard.press("Enter")
    assert note.count() == 0


@pytest.mark.slow
def test_a_clips_frame_and_region_come_back(visit, app):
    if not app.embedded:
        pytest.skip("the recorded clips are of the embedded model")
    page = visit("?example=overtake&frame=3&region=0.25,0.25,0.5,0.75&share=whatever", ready=False)
    page.wait_for_function(f"window.fsrExplorer && {STATE}.trace?.clip && {STATE}.frame === 2", timeout=SLOW)
    assert page.evaluate(f"{STATE}.region") == {"x0": 0.25, "y0": 0.25, "x1": 0.5, "y1": 0.75}
    assert "share=whatever" in page.locator("[data-kind=ignored]").inner_text()
    assert page.evaluate(f"{STATE}.model.id") == "shapes-video"


@pytest.mark.slow
def test_a_visitors_own_picture_is_not_in_the_link(visit, app, contexts):
    page = visit()
    page.set_input_files("#fx-choose input[type=file]", str(ROOT / "assets/examples/left.png"))
    page.wait_for_function(f"{STATE}.example === null && {STATE}.trace", timeout=SLOW)
    page.fill("#fx-question textarea", "what is the black thing?")
    until(page, picture="own", example="", question="what is the black thing?")
    page.keyboard.press("Tab")
    page.evaluate("fsrExplorer.page.setBudget(40)")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.click("[data-ref=link]")
    assert "everything but the picture" in page.locator("[data-kind=link]").inner_text()
    page.reload()  # this tab's history knows which picture it was, the server still has it
    page.wait_for_selector(READY, timeout=SLOW)
    assert page.evaluate(f"{STATE}.example") is None
    link = page.url

    other = visit(urlsplit(link).query and "?" + urlsplit(link).query, viewport={"width": 1400, "height": 900})
    assert "everything but the picture" in other.locator("[data-kind=picture]").inner_text()
    expect(other.locator("#fx-question textarea")).to_have_value("what is the black thing?")
    frames(other, 40)
    assert query(other)["picture"] == "own", "the link waits for its picture"
    other.set_input_files("#fx-choose input[type=file]", str(ROOT / "assets/examples/left.png"))
    other.wait_for_function(f"{STATE}.example === null && {STATE}.trace", timeout=SLOW)
    assert other.locator("[data-kind=picture]").count() == 0
    forgive_left_streams(page)


@pytest.mark.slow
def test_ones_own_picture_comes_back_with_its_tokens_and_what_is_chosen_next_is_a_new_entry(visit, app):
    asked = f"{STATE}.example === null && {STATE}.trace?.question === 'What is in the picture?'"
    page = visit()
    page.set_input_files("#fx-choose input[type=file]", str(ROOT / "assets/examples/left.png"))
    until(page, picture="own")
    page.reload()
    page.wait_for_function(f"window.fsrExplorer && {asked}", timeout=SLOW)
    expect(page.locator("#fx-question textarea")).to_have_value("What is in the picture?")
    page.click(".fx-tile[data-example=star]")
    until(page, example="star", picture="")
    page.set_input_files("#fx-choose input[type=file]", str(ROOT / "assets/examples/absent.png"))
    until(page, example="", picture="own")
    page.wait_for_function(asked, timeout=SLOW)
    page.go_back()
    page.wait_for_function(f"{STATE}.example === 'star'", timeout=SLOW)
    page.go_back()
    page.wait_for_function(asked, timeout=SLOW)
    forgive_left_streams(page)


def test_a_drag_writes_no_address(page):
    page.evaluate(
        """() => { window.writes = 0; const real = history.replaceState.bind(history);
        history.replaceState = (...given) => (window.writes++, real(...given)); }"""
    )
    writes, stalls = page.evaluate(
        """async () => { let before = performance.now(), stalls = 0;
        for (let budget = 20; budget < 60; budget++) {
            fsrExplorer.page.setBudget(budget); await new Promise(requestAnimationFrame);
            if (performance.now() - before > 200) stalls++;
            before = performance.now(); }
        return [window.writes, stalls]; }"""
    )
    assert writes <= stalls, "only where this machine let the drag rest"
    until(page, budget="59")
    assert page.evaluate("window.writes") == writes + 1
