"""The stop button, on a model that would talk for a long time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.browser.conftest import READY, Watch, frames, launched, random_llava
from tests.browser.test_asking import png, upload

STATE = "fsrExplorer.page.store.state"


@pytest.fixture(scope="module")
def talkative(browser, model_and_gallery, tmp_path_factory):
    """Random weights that never end by themselves and may say a thousand tokens."""
    folder: Path = tmp_path_factory.mktemp("talkative")
    model = random_llava(folder / "random-llava")
    never_ends(model)
    yield from launched(str(model), model_and_gallery[1], folder, FSR_MAX_NEW_TOKENS="1000")


def never_ends(model: Path) -> None:
    """The end of text gets a score of 0, below the best of the others."""
    weights = load_file(model / "model.safetensors")
    (head,) = [name for name in weights if name.endswith("lm_head.weight")]
    weights[head][json.loads((model / "generation_config.json").read_text())["eos_token_id"]] = 0
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture
def page(browser, talkative):
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.watch = Watch(talkative.url)
    page.watch.on(page)
    page.goto(talkative.url)
    page.wait_for_selector(READY)
    yield page
    assert page.watch.errors == []
    page.context.close()


def stop(page) -> None:
    page.click("#fx-stopbutton")
    page.wait_for_function(f"{STATE}.status.phase === 'stopped'")


@pytest.mark.slow
def test_a_running_answer_can_be_stopped_and_what_was_said_stays(page):
    page.click("#fx-askbutton")
    streaming = f"{STATE}.answers.full?.text.length > 3 && {STATE}.answers.full.done === false"
    page.wait_for_function(streaming, timeout=120_000)
    stop(page)
    answer = page.evaluate(f"{STATE}.answers.full")
    assert answer["done"] is False
    assert answer["text"]
    page.wait_for_selector("[data-ref=fulltext][data-state=stopped]")
    page.wait_for_selector("#fx-askbutton:visible")


@pytest.mark.slow
def test_a_running_comparison_can_be_stopped(page):
    page.click("[data-mode=compare]")
    page.click("#fx-askbutton")
    page.wait_for_function(
        f"Object.values({STATE}.answers).some((a) => a.method !== 'full' && a.text && a.done === false)",
        timeout=120_000,
    )
    stop(page)
    answers, chosen, methods = page.evaluate(f"[{STATE}.answers, {STATE}.chosen, Object.keys({STATE}.trace.methods)]")
    assert answers["full"]["done"], "all tokens answer first"
    assert len(answers) < len(chosen) + 1, "the others are not asked any more"
    frames(page, 31)
    assert page.evaluate(f"{STATE}.status.phase") == "stopped", "nothing begins by itself after a stop"
    missing = next(name for name in chosen if name not in methods)
    page.click(f".fx-chip[data-method={missing}]")
    page.wait_for_function(f"{STATE}.chosen.every((name) => {STATE}.trace.methods[name])", timeout=60_000)


@pytest.mark.slow
def test_a_stop_that_comes_before_the_answer_begins_is_not_lost(page):
    page.evaluate("['ask', 'stop'].forEach((name) => document.querySelector(`#fx-${name}button`).click())")
    page.wait_for_function(f"{STATE}.status.phase === 'stopped'", timeout=20_000)
    page.wait_for_selector("#fx-askbutton:visible")


@pytest.mark.slow
def test_the_line_is_shown_moves_up_and_is_left_by_a_stop(page, browser, talkative):
    other = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    other.goto(talkative.url)
    other.wait_for_selector(READY)
    page.click("[data-mode=compare]")  # long enough, however fast the machine
    page.click("#fx-askbutton")
    page.wait_for_function(f"{STATE}.answers.full?.text.length > 3", timeout=120_000)
    other.fill("#fx-question textarea", "what is in the picture?")
    upload(other, "mine.png", png())
    line = "Waiting for the model: 1st in line"
    other.wait_for_function(f"{STATE}.status.phase === 'planning' && {STATE}.status.text.startsWith('{line}')")
    third = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    third.goto(talkative.url)
    third.wait_for_selector(READY)
    third.click("#fx-askbutton")
    third.wait_for_selector(".fx-status:has-text('Waiting for the model: 2nd in line')")
    other.wait_for_selector("#fx-stopbutton:visible")
    stop(other)
    assert other.locator("#fx-stopbutton").is_hidden()
    assert page.evaluate(f"{STATE}.status.phase") in ("full", "method"), "the other visitor's answer goes on"
    third.wait_for_selector(f".fx-status:has-text('{line}')")
    stop(page)
    third.wait_for_function(f"{STATE}.answers.full?.text.length > 3", timeout=120_000)
    stop(third)
    third.context.close()
    other.context.close()
