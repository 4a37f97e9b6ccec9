"""The HTTP API as gradio_client and curl see it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import gradio_client
import pytest
from PIL import Image

from app.service import Service
from app.settings import ROOT, Settings
from app.ui.page import build_app, launch_options
from tests.looping import each
from tests.test_video import written
from tests.tiny import in_memory

VISITORS = 12
ENDPOINTS = {"/analyse", "/answer", "/compare", "/fidelity", "/figure", "/methods", "/models", "/why", "/words"}


@pytest.fixture(scope="module")
def service(tiny_folder, tiny_vlm):
    settings = Settings(
        model=str(tiny_folder), max_new_tokens=6, max_upload_mb=1, host="127.0.0.1", waiting_visitors=VISITORS
    )
    made = Service(settings, look=in_memory(tiny_vlm))
    yield made
    made.close()


@pytest.fixture(scope="module")
def served(service, tmp_path_factory):
    folder, settings = tmp_path_factory.mktemp("served"), service.settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
        demo = build_app(settings, service)
        options = launch_options(settings) | {"server_port": None, "prevent_thread_lock": True, "quiet": True}
        _, url, _ = demo.launch(**options)
        yield url
        demo.close()


@pytest.fixture(scope="module")
def client(served):
    return gradio_client.Client(served, verbose=False)


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    path = tmp_path / "picture.jpg"
    Image.new("RGB", (80, 60), (30, 90, 160)).save(path)
    return path


def test_answer_gives_both_answers_with_their_costs(client, picture_file):
    result = client.predict(gradio_client.handle_file(picture_file), "what?", "fsr", 6, None, api_name="/answer")
    assert set(result) == {"full", "fsr@6"}
    assert result["fsr@6"]["cost"]["visual_tokens"] == 6


def test_why_tells_what_the_answer_rests_on_around_forced_tokens(client, picture_file):
    from fsr.trace import Trace

    file, forced = gradio_client.handle_file(picture_file), {"in": [0, 24], "out": [12]}
    found = client.predict(file, "what?", budget=5, repair=True, forced=forced, api_name="/why")
    tokens = {one["token"] for one in found["influence"]}
    assert len(tokens) == 5
    assert {0, 24} <= tokens
    assert not found["repair"]["found"] or found["repair"]["answer"] == found["unpruned"]["text"]
    trace = Trace.from_json(client.predict(file, "what?", forced=forced, api_name="/analyse"))
    assert trace.methods["fsr"]["forced"] == forced
    with pytest.raises(gradio_client.exceptions.AppError, match="forced in and out at once"):
        client.predict(file, "what?", budget=5, forced={"in": [1], "out": [1]}, api_name="/why")


def test_words_tells_where_each_word_looked(client, picture, tmp_path):
    picture.save(tmp_path / "picture.png")
    file = gradio_client.handle_file(tmp_path / "picture.png")
    result = client.predict(file, "what is it?", budget=6, layers="first", api_name="/words")
    assert list(result) == ["full", "method"]
    for side in result.values():
        assert all(sum(w["attention"]) == pytest.approx(w["share"], abs=0.02) for w in side["words"])


def test_analyse_gives_a_valid_trace(client, picture_file):
    from fsr.trace import Trace

    result = client.predict(gradio_client.handle_file(picture_file), "what?", "grid", None, api_name="/analyse")
    trace = Trace.from_json(result)
    assert "grid" in trace.methods
    assert trace.frames[0]["width"] == 80


@each(
    ("arguments", "words"),
    [
        (("what?", "fsr", 0.5, None), "whole number"),
        (("what?", "fsr", 999, None), "from 1 to 25"),
        (("what?", "nonsense", 6, None), "method must be one of"),
        (("", "fsr", 6, None), "question is empty"),
        (("what?", "fsr", 6, {"rho": 9}), "rho must be"),
    ],
    ids=["half a token", "too many", "no method", "no question", "bad parameter"],
)
def test_bad_input_is_answered_with_a_sentence(client, picture_file, arguments, words):
    with pytest.raises(gradio_client.exceptions.AppError, match=words):
        client.predict(gradio_client.handle_file(picture_file), *arguments, api_name="/answer")


def test_all_who_wait_stand_in_line_and_one_more_reads_what_to_do(client, service, picture_file):
    """More than Gradio runs at a time by itself: none of them waits where no one tells it for how long."""
    file = gradio_client.handle_file(picture_file)
    with service.line.turn("answer", "another"):
        jobs = [client.submit(file, "what?", "grid", None, api_name="/analyse") for _ in range(VISITORS)]
        while service.line.waiting < VISITORS:
            assert not any(job.done() for job in jobs)
            time.sleep(0.01)
        with pytest.raises(gradio_client.exceptions.AppError, match=f"{VISITORS} visitors wait for the model already"):
            client.predict(file, "what?", "fsr", 6, None, api_name="/answer")
    assert all("grid" in job.result()["methods"] for job in jobs)


def test_a_file_that_is_no_picture_is_refused(client, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    with pytest.raises(gradio_client.exceptions.AppError, match="not a JPEG, PNG or WebP"):
        client.predict(gradio_client.handle_file(path), "what?", "fsr", 6, None, api_name="/answer")


@pytest.mark.slow
def test_a_clip_goes_through_the_same_door_whatever_its_container(client, tmp_path):
    """The served model reads pictures only: the sentence is about that, so the file itself was taken."""
    for name, codec in (("a.mp4", "mp4v"), ("a.mkv", "mp4v")):
        path = written(tmp_path / name, 3, codec=codec)
        with pytest.raises(
            gradio_client.exceptions.AppError, match="reads pictures only; for a clip choose Shapes for clips"
        ):
            client.predict(gradio_client.handle_file(path), "what?", "fsr", 6, None, api_name="/answer")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(gradio_client.exceptions.AppError, match="holds no video that can be read"):
        client.predict(gradio_client.handle_file(path), "what?", "fsr", None, api_name="/analyse")


def post(url: str, body: dict) -> int:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def test_files_of_the_server_cannot_be_named(served, client):
    stolen = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match=r".") as caught:
        client.predict(stolen, "what?", "fsr", 6, None, api_name="/answer")
    assert "root:" not in str(caught.value)
    for path in ("/etc/passwd", "app.py", str(ROOT / "app" / "service.py"), str(ROOT / "assets" / ".." / "app.py")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{served}gradio_api/file={path}", timeout=20)
        assert refused.value.code in (403, 404)


def test_an_upload_over_the_limit_is_refused(served):
    boundary = "fsr"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="big.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode() + b"\0" * 2_000_000 + f"\r\n--{boundary}--\r\n".encode()  # fmt: skip
    request = urllib.request.Request(
        f"{served}gradio_api/upload", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    assert refused.value.code == 413


def test_only_the_endpoints_are_public_and_monitoring_is_closed(served, client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == ENDPOINTS
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{served}monitoring", timeout=20)
    assert refused.value.code == 403


def test_everything_but_picture_and_question_may_be_left_out_and_every_parameter_is_explained(client, picture_file):
    file = gradio_client.handle_file(picture_file)
    assert "fsr" in client.predict(file, "what?", api_name="/analyse")["methods"]
    assert {m["name"] for m in client.predict(api_name="/methods")} >= {"fsr", "random"}
    assert client.predict(api_name="/models")[0]["state"] == "loaded"
    points = client.predict(file, "what?", methods=["fsr"], api_name="/fidelity")["points"]
    assert {p["method"] for p in points} == {"fsr"}
    drawn = client.predict(file, "what?", figure="map", methods=["fsr", "grid"], budget=6, api_name="/figure")
    assert Image.open(drawn).width > 200
    about = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(about) >= ENDPOINTS
    for name, endpoint in about.items():
        needed = {p["parameter_name"] for p in endpoint["parameters"] if not p["parameter_has_default"]}
        assert needed <= {"picture", "question"}, name
        assert endpoint["description"], name
        assert all(len(p["python_type"]["description"]) > 10 for p in endpoint["parameters"]), name


@each(
    ("values", "words"),
    [
        ({"figure": "cake"}, "one of picture, sheet, map"),
        ({"format": "gif"}, "as png, svg, pdf"),
        ({"methods": ["magic"]}, "no method 'magic'"),
        ({"layer": "taste"}, "layer must be one of roles"),
        ({"frame": 3}, "frame of a figure is a whole number from 0 to 0"),
    ],
    ids=lambda x: str(x)[:12],
)
def test_a_figure_that_cannot_be_drawn_is_one_sentence(client, picture_file, values, words):
    with pytest.raises(gradio_client.exceptions.AppError, match=words):
        client.predict(gradio_client.handle_file(picture_file), "what?", **{"budget": 6} | values, api_name="/figure")
