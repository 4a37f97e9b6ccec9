"""Films, sheets and records of a clip with its tokens, read back as a visitor would."""

from __future__ import annotations

import io
import json
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import decord
import numpy as np
import pytest
import torch
from PIL import Image

from app import clip_export
from app.cells import Cells
from app.clip_export import Sent, film, letters, saved, wrapped
from app.look import veil_for
from app.overlay import foreign_anchors, painted
from fsr.bench.look import VEIL_ON_BRIGHT, rgb
from fsr.bench.video import layout_of
from fsr.errors import FsrError, InvalidInput
from fsr.pruners import make
from fsr.pruners.frames import anchors_from_other_frames, with_share
from fsr.pruners.reading import read_plan
from fsr.tokens import Role, VisualTokens
from fsr.trace import Trace
from tests.looping import each

N, SIDE, FRAMES = 4, 240, 3  # cells along an edge, pixels, frames
ORANGE, BLUE = (230, 159, 0), (0, 114, 178)


def record() -> dict[str, Any]:
    """Three frames of 4 x 4 tokens; in frame f token f is Focus, 15 - f is Scan, and the last frame's 7 was merged
    into the first frame's 15."""
    per, n = N * N, FRAMES * N * N
    place = [(i % per) // N for i in range(n)], [i % N for i in range(n)]
    cell = SIDE / N
    rects = [[c * cell, r * cell, (c + 1) * cell, (r + 1) * cell] for r, c in zip(*place, strict=True)]
    focus = [f * per + f for f in range(FRAMES)]
    scan = [f * per + 15 - f for f in range(FRAMES)]
    order = focus + [i for i in range(n) if i not in focus]
    source = 2 * per + 7
    offsets = [0] * (source + 1) + [1] * (n - source)
    plan = {
        "kind": "nested",
        "focus_rank": [order.index(i) for i in range(n)],
        "k_focus": FRAMES,
        "scan_rank": [scan.index(i) if i in scan else -1 for i in range(n)],
        "kappa": 0.34,
        "history": {"offsets": offsets, "rank": [0], "anchor": [scan[0]], "similarity": [0.9]},
        "phi": [0.5] * n,
    }
    grid = {"width": SIDE, "height": SIDE, "rows": N, "cols": N, "seen": [0, 0, SIDE, SIDE]}
    method = {"label": "FSR", "parameters": {}, "plan": plan, "facts": {}}
    answer = {"budget": n, "text": "left", "done": True, "cost": None}
    clip = {"name": "a.mp4", "duration": 2.0, "fps": 10.0, "count": 20, "width": SIDE, "height": SIDE}
    return {
        "version": 1,
        "model": {"id": "tiny", "title": "Tiny", "device": "cpu", "dtype": "float32", "pathways": {}},
        "question": "does the red circle move left or right?",
        "frames": [grid | {"time": f / 2, "index": 9 * f} for f in range(FRAMES)],
        "tokens": {"n": n, "frame": [i // per for i in range(n)], "row": place[0], "col": place[1], "rect": rects},
        "scores": {},
        "methods": {"fsr": method},
        "answers": {"full": answer | {"method": "full"}, "fsr@6": answer | {"method": "fsr", "budget": 6}},
        "clip": clip | {"decoder": "decord", "sampled": FRAMES, "share": "global"},
    }


def sent(kind: str = "mp4", **change: Any) -> Sent:
    return Sent.checked({"kind": kind, "trace": json.dumps(record()), "method": "fsr", "budget": 6} | change)


@pytest.fixture
def frames() -> list[Image.Image]:
    return [Image.new("RGB", (SIDE, SIDE), (200, 200, 200)) for _ in range(FRAMES)]


def near(pixel: Any, color: tuple[int, int, int], by: int = 40) -> bool:
    return max(abs(int(a) - b) for a, b in zip(pixel, color, strict=True)) <= by


def check_frames(shown: list[np.ndarray]) -> None:
    """Outlines of kept tokens lie where the plan says, in their roles' colours, frame after frame."""
    size = clip_export.LONGEST // N
    for f, image in enumerate(shown):
        focus, scan = divmod(f, N), divmod(15 - f, N)
        for (row, col), color in ((focus, ORANGE), (scan, BLUE)):
            assert near(image[row * size + size // 2, col * size + 2], color), (f, color)
        kept = image[focus[0] * size + size // 2, focus[1] * size + size // 2]
        dropped = image[2 * size + size // 2, size // 2]
        assert near(kept, (200, 200, 200), 12)
        assert near(dropped, tuple(round(200 + (v - 200) * 0.62) for v in rgb(VEIL_ON_BRIGHT)), 12)


def test_a_film_has_every_frame_with_its_kept_tokens_and_the_words_below(frames, tmp_path):
    name, data = saved(sent(), frames)
    path = tmp_path / name
    path.write_bytes(data)
    assert name.startswith("fsr-clip-fsr-6-")
    assert name.endswith(("h264.mp4", "vp8.webm"))
    reader = decord.VideoReader(str(path))
    assert len(reader) == FRAMES
    assert reader.get_avg_fps() == pytest.approx(1.5, abs=0.1)  # three frames in two seconds
    shown = [reader[i].asnumpy() for i in range(FRAMES)]
    high, wide = shown[0].shape[:2]
    assert (high % 2, wide) == (0, clip_export.LONGEST)
    check_frames(shown)
    words = shown[0][clip_export.LONGEST + 30 : clip_export.LONGEST + 130]
    assert words.min() < 90  # ink
    assert np.median(words) > 240  # on paper


@pytest.mark.skipif(shutil.which("sh") is None, reason="NOT RUN: no shell for a stand-in of ffmpeg")
def test_where_ffmpeg_fails_opencv_writes_the_film(frames, tmp_path, monkeypatch):
    command = tmp_path / "ffmpeg"
    command.write_text("#!/bin/sh\nexit 1\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert saved(sent(), frames)[0] == "fsr-clip-fsr-6-vp8.webm"


def test_where_no_film_can_be_written_the_sheet_is_offered(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(clip_export, "CODECS", (("mp4", "none", "none"),))
    with pytest.raises(FsrError, match="no film can be written on this machine; save the contact sheet instead"):
        film(lambda i: np.zeros((64, 64, 3), np.uint8), 2, 1.0)


def test_the_sheet_holds_all_frames_with_times_and_counts(frames):
    name, data = saved(sent("png"), frames)
    assert name == "fsr-clip-fsr-6.png"
    sheet = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert sheet.shape[1] == clip_export.SHEET_WIDTH
    for color in (ORANGE, BLUE):
        at = np.argwhere((np.abs(sheet.astype(int) - color) <= 12).all(axis=2))
        thirds = np.unique((at[:, 1] - 14) * 3 // clip_export.SHEET_WIDTH)
        assert thirds.tolist() == [0, 1, 2]  # in each of the three frames
    assert clip_export.caption(sent(), 0) == "0.00 s: 2 kept (1 focus + 1 scan)"
    assert clip_export.caption(sent(), 2) == "1.00 s: 2 kept (1 focus + 1 scan, 1 merged)"


def test_question_and_both_answers_are_told():
    words = sent().words
    assert words[0] == "does the red circle move left or right?"
    assert words[1:] == ["All 48 tokens: left", "FSR, 6 tokens: left"]
    assert sent(budget=7).words[2] == "FSR, 7 tokens: not answered yet"


def test_an_anchor_that_holds_tokens_of_other_frames_has_a_second_ring(frames):
    trace = Trace.from_json(record()).to_dict()
    reading = read_plan(trace["methods"]["fsr"]["plan"], trace["tokens"]["n"], 6)
    assert reading.roles[39] == Role.MERGED
    assert foreign_anchors(reading, trace["tokens"]["frame"]) == {15}
    place = Cells.of(trace, 0).pixels(960, 960)
    one, other = (painted(frames[0].resize((960, 960)), place, reading, f, veil_for(frames[0])) for f in ({15}, set()))
    changed = np.argwhere((one != other).any(axis=2))
    x0, y0, x1, y1 = place.boxes[15]
    assert len(changed) > 50
    assert (changed >= [y0, x0]).all()
    assert (changed < [y1, x1]).all()


@each("cap", [0.5, 1.0])
@each("mode", ["global", "per_group"])
def test_rings_are_those_of_the_selection_whatever_the_plan(cap, mode):
    """A table for the share of Focus that is capped and for frames apart, else one plan of every budget."""
    frames, grid = 4, (3, 3)
    n = frames * grid[0] * grid[1]
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(grid[0] * grid[1], 8, generator=generator)
    near_by = base.repeat(frames, 1) + 0.3 * torch.randn(n, 8, generator=generator)
    saliency, relevance = torch.rand(2, n, generator=generator)
    tokens = VisualTokens(near_by, layout_of(frames, grid), saliency=saliency, relevance=relevance)
    pruner = with_share(make("fsr", focus_cap=cap, rho=0.2), mode)
    plan = json.loads(json.dumps(pruner.plan(tokens).to_json()))
    for budget in (8, 17, 24):
        selection, reading = pruner(tokens, budget), read_plan(plan, n, budget)
        merged = (selection.roles == int(Role.MERGED)).nonzero()[:, 0].tolist()
        assert reading.roles == selection.roles.tolist()
        assert reading.anchor == {i: int(selection.anchor[i]) for i in merged}
        held = anchors_from_other_frames(selection, tokens.layout)
        foreign = foreign_anchors(reading, tokens.layout.frame.tolist())
        assert foreign == set(held.nonzero()[:, 0].tolist())
        assert bool(foreign) == (mode == "global")


def test_text_is_broken_to_the_width_and_ends_in_an_ellipsis():
    font = letters(16)
    lines = wrapped("which of the objects appears first and which of them vanishes last?", font, 200, 2)
    assert len(lines) == 2
    assert lines[0] == "which of the objects"
    assert lines[1].endswith("…")
    assert all(font.getlength(line) <= 216 for line in lines)
    assert wrapped("x" * 400, font, 100, 3)[2].endswith("…")
    assert wrapped("short", font, 200, 2) == ["short"]


@each(
    ("change", "words"),
    [
        ({"kind": "gif"}, "one of mp4, png"),
        ({"trace": None}, "nothing to save yet"),
        ({"trace": "{}"}, "trace has version None"),
        ({"method": "random"}, "not known yet"),
        ({"method": ["fsr"]}, "not known yet"),
        ({"budget": 49}, "from 1 to 48"),
        ({"budget": "6"}, "from 1 to 48"),
    ],
)
def test_what_cannot_be_saved_is_said_in_one_sentence(change, words):
    with pytest.raises(InvalidInput, match=words):
        sent(**change)


def test_only_clips_with_their_own_frames_are_saved(frames):
    picture = record()
    picture["clip"] = None
    for frame in picture["frames"]:
        del frame["time"], frame["index"]
    with pytest.raises(InvalidInput, match="this is a picture"):
        sent(trace=json.dumps(picture))
    with pytest.raises(InvalidInput, match="no longer those of its trace"):
        saved(sent(), frames[:2])
    with pytest.raises(InvalidInput, match="one of mp4, png"):
        Sent.checked("mp4")


def test_the_page_gets_a_file_and_keeps_none(tiny_folder, tmp_path, monkeypatch):
    """A clip under its default number of frames, saved with those of the trace."""
    from app.examples import Examples
    from app.service import Service
    from app.settings import Settings
    from app.ui.files import FileHandlers
    from app.ui.handlers import Handlers, Session
    from tests.test_video import written

    service = Service(Settings(model=str(tiny_folder)))
    clip = service.open_media(written(tmp_path / "a.mp4", 20, 10, (SIDE, SIDE)))
    handlers = FileHandlers(Handlers(service, Examples(tmp_path)))
    event = SimpleNamespace(_data={"kind": "png", "trace": json.dumps(record()), "method": "fsr", "budget": 6})
    files = handlers.export_clip(event, replace(Session("tiny-llava"), picture=clip.id))
    path = Path(next(files))
    assert path.name == "fsr-clip-fsr-6.png"
    assert path.is_file()
    assert list(files) == []
    assert not path.exists()
    service.close()
