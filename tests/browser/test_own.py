"""A picture of one's own: pasted from the real clipboard, drawn with the pen; and what is said of one unlike all that
the model knows."""

from __future__ import annotations

import base64

from tests.browser.test_asking import SLOW, STATE, png

COPY = """async (bytes) => navigator.clipboard.write([
    new ClipboardItem({ "image/png": new Blob([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))],
        { type: "image/png" }) })])"""
PAPER = ".fx-pen canvas"


def test_a_picture_is_pasted_drawn_on_and_comes_back(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(COPY, base64.b64encode(png(210, 140)).decode())
    page.keyboard.press("Control+V")
    page.wait_for_function(f"{STATE}.pictures[0].width === 210 && {STATE}.trace !== null", timeout=SLOW)
    pasted = page.evaluate(f"{STATE}.about")
    page.click(".fx-own [data-ref=draw]")
    page.click(".fx-pen button:text-is('blue')")
    box = page.locator(PAPER).bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 40, box["y"] + 40)
    page.mouse.up()
    page.keyboard.press("Control+Z")
    assert page.is_disabled(".fx-pen-use"), "nothing is drawn"
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.keyboard.press("Escape")
    page.click(".fx-own [data-ref=draw]")
    page.click(".fx-pen-use")  # what was drawn has waited
    page.wait_for_function(f"{STATE}.about !== {pasted} && {STATE}.trace !== null", timeout=SLOW)
    page.wait_for_function("document.querySelector('.fx-picture img').naturalWidth === 672", timeout=SLOW)
    middle = """() => { const image = document.querySelector('.fx-picture img');
        const canvas = Object.assign(document.createElement('canvas'), { width: 672, height: 448 });
        canvas.getContext('2d').drawImage(image, 0, 0);
        return [...canvas.getContext('2d').getImageData(336, 224, 1, 1).data]; }"""
    assert page.evaluate(middle) == [0x1D, 0x5F, 0xD1, 255]
    page.go_back()
    page.wait_for_function(f"{STATE}.pictures[0].width === 210", timeout=SLOW)
