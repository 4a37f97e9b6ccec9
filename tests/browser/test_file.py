"""A view in one file: opened from disk, without any network, it is the same canvas, slider, cards and playback."""

from __future__ import annotations

import json

import pytest
from PIL import Image

import fsr
from app.settings import ROOT
from fsr.errors import InvalidInput
from fsr.trace import Trace
from fsr.trace.page import to_html, to_json
from tests.browser.conftest import READY
from tests.browser.test_asking import STATE, ask, error_of, until_done

HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=alert(1)>"


def recorded(name: str, folder: str = "") -> Trace:
    return Trace.from_json((ROOT / "assets/traces" / folder / f"{name}.json").read_text())


@pytest.fixture
def offline(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and page.errors.append(message.text))
    yield page
    assert not page.errors
    context.close()


def test_a_view_is_saved_on_the_page_and_opens_from_disk(browser, app, offline, tmp_path):
    page = browser.new_context(accept_downloads=True).new_page()
    page.goto(f"{app.url}/?example=five&budget=32")
    page.wait_for_selector(READY)
    page.click("[data-ref=save]")
    with page.expect_download(timeout=60_000) as download:
        page.click("[data-save='page.html']")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    page.context.close()
    assert file.suffix == ".html"
    assert file.stat().st_size < 3_000_000
    offline.goto(file.as_uri())
    offline.wait_for_selector("canvas[data-budget='32']")
    assert offline.inner_text("h1") == "what objects are there?"
    assert "The answers differ." in offline.inner_text("[data-ref=answers]")
    offline.fill("#budget", "128")
    offline.wait_for_selector("canvas[data-budget='128']")
    assert "The same answer." in offline.inner_text("[data-ref=answers]")
    offline.select_option("[data-ref=method]", "cdpruner")
    offline.wait_for_selector("canvas[data-method='cdpruner']")
    offline.focus("[data-ref=canvas]")
    offline.keyboard.press("ArrowRight")
    assert offline.inner_text("[data-ref=card]").startswith("#")
    offline.select_option("[data-ref=method]", "fsr")
    offline.click("[data-ref=forward]")
    assert "are all that the model gets" in offline.inner_text("[data-ref=step]")


@pytest.mark.slow
def test_an_explanation_is_shown_in_a_notebook_and_nothing_in_it_becomes_markup(offline, tmp_path):
    found = fsr.explain("shapes", ROOT / "assets/examples/count.png", "how many triangles are there?", budget=64)
    assert (found.answer, found.unpruned) == ("3", "3")
    found.trace.question = HOSTILE
    (tmp_path / "cell.html").write_text(found._repr_html_())
    offline.goto((tmp_path / "cell.html").as_uri())
    cell = offline.frame_locator("iframe")
    cell.locator("canvas[data-budget='64']").wait_for()
    assert cell.locator("h1").inner_text() == HOSTILE
    with pytest.raises(InvalidInput, match="prunes inside the language model"):
        fsr.explain("shapes", ROOT / "assets/examples/count.png", "how many?", method="fastv")


@pytest.mark.slow
def test_a_clip_is_gone_through_frame_by_frame(offline, tmp_path):
    trace = recorded("overtake")
    pictures = [
        Image.new("RGB", (f["width"], f["height"]), (40 * i % 255, 90, 120)) for i, f in enumerate(trace.frames)
    ]
    with pytest.raises(InvalidInput, match="pictures, not 1"):
        to_html(trace, pictures[:1])
    page = to_html(trace, pictures, "fsr")
    held = json.loads(page.partition('id="fsr-data">')[2].partition("</script>")[0])
    assert len(held["pictures"]) == len(trace.frames)
    (tmp_path / "clip.html").write_text(page)
    offline.goto((tmp_path / "clip.html").as_uri())
    offline.click("[data-at='3/-1']")
    offline.wait_for_selector("[data-at='3/-1'][aria-pressed=true]")


def opened(page) -> dict:
    page.wait_for_function(f"{STATE}.pictures.length && {STATE}.example === null && {STATE}.status.phase === 'idle'")
    return page.evaluate(f"""({{...{STATE}, trace: null,
        question: document.querySelector('#fx-question textarea').value,
        answers: Object.keys({STATE}.answers), shown: document.querySelector('.fx-stage canvas').dataset.budget}})""")


@pytest.mark.slow
def test_a_saved_view_opens_again_as_it_was_and_a_bad_one_is_refused(page, tmp_path):
    trace = recorded("count")
    trace.question = trace.methods["fsr"]["label"] = trace.model["title"] = HOSTILE
    trace.methods["fsr"]["forced"] = trace.answers["cdpruner@64"]["forced"] = {"in": [5], "out": [7]}
    trace.methods["fsr"]["parameters"] |= {"alpha": 2.0}
    picture = Image.open(ROOT / "assets/examples/count.png")
    (tmp_path / "view.json").write_text(to_json(trace, [picture], "fsr", 48))
    with page.expect_request(lambda request: "/queue/join" in request.url):
        page.set_input_files("#fx-choose input[type=file]", str(tmp_path / "view.json"))
    found = opened(page)
    assert (found["method"], found["budget"], found["shown"], found["question"]) == ("fsr", 48, "48", HOSTILE)
    assert found["forced"] == {"in": [5], "out": [7]}
    assert found["edited"] == {"fsr": {"alpha": 2}}
    assert "cdpruner@64" in found["answers"]
    assert "taken" not in page.title()
    page.reload()
    page.wait_for_selector(READY)
    assert opened(page)["answers"] == found["answers"]
    page.click("[data-ref=link]")
    with page.expect_download(timeout=60_000) as download:
        page.click("[data-kind=link] .fx-plain")
    download.value.save_as(tmp_path / "again.html")
    again = fsr.open_saved(tmp_path / "again.html")
    assert (again.method, again.budget, again.trace.question) == ("fsr", 48, HOSTILE)
    ask(page, "how many squares are there?")
    until_done(page)
    (tmp_path / "view.json").write_text((tmp_path / "view.json").read_text().replace('"budget":48', '"budget":4800'))
    page.set_input_files("#fx-choose input[type=file]", str(tmp_path / "view.json"))
    assert "budget must be a whole number from 0 to 576" in error_of(page)


@pytest.mark.slow
@pytest.mark.parametrize("row", ["page.html", "record.json"])
def test_a_clip_is_saved_and_opened_again_with_its_frames(visit, tmp_path, row):
    page = visit("?example=overtake&frame=3", accept_downloads=True)
    page.click("[data-ref=save]")
    with page.expect_download(timeout=60_000) as download:
        page.click(f"[data-save='{row}']")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    other = visit()
    other.set_input_files("#fx-choose input[type=file]", str(file))
    found = opened(other)
    assert len(found["pictures"]) == 8
    assert found["clip"]["name"]
    assert other.evaluate(f"{STATE}.pictures.map((p) => p.time)") == page.evaluate(
        f"{STATE}.trace.frames.map((f) => f.time)"
    )
    before = other.evaluate(f"{STATE}.trace.clip")
    ask(other)
    until_done(other)
    assert other.evaluate(f"{STATE}.trace.clip.count") == before["count"]
