"""Pictures that are not one square grid: views, hover, keys and heat in each, shared budgets, recordings replayed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator

import pytest

from app.settings import ROOT
from fsr.cli.main import main
from tests.browser.conftest import App, frames, launched
from tests.browser.test_asking import SLOW, png, until_done, upload
from tests.browser.test_page import painted
from tests.tiny_families import save_next, save_qwen

STATE = "fsrExplorer.page.store.state"


@pytest.fixture(scope="module")
def app(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Qwen2.5-VL and LLaVA-NeXT on offer; a recording of another LLaVA-NeXT that is no longer on this machine."""
    folder = tmp_path_factory.mktemp("layouts")
    gone, gallery = save_next(folder / "gone", clip=True), folder / "gallery"
    shutil.copytree(ROOT / "assets" / "examples", gallery / "examples")
    (gallery / "traces").mkdir()
    for trace in (ROOT / "assets" / "traces").glob("*.json"):
        shutil.copy(trace, gallery / "traces")
    where = ["--examples", str(gallery / "examples"), "--out", str(gallery / "traces" / "gone")]
    for name in ("star", "digit"):
        assert main(["record", "--untimed", "--model", str(gone), *where, "--only", name, "--max-new-tokens", "2"]) == 0
    shutil.rmtree(gone)
    models = [save_next(folder / "next", clip=True), save_qwen(folder / "qwen")]
    yield from launched(str(models[0]), gallery, folder, FSR_MODELS=str(models[1]), FSR_MAX_NEW_TOKENS="4")


def ready(page, condition: str) -> None:
    page.wait_for_function(f"(() => {{ const s = {STATE}; return s.view && ({condition}); }})()", timeout=SLOW)


def drawn(page) -> None:
    """Changes of the store are drawn with the next frame."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def middle(page, token: int) -> tuple[float, float]:
    """Where the page must show a token: its rectangle on the picture, through the view's window."""
    rect, window = page.evaluate(
        f"(() => {{ const s = {STATE}, w = fsrExplorer.views.windowOf(s.trace, s.frame, s.tile);"
        f"return [s.trace.tokens.rect[{token}], w]; }})()"
    )
    box = page.locator(".fx-stage canvas").bounding_box()
    scale = box["width"] / (window[2] - window[0])
    return (
        box["x"] + scale * ((rect[0] + rect[2]) / 2 - window[0]),
        box["y"] + scale * ((rect[1] + rect[3]) / 2 - window[1]),
    )


def views_of(page) -> list[dict]:
    return page.evaluate(f"fsrExplorer.views.viewsOf({STATE}.trace)")


def tokens_in(page, view: dict) -> list[int]:
    return page.evaluate(
        f"(() => {{ const t = {STATE}.trace.tokens; return t.row.map((_, i) => i).filter((i) => "
        f"fsrExplorer.views.isIn(t, i, {view['frame']}, {view['tile']})); }})()"
    )


@pytest.mark.slow
def test_a_recording_is_replayed_view_by_view_without_its_model(visit):
    page = visit()
    page.select_option(".fx-recordings select", "gone")
    ready(page, "s.trace.model.id === 'gone'")
    source = page.locator("[data-ref=source]").inner_text()
    assert source.startswith("Recorded with gone on 20")
    assert "over the 2 recorded questions: median" in page.locator(".fx-spread").inner_text()
    assert "newlines are read" in page.locator(".fx-placeless").inner_text()
    buttons = page.locator(".fx-stage .fx-frames button")
    views = views_of(page)
    assert buttons.count() == len(views) == 6
    for at, view in enumerate(views):
        buttons.nth(at).click()
        frames(page)  # the view has its own size: a pointer must not be where the one before was
        inside = tokens_in(page, view)
        kept = page.evaluate(f"[{','.join(map(str, inside))}].filter((i) => {STATE}.view.roles[i] >= 2).length")
        assert buttons.nth(at).get_attribute("aria-label") == f"{view['name']}: {kept} of {len(inside)} tokens kept"
        for token in (inside[0], inside[-1]):
            page.mouse.move(*middle(page, token))
            page.wait_for_selector(f".fx-card header b:text-is('#{token}')")
            assert view["name"].lower() in page.locator(".fx-place").inner_text() or view["name"] == "All tiles"
        page.locator(".fx-stage canvas").focus()
        page.keyboard.press("ArrowLeft")
        assert page.evaluate(f"{STATE}.cursor") in inside
        before = painted(page)
        page.keyboard.press("l")
        page.wait_for_function(f"{STATE}.layer === 'saliency'")
        assert painted(page) > 0.9 * before
        for _ in range(3):
            page.keyboard.press("l")
        page.wait_for_function(f"{STATE}.layer === 'roles'")
        page.keyboard.press("Escape")
    page.keyboard.press("v")
    page.wait_for_function(f"{STATE}.frame === 0 && {STATE}.tile === -1")
    assert page.locator(".fx-stage .fx-ways button").nth(1).is_disabled(), "the other way was not recorded"
    page.click("[data-example=digit]")
    ready(page, "s.example === 'digit' && s.trace.model.id === 'gone'")
    assert "recording=gone" in page.evaluate(
        "(() => { let url; const set = window.prompt; window.prompt = (_, u) => (url = u);"
        "Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (u) => { url = u; } } });"
        "document.querySelector('[data-ref=link]').click(); window.prompt = set; return url; })()"
    )
    page.keyboard.press("c")
    page.wait_for_selector(".fx-cell-run")
    tile = page.locator(".fx-compare .fx-frames button").nth(2)
    tile.click()
    tile.and_(page.locator("[aria-pressed=true]")).wait_for()
    canvas = page.locator(".fx-cell-run canvas").first
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function(f"{STATE}.cursor >= 0")
    assert page.evaluate(f"{STATE}.trace.tokens.tile[{STATE}.cursor]") == 1


@pytest.mark.slow
def test_the_budget_is_shared_by_tiles_and_back_without_encoding(visit):
    page = visit("?recording=gone&example=star")
    ready(page, "s.trace.model.id === 'gone'")
    page.fill("#fx-question textarea", "what is it?")
    upload(page, "wide.png", png(320, 200))
    ready(page, "s.scene")
    page.click("#fx-askbutton")
    until_done(page)
    seen = f"[[...{STATE}.view.roles], Object.keys({STATE}.answers)]"
    before = page.evaluate(seen)
    page.locator(".fx-stage .fx-ways button").nth(1).click()
    ready(page, "s.share === 'per_group' && s.trace.methods[s.method]")
    drawn(page)
    tile, roles = page.evaluate(f"[{STATE}.trace.tokens.tile, [...{STATE}.view.roles]]")
    shares = Counter(t for t, role in zip(tile, roles, strict=True) if role >= 2)
    assert max(shares.values()) - min(shares.get(t, 0) for t in set(tile)) <= 1
    assert page.evaluate(f"Object.keys({STATE}.answers)") == ["full"], "the other way has not answered yet"
    page.click("#fx-askbutton")
    until_done(page)
    assert len(page.evaluate(f"Object.keys({STATE}.answers)")) == 2
    page.locator(".fx-stage .fx-ways button").nth(1).focus()
    page.keyboard.press("ArrowLeft")
    ready(page, "s.share === 'global'")
    drawn(page)
    assert page.evaluate(seen) == before, "plans and answers of both ways are kept"


@pytest.mark.slow
def test_a_wide_grid_of_another_model_is_drawn_in_its_own_shape(visit):
    page = visit()
    page.click("[data-ref=model]")
    page.locator("[data-model=qwen] button").click()
    page.wait_for_function(f"{STATE}.model.id === 'qwen'")
    page.fill("#fx-question textarea", "what is it?")
    upload(page, "wide.png", png(480, 160))
    ready(page, "s.scene && s.trace.model.id === 'qwen'")
    frame = page.evaluate(f"{STATE}.trace.frames[0]")
    assert frame["cols"] > 2 * frame["rows"]
    assert page.locator(".fx-stage .fx-frames").is_hidden()
    assert page.locator(".fx-stage .fx-ways").is_hidden()
    box = page.locator(".fx-stage canvas").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(3, abs=0.05)
    for token in (0, frame["cols"] - 1, frame["rows"] * frame["cols"] - 1):
        page.mouse.move(*middle(page, token))
        page.wait_for_selector(f".fx-card header b:text-is('#{token}')")
        place = f"row {token // frame['cols'] + 1}, column {token % frame['cols'] + 1}"
        assert place in page.locator(".fx-place").inner_text()
