"""How far pictures lie from those that a model learnt from: the measures, the file beside the weights, and what is
claimed of shipped pictures. No number is asserted that other weights would change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from app.settings import ROOT
from fsr import vlm
from fsr.bench.familiar import auroc, rate
from fsr.cli.main import main
from fsr.vlm.familiar import FILE, MEASURES, Familiar, Rate


@pytest.fixture(scope="module")
def scenes() -> list[torch.Tensor]:
    return list(torch.randn(40, 30, 8, generator=torch.Generator().manual_seed(0)) + torch.arange(8.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"some weights")
    return tmp_path


@pytest.mark.parametrize("name", MEASURES)
def test_what_is_like_the_scenes_is_nearer_than_what_is_not(scenes, name):
    measure = MEASURES[name]
    known = measure.fit(scenes[:30])
    near = [measure.distance(scene, known) for scene in scenes[30:]]
    far = [measure.distance(scene.flip(1), known) for scene in scenes[30:]]
    assert auroc(near, far) == 1
    assert all(d >= 0 for d in near)


def test_what_was_calibrated_is_read_back_and_judges_alike(scenes, folder):
    measure = MEASURES["tokens"]
    known = {name: value.half().float() for name, value in measure.fit(scenes).items()}
    rates = Rate(0.02, 0.01, 0.03, 600), Rate(0.8, 0.6, 0.9, 27)
    wrote = Familiar("tokens", known, 3.5, *rates, {"auroc": 0.9})
    wrote.write(folder)
    read = Familiar.read(folder)
    assert read is not None
    assert read.closeness(scenes[0]) == wrote.closeness(scenes[0])
    assert (read.false_alarms, read.detected, read.record) == (*rates, {"auroc": 0.9})
    far = read.closeness(scenes[0] + 9)
    assert far.far
    assert far.to_json()["far"]
    assert "distance" in far.sentence("Shapes")


def test_of_other_weights_and_from_a_damaged_file_nothing_is_claimed(scenes, folder):
    known = MEASURES["nearest"].fit(scenes)
    path = Familiar("nearest", known, 0.5, Rate(0, 0, 0, 1), Rate(1, 1, 1, 1), {}).write(folder)
    whole = path.read_bytes()
    for kept in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:kept])
        assert Familiar.read(folder) is None, kept
    path.write_bytes(whole)
    assert Familiar.read(folder) is not None
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert Familiar.read(folder) is None
    path.unlink()
    assert Familiar.read(folder) is None


def test_a_rate_lies_in_its_interval_and_ties_count_half():
    found = rate([1, 2, 3, 4], 2.5)
    assert (found.share, found.of) == (0.5, 4)
    assert found.low <= found.share <= found.high
    assert auroc([1, 2], [2, 3]) == 0.875


@pytest.fixture(scope="module")
def shapes() -> vlm.VLM:
    model = vlm.load("shapes")
    if model.familiar is None:
        pytest.skip(f"{FILE} is of other weights: python -m fsr bench familiar --keep measures it again")
    return model


def judged(model: vlm.VLM, paths: list[Path]) -> list[bool]:
    pictures = [Image.open(path).convert("RGB") for path in paths]
    return [model.closeness(model.encode_media([picture], needs=frozenset())).far for picture in pictures]


def test_drawn_examples_are_known_and_most_shipped_photographs_are_not(shapes):
    assert (ROOT / "assets/shapes" / FILE).stat().st_size < 200_000
    assert not any(judged(shapes, sorted((ROOT / "assets/examples").glob("*.png"))[::2]))
    photographs = judged(shapes, sorted((ROOT / "assets/photos").glob("*.webp")))
    assert sum(photographs) > len(photographs) / 2


@pytest.mark.slow
def test_the_command_line_says_it_on_standard_error(shapes, capsys):
    photographs = sorted((ROOT / "assets/photos").glob("*.webp"))
    far = photographs[judged(shapes, photographs).index(True)]
    for path, said in ((far, True), (ROOT / "assets/examples/star.png", False)):
        assert main(["answer", str(path), "what is in the picture?", "--only", "--repeat-s", "0"]) == 0
        assert ("is unlike all that" in capsys.readouterr().err) == said


@pytest.mark.slow
def test_the_api_tells_a_far_picture_from_a_near_one(shapes, tmp_path, monkeypatch):
    import gradio_client

    from app.settings import Settings
    from app.ui.page import build_app, launch_options

    photographs = sorted((ROOT / "assets/photos").glob("*.webp"))
    far = photographs[judged(shapes, photographs).index(True)]
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    settings = Settings(model="shapes", models="", host="127.0.0.1", repeat_s=0, max_new_tokens=6)
    demo = build_app(settings)
    options = launch_options(settings) | {"server_port": None, "prevent_thread_lock": True, "quiet": True}
    try:
        client = gradio_client.Client(demo.launch(**options)[1], verbose=False)
        for path, unlike in ((far, True), (ROOT / "assets/examples/star.png", False)):
            file = gradio_client.handle_file(path)
            answers = client.predict(file, "what is in the picture?", api_name="/answer")
            assert ("unlike" in answers) == unlike
            trace = client.predict(file, "what is in the picture?", api_name="/analyse")
            assert trace["familiar"]["far"] == unlike
            if unlike:
                assert answers["unlike"] == trace["familiar"]
                assert trace["familiar"]["distance"] > trace["familiar"]["limit"]
    finally:
        demo.close()
