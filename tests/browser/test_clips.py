"""A clip on the page: playing, the filmstrip and its chart, a region's life, anchors across frames, the comparison."""

from __future__ import annotations

import statistics

import pytest

from app.settings import ROOT
from tests.browser.conftest import Watch, frames, launched
from tests.browser.test_page import STATE, set_budget, until_quiet
from tests.clips import FPS, drawn_frames, recorded_clip
from tests.tiny_families import save_onevision

FRAMES, CELLS = 8, 5
THUMB = ".fx-thumb canvas"
MOVED = f"[{STATE}.frame, {STATE}.playing]"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return recorded_clip(tmp_path_factory.mktemp("clip"), FRAMES, CELLS)


@pytest.fixture
def page(visit, clip):
    return showing(visit(), clip)


def showing(page, clip, budget: int = 102):
    page.evaluate("(v) => fsrExplorer.page.receive(v)", clip)
    page.wait_for_selector(f".fx-film:visible .fx-thumb[data-frame='{len(clip['pictures']) - 1}']")
    set_budget(page, budget)
    page.locator(
        ".fx-strip-row"
    ).scroll_into_view_if_needed()  # on a phone it is below; what is out of sight is not painted
    page.wait_for_selector(f"{THUMB}[data-budget='{budget}']")
    return page


def frame_is(page, frame: int) -> None:
    page.wait_for_selector(f".fx-thumb[data-frame='{frame}'][aria-selected=true]")


def axis_at(page, frame: int) -> tuple[float, float]:
    box = page.locator("[data-ref=axis]").bounding_box()
    return box["x"] + (frame + 0.5) * box["width"] / FRAMES, box["y"] + box["height"] / 2


def strangers(page) -> tuple[int, int]:
    """The anchor that holds most tokens of other frames, and how many."""
    return page.evaluate(
        f"(() => {{ const s = {STATE}, f = [...fsrExplorer.life.foreignOf(s.view, s.trace)];"
        "const most = Math.max(...f); return [f.indexOf(most), most]; })()"
    )


@pytest.mark.slow
def test_pictures_have_no_film_and_clips_have_one(visit, clip):
    page = visit()
    assert page.locator(".fx-film").is_hidden()
    showing(page, clip)
    assert page.locator(".fx-thumb").count() == FRAMES
    assert page.locator(".fx-thumb").nth(2).inner_text().replace("\u202f", " ") == "0.96 s"
    said = page.locator(".fx-film-about").inner_text()
    assert "8 of 85 frames sampled (0, 12, 24, 36, 48, 60, 72, 84)" in said
    assert "OpenCV" in said
    for selector in (".fx-picture", ".fx-count", "[data-ref=play]", ".fx-strip", "#fx-question textarea"):
        box = page.locator(selector).bounding_box()
        assert box["y"] + box["height"] <= 900, selector
    page.locator(".fx-tile").first.click()
    page.wait_for_selector(".fx-film", state="hidden")
    assert page.evaluate(f"{STATE}.frame") == 0


@pytest.mark.slow
def test_keys_and_clicks_go_through_time_and_leave_inputs_alone(page):
    page.locator(".fx-strip-row").focus()
    for key, frame in (("ArrowRight", 1), ("End", FRAMES - 1), ("ArrowRight", FRAMES - 1), ("Home", 0)):
        page.keyboard.press(key)
        frame_is(page, frame)
    page.mouse.click(*axis_at(page, 5))
    frame_is(page, 5)
    assert "frame 6 of 8" in page.locator("[data-ref=of]").inner_text()
    assert page.get_attribute("[data-ref=axis]", "aria-valuenow") == "6"
    assert page.locator("[data-ref=image]").get_attribute("src") == page.evaluate(f"{STATE}.pictures[5].file.url")
    page.locator(".fx-thumb[data-frame='2']").click()
    frame_is(page, 2)
    page.fill("#fx-question textarea", "")
    page.locator("#fx-question textarea").press_sequentially("a b")
    page.keyboard.press("End")
    assert page.locator("#fx-question textarea").input_value() == "a b"
    above = page.evaluate(f"{STATE}.trace.methods.fsr.plan.budgets.find((k) => k > {STATE}.view.budget)")
    page.locator("#fx-range").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(f".fx-stage canvas[data-budget='{above}']")
    assert page.evaluate(MOVED) == [2, False], "the slider's arrows are the slider's"


@pytest.mark.slow
def test_a_clip_plays_at_its_own_pace_and_stops(page):
    page.select_option("[data-ref=speed]", "4")
    page.locator(".fx-stage canvas").focus()
    seen = page.evaluate(
        f"""async () => {{ const {{ store }} = fsrExplorer.page, seen = [], start = performance.now();
        store.on(["frame"], ({{ frame }}) => seen.push([frame, performance.now() - start]));
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {{ key: " ", bubbles: true }}));
        while (!seen.some(([f]) => f === {FRAMES - 1})) await new Promise(requestAnimationFrame);
        return seen; }}"""
    )
    assert [f for f, _ in seen] == list(range(FRAMES)), "every sampled frame is shown, in order"
    assert seen[-1][1] >= (FRAMES - 1) * 480 / 4 - 50, "not faster than the clip"
    assert page.get_attribute("[data-ref=play]", "aria-label") == "Pause"
    page.click("[data-ref=play]")
    page.wait_for_selector("[data-ref=play][aria-label=Play]")
    frame = page.evaluate(f"{STATE}.frame")
    frames(page, 25)
    assert page.evaluate(MOVED) == [frame, False]


@pytest.mark.slow
def test_without_wanted_motion_a_clip_ends_instead_of_starting_over(visit, clip):
    page = showing(visit(reduced_motion="reduce"), clip)
    page.select_option("[data-ref=speed]", "4")
    page.locator(".fx-strip-row").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    page.wait_for_function(f"{MOVED}.join() === '{FRAMES - 1},false'")


def test_dragging_the_budget_repaints_every_frame_and_its_bars_without_any_request(page):
    until_quiet(page)
    before, bars = len(page.watch.requests), page.get_attribute(".fx-axis .fx-bar-scan", "d")
    slider = page.locator("#fx-range").bounding_box()
    page.mouse.move(slider["x"] + slider["width"] / 2, slider["y"] + 11)
    page.mouse.down()
    for i in range(1, 12):
        page.mouse.move(slider["x"] + slider["width"] * (0.5 - 0.03 * i), slider["y"] + 11)
    page.mouse.up()
    budget = page.evaluate(f"{STATE}.view.budget")
    shown = f"[...document.querySelectorAll('{THUMB}')].every((c) => c.dataset.budget === '{budget}')"
    page.wait_for_function(shown)
    assert page.watch.requests[before:] == []
    assert page.get_attribute(".fx-axis .fx-bar-scan", "d") != bars
    page.locator(".fx-film-numbers summary").click()
    page.wait_for_selector(f".fx-film [data-ref=table] tbody tr:nth-child({FRAMES})")
    rows = page.locator(".fx-film [data-ref=table] tbody tr")
    assert rows.count() == FRAMES
    numbers = [[int(x) for x in row.locator("td").all_inner_texts()[1:4]] for row in rows.all()]
    assert sum(focus + scan for focus, scan, _ in numbers) == budget
    assert page.locator("[data-ref=readout]").inner_text().count("merged") == 1


@pytest.mark.slow
def test_frames_out_of_sight_are_painted_once_they_are_seen(visit, clip):
    page = showing(visit(viewport={"width": 390, "height": 844}, has_touch=True), clip)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".fx-strip-row").scroll_into_view_if_needed()
    painted = f"[...document.querySelectorAll('{THUMB}')].map((c) => c.dataset.budget ?? '').join()"
    page.evaluate("fsrExplorer.page.setBudget(91)")
    page.wait_for_selector(f"{THUMB}[data-budget='91']")
    first = page.evaluate(painted).split(",")
    assert "91" in first
    assert first[-1] != "91"
    page.evaluate("document.querySelector('[data-ref=strip]').scrollLeft = 9999")
    page.wait_for_function(f"{painted}.endsWith(',91')")
    page.touchscreen.tap(*axis_at(page, 3))
    frame_is(page, 3)
    box = page.locator("[data-ref=strip]").bounding_box()
    thumb = page.locator(".fx-thumb[data-frame='3']").bounding_box()
    assert box["x"] - 1 <= thumb["x"] <= box["x"] + box["width"], "the current frame is scrolled into sight"


@pytest.mark.slow
def test_an_anchor_of_other_frames_is_linked_to_its_tokens(page):
    anchor, most = strangers(page)
    assert most > 0
    page.evaluate(f"fsrExplorer.page.store.set({{ frame: {STATE}.trace.tokens.frame[{anchor}], cursor: {anchor} }})")
    page.wait_for_selector(".fx-links .fx-link-anchor")
    held = page.evaluate(f"{STATE}.view.refine.absorbed[{anchor}]")
    assert page.locator(".fx-link-end").count() == held
    text = page.locator(".fx-holds").inner_text()
    assert f"olds {held} token" in text
    assert "frame" in text
    if most < held:
        assert f"{most} of them of" in text
    assert "across frames" in page.locator(".fx-film [data-ref=keys]").inner_text()
    page.mouse.move(5, 5)
    page.evaluate("fsrExplorer.page.store.set({ cursor: -1 })")
    page.wait_for_selector(".fx-links .fx-link-anchor", state="detached")
    thumb = page.locator(THUMB).nth(4).bounding_box()
    page.mouse.move(thumb["x"] + thumb["width"] * 0.1, thumb["y"] + thumb["height"] * 0.1)
    page.wait_for_selector(".fx-card header b:text('#100')")


@pytest.mark.slow
def test_a_region_is_followed_through_time(page):
    page.click("[data-ref=mark]")
    box = page.wait_for_selector("[data-ref=region]").bounding_box()
    page.mouse.move(box["x"] + 0.41 * box["width"], box["y"] + 0.01 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.99 * box["width"], box["y"] + 0.79 * box["height"], steps=4)
    page.mouse.up()
    page.wait_for_selector("[data-ref=life]:visible")
    assert page.evaluate(f"{STATE}.marking") is False
    inside = page.evaluate(f"fsrExplorer.life.tokensInRegion({STATE}.trace, {STATE}.region).map((l) => l.length)")
    assert inside == [3 * 4] * FRAMES
    kept = page.evaluate(
        f"fsrExplorer.life.tokensInRegion({STATE}.trace, {STATE}.region).flatMap((l) => [...l])"
        f".filter((i) => {STATE}.view.roles[i] >= 2).length"
    )
    assert f"{kept} of {12 * FRAMES} over time" in page.locator("[data-ref=lifetext]").inner_text()
    assert page.locator(".fx-life-row:visible").count() == 2, "kept, and saliency; this model has no relevance"
    assert page.locator(".fx-thumb-region:visible").count() == FRAMES
    page.click("[data-ref=unmark]")
    page.wait_for_selector("[data-ref=life]", state="hidden")


@pytest.mark.slow
def test_a_region_can_be_set_by_keys(page):
    page.locator("[data-ref=mark]").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-ref=region]:focus")
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowDown", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector("[data-ref=mark]:focus")
    region = page.evaluate(f"{STATE}.region")
    middle = [1 / 3 + 1 / CELLS, 1 / 3, 2 / 3 + 1 / CELLS, 2 / 3 + 1 / CELLS]
    assert [region[k] for k in ("x0", "y0", "x1", "y1")] == pytest.approx(middle)
    assert page.evaluate(f"{STATE}.frame") == 0, "its arrows move the region, not the time"


@pytest.mark.slow
def test_every_compared_method_shows_the_same_moment_and_its_tokens_over_time(page):
    page.click("[data-mode=compare]")
    page.wait_for_selector(".fx-cell-run canvas[data-method=random]:not([data-budget=''])")
    page.locator(".fx-strip-row").focus()
    page.keyboard.press("ArrowRight")
    frame_is(page, 1)
    url = page.evaluate(f"{STATE}.pictures[1].file.url")
    shown = "[...document.querySelectorAll('.fx-cell img')].every((i) => i.src === url)"
    page.wait_for_function(f"(url) => {shown}", arg=url)
    assert page.locator("[data-ref=kept]").is_hidden()
    strips = page.locator(".fx-cell-time:visible")
    assert strips.count() >= 2
    for strip in strips.all():
        kept = [int(x) for x in strip.get_attribute("aria-label").split(":")[1].split(",")]
        assert len(kept) == FRAMES
        assert sum(kept) == page.evaluate(f"{STATE}.budget")
    box = strips.first.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 6.5 / FRAMES, box["y"] + 20)
    frame_is(page, 6)


@pytest.mark.slow
def test_an_uploaded_clip_plays_before_anything_is_asked(visit, clip):
    page = visit()
    page.evaluate("(v) => fsrExplorer.page.receive(v)", clip | {"trace": None, "run": 5})
    page.wait_for_selector(".fx-film:visible .fx-thumb")
    assert page.locator("[data-ref=kept]").is_hidden()
    page.locator(".fx-strip-row").focus()
    page.keyboard.press("ArrowRight")
    frame_is(page, 1)
    assert page.locator("[data-ref=mark]").is_hidden()


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [False, True], ids=["one row", "all frames"])
def test_every_repaint_of_a_long_clip_is_measured(visit, long_clip, measured, wrapped):
    """From the changed budget to pixels, all panels included; main thread's processor time beside the wall clock."""
    page = showing(visit(), long_clip, 697)
    if wrapped:
        page.click("[data-ref=wrap]")
    page.locator("[data-ref=strip]").scroll_into_view_if_needed()
    frames(page, 18)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        return next(
            m["value"] for m in session.send("Performance.getMetrics")["metrics"] if m["name"] == "TaskDuration"
        )

    before = busy()
    times, painted = page.evaluate(
        f"""async () => {{
        const {{ page }} = fsrExplorer, times = [], frame = () => new Promise(requestAnimationFrame);
        let painted = 0;
        for (const k of {STATE}.trace.methods.fsr.plan.budgets) {{
          page.setBudget(k); await frame(); await frame();
          times.push(page.repaints.at(-1));
          const shown = `{THUMB}[data-budget='${{{STATE}.view.budget}}']`;
          painted = Math.max(painted, document.querySelectorAll(shown).length);
        }}
        return [times, painted];
        }}"""
    )
    each = 1000 * (busy() - before) / len(times)
    assert len(times) > 40
    assert painted == 32 if wrapped else 8 <= painted < 32
    measured(
        f"repaint of a clip of 32 x 196 tokens in Chromium, {painted} frames in sight: median "
        f"{statistics.median(times):.1f} ms by the clock, {each:.1f} ms of the main thread with layout and paint"
    )


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    return recorded_clip(tmp_path_factory.mktemp("long"), 32, 14, ("fsr",))


@pytest.fixture(scope="module")
def clip_app(browser, tmp_path_factory):
    """The app with a model that reads clips: tiny, with random weights."""
    folder = tmp_path_factory.mktemp("clip-app")
    model = str(save_onevision(folder / "tiny-onevision"))
    yield from launched(model, ROOT / "assets", folder, FSR_MAX_NEW_TOKENS="6")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    import cv2
    import numpy as np

    frames = drawn_frames(24)
    path = tmp_path_factory.mktemp("file") / "disc.mp4"
    out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), FPS, frames[0].size)
    for frame in frames:
        out.write(np.asarray(frame)[..., ::-1].copy())
    out.release()
    return path


@pytest.mark.slow
def test_a_clip_is_uploaded_played_asked_about_and_saved(clip_app, browser, file):
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(90_000)
    watch = Watch(clip_app.url)
    watch.on(page)
    page.goto(clip_app.url)
    page.wait_for_selector(".fx-stage canvas[data-budget]:not([data-budget=''])")
    page.fill("#fx-question textarea", "")
    page.wait_for_selector(
        "#fx-upload input[type=file], input#fx-upload, #fx-choose input[type=file]", state="attached"
    )
    page.set_input_files("#fx-choose input[type=file]", str(file))
    page.wait_for_selector(".fx-film:visible .fx-thumb")
    assert "disc.mp4" in page.locator(".fx-film-about").inner_text()
    n = page.locator(".fx-thumb").count()
    page.locator(".fx-strip-row").focus()
    page.keyboard.press("End")
    page.wait_for_selector(f".fx-thumb[data-frame='{n - 1}'][aria-selected=true]")
    assert page.locator("[data-ref=now]").inner_text().replace("\u202f", " ") == "0.92 s", "the last frame is sampled"
    page.fill("#fx-question textarea", "Does the red disc move?")
    page.click("#fx-askbutton")
    page.wait_for_function(f"{STATE}.status.phase === 'done'")
    page.wait_for_selector("[data-ref=kept]:visible")
    assert page.evaluate(f"{STATE}.trace.clip.count") == 24
    assert page.evaluate(f"Object.keys({STATE}.answers).length") == 2
    page.click("[data-ref=save]")
    film = page.locator("[data-row=film] button").first
    made, codec = ("mp4", "H.264") if film.inner_text() == "MP4" else ("webm", "VP8")
    assert film.get_attribute("title").endswith(f"as {codec}")
    for kind in ("record.json", "film.png", f"film.{made}"):
        with page.expect_download() as download:
            page.click(f"[data-save='{kind}']")
        assert download.value.suggested_filename.endswith(kind.partition(".")[1:][1])
        assert download.value.path().stat().st_size > 5000
        page.wait_for_selector(f"[data-save='{kind}'][aria-disabled=false]")
    page.context.close()
    assert watch.errors == []
