"""Runs the page's own modules outside of the page: in node or, where there is none, in Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from app.serving import STATIC
from tests.browser.finding import chromium_path

NODE = shutil.which("node")


def run(modules: Sequence[str], expression: str, data: Any) -> Any:
    """The result of a JavaScript function of `data`; the modules of app/static go by their names in it."""
    if NODE:
        return in_node(modules, expression, data)
    if not chromium_path():
        pytest.skip("NOT RUN: neither node nor Chromium was found")
    return in_chromium(modules, expression, data)


def in_node(modules: Sequence[str], expression: str, data: Any) -> Any:
    imports = "".join(f"import * as {name} from {json.dumps((STATIC / f'{name}.js').as_uri())};\n" for name in modules)
    code = f"""{imports}
    let text = ""; for await (const part of process.stdin) text += part;
    console.log(JSON.stringify(await ({expression})(JSON.parse(text))));"""
    command = [str(NODE), "--input-type=module", "-e", code]
    done = subprocess.run(command, input=json.dumps(data), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def in_chromium(modules: Sequence[str], expression: str, data: Any) -> Any:
    from playwright.sync_api import sync_playwright

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=STATIC)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/gallery.html")
            names = "".join(f'const {name} = await import("/{name}.js");' for name in modules)
            result = page.evaluate(f"async (data) => {{ {names} return ({expression})(data); }}", data)
            browser.close()
        server.shutdown()
    return result
