"""The Words tab in a real browser: attention by keyboard, layers, the picture's layer, two questions crosswise."""

from __future__ import annotations

import pytest
from PIL import Image

PINNED = ".fx-said button[aria-pressed=true]"


def looked(page):
    page.click("#fx-tab-words")
    page.click("text=Show where each word looked")
    page.wait_for_selector(PINNED)


def drawn(page, name):
    return page.locator(f"[data-ref={name}] canvas").evaluate("c => ({...c.dataset, pixels: c.toDataURL()})")


@pytest.mark.slow
def test_words_show_what_they_looked_at_by_keyboard_and_nothing_stays_on_the_picture(visit):
    page = visit("?example=list")
    page.wait_for_function("fsrExplorer.page.store.state.example === 'list'")
    plain = page.locator(".fx-stage canvas").evaluate("c => c.toDataURL()")
    looked(page)
    lead = page.inner_text("[data-ref=leadattention]")
    assert "Attention of the language model, which is not influence" in lead
    assert page.inner_text("[data-ref=fullwords]").split() == page.inner_text("[data-ref=ourswords]").split()
    requests = len(page.watch.requests)
    full, ours = drawn(page, "fullmap"), drawn(page, "oursmap")
    assert full["high"] == ours["high"], "one scale"
    assert full["pixels"] != ours["pixels"]
    page.focus(PINNED)
    page.keyboard.press("Home")
    page.keyboard.press("Escape")
    first = drawn(page, "oursmap")
    page.keyboard.press("ArrowRight")
    second = drawn(page, "oursmap")
    assert first["word"] != second["word"] == drawn(page, "fullmap")["word"]
    assert first["pixels"] != second["pixels"]
    assert page.locator(".fx-attention").is_hidden()
    page.keyboard.press("Enter")
    assert second["word"].strip(",") in page.inner_text(".fx-attention")
    on_picture = page.locator(".fx-stage canvas").evaluate("c => c.toDataURL()")
    assert on_picture != plain
    page.select_option("[data-ref=group]", "last")
    assert drawn(page, "oursmap")["pixels"] != second["pixels"]
    page.hover("[data-ref=fullmap] canvas")
    assert "with all tokens" in page.inner_text(".fx-words [data-ref=token]")
    assert drawn(page, "fullmap")["cursor"] == drawn(page, "oursmap")["cursor"] != "-1"
    page.mouse.move(5, 5)
    page.evaluate("document.activeElement.blur()")
    page.click("#fx-tab-answer")
    page.wait_for_function("(plain) => document.querySelector('.fx-stage canvas').toDataURL() === plain", arg=plain)
    assert len(page.watch.requests) == requests, "nothing of this asks the server"
    page.click("#fx-tab-words")
    page.evaluate("fsrExplorer.page.setBudget(32)")
    page.click("text=Look again with FSR at 32 tokens")
    page.wait_for_function("document.querySelector('[data-ref=ourstitle]').textContent === 'FSR, 32 tokens'")


def test_the_map_on_the_picture_is_saved_with_its_scale(page):
    """Of a word, and of a step of the playback: neither is one of the layers to choose."""
    looked(page)
    page.click("[data-ref=save]")
    assert "SVG and PDF with every token’s role" in page.inner_text("[data-row=picture]")
    with page.expect_download() as word:
        page.click("[data-save='picture.png']")
    assert "Attention of “" in Image.open(word.value.path()).text["Layer"]
    page.keyboard.press("Escape")
    page.click("#fx-tab-lecture")
    page.evaluate("fsrExplorer.page.store.set({ playback: 2 })")
    page.click("[data-ref=save]")
    with page.expect_download() as step:
        page.click("[data-save='picture.png']")
    assert Image.open(step.value.path()).text["Layer"] == "Saliency"


@pytest.mark.slow
def test_two_questions_crosswise_on_a_phone(visit):
    page = visit(viewport={"width": 390, "height": 844})
    page.click("#fx-tab-words")
    page.click("[data-part=cross]")
    page.fill("#fx-other-question", page.evaluate("fsrExplorer.page.store.state.trace.question"))
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-ref=crossstatus][data-phase=failed]")
    assert "the other question is the same" in page.inner_text("[data-ref=crossstatus]").lower()
    page.fill("#fx-other-question", "what color is the ring?")
    page.click("text=Compare the questions")
    page.wait_for_selector("[data-ref=crosswise]:not(:empty)")
    cells = page.locator(".fx-words-table td").all_inner_texts()
    assert len(cells) == 6
    assert all(cells)
    assert "IoU" in page.inner_text(".fx-words [data-ref=overlap]")
    kept = drawn(page, "mapapart")["pixels"]
    for kind in ("relevance", "priority"):
        page.click(f"[data-kind={kind}]")
        page.wait_for_selector(f"[data-ref=mapapart] canvas[data-kind={kind}]")
        assert drawn(page, "mapapart")["pixels"] != kept
        assert "more for 2" in page.inner_text("[data-ref=apartscale]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_a_words_influence_is_measured_on_demand_and_a_link_to_it_offers_to(visit):
    page = visit("?example=list&budget=48")
    page.wait_for_function("fsrExplorer.page.store.state.example === 'list'")
    looked(page)
    attention = drawn(page, "oursmap")["pixels"]
    page.click("[data-measure=influence]")
    assert "measured by leaving out, not attention" in page.inner_text("[data-ref=leadinfluence]")
    page.click(".fx-words [data-ref=measure]")
    page.wait_for_selector("[data-ref=natsscale]:not([hidden])")
    assert "rests most on #" in page.inner_text(".fx-words [data-ref=oursshare]")
    assert drawn(page, "oursmap")["pixels"] != attention
    assert "measured by leaving out" in page.inner_text(".fx-attention")
    requests = len(page.watch.requests)
    page.focus(PINNED)
    before = drawn(page, "oursmap")
    page.keyboard.press("ArrowLeft")
    assert drawn(page, "oursmap")["word"] != before["word"]
    assert len(page.watch.requests) == requests
    other = visit("?example=list&budget=48&layer=influence")
    other.click("[data-kind=measured] >> text=Measure it")
    other.wait_for_function("Object.values(fsrExplorer.page.store.state.study.known).some((s) => s.phase === 'done')")
    assert "layer=influence" in other.evaluate("location.search")


@pytest.mark.slow
def test_in_the_compare_view_words_are_about_the_chosen_method_and_what_is_forced(visit):
    page = visit("?example=count&budget=48&view=compare&tab=words", ready=False)
    page.wait_for_selector(".fx-cell-run .fx-mini canvas[data-budget]")
    page.select_option("#fx-words-about", index=2)
    looked(page)
    title = page.inner_text(".fx-words [data-ref=ourstitle]")
    assert title == "CDPruner, 48 tokens"
    page.click("#fx-tab-why")
    page.click("[data-mode=keep]")
    box = page.locator(".fx-cell-run .fx-mini canvas").first.bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.down()
    page.mouse.move(box["x"] + 40, box["y"] + 30, steps=5)
    page.mouse.up()
    page.wait_for_function("fsrExplorer.page.store.state.forced.in.length > 4")
    page.click("#fx-tab-words")
    page.click("text=Look again with CDPruner at 48 tokens")
    page.wait_for_function("fsrExplorer.page.store.state.looked.phase === 'done'")
    assert page.locator(".fx-words [data-ref=start]").is_hidden()
    page.click("[data-part=cross]")
    page.fill("#fx-other-question", "is the zebra red?")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-ref=crosswise]:not(:empty)")
    assert "Question 2. The model does not know: zebra" in page.inner_text("[data-ref=crossunknown]")
