"""`python -m tests.browser.animate`: the picture of the README, from the page itself while its slider is dragged."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from app.settings import ROOT
from tests.browser.conftest import READY, launched
from tests.browser.finding import chromium_path

SIZE = {"width": 1280, "height": 800}
WIDTH = 860  # pixels of the animation
BUDGETS = [*range(8, 65, 4), *range(64, 193, 8), *[192] * 4, *range(192, 63, -16), *[64] * 8]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for app in launched("shapes", ROOT / "assets", Path(folder)):
            save(frames(app.url), ROOT / "assets" / "slider.webp")


def frames(url: str) -> list[Image.Image]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        page = browser.new_context(viewport=SIZE).new_page()
        page.goto(url)
        page.wait_for_selector(READY)
        page.wait_for_function("document.querySelector('.fx-tiles img')?.complete")
        page.evaluate("document.fonts.ready")
        found = []
        for budget in BUDGETS:
            page.evaluate(f"fsrExplorer.page.setBudget({budget})")
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            found.append(shot.resize((WIDTH, round(WIDTH * shot.height / shot.width)), Image.Resampling.LANCZOS))
        browser.close()
    return found


def save(pictures: list[Image.Image], path: Path) -> None:
    options = {"duration": 90, "loop": 0, "quality": 60, "method": 4, "minimize_size": True}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)
    print(f"{path.name}: {len(pictures)} frames, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
