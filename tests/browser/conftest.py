"""A real Chromium on the real app. Without a browser every test here is NOT RUN, and the closing lines say so."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import pytest

from app.settings import ROOT
from tests.browser.finding import chromium_path

NOT_RUN = "browser tests NOT RUN: no Chromium found ($CHROMIUM, PATH, Playwright's own)"
READY = ".fx-stage canvas[data-budget]:not([data-budget=''])"
START_S = 120
READY_TO_SERVE = multiprocessing.get_context("forkserver")
READY_TO_SERVE.set_forkserver_preload(["app.ui.page", "transformers"])
FRAMES_MS = 40  # after every action: the page draws what changed in its next frame, and a person looks after that


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if chromium_path() is None:
        terminalreporter.write_line(NOT_RUN, red=True)
    for report in terminalreporter.getreports("passed"):
        for name, line in report.user_properties:
            if name == MEASURED:
                terminalreporter.write_line(f"{line} (beside the other tests)")


MEASURED = "measured"


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """What this is called with is printed when the run ends."""
    return partial(record_property, MEASURED)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    path = chromium_path()
    if path is None:
        if os.environ.get("FSR_REQUIRE_BROWSER") == "1":
            pytest.fail(NOT_RUN)
        pytest.skip(NOT_RUN)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], slow_mo=FRAMES_MS)
        yield chromium
        chromium.close()


@dataclass(frozen=True)
class App:
    url: str
    model: str
    embedded: bool
    log: Path


@pytest.fixture(scope="session")
def model_and_gallery(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The embedded model, or before it is trained random weights; the shipped gallery, or one recorded just now."""
    folder = tmp_path_factory.mktemp("standin")
    embedded = (ROOT / "assets" / "shapes" / "config.json").is_file()
    model = "shapes" if embedded else str(random_llava(folder / "random-llava"))
    if embedded and (ROOT / "assets" / "traces").is_dir():
        return model, ROOT / "assets"
    from fsr.bench.recording import record
    from fsr.vlm import load

    shutil.copytree(ROOT / "assets" / "examples", folder / "gallery" / "examples")
    record(load(model), folder / "gallery" / "examples", folder / "gallery" / "traces", max_new_tokens=8)
    return model, folder / "gallery"


def random_llava(folder: Path) -> Path:
    """Random weights on a grid of 24 x 24 tokens, words for tokens; it answers long nonsense."""
    from fsr.shapes.vocabulary import build_tokenizer
    from tests import tiny

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "SIDE", 336)
        return tiny.save_tiny(folder, tokenizer=build_tokenizer())


@pytest.fixture(scope="session")
def app(
    browser: object, model_and_gallery: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    """The app as a visitor meets it: its own process, a free port. FSR_TESTS_LEASED=1: every turn in a process of its
    own besides."""
    model, gallery = model_and_gallery
    yield from launched(model, gallery, tmp_path_factory.mktemp("app"))


def launched(model: str, gallery: Path, folder: Path, **extra: str) -> Iterator[App]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "app.log"
    environment = os.environ | {
        "FSR_MODEL": model, "FSR_EXAMPLES": str(gallery), "FSR_PORT": str(port), "FSR_HOST": "127.0.0.1",
        "GRADIO_TEMP_DIR": str(folder / "gradio"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
        "FSR_REPEAT_S": "0", **extra,
    }  # fmt: skip
    process = READY_TO_SERVE.Process(target=serve, args=(environment, log))  # no daemon: it forks turns itself
    process.start()
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_up(url, process.is_alive, log)
        yield App(url, model, model == "shapes", log)
    finally:
        process.terminate()
        process.join(20)


def serve(environment: dict[str, str], log: Path) -> None:
    """`python app.py`, in a process that was forked from one which has imported everything."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    out = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if os.environ.get("FSR_TESTS_LEASED") == "1":
        from tests.forked import serve as leased

        leased()
    else:
        runpy.run_path(str(ROOT / "app.py"), run_name="__main__")


def wait_until_up(url: str, alive: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert alive(), log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"the app did not come up in {START_S} s:\n{log.read_text()}")


def forgive_left_streams(page) -> None:
    """Take out of a page's errors Gradio's word about a stream that was open when the page was left or loaded anew."""
    left = ("signal is aborted", "Connection errored out")
    page.watch.errors[:] = [one for one in page.watch.errors if not any(text in one for text in left)]


def frames(page, count: int = 4) -> None:
    """Let the page draw so many frames: whatever it begins by itself it begins in its next ones."""
    page.evaluate(
        """(left) => new Promise((done) => {
        const next = () => (left-- > 0 ? requestAnimationFrame(next) : done());
        next();
    })""",
        count,
    )


@dataclass
class Watch:
    """What a page did that it should not: console errors, requests to other hosts."""

    host: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def on(self, page) -> None:
        page.on("console", lambda m: m.type == "error" and self.errors.append(m.text))
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("request", self._request)

    def _request(self, request) -> None:
        if request.url.startswith(("data:", "blob:")):
            return
        self.requests.append(f"{request.method} {request.url}")
        if not request.url.startswith(self.host):
            self.foreign.append(request.url)


@pytest.fixture(scope="session")
def contexts(browser) -> Callable[..., object]:
    """Browser profiles by their options: pages of one share the files that were fetched and compiled, no more than
    that, for the page stores nothing in a browser."""

    @cache
    def of(options: str) -> object:
        return browser.new_context(**json.loads(options))

    return lambda **options: of(json.dumps(options, sort_keys=True))


@pytest.fixture
def visit(app: App, contexts) -> Iterator[object]:
    """visit(query="", **context) -> a loaded page. At the end no page may have erred or asked another host."""
    opened: list[tuple[object, Watch]] = []

    def open_page(query: str = "", ready: bool = True, **context):
        options = {"viewport": {"width": 1440, "height": 900}, **context}
        page = contexts(**options).new_page()
        page.set_default_timeout(90_000)
        page.watch = Watch(app.url)
        page.watch.on(page)
        opened.append((page, page.watch))
        page.goto(app.url + "/" + query)
        if ready:
            page.wait_for_selector(READY)
        return page

    yield open_page
    for page, watch in opened:
        page.close()
        assert watch.errors == []
        assert watch.foreign == []


@pytest.fixture
def page(visit):
    return visit()
