"""What a browser is sent: a small page, modules that it may keep, and a policy that allows our own host only."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from app.preview import SIZE
from app.service import Service
from app.serving import FOREVER, POLICY, version
from app.settings import ROOT, Settings
from app.ui.page import build_app, launch_options


@pytest.fixture(scope="module")
def url():
    """The app with the embedded model's gallery, on a free port and under a root path as behind a proxy."""
    settings = Settings(root_path="/explorer")
    service = Service(settings)
    demo = build_app(settings, service)
    options = launch_options(settings, service) | {
        "server_name": "127.0.0.1",
        "prevent_thread_lock": True,
        "quiet": True,
    }
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
    assert len(plain) < 256_000
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


def test_data_sets_are_told_as_json_and_bad_questions_refused_in_one_sentence(url):
    asked = "?sweep=shapes&method=fsr&budget=64"
    _, sweeps = got(f"{url}/data/api/sweeps")
    assert [sweep["name"] for sweep in json.loads(sweeps)] == ["shapes"]
    headers, worst = got(f"{url}/data/api/questions{asked}&sort=kl&down=1&limit=10")
    assert headers["Cache-Control"] == "no-store"
    assert len(json.loads(worst)["rows"]) == 10
    headers, image = got(f"{url}/data/picture{asked}&item=12&side=64")
    assert Image.open(io.BytesIO(image)).size == (64, 64)
    assert headers.get_content_type() == "image/webp"
    headers, rows = got(f"{url}/data/export{asked}&as=csv")
    assert headers["Content-Disposition"] == 'attachment; filename="shapes-fsr-64.csv"'
    assert rows.count(b"\n") == 305
    for path in (
        "api/about?sweep=../shapes",
        "api/questions?sweep=shapes&method=fsr&budget=7",
        f"api/questions{asked}&limit=1000",
        f"api/questions{asked}&offset=-1",
        f"api/questions{asked}&filter=x",
        f"api/questions{asked}&beside=none",
        f"api/common{asked}&flip=x",
        "picture?sweep=shapes&item=99999999999",
        "picture?sweep=shapes&item=1&side=9000",
        f"export{asked}&as=exe",
    ):
        with pytest.raises(urllib.error.HTTPError, match="400") as refused:
            got(f"{url}/data/{path}")
        told = json.loads(refused.value.read())["error"]
        assert told.endswith(".")
        assert str(ROOT) not in told


def test_the_root_path_is_in_every_address_whether_a_proxy_leaves_it_or_takes_it_away(url):
    for given in ("", "/explorer"):
        headers, page = got(f"{url}{given}/")
        (main,) = set(re.findall(rb"\./(fsr/[0-9a-f]{12}/main\.js)", page))
        assert b"export" in got(f"{url}{given}/{main.decode()}")[1]
        assert json.loads(got(f"{url}{given}/config")[1])["root"] == f"{url}/explorer"
        assert "https:" not in headers["Link"]
    asked = urllib.request.Request(
        f"{url}/config", headers={"X-Forwarded-Host": "example.org", "X-Forwarded-Proto": "https"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert json.load(answer)["root"] == "https://example.org/explorer"


def test_a_composed_scene_is_drawn_under_the_root_path(url):
    headers, picture = got(url + "/scene/picture?scene=1~plain-f4f1ea~star-90-90-60-cred")
    assert headers["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(picture)).size == (672, 672)


def test_health_tells_which_model_answers_and_loads_none(url):
    headers, text = got(f"{url}/health")
    assert json.loads(text) == {"model": "shapes", "in_memory": "", "notice": ""}
    assert headers["Cache-Control"] == "no-store"


def test_the_images_own_health_check_passes_here_and_fails_where_nothing_answers(url):
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    (command,) = re.findall(r"^HEALTHCHECK .*?CMD (.*)$", text, re.M)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for port, passes in ((url.rpartition(":")[2], True), (str(nobody.getsockname()[1]), False)):
            done = subprocess.run(
                ["sh", "-c", command], env={"PATH": path, "FSR_PORT": port}, capture_output=True, check=False
            )
            assert (done.returncode == 0) is passes, done.stderr


def test_a_link_to_the_page_is_previewed_with_our_own_words_and_an_absolute_picture(url):
    """Behind a proxy, which tells the address that visitors see; a host that is no name does no harm."""
    headers = {"X-Forwarded-Host": 'example.org"><script>', "X-Forwarded-Proto": "https"}
    for sent, origin in (
        ({}, url),
        (headers | {"X-Forwarded-Host": "example.org"}, "https://example.org"),
        (headers, ""),
    ):
        with urllib.request.urlopen(urllib.request.Request(url + "/", headers=sent), timeout=30) as answer:
            head = answer.read().decode().partition("<script>")[0]
        assert "Click to try out" not in head
        assert "gradio.app" not in head
        found = dict(re.findall(r'<meta (?:property|name)="([\w:]+)" content="([^"]*)" />', head))
        assert found["og:title"] == found["twitter:title"] == "FSR Explorer: which visual tokens does the answer need?"
        assert head.count("og:title") == head.count('og:image"') == 1
        assert found["og:image"] == found["twitter:image"]
        if origin:
            assert found["og:image"] == f"{origin.removesuffix('/explorer')}/explorer/fsr/preview.png"
    kind, picture = got(url.removesuffix("/explorer") + "/fsr/preview.png")
    assert kind["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(picture)).size == SIZE
