"""`python -m tests.browser.install`: say which Chromium the tests will use, installing one where none is found.

Tried in turn: what `finding` finds, Debian's package where apt and root allow, Playwright's own download.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.browser.finding import chromium_path


def install() -> str | None:
    if found() is None and shutil.which("apt-get") and os.geteuid() == 0:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "--yes", "-qq", "chromium"]):
            subprocess.run(command, stdout=subprocess.DEVNULL, check=False, env=environment)
    if found() is None:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    return found()


def found() -> str | None:
    chromium_path.cache_clear()
    return chromium_path()


if __name__ == "__main__":
    path = install()
    print(f"browser tests use {path}" if path else "no Chromium found or installed: browser tests will NOT RUN")
