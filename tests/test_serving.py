"""What a browser is sent: a small page, modules that it may keep, and a policy that allows our own host only."""

from __future__ import annotations

import gzip
import re
import urllib.request

import pytest

from app.service import Service
from app.serving import FOREVER, POLICY, version
from app.settings import Settings
from app.ui.page import build_app, launch_options


@pytest.fixture(scope="module")
def url():
    """The app with the embedded model's gallery, on a free port and under a root path as behind a proxy."""
    settings = Settings()
    service = Service(settings)
    demo = build_app(settings, service)
    options = launch_options(settings) | {"server_name": "127.0.0.1", "prevent_thread_lock": True, "quiet": True}
    _, local, _ = demo.launch(**options)
    yield local.rstrip("/")
    demo.close()
    service.close()


def got(url: str, encoding: str = "identity"):
    request = urllib.request.Request(url, headers={"Accept-Encoding": encoding})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers, answer.read()


def test_the_page_itself_is_small(url):
    _, plain = got(url + "/")
    headers, packed = got(url + "/", "gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert b"FSR Explorer" in gzip.decompress(packed)
    assert len(plain) < 250_000
    assert len(packed) < 60_000


def test_modules_may_be_kept_because_their_address_has_a_version(url):
    headers, page = got(url + "/")
    found = set(re.findall(r"<\./(fsr/[0-9a-f]{12}/[\w.]+)>", headers["Link"]))
    assert {name.rpartition("/")[2] for name in found} >= {"main.js", "store.js", "theme.css"}
    assert f"./fsr/{version()}/main.js".encode() in page
    for name in found:
        headers, _ = got(f"{url}/{name}", "gzip")
        assert headers["Cache-Control"] == FOREVER
        assert headers.get_content_type() in ("text/javascript", "application/javascript", "text/css")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        got(f"{url}/fsr/{version()}/../serving.py")


def test_every_answer_carries_the_policy(url):
    for path in ("/", f"/fsr/{version()}/main.js", "/config"):
        headers, _ = got(url + path)
        assert headers["Content-Security-Policy"].startswith("default-src 'self'; ")
    allowed = {part for name, sources in POLICY.items() if name != "frame-ancestors" for part in sources.split()}
    assert allowed == {"'self'", "'unsafe-inline'", "'unsafe-eval'", "'none'", "data:", "blob:"}, "no other host"
    assert "huggingface.co" in POLICY["frame-ancestors"]
