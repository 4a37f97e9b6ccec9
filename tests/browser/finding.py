"""Where a Chromium for the tests is: $CHROMIUM, else one on PATH, else Playwright's own."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

# the first has no window of its own: a page opens in less than half the time
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@cache
def chromium_path() -> str | None:
    """The executable, or None."""
    wanted = os.environ.get("CHROMIUM")
    if wanted:
        return wanted if Path(wanted).is_file() else shutil.which(wanted)
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    return _playwrights_own()


def _playwrights_own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None
