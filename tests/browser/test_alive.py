"""An app of its own: it lives from a recorded trace before any model is loaded, and behind a proxy under a path."""

from __future__ import annotations

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.browser.conftest import READY, Watch, launched
from tests.browser.test_asking import SLOW, STATE, ask, png, until_done, upload
from tests.browser.test_page import painted

PATH = "/some/where"


@pytest.fixture(scope="module")
def fresh(browser, model_and_gallery, tmp_path_factory):
    yield from launched(*model_and_gallery, tmp_path_factory.mktemp("fresh"), FSR_ROOT_PATH=PATH)


def test_an_example_is_alive_before_any_model_is_loaded(browser, fresh):
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


class Proxy(BaseHTTPRequestHandler):
    """Passes on what is under PATH, without it. The connection's end is the answer's end, also of streams."""

    app: str
    missed: list[str]

    def log_message(self, *_args):
        pass

    def forward(self):
        if not self.path.startswith(f"{PATH}/"):
            self.missed.append(self.path)
            return self.send_error(404)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = HTTPConnection(self.app, timeout=120)
        connection.request(self.command, self.path.removeprefix(PATH), body or None, dict(self.headers))
        answer = connection.getresponse()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        while part := answer.read1():
            self.wfile.write(part)
        return connection.close()

    do_GET = do_HEAD = do_POST = forward  # noqa: N815


class Server(ThreadingHTTPServer):
    def handle_error(self, *_args):
        pass  # the browser went away in the middle of a stream


@pytest.fixture
def proxied(fresh):
    """The proxy's address, and what it was asked for beside PATH."""
    handler = type("Handler", (Proxy,), {"app": fresh.url.split("/")[2], "missed": []})
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler.missed
        server.shutdown()


@pytest.mark.slow
def test_the_page_opens_takes_a_picture_and_answers_under_a_root_path(browser, proxied):
    host, missed = proxied
    page = browser.new_page()
    watch = Watch(host)
    watch.on(page)
    page.goto(f"{host}{PATH}/")
    page.wait_for_selector(READY)
    page.fill("#fx-question textarea", "what is in the meadow?")  # an example's would go with its picture
    upload(page, "meadow.png", png())
    page.wait_for_function(f"{STATE}.example === null && {STATE}.trace !== null", timeout=SLOW)
    ask(page)
    until_done(page)
    page.close()
    assert watch.errors == []
    assert watch.foreign == []
    assert missed == [], "the page asked for what is not under its path"
