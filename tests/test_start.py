"""The real process: what it says when it cannot start, and where it is when its port is taken."""

from __future__ import annotations

import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from app.settings import ROOT, Settings
from fsr.errors import FsrError

WRONG = {
    "FSR_PORT=abc": "FSR_PORT must be a number, not 'abc'",
    "FSR_PORT=99999": "FSR_PORT must be at most 65535",
    "FSR_MAX_UPLOAD_MB=-1": "FSR_MAX_UPLOAD_MB must be above 0",
    "FSR_REPEAT_S=-1": "FSR_REPEAT_S must be at least 0",
    "FSR_REPEAT_S=nan": "FSR_REPEAT_S must be a finite number, not nan",
    "FSR_MAX_CLIP_MEGAPIXELS=inf": "FSR_MAX_CLIP_MEGAPIXELS must be a finite number, not inf",
    "FSR_ROOT_PATH=explorer": "FSR_ROOT_PATH must be a path like /explorer or an address",
    "FSR_MODEL=nonsense": "'nonsense' is none",
    "FSR_EXAMPLES=/no/such/folder": "FSR_EXAMPLES must be a folder",
    "FSR_DTYPE=float7": "dtype must be one of",
    "FSR_DEVICE=abacus": "the device 'abacus' cannot be used here",
}


def process(**settings: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FSR_", "GRADIO_SERVER"))}
    return subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment | {"HF_HUB_OFFLINE": "1", **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def taken():
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_wrong_setting_is_one_sentence():
    for setting, words in WRONG.items():
        name, _, value = setting.partition("=")
        with pytest.raises(FsrError, match=re.escape(words)):
            Settings.from_environment({name: value})


@pytest.mark.slow
def test_what_keeps_the_process_from_starting_is_one_sentence(taken):
    one = process(GRADIO_SERVER_PORT=str(taken))  # Gradio's own variable is read as FSR_PORT
    out, err = one.communicate(timeout=120)
    assert one.returncode == 2, (out, err)
    is_one_sentence(err, f"port {taken} of this machine cannot be used")


def test_what_is_wrong_with_host_or_examples_is_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "index.json").write_text('[{"id": "star", "question": "what is this?"}]')
    wrong = {
        "FSR_HOST=::1": "FSR_HOST must be an IPv4 address or the name of one, not '::1'",
        "FSR_HOST=203.0.113.7": "of 203.0.113.7 can be used",
        f"FSR_EXAMPLES={tmp_path}": "index.json must be a list of examples, each with id, question, title",
    }
    for setting, words in wrong.items():
        with monkeypatch.context() as here:
            here.setenv("GRADIO_TEMP_DIR", str(tmp_path))  # app.py sets it where it is not
            here.setenv(*setting.split("=", 1))
            with pytest.raises(SystemExit) as end:
                runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
        assert end.value.code == 2
        is_one_sentence(capsys.readouterr().err, words)


def is_one_sentence(err: str, words: str) -> None:
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("FSR Explorer cannot start: ")
    assert words in lines[0]


@pytest.mark.slow
def test_beside_a_running_one_it_takes_the_next_free_port_and_says_so():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", 7860))
            other.listen()
        except OSError:
            pass  # taken already: as good
        one = process(HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="example.org")  # its own server is not behind the proxy
        try:
            assert one.stdout is not None
            said = one.stdout.readline()
            found = re.fullmatch(r"Port 7860 is taken; the page is at port (\d+)\.\n", said)
            assert found, (said, one.stderr)
            for line in one.stdout:
                if "Running on local URL" in line:
                    break
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=30) as page:
                assert b"FSR Explorer" in page.read()
        finally:
            one.send_signal(signal.SIGTERM)
            one.communicate(timeout=30)
