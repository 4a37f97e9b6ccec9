"""The page as on a ZeroGPU Space: the real package `spaces`, its emulated CUDA, and a service that lends.

There is no GPU here, so the process that a lease forks cannot begin: everything up to that is real.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from app.settings import ROOT
from app.zerogpu import is_zerogpu
from tests.browser.conftest import wait_until_up

pytestmark = pytest.mark.slow


class Lender(ThreadingHTTPServer):
    """What Hugging Face runs beside a Space. left, wait: of the visitor's quota, in seconds; None lends."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Lending)
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.wait: str | None = None


class _Lending(BaseHTTPRequestHandler):
    server: Lender

    def do_POST(self) -> None:
        address = urlsplit(self.path)
        self.server.asked.append((address.path, parse_qs(address.query)))
        wait = self.server.wait
        if address.path == "/schedule" and wait is not None:
            self.answer(429, {"left": 4, "wait": wait}, {"X-Authenticated": "regular"})
        elif address.path == "/schedule":
            self.answer(200, {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "none", "allowToken": "token"})
        else:
            self.answer(200, {})

    def answer(self, status: int, value: dict[str, object], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def lender() -> Iterator[Lender]:
    server = Lender()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def url(lender, tiny_folder, tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("space")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{lender.server_port}",
        "ZEROGPU_OFFLOAD_DIR": str(folder / "offload"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        "FSR_MODEL": str(tiny_folder), "FSR_MODELS": "shapes", "FSR_PORT": str(port), "FSR_HOST": "127.0.0.1",
        "GRADIO_TEMP_DIR": str(folder / "gradio"), "FSR_REPEAT_S": "0",
    }  # fmt: skip
    log = folder / "app.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        wait_until_up(f"http://127.0.0.1:{port}", lambda: process.poll() is None, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def client(url: str) -> Client:
    """A visitor who is signed in, as the proxy of Hugging Face tells it."""
    payload = base64.urlsafe_b64encode(json.dumps({"user": "visitor"}).encode()).decode().rstrip("=")
    return Client(url, headers={"X-IP-Token": f"a.{payload}.b"}, verbose=False)


def asked(url: str, model: str = ""):
    picture = handle_file(str(ROOT / "assets" / "examples" / "star.png"))
    arguments = (picture, "what color is the star?", "fsr", 6, None, "global", 0, model)
    return client(url).predict(*arguments, api_name="/answer")


def test_the_model_is_on_the_gpu_before_the_page_is_there(url, lender):
    with urllib.request.urlopen(f"{url}/health") as answer:
        health = json.load(answer)
    assert health["model"] == "tiny-llava"
    assert health["notice"] == ""
    assert [path for path, _ in lender.asked] == ["/startup-report"], "packed and reported, and nothing asked for"


def test_a_used_up_quota_is_a_sentence_with_the_time_to_wait(url, lender):
    lender.wait = "PT12M34S"
    with pytest.raises(AppError, match=r"share of the GPU is used up, this question asks for .* ask again in 13 min"):
        asked(url)
    path, query = lender.asked[-1]
    assert path == "/schedule"
    assert int(query["durationSeconds"][0]) >= 10
    lender.wait = None


def test_a_lease_that_fails_is_a_sentence_and_the_next_question_works(url, lender):
    with pytest.raises(AppError, match="The GPU was taken away before the answer was done"):
        asked(url)
    assert "/allow" in [path for path, _ in lender.asked]
    before = len(lender.asked)
    answers = asked(url, "shapes")
    assert "yellow" in answers["full"]["text"]
    assert len(lender.asked) == before, "the embedded model needs no lease"


def test_only_such_a_space_is_one():
    assert is_zerogpu({"SPACES_ZERO_GPU": "true"})
    assert not is_zerogpu({})
    assert not is_zerogpu({"SPACES_ZERO_GPU": "false"})
