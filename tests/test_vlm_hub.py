"""Downloads from a hub: a small HTTP server on this machine answers as the hub does, for its real client."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

import fsr.vlm
from fsr.errors import FsrError
from fsr.vlm import hub as hub_module
from fsr.vlm.checkpoint import Checkpoint
from fsr.vlm.hub import Hub
from fsr.vlm.progress import LoadStopped

SHA = "0123456789abcdef0123456789abcdef01234567"
REPO = "tiny/llava"


class Answers(BaseHTTPRequestHandler):
    """What the hub says about one repository: its facts, its tree, its files."""

    protocol_version = "HTTP/1.1"
    folder: Path
    gated = False
    wait_s = 0.0
    asked: list[str]

    def log_message(self, *_args):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = self.path.partition("?")[0]
        self.asked.append(path)
        time.sleep(self.wait_s)
        files = {p.name: p.read_bytes() for p in self.folder.iterdir() if p.is_file()}
        if path in (f"/api/models/{REPO}", f"/api/models/{REPO}/revision/main"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
            return self.send(json.dumps({"id": REPO, "sha": SHA, "siblings": siblings}).encode(), body)
        if path == f"/api/models/{REPO}/tree/{SHA}":
            rows = [{"type": "file", "path": n, "size": len(d), "oid": etag(d)} for n, d in files.items()]
            return self.send(json.dumps(rows).encode(), body)
        name = path.rpartition("/")[2]
        if path.startswith(f"/{REPO}/resolve/") and name in files:
            return self.refused("GatedRepo", 403) if self.gated else self.send(files[name], body, etag(files[name]))
        return self.refused("RepoNotFound", 401)

    def refused(self, code, status):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, data, body, tag='"facts"'):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", tag)
        self.send_header("X-Repo-Commit", SHA)
        self.end_headers()
        if body:
            self.wfile.write(data)


def etag(data):
    return f'"{hashlib.sha1(data).hexdigest()}"'


@pytest.fixture(scope="module")
def shards(tiny_folder, tmp_path_factory):
    """The tiny checkpoint with its weights in several files."""
    folder = tmp_path_factory.mktemp("shards") / "tiny-llava"
    vlm = fsr.vlm.load(str(tiny_folder))
    vlm.model.save_pretrained(folder, max_shard_size="200KB")
    vlm.processor.save_pretrained(folder)
    return folder


@pytest.fixture
def hub(shards, tmp_path, monkeypatch):
    """The handler class of a hub that holds tiny/llava; the client's cache is empty."""
    kind = type("Mine", (Answers,), {"folder": shards, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    yield kind
    server.shutdown()
    server.server_close()


def test_a_checkpoint_is_downloaded_with_its_progress_and_then_found_without_the_hub(hub, shards, tiny_vlm):
    seen = []
    vlm = fsr.vlm.load(REPO, progress=seen.append)
    size = sum(p.stat().st_size for p in shards.glob("model*.safetensors"))
    downloads = [s for s in seen if s.phase == "download"]
    done = [s.done for s in downloads]
    assert done == sorted(done)
    assert done[-1] == downloads[0].total > size
    weights = [s for s in seen if s.phase == "weights"]
    assert (weights[0].done, weights[-1].done) == (0, weights[-1].total)
    assert weights[0].files == len(list(shards.glob("model*.safetensors"))) > 1
    assert str(weights[-1]) == f"Loading llava: 582.1 of 582.1 kB, {weights[0].files} files"
    assert vlm.id == REPO
    assert torch.equal(vlm.model.lm_head.weight, tiny_vlm.model.lm_head.weight)

    hub.asked.clear()
    hub.folder = shards / "gone"
    assert fsr.vlm.load(REPO).id == REPO  # the hub is out of order now


def test_only_what_is_needed_is_fetched(hub, shards):
    (shards / "model.fp16.bin").write_bytes(b"x")
    (shards / "pytorch_model.bin").write_bytes(b"x")
    try:
        fsr.vlm.load(REPO)
    finally:
        (shards / "model.fp16.bin").unlink()
        (shards / "pytorch_model.bin").unlink()
    assert not any(path.endswith(".bin") for path in hub.asked)
    assert any(path.endswith(".safetensors") for path in hub.asked)


def test_a_model_that_does_not_fit_is_not_downloaded(hub, monkeypatch):
    monkeypatch.setattr("fsr.vlm.memory.free_bytes", lambda device: 50_000)
    with pytest.raises(FsrError, match=r"tiny/llava needs about 0\.0 GB in float32, .* and cpu has"):
        fsr.vlm.load(REPO)
    assert not any(path.endswith(".safetensors") for path in hub.asked)


def test_a_disk_that_is_too_small_is_one_sentence(hub, monkeypatch):
    monkeypatch.setattr(hub_module.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 1000}))
    with pytest.raises(FsrError, match=r"a download of 0\.0 GB, the disk has 0\.0 GB free"):
        Hub.look(REPO).folder(weights=True)


def test_gated_and_unknown_are_told_apart(hub):
    with pytest.raises(FsrError, match="the hub knows no model nobody/nothing"):
        fsr.vlm.load("nobody/nothing")
    hub.gated = True
    with pytest.raises(FsrError, match="tiny/llava is gated: accept its licence"):
        Checkpoint.of(REPO)  # before any other model would have to make room


def test_a_hub_that_does_not_answer_is_given_up_on_in_seconds(hub, monkeypatch):
    monkeypatch.setattr(hub_module, "ANSWER_S", 0.5)
    hub.wait_s = 20.0
    start = time.monotonic()
    with pytest.raises(FsrError, match="is not on this machine and the hub cannot be reached"):
        fsr.vlm.load(REPO)
    assert time.monotonic() - start < hub.wait_s, "it did not wait for the answer"


def test_half_a_download_says_so(hub):
    folder = Hub.look(REPO).folder(weights=True)
    shard = next(folder.glob("model-00001*"))
    shard.resolve().unlink()
    shard.unlink()
    hub.folder = folder.parent / "out of order"
    with pytest.raises(FsrError, match="only a part of tiny/llava is on this machine"):
        fsr.vlm.load(REPO)


def test_a_download_can_be_stopped(hub):
    def stop(step):
        raise LoadStopped

    with pytest.raises(LoadStopped):
        fsr.vlm.load(REPO, progress=stop)
    assert fsr.vlm.load(REPO).id == REPO  # the next goes on from there
