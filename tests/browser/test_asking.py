"""Asking, stopping, uploading: the page with a model behind it."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.browser.conftest import frames

STATE = "fsrExplorer.page.store.state"
SLOW = 120_000
PAYLOADS = (
    "<img src=x onerror=window.pwned=1>",
    "${Object.assign(window,{pwned:2})}",
    "{{#with 'x' as |s|}}{{lookup s.constructor 'a'}}{{/with}}<script>window.pwned=3</script>",
)


def png(width: int = 320, height: int = 200, color: tuple[int, int, int] = (90, 120, 60)) -> bytes:
    data = io.BytesIO()
    image = Image.new("RGB", (width, height), (230, 230, 220))
    image.paste(color, (width // 4, height // 4, width // 2, 3 * height // 4))
    image.save(data, "PNG")
    return data.getvalue()


def upload(page, name: str, data: bytes) -> None:
    page.set_input_files("#fx-choose input[type=file]", {"name": name, "mimeType": "image/png", "buffer": data})


def ask(page, question: str | None = None) -> None:
    if question is not None:
        page.fill("#fx-question textarea", question)
    page.click("#fx-askbutton")


def until_done(page) -> None:
    page.wait_for_selector(".fx-status[data-phase=done]", state="attached", timeout=SLOW)


def error_of(page) -> str:
    toast = page.locator(".toast-body.error").first
    toast.wait_for(timeout=SLOW)
    return toast.inner_text()


def test_asking_streams_both_answers_one_after_the_other_with_their_costs(page):
    page.evaluate("""() => { window.phases = []; new MutationObserver(() => {
        const p = document.querySelector('.fx-status').dataset.phase;
        if (window.phases.at(-1) !== p) window.phases.push(p);
        }).observe(document.querySelector('.fx-status'), {attributes: true}); }""")
    ask(page)
    page.wait_for_selector("#fx-stopbutton:visible")
    until_done(page)
    phases = page.evaluate("window.phases")
    assert phases[0] == "waiting"
    assert phases[-1] == "done"
    full, ours = page.evaluate(f"[{STATE}.answers.full, {STATE}.answers[{STATE}.asked]]")
    for answer in (full, ours):
        assert answer["done"] is True
        assert answer["cost"]["prefill_ms"] > 0
        assert answer["cost"]["kv_bytes"] > 0
    assert ours["cost"]["visual_tokens"] == ours["budget"] < full["cost"]["visual_tokens"]
    page.click(".fx-all-costs")
    table = page.locator(".fx-costs").inner_text()
    for label in (
        "Visual tokens",
        "Vision encode",
        "Selection",
        "Prefill",
        "KV cache",
        "FLOPs, estimated",
        "fewer",
        "smaller",
    ):
        assert label in table
    assert page.get_attribute(".fx-dot", "data-state") == "ready"
    assert "Measured here" in page.locator(".fx-source").inner_text()
    assert page.locator("[data-ref=fulltext]").inner_text().strip() != ""
    page.wait_for_selector("#fx-askbutton:visible")


def test_answers_go_stale_when_the_budget_moves_and_can_follow_its_release(page):
    ask(page)
    until_done(page)
    asked = page.evaluate(f"{STATE}.asked")
    page.evaluate(f"fsrExplorer.page.setBudget({STATE}.budget + 7)")
    page.wait_for_selector("[data-ref=oursbadge]:visible")
    page.check("#fx-again input")
    page.locator("#fx-range").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{STATE}.asked && {STATE}.asked !== '{asked}'", timeout=SLOW)
    until_done(page)
    assert page.locator("[data-ref=oursbadge]").is_hidden()


@pytest.mark.slow
def test_a_parameter_selects_again_without_encoding_again(page):
    page.select_option("#fx-method", "fsr")
    ask(page)
    until_done(page)
    before = page.evaluate(f"[{STATE}.trace.methods.fsr.plan.k_focus, {STATE}.answers.full.cost.encode_ms]")
    page.click("[data-ref=drawer]")
    page.locator("#fx-parameter-rho").evaluate("(r) => { r.value = 0.2; r.dispatchEvent(new Event('input')); }")
    page.wait_for_function(f"{STATE}.trace.methods.fsr.parameters.rho === 0.2", timeout=SLOW)
    assert page.evaluate(f"{STATE}.trace.methods.fsr.plan.k_focus") < before[0]
    drawer, answers, picture = (page.locator(s).bounding_box() for s in (".fx-drawer", ".fx-pair", ".fx-picture"))
    assert picture["x"] + picture["width"] <= drawer["x"]
    assert drawer["x"] + drawer["width"] <= answers["x"]
    assert "fx-stale" in page.get_attribute("[data-ref=ours]", "class"), "it was made with other parameters"
    page.keyboard.press("Escape")
    ask(page)
    until_done(page)
    assert page.locator("[data-ref=oursbadge]").inner_text() == "rho 0.2"
    assert "fx-stale" not in page.get_attribute("[data-ref=ours]", "class")
    assert page.locator(".fx-rail [data-ref=drawer]").inner_text() == "Tuned"
    assert page.evaluate(f"{STATE}.answers.full.cost.encode_ms") == before[1]
    assert page.evaluate(f"{STATE}.trace.methods.fsr.parameters.rho") == 0.2


@pytest.mark.slow
def test_the_last_of_quick_changes_counts_and_recorded_answers_stay_marked(page):
    page.evaluate("""for (const rho of [0.3, 0.4])
        fsrExplorer.page.store.act("plan", { method: "fsr", parameters: { rho } })""")
    page.wait_for_function(f"{STATE}.trace.methods.fsr.parameters.rho === 0.4", timeout=SLOW)
    page.wait_for_function(f"{STATE}.status.phase === 'idle'")
    assert page.evaluate(f"{STATE}.answers.full.done") is True
    assert page.locator(".fx-source").inner_text().startswith("Recorded on")


def test_a_server_that_takes_no_more_questions_does_not_leave_the_page_waiting(page):
    before = page.locator("[data-ref=fulltext]").inner_text()
    full = {"status": 503, "body": '{"detail": "Queue is full."}', "content_type": "application/json"}
    page.route("**/queue/join*", lambda route: route.fulfill(**full))
    page.click("#fx-askbutton")
    page.wait_for_selector(".fx-status[data-phase=failed]")
    assert "Try again in a moment" in page.locator(".fx-status").inner_text()
    assert page.locator("#fx-askbutton").is_visible()
    assert page.locator("[data-ref=fulltext]").inner_text() == before
    page.watch.errors.clear()  # the browser reports the 503


@pytest.mark.slow
def test_an_uploaded_picture_takes_no_question_of_an_example_along(page):
    upload(page, "meadow.png", png(320, 200))
    page.wait_for_function(f"{STATE}.pictures[0].width === 320", timeout=SLOW)
    page.wait_for_function(f"{STATE}.trace?.question === 'What is in the picture?'", timeout=SLOW)
    assert page.input_value("#fx-question textarea") == "What is in the picture?", "what the tokens are selected for"


def test_an_uploaded_picture_is_shown_and_analysed(page):
    page.fill("#fx-question textarea", "what is in the meadow?")
    upload(page, "meadow.png", png(320, 200))
    page.wait_for_function(f"{STATE}.example === null && {STATE}.trace !== null", timeout=SLOW)
    assert page.evaluate(f"[{STATE}.trace.frames[0].width, {STATE}.trace.frames[0].height]") == [320, 200]
    page.wait_for_function("document.querySelector('.fx-picture img').naturalWidth === 320")
    ask(page, "what color is the rectangle?")
    until_done(page)
    assert page.locator(".fx-asked").inner_text() == "what color is the rectangle?"


@pytest.mark.slow
def test_a_picture_can_be_dropped_on_the_stage(page):
    page.evaluate(
        """(bytes) => { const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
        const frame = document.querySelector(".fx-frame");
        frame.dispatchEvent(new DragEvent("dragover", { dataTransfer: data, bubbles: true, cancelable: true }));
        window.dropShown = !document.querySelector(".fx-drop").hidden;
        frame.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })); }""",
        list(png(210, 140)),
    )
    assert page.evaluate("window.dropShown") is True
    page.wait_for_function(f"{STATE}.pictures[0].width === 210", timeout=SLOW)


def test_a_bad_upload_is_refused_with_a_sentence_and_the_page_goes_on(page):
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='window.pwned=1'/>"
    not_one = "not a JPEG, PNG or WebP"
    for data, words in ((b"this is no picture", not_one), (png()[:200], "damaged"), (b"", "empty"), (svg, not_one)):
        upload(page, "picture.png", data)
        assert words in error_of(page)
        page.click(".toast-close")
        page.wait_for_selector(".toast-body.error", state="detached")
        assert page.evaluate(f"{STATE}.example") is not None
        assert page.evaluate("window.pwned") is None


def test_an_empty_question_is_refused_and_the_old_answers_stay(page):
    before = page.locator("[data-ref=fulltext]").inner_text()
    ask(page, "   ")
    assert "question is empty" in error_of(page)
    page.wait_for_selector(".fx-status[data-phase=failed]")
    assert page.locator("[data-ref=fulltext]").inner_text() == before
    page.fill("#fx-question textarea", "w" * 520)
    page.wait_for_selector(".fx-status", state="hidden")  # it went with the next action
    assert "20 more than the 500 that are allowed" in page.locator(".fx-length").inner_text()
    page.click("#fx-askbutton")
    page.wait_for_selector(".fx-status[data-phase=failed]")
    assert "520 characters, at most 500" in page.locator(".fx-status").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440


def test_nothing_typed_is_read_as_html_or_template(page):
    for width, payload in zip((200, 240, 280), PAYLOADS, strict=True):
        upload(page, payload.replace("/", "_") + ".png", png(width, 150))
        page.wait_for_function(f"{STATE}.pictures[0].width === {width}", timeout=SLOW)
        ask(page, payload)
        page.wait_for_function("words => document.querySelector('.fx-asked').innerText === words", arg=payload)
        until_done(page)
        frames(page, 18)
        assert page.evaluate("window.pwned") is None
    page.watch.errors.clear()


def test_two_visitors_never_see_each_others_pictures_or_words(visit):
    one, other = visit(), visit()
    upload(one, "one.png", png(300, 200))
    upload(other, "other.png", png(200, 300))
    for page, width in ((one, 300), (other, 200)):
        page.wait_for_function(f"{STATE}.pictures[0].width === {width}", timeout=SLOW)
    ask(one, "what color is the left thing?")
    ask(other, "how many objects are there?")
    for page, width, words in ((one, 300, "left thing"), (other, 200, "how many")):
        until_done(page)
        assert words in page.locator(".fx-asked").inner_text()
        assert page.evaluate(f"{STATE}.trace.frames[0].width") == width
        assert words in page.evaluate(f"{STATE}.trace.question")


def test_unknown_words_are_named(page, app):
    if not app.embedded:
        pytest.skip("only the embedded model has words it does not know")
    ask(page, "what color is the zeppelin?")
    until_done(page)
    page.wait_for_selector(".fx-answers .fx-unknown:visible")
    assert "zeppelin" in page.locator(".fx-answers .fx-unknown").inner_text()
