"""The page lives from a recorded trace before any model is loaded."""

from __future__ import annotations

from tests.browser.conftest import READY, launched
from tests.browser.test_page import painted


def test_an_example_is_alive_before_any_model_is_loaded(browser, model_and_gallery, tmp_path):
    model, gallery = model_and_gallery
    for fresh in launched(model, gallery, tmp_path):
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.goto(fresh.url)
        page.wait_for_selector(READY, timeout=90_000)
        assert painted(page) > 1000
        assert page.get_attribute(".fx-dot", "data-state") == "idle"
        assert page.locator("[data-ref=fulltext]").inner_text()
        assert page.locator("[data-ref=ourstext]").inner_text()
        assert "Recorded on" in page.locator(".fx-source").inner_text()
        assert "Loading weights" not in fresh.log.read_text()
        page.context.close()
