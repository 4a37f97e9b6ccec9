"""`python -m tests.browser.install`: say which Chromium the tests will use, installing one where none is found.

Tried in turn: what `finding` finds, Debian's packages where apt and root allow, Playwright's own download.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.browser.finding import chromium_path

PACKAGES = ("chromium-headless-shell", "chromium")


def install() -> str | None:
    if found() is None and shutil.which("apt-get") and os.geteuid() == 0:
        _apt_get("update")
        for package in PACKAGES:
            if found() is None:
                _apt_get("install", "--yes", package)
    if found() is None:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    return found()


def _apt_get(*command: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", *command], stdout=subprocess.DEVNULL, check=False, env=environment)


def found() -> str | None:
    chromium_path.cache_clear()
    return chromium_path()


if __name__ == "__main__":
    path = install()
    print(f"browser tests use {path}" if path else "no Chromium found or installed: browser tests will NOT RUN")
