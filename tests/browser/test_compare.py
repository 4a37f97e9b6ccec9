"""The compare view: alive from a recording, one budget for all, linked tokens, asking, stopping, layers, figures."""

from __future__ import annotations

import pytest

from tests.browser.conftest import frames
from tests.browser.test_page import until_quiet
from tests.looping import each

STATE = "fsrExplorer.page.store.state"
RUNS = ".fx-cell-run"
SLOW = 180_000


@pytest.fixture
def page(visit):
    return comparing(visit())


def comparing(page):
    page.click("[data-mode=compare]")
    page.wait_for_selector(f"{RUNS} canvas[data-budget]:not([data-budget=''])")
    return page


def methods_of(page, wanted: str, most: int = 6) -> list[str]:
    """Names from the registry whose description satisfies a JavaScript condition on `m`."""
    return page.evaluate(f"fsrExplorer.page.config.compare.filter((m) => {wanted}).map((m) => m.name).slice(0, {most})")


def choose(page, names: list[str]) -> None:
    for name in page.evaluate(f"{STATE}.chosen"):
        if name not in names:
            page.click(f".fx-chip[data-method='{name}']")
    for name in names:
        if page.get_attribute(f".fx-chip[data-method='{name}']", "aria-pressed") == "false":
            page.click(f".fx-chip[data-method='{name}']")


def ask(page) -> None:
    page.click("#fx-askbutton")
    page.wait_for_function(f"['full', 'method', 'done'].includes({STATE}.status.phase)", timeout=SLOW)


def until(page, *phases: str) -> None:
    page.wait_for_function(f"{list(phases)}.includes({STATE}.status.phase)", timeout=SLOW)


def budgets_shown(page) -> list[str]:
    return page.locator(f"{RUNS} canvas").evaluate_all("(cs) => cs.map((c) => c.dataset.budget)")


def test_a_recording_compares_before_any_model_is_loaded(page):
    from app.ui.page import COMPARED_FIRST

    assert page.evaluate(f"{STATE}.chosen") == COMPARED_FIRST
    assert page.locator(RUNS).count() >= 2
    assert page.locator(".fx-stage").is_hidden()
    for cell in page.locator(RUNS).all():
        assert cell.locator(".fx-text").inner_text()
        assert cell.locator(".fx-agree").get_attribute("data-same") in ("true", "false")
        assert "prefill" in cell.locator(".fx-cell-costs").inner_text()
    assert page.locator(".fx-cell-count .fx-steps span").count() == page.locator(RUNS).count() + 1
    page.click("[data-mode=one]")
    page.wait_for_selector(".fx-stage:visible")
    assert page.locator(".fx-compare").is_hidden()


@pytest.mark.slow
def test_two_to_six_methods_can_be_chosen(page):
    choose(page, ["random"])
    page.wait_for_selector(".fx-choose-note:text('Choose at least two methods.')")
    names = methods_of(page, "m.stage === 'before'", 6)
    choose(page, names)
    page.wait_for_selector(".fx-choose-note:has-text('6 methods at most')")
    assert page.locator(".fx-chip:disabled").count() == page.locator(".fx-chip").count() - 6
    assert page.evaluate(f"{STATE}.chosen.length") == 6


def test_dragging_the_one_budget_repaints_every_picture_without_any_request(page):
    until_quiet(page)
    before = len(page.watch.requests)
    slider = page.locator("#fx-shared-range").bounding_box()
    y = slider["y"] + slider["height"] / 2
    start = page.locator("#fx-shared-range").evaluate("(r) => r.value / r.max")
    page.mouse.move(slider["x"] + 9 + start * (slider["width"] - 18), y)
    page.mouse.down()
    for i in range(1, 16):
        page.mouse.move(slider["x"] + slider["width"] * (0.1 + 0.05 * i), y)
        frames(page, 1)
    page.mouse.up()
    frames(page, 18)
    shown = page.locator("#fx-shared-range").input_value()
    assert page.watch.requests[before:] == []
    plan, n = f"{STATE}.trace.methods[m].plan", f"{STATE}.trace.tokens.n"
    expected = page.evaluate(f"{STATE}.chosen.map((m) => String(fsrExplorer.plan.snapBudget({plan}, {n}, {shown})))")
    assert budgets_shown(page) == expected
    assert expected[0] == shown
    for drawn, cell in zip(expected, page.locator(RUNS).all(), strict=True):
        assert (f"drawn at {drawn}" in cell.inner_text()) == (drawn != shown), "a plan with gaps says what it shows"
    painted = page.locator(f"{RUNS} canvas").evaluate_all("(cs) => cs.map((c) => c.dataset.counts)")
    for drawn, counts in zip(expected, painted, strict=True):
        assert sum(int(x) for x in counts.split(",")[2:]) == int(drawn)
    badge = page.locator(f"{RUNS} .fx-cell-badge").first
    assert badge.inner_text().startswith("answered at "), "answers stay, and say where they come from"


def test_a_token_is_marked_in_every_picture_and_by_keys(page):
    box = page.locator(f"{RUNS} canvas").first.bounding_box()
    matrix = page.locator(".fx-matrix").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.4)
    page.wait_for_selector(".fx-linked header b:has-text('#')")
    assert page.locator(".fx-matrix").bounding_box() == matrix, "nothing moves"
    token = page.evaluate(f"{STATE}.cursor")
    cursors = page.locator(".fx-cell-run canvas, .fx-cell-full canvas").evaluate_all(
        "(cs) => cs.map((c) => c.dataset.cursor)"
    )
    assert set(cursors) == {str(token)}
    assert page.locator(".fx-linked tbody tr").count() == page.locator(RUNS).count()
    kept = page.locator(".fx-linked tr[data-kept=true]").count()
    assert page.locator(".fx-linked p").first.inner_text() == f"Kept by {kept} of {page.locator(RUNS).count()}"
    page.mouse.move(5, 5)
    page.locator(f"{RUNS} canvas").nth(1).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    linked = "document.querySelector('[data-ref=linked]').innerText"
    page.wait_for_function(f"{linked}.includes(`Token ${{{STATE}.cursor}}, row`)")  # drawn in the next frame


@pytest.mark.slow
def test_overlap_is_that_of_the_kept_sets_and_opens_two_apart(page):
    cell = page.locator(".fx-iou[data-pair='0-1']")
    kept = page.evaluate(
        f"""{STATE}.chosen.slice(0, 2).map((name) => fsrExplorer.plan.viewAt({STATE}.trace.methods[name].plan,
        {STATE}.trace.tokens.n, {STATE}.budget).roles.reduce((found, r, i) => (r >= 2 ? [...found, i] : found), []))"""
    )
    one, other = map(set, kept)
    assert float("0" + cell.inner_text().lstrip("0")) == pytest.approx(len(one & other) / len(one | other), abs=0.006)
    cell.click()
    keys = page.locator(".fx-pair-keys").inner_text().split("\n")
    assert [int(k.split()[-1]) for k in keys] == [len(one - other), len(one & other), len(other - one)]


@pytest.mark.slow
def test_asking_answers_in_turn(page):
    names = methods_of(page, "m.stage === 'before'", 20)
    choose(page, ["random", "grid"] if "grid" in names else names[:2])
    ask(page)
    until(page, "done")
    chosen, budget = page.evaluate(f"[{STATE}.chosen, {STATE}.budget]")
    for name in chosen:
        cost = page.evaluate(f"{STATE}.answers['{name}@{budget}'].cost")
        assert cost["visual_tokens"] == budget
        assert cost["prefill_ms"] > 0
    assert "Measured here" in page.locator("[data-ref=progresstext]").inner_text()


@pytest.mark.slow
def test_one_method_at_four_budgets(page):
    page.click("[data-arrange=budgets]")
    n = page.evaluate(f"{STATE}.trace.tokens.n")
    expected = ",".join(str(round(n * share)) for share in (1 / 3, 2 / 9, 1 / 9, 1 / 18))
    shown = f"[...document.querySelectorAll('{RUNS} canvas')].map((c) => c.dataset.budget).join()"
    page.wait_for_function(f"{shown} === '{expected}'")  # repainted in the next frame
    assert page.locator("#fx-shared-range").is_hidden()


@pytest.mark.slow
def test_a_method_inside_the_language_model_shows_its_layers(page):
    (inside,) = methods_of(page, "m.stage === 'inside'", 1)
    choose(page, [inside, "random"])
    page.evaluate(f"fsrExplorer.page.setBudget(Math.round({STATE}.trace.tokens.n / 2))")
    ask(page)
    until(page, "done")
    page.wait_for_selector(".fx-cell-more input[type=range]:visible")
    cell = page.locator(RUNS, has=page.locator(f"canvas[data-method='{inside}']"))
    alive = []
    for layer in range(int(cell.locator("input[type=range]").get_attribute("max")) + 1):
        cell.locator("input[type=range]").evaluate(
            "(r, v) => { r.value = v; r.dispatchEvent(new Event('input')); }", layer
        )
        page.wait_for_selector(f"canvas[data-method='{inside}'][data-layer='{layer}']")
        alive.append(sum(int(x) for x in cell.locator("canvas").get_attribute("data-counts").split(",")[2:]))
    assert alive[0] == page.evaluate(f"{STATE}.trace.tokens.n")
    assert alive == sorted(alive, reverse=True)
    assert alive[-1] < alive[0]
    page.evaluate(f"fsrExplorer.page.setBudget({STATE}.budget - 9)")
    badge = cell.locator(".fx-cell-badge")
    badge.wait_for(state="visible")
    assert "tokens per layer on average" in badge.inner_text()


@pytest.mark.slow
def test_curves_are_drawn_from_measured_points(page):
    choose(page, ["random", "fsr"])
    page.click("[data-ref=draw]")
    page.wait_for_function(f"{STATE}.fidelity.phase === 'done'", timeout=SLOW)
    points = page.evaluate(f"{STATE}.fidelity.points")
    assert page.locator("[data-ref=klchart] circle").count() == len(points) == 12
    assert all(0 <= p["probability"] <= 1 and p["kl"] >= 0 for p in points)
    page.locator("#fx-fidelity .fx-numbers .fx-plain").last.click()
    page.wait_for_function(f"Object.keys({STATE}.fidelity.found).length === 1", timeout=SLOW)
    assert "tried" in page.locator("#fx-fidelity .fx-numbers").inner_text()


@pytest.mark.slow
@each("figure", ["sheet", "map", "overlap"])
def test_figures_can_be_saved(page, figure):
    page.click("[data-ref=save]")
    with page.expect_download(timeout=SLOW) as download:
        page.click(f"[data-save='{figure}.svg']")
    page.keyboard.press("Escape")
    assert download.value.suggested_filename.endswith(".svg")


def test_a_shared_link_opens_the_comparison(visit):
    page = visit("?example=count&view=compare&methods=random,fsr,<b>&budget=100", ready=False)
    page.wait_for_selector(f"{RUNS} canvas[data-budget='100']")
    assert page.evaluate(f"{STATE}.chosen") == ["random", "fsr"]


@pytest.mark.slow
def test_a_phone_shows_question_choices_and_pictures_without_overflow(visit):
    page = comparing(visit(viewport={"width": 390, "height": 844}, has_touch=True))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    tops = [page.locator(s).first.bounding_box()["y"] for s in ("#fx-question", ".fx-chips", ".fx-cell", ".fx-matrix")]
    assert tops == sorted(tops)
    canvas = page.locator(f"{RUNS} canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.touchscreen.tap(box["x"] + 50, box["y"] + 50)
    page.wait_for_selector(".fx-linked header b:has-text('#'):visible")
