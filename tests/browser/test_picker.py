"""The model picker by keyboard and mouse, a default that cannot be loaded, and a change of the model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.browser.conftest import App, launched
from tests.browser.test_asking import SLOW, until_done
from tests.tiny import save_tiny
from tests.tiny_families import save_qwen

STATE = "fsrExplorer.page.store.state"
DEFAULT = "llava-hf/llava-1.5-7b-hf"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("whose-place-is-nobodys-business")


@pytest.fixture(scope="module")
def app(browser: object, model_and_gallery, folder, tmp_path_factory) -> Iterator[App]:
    """A model of the hub, which is out of reach, with a fallback; another model on offer, and a broken one."""
    tiny, qwen = save_tiny(folder / "tiny-llava"), save_qwen(folder / "tiny-qwen")
    broken = shutil.copytree(qwen, folder / "broken")
    (broken / "model.safetensors").write_bytes((qwen / "model.safetensors").read_bytes()[:-100])
    options = {"FSR_MODELS": f"{qwen},{broken}", "FSR_FALLBACK": str(tiny), "FSR_MAX_NEW_TOKENS": "3"}
    yield from launched(DEFAULT, model_and_gallery[1], tmp_path_factory.mktemp("app"), **options)


def row(page, model):
    return page.locator(f".fx-offer[data-model='{model}']")


@pytest.mark.slow
def test_a_model_is_replaced_by_the_fallback_and_another_is_chosen(visit, folder):
    page = visit()
    page.evaluate("window.told = []; fsrExplorer.page.store.on(['status'], (s) => told.push(s.status.text ?? ''))")
    page.keyboard.press("m")
    page.wait_for_selector(".fx-offer")
    assert page.locator(".fx-offer b").all_inner_texts() == ["LLaVA-1.5 7B", "tiny-qwen", "broken", "tiny-llava"]
    text = row(page, DEFAULT).inner_text()
    for words in ("about 14.1", "to be downloaded", "estimate", "attention from [CLS]", "Llama 2 Community License"):
        assert words in text
    assert row(page, DEFAULT).get_attribute("aria-current") == "true"
    assert page.evaluate("document.activeElement.closest('.fx-models') !== null")
    page.keyboard.press("Escape")
    assert not page.locator(".fx-models").is_visible()

    page.click("#fx-askbutton")
    until_done(page)
    notice = page.locator(".fx-modelnotice").inner_text()
    assert notice.startswith("LLaVA-1.5 7B could not be loaded: llava-hf/llava-1.5-7b-hf is not on this machine")
    assert notice.endswith("tiny-llava answers instead.")
    assert page.evaluate(f"{STATE}.trace.model.id") == "tiny-llava"

    page.click("[data-ref=model]")
    row(page, "tiny-qwen").locator("button").focus()
    page.keyboard.press("Enter")
    page.wait_for_function(f"{STATE}.model.id === 'tiny-qwen'", timeout=SLOW)
    assert page.locator("[data-ref=model]").inner_text() == "tiny-qwen"
    assert not page.locator(".fx-modelnotice").is_visible()
    page.select_option("#fx-method", "cdpruner")  # the tokens on screen are those of the model before
    page.wait_for_function(f"{STATE}.status.text?.startsWith('These tokens were selected with tiny-llava.')")
    assert page.evaluate(f"'cdpruner' in {STATE}.trace.methods") is False
    assert "Measured here with tiny-llava" in page.locator(".fx-source").inner_text()
    page.select_option("#fx-method", "fsr")
    page.click("#fx-askbutton")
    page.wait_for_function(f"{STATE}.trace.model.id === 'tiny-qwen'", timeout=SLOW)
    until_done(page)
    assert any(text.startswith("Loading tiny-qwen: ") and " of 764.8 kB" in text for text in page.evaluate("told"))

    page.click("[data-ref=model]")
    row(page, "broken").locator("button").click()
    page.wait_for_function(f"{STATE}.model.id === 'broken'")
    page.click("#fx-askbutton")
    page.wait_for_selector(".fx-status[data-phase=failed]")
    assert page.locator(".fx-status").inner_text().endswith("was cut off. tiny-qwen stays in use.")
    page.wait_for_function(f"{STATE}.model.id === 'tiny-qwen' && {STATE}.model.loaded")

    page.set_viewport_size({"width": 390, "height": 844})
    page.click("[data-ref=model]")
    page.wait_for_function("document.querySelector('[data-model=tiny-qwen]').textContent.includes('in memory')")
    box = page.locator(".fx-models").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert page.evaluate(
        "(() => { const m = document.querySelector('.fx-models'); return m.scrollWidth <= m.clientWidth; })()"
    )
    assert "measured" in row(page, "tiny-qwen").inner_text()
    page.mouse.click(195, 5)  # beside it
    assert not page.locator(".fx-models").is_visible()
    assert str(folder) not in page.content()
