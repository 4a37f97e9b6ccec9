"""Exported figures: their bytes, their words inside their frames, and the plan they are drawn from."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from app.cells import Cells, legend
from app.figures import Overlay, contact_sheet, fidelity_curves, iou_matrix, token_map
from app.overlay import painted
from app.picture_figure import picture_figure
from fsr.bench import look
from fsr.bench.chart import wrapped
from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.pruners.reading import read_plan
from fsr.tokens import Role
from tests.looping import each
from tests.methods import random_tokens
from tests.plan_reader import read

LONG = "What is written on the small sign to the left of the entrance, and who of the two is reading it just now?"
MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def trace() -> dict:
    """A grid of 5 x 6 tokens on 60 x 50 pixels, three methods."""
    tokens = random_tokens(0)
    plans = {"fsr": make("fsr", rho=0.2), "random": make("random"), "grid": make("grid")}
    return {
        "question": "what is it?",
        "frames": [{"width": 60, "height": 50, "rows": 5, "cols": 6, "seen": [0, 0, 60, 50]}],
        "tokens": {
            "n": 30,
            "frame": None,
            "row": tokens.layout.row.tolist(),
            "col": tokens.layout.col.tolist(),
            "rect": [[10 * x for x in r] for r in tokens.layout.rect.tolist()],
        },
        "methods": {m: {"label": p.label, "plan": p.plan(tokens).to_json()} for m, p in plans.items()},
        "answers": {"fsr@8": {"text": "a noisy picture"}},
    }


def curves(count: int, band: bool = False) -> dict:
    def value(x: float):
        return [x, 0.8 * x, 1.1 * x] if band else x

    rows = {
        f"method {i} with quite a long name": {
            str(b): {"kl": value((i + 1) / b**2), "probability": value(0.9 - i / 20 - 3 / b)} for b in (16, 32, 64, 128)
        }
        for i in range(count)
    }
    return {"full": {"576": {"kl": 0.0, "probability": 0.95}}, **rows}


def drawn(kind: str, fmt: str, picture: Image.Image, trace: dict) -> bytes:
    if kind == "curves":
        return fidelity_curves(curves(3, band=True), fmt, title=LONG)
    if kind == "matrix":
        return iou_matrix(["a", "b"], [[1, 0.25], [0.25, 1]], fmt)
    if kind == "sheet":
        overlays = [Overlay("All tokens", None), Overlay.of(trace, "fsr", 8), Overlay.of(trace, "random", 8)]
        return contact_sheet(picture, trace, overlays, fmt)
    return token_map(picture, trace, ["fsr", "random", "grid"], 8, fmt)


KINDS = ("curves", "matrix", "sheet", "map")


@pytest.mark.slow
@each(("kind", "fmt"), [*((kind, "png") for kind in KINDS), ("sheet", "svg"), ("curves", "svg"), ("map", "pdf")])
def test_the_same_data_gives_the_same_bytes_with_fonts_and_without_a_date(kind, fmt, picture, trace):
    once, again = (drawn(kind, fmt, picture, trace) for _ in range(2))
    assert once == again
    assert once.startswith(MAGIC[fmt])
    assert b"CreationDate" not in once
    if fmt == "pdf":
        assert b"/FontFile2" in once, "TrueType, embedded"
        assert b"/Type3" not in once
    if fmt == "svg":
        assert b"<text" not in once, "letters are outlines"
    if fmt == "png":
        image = Image.open(io.BytesIO(once)).convert("RGB")
        assert min(image.size) > 200
        edge = np.asarray(image)[[0, -1]]
        assert (edge == 255).all(), "nothing touches the frame of the figure"


@each("kind", KINDS)
@each("fmt", ["jpg", "", "PNG", None])
def test_another_format_is_refused(kind, fmt, picture, trace):
    with pytest.raises(InvalidInput, match="one of png, svg, pdf"):
        drawn(kind, fmt, picture, trace)


def test_nothing_is_left_in_matplotlib(picture, trace):
    import matplotlib

    before = dict(matplotlib.rcParams)
    for kind in KINDS:
        drawn(kind, "png", picture, trace)
    with pytest.raises(InvalidInput):
        drawn("map", "gif", picture, trace)
    assert dict(matplotlib.rcParams) == before
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []


@pytest.fixture
def texts(monkeypatch):
    """The boxes of all words of the figures drawn, in pixels, with the size of each figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    found = []
    save = Figure.savefig

    def spy(figure, *args, **options):
        FigureCanvasAgg(figure).draw()  # words have their places only once they are drawn
        shown = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
        found.append((figure.bbox.size, [(t.get_text(), t.get_rotation(), t.get_window_extent()) for t in shown]))
        return save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 6])
def test_words_neither_leave_the_figure_nor_overlap(count, picture, trace, texts):
    names = [f"method {i} with quite a long name" for i in range(count)]
    fidelity_curves(curves(count), "png", title=LONG)
    iou_matrix(names, np.full((count, count), 0.5), "png", LONG)
    iou_matrix([f"m{i}" for i in range(count)], np.full((count, count), 0.5), "png")
    reading = read_plan(trace["methods"]["fsr"]["plan"], 30, 8)
    contact_sheet(picture, trace, [Overlay(name, reading, LONG) for name in names], "png", title=LONG)
    token_map(picture, trace, ["fsr", "random", "grid"] * (count // 2), 8, "png", title=LONG)
    assert len(texts) == 5
    for (width, height), words in texts:
        assert len(words) > 3
        for text, _, box in words:
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text  # noqa: PT018
        level = [(text, box) for text, turned, box in words if turned in (0, 90)]
        for i, (text, box) in enumerate(level):
            for other, there in level[:i]:
                apart = box.x1 <= there.x0 + 1 or there.x1 <= box.x0 + 1
                assert apart or box.y1 <= there.y0 + 1 or there.y1 <= box.y0 + 1, (text, other)


def test_roles_have_the_colors_of_the_page(picture, trace):
    overlays = [Overlay.of(trace, "fsr", 8), Overlay.of(trace, "random", 8)]
    drawn_ = contact_sheet(picture, trace, overlays, "svg").decode()
    for role, color in look.ROLES.items():
        assert f"fill: {color}" in drawn_, role


@pytest.fixture
def shown():
    """Pixels in the middle of every token of the one picture of a figure."""

    def middles(data: bytes) -> list[tuple[int, ...]]:
        image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        inked = (image != 255).any(2)
        rows = np.flatnonzero(inked.mean(1) > 0.5)  # the picture is what is not white across half of the figure
        across = np.flatnonzero(inked[rows[len(rows) // 2]])
        ends = np.append(across[:-1][np.diff(across) > 15], across[-1])  # a scale stands beside it, with room between
        left, wide, tall = across[0], ends[0] - across[0], rows[-1] - rows[0]
        at = [(rows[0] + tall * (r + 0.5) / 5, left + wide * (c + 0.5) / 6) for r in range(5) for c in range(6)]
        return [tuple(int(v) for v in image[round(y), round(x)]) for y, x in at]

    return middles


@each("level", [200, 20], ids=["bright", "dark"])
def test_nothing_but_the_veil_lies_over_a_token(trace, shown, level):
    """Kept tokens have the picture's own colour: a tool about colour must not tint them."""
    picture = Image.new("RGB", (60, 50), (level, level, level))
    overlay = Overlay.of(trace, "random", 8)
    veil = look.rgb(look.VEIL_ON_BRIGHT if level == 200 else look.VEIL_ON_DARK)
    data = contact_sheet(picture, trace, [overlay], title="")
    for i, pixel in enumerate(shown(data)):
        kept = i in overlay.reading.kept
        wanted = [level] * 3 if kept else [level + (v - level) * look.VEILED["dropped"] for v in veil]
        assert pixel == pytest.approx(wanted, abs=2), (i, kept)


@each("never", [True, False])
def test_what_was_never_encoded_is_crossed_out_in_every_file(trace, shown, never):
    """As vectors and as pixels: a cross on each dropped token, none on a kept one, and the legend says so."""
    facts = {"n_not_encoded": 22 if never else 0}
    trace = trace | {"methods": {"grid": trace["methods"]["grid"] | {"facts": facts}}}
    overlay, picture = Overlay.of(trace, "grid", 8), Image.new("RGB", (60, 50), (200,) * 3)
    (name,) = {"dropped", "never encoded"} & set(legend([overlay.reading]))
    assert (name == "never encoded") is never
    svg = contact_sheet(picture, trace, [overlay], "svg").decode()
    group = svg.partition('id="never encoded"')[2].partition("</g>")[0]
    assert group.count(f"stroke: {look.CROSSED}") == (2 * 22 if never else 0)
    large = picture.resize((600, 500))
    cells = Cells.of(trace, 0).pixels(600, 500)
    film = painted(large, cells, overlay.reading, set(), look.VEIL_ON_BRIGHT)
    middles = [tuple(film[round(y), round(x)].tolist()) for x, y in map(cells.middle, range(30))]
    veiled = tuple(round(200 + (v - 200) * look.VEILED["dropped"]) for v in look.rgb(look.VEIL_ON_BRIGHT))
    for pixels in (shown(contact_sheet(picture, trace, [overlay], title="")), middles):
        for i, pixel in enumerate(pixels):
            ground = (200,) * 3 if i in overlay.reading.kept else veiled
            crossed = never and i not in overlay.reading.kept
            assert (pixel == pytest.approx(ground, abs=2)) is not crossed, i


def test_a_token_map_has_the_scale_of_the_page(trace, shown):
    """More methods, brighter, as the page paints it; no method at all is on the scale, too."""
    methods = ["fsr", "random", "grid"]
    data = token_map(Image.new("RGB", (60, 50)), trace, methods, 8)
    kept = [read_plan(trace["methods"][m]["plan"], 30, 8).kept for m in methods]
    times = [sum(i in k for k in kept) for i in range(30)]
    assert len(set(times)) > 2
    for i, pixel in enumerate(shown(data)):
        wanted = [v * look.HEAT_OPACITY for v in look.rgb(look.heat(times[i] / 3))]
        assert pixel == pytest.approx(wanted, abs=2), i


@pytest.mark.slow
def test_the_picture_figure_has_tokens_as_vectors_words_as_text_and_its_settings(picture, trace, shown):
    values = [0.0] + [10.0**-k for k in range(29)]
    trace = trace | {"model": {"title": "Tiny"}, "scores": {"priority": values}}
    trace["methods"]["fsr"] = trace["methods"]["fsr"] | {"parameters": {"rho": 0.2, "focus_cap": None}}
    svg = picture_figure(picture, trace, "fsr", 8, "svg", link="http://a.b/?x=1&y").decode()
    for words in ("“what is it?”", "FSR, 8 of 30 visual tokens", "Tiny · rho 0.2", ">8 tokens: a noisy picture<"):
        assert words in svg, words
    assert all(f'id="{name}"' in svg for name in ("focus", "scan", "dropped", "legend"))
    assert "Source: http://a.b/?x=1&amp;y" in svg
    pdf = picture_figure(picture, trace, "fsr", 8, "pdf")
    assert b"/FontFile2" in pdf
    black = Image.new("RGB", (60, 50))
    png = picture_figure(black, trace, "random", 8, "png", layer="priority")
    info = Image.open(io.BytesIO(png)).info
    assert (info["Budget"], info["Layer"]) == ("8 of 30 visual tokens", "Priority φ")
    scale = look.Scale.of(values, look.SCALES["priority"])
    for i, pixel in enumerate(shown(png)):
        wanted = [v * look.HEAT_OPACITY for v in look.rgb(look.heat(scale.at(values[i])))]
        assert pixel == pytest.approx(wanted, abs=3), i
    with pytest.raises(InvalidInput, match="one of roles, priority, not 'relevance'"):
        picture_figure(picture, trace, "fsr", 8, layer="relevance")


@each(
    ("call", "sentence"),
    [
        (lambda p, t: token_map(p, t, [], 8), "at least one method"),
        (lambda p, t: token_map(p, t, ["magic"], 8), "no method 'magic'; it has fsr, random, grid"),
        (lambda p, t: token_map(p, t, ["fsr"], 31), "from 1 to 30"),
        (lambda p, t: contact_sheet(p, t, []), "at least one overlay"),
        (lambda p, t: contact_sheet(p, t, [Overlay("a", None)], frame=1), "frame must be"),
        (lambda p, t: iou_matrix(["a"], [[1, 2]]), "needs 1 rows of 1"),
        (lambda p, t: iou_matrix([], []), "needs 0 rows"),
        (lambda p, t: fidelity_curves({"full": {"576": {"kl": 0, "probability": 1}}}), "no method with a budget"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(call, sentence, picture, trace):
    with pytest.raises(InvalidInput, match=sentence):
        call(picture, trace)


# ------------------------------------------------------------------------------------------------------------ plans

PLANS = {
    "nested": make("fsr", rho=0.2),
    "nested, much merging": make("fsr", rho=0.2, kappa=2.5),
    "rank": make("saliency"),
    "table of bits": make("grid"),
    "table of nibbles": make("fsr", rho=0.2, focus_cap=0.5),
}


@each("pruner", PLANS.values(), ids=PLANS)
def test_a_plan_is_read_as_the_page_reads_it(pruner):
    tokens = random_tokens(5)
    plan = json.loads(json.dumps(pruner.plan(tokens).to_json()))
    for budget in (1, 2, 7, 15, 29, 30):
        found = read_plan(plan, 30, budget)
        roles, anchor, _ = read(plan, budget)
        assert found.roles == roles
        assert found.kept == set(pruner(tokens, budget).kept.tolist())
        merged = [anchor[i] for i, role in enumerate(roles) if role == Role.MERGED and anchor]
        assert found.absorbed == {j: merged.count(j) for j in merged}


def test_layers_are_read_at_the_nearest_budget():
    plan = {"kind": "layers", "layers": 3, "budgets": [4, 8], "depth": [[3, 1, 1, 3], [3, 3, 1, 3]]}
    assert read_plan(plan, 4, 1).roles == [Role.KEPT, Role.DROPPED, Role.DROPPED, Role.KEPT]
    assert read_plan({**plan, "budgets": [1, 3]}, 4, 4).kept == {0, 1, 3}
    assert read_plan({**plan, "budgets": [1, 3]}, 4, 2).budget == 1
    with pytest.raises(InvalidInput, match="no plan of kind 'cloud'"):
        read_plan({"kind": "cloud"}, 4, 1)


@each(
    ("text", "inches", "lines", "shape"),
    [
        ("short", 2, 2, ["short"]),
        ("", 2, 2, [""]),
        ("one two three four", 0.8, 2, ["one two", "three four"]),
        ("x" * 50, 1, 2, 2),
    ],
)
def test_labels_wrap_and_end_in_an_ellipsis(text, inches, lines, shape):
    found = wrapped(text, inches, 8, lines).split("\n")
    if isinstance(shape, list):
        assert found == shape
    else:
        assert len(found) == shape
        assert found[-1].endswith("…")
