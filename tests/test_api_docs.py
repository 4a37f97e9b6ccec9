"""The examples of docs/api.md, taken from the page and run against a real server with the embedded model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from app.settings import ROOT, Settings
from fsr.errors import InvalidInput
from tests.browser.conftest import launched

BLOCKS = re.findall(r"^```([\w ]+)\n(.*?)^```$", (ROOT / "docs/api.md").read_text(), re.DOTALL | re.MULTILINE)
MCP = find_spec("mcp") is not None
NO_MCP = "NOT RUN: the package mcp is not installed (pip install -r requirements-mcp.txt)"


def example(language: str) -> str:
    (found,) = [code for name, code in BLOCKS if name == language]
    return found


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    tools = {"FSR_MCP": "1"} if MCP else {}
    for app in launched("shapes", ROOT / "assets", tmp_path_factory.mktemp("api"), **tools):
        yield app.url


def run(command: list[str], language: str, url: str, folder: Path) -> str:
    """What the example prints, beside a picture of a yellow star."""
    shutil.copy(ROOT / "assets/examples/star.png", folder / "picture.png")
    code = example(language).replace("http://127.0.0.1:7860", url)
    assert url in code
    environment = os.environ | {"no_proxy": "127.0.0.1", "GRADIO_TEMP_DIR": str(folder)}
    done = subprocess.run(
        [*command, code], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_python_example_runs(url, tmp_path):
    said = run([sys.executable, "-c"], "python", url, tmp_path)
    assert "yellow / yellow" in said
    assert "k_focus" in said
    assert "random@32" in said
    assert Path(said.rpartition("drawn: ")[2].strip()).read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_the_javascript_example_runs(url, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("NOT RUN: there is no node")
    assert "yellow / yellow" in run(["node", "--input-type=module", "-e"], "javascript", url, tmp_path)


@pytest.mark.slow
def test_the_curl_example_runs(url, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("NOT RUN: there is no curl")
    assert '"text": "yellow"' in run(["bash", "-euc"], "bash", url, tmp_path)


@pytest.mark.skipif(not MCP, reason=NO_MCP)
def test_the_mcp_example_runs(url, tmp_path):
    said = run([sys.executable, "-c"], "python mcp", url, tmp_path)
    tools, _, _ = said.partition("\n")
    assert {"analyse", "answer", "compare", "why"} <= set(re.findall(r"'(\w+)'", tools))
    assert "yellow" in said


def test_tools_are_off_unless_asked_for_and_refused_where_others_reach_the_page(monkeypatch):
    assert Settings.from_environment({}, cuda=False).mcp == 0
    for public in ({"SPACE_ID": "a/b"}, {"FSR_HOST": "0.0.0.0"}):
        with pytest.raises(InvalidInput, match="this machine alone"):
            Settings.from_environment({"FSR_MCP": "1"} | public, cuda=False)
    monkeypatch.setattr("app.settings.find_spec", lambda _: None)
    with pytest.raises(InvalidInput, match="needs the package mcp"):
        Settings.from_environment({"FSR_MCP": "1"}, cuda=False)
    with pytest.raises(InvalidInput, match="FSR_MCP must be 1"):
        Settings(mcp=2)
