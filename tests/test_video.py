"""Clips that must load, and every hostile file that must be refused with one sentence and leave nothing behind.

The files are real: written by OpenCV, then cut, turned or falsified byte by byte.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fsr.errors import InvalidInput
from fsr.media.video import LIMITS, ClipLimits, decoded, is_clip, load_clip
from fsr.media.video_decoder import counted, rising, sampled
from tests.looping import each

FRAMES, FPS, WIDTH, HEIGHT = 40, 10, 64, 48


def drawn(i: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Frame i as BGR: red, green and blue corners, and in the fourth a gray that grows with i."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2] = (0, 0, 255)
    frame[: height // 2, width // 2 :] = (0, 255, 0)
    frame[height // 2 :, : width // 2] = (255, 0, 0)
    frame[height // 2 :, width // 2 :] = 6 * i
    return frame


def written(path: Path, frames: int = FRAMES, fps: float = FPS, size=(WIDTH, HEIGHT), codec: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, size)
    assert writer.isOpened()
    for i in range(frames):
        writer.write(drawn(i, *size))
    writer.release()
    return path


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("clips") / "a.mp4")


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def turned(data: bytes, a: int, b: int, c: int, d: int, x: int, y: int) -> bytes:
    """The same MP4 with another matrix in its track header."""
    at = data.index(b"tkhd") + 44
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, x << 16, y << 16, 1 << 30)
    return data[:at] + matrix + data[at + 36 :]


def header_first(data: bytes) -> bytes:
    """The same MP4 with its index before the frames, so that it can be read although its end is lost."""
    media, header = data.index(b"mdat") - 4, data.index(b"moov") - 4
    moov = bytearray(data[header:])
    at = moov.index(b"stco") + 8
    for i in range(struct.unpack_from(">I", moov, at)[0]):
        place = at + 4 + 4 * i
        struct.pack_into(">I", moov, place, struct.unpack_from(">I", moov, place)[0] + len(moov))
    return data[:media] + bytes(moov) + data[media:header]


def slowed(data: bytes) -> bytes:
    """The same MP4 with the frames of its second half shown three times as long."""
    data = data.replace(b"edts", b"free")  # the edit list knows the old length
    at = data.index(b"stts")
    count, length = struct.unpack_from(">II", data, at + 12)
    times = struct.pack(">I4sIIIIII", 32, b"stts", 0, 2, count // 2, length, count // 2, 3 * length)
    data = data[: at - 4] + times + data[at + 20 :]
    for box in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        place = data.index(box) - 4
        data = data[:place] + struct.pack(">I", struct.unpack_from(">I", data, place)[0] + 8) + data[place + 4 :]
    return data


def corner(frame, x: float, y: float) -> list[int]:
    return [int(v) for v in frame.getpixel((int(x * frame.width), int(y * frame.height)))]


def near(pixel: list[int], rgb: tuple[int, int, int]) -> bool:
    return max(abs(a - b) for a, b in zip(pixel, rgb, strict=True)) < 16


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mp4v"), ("a.mov", "mp4v"), ("a.mkv", "mp4v"), ("a.avi", "MJPG")]
)
def test_every_container_gives_evenly_spaced_frames_with_their_places(tmp_path, name, codec):
    clip = load_clip(written(tmp_path / name, codec=codec), 5)
    assert clip.indices == [0, 9, 19, 29, 39]
    assert clip.timestamps_s == pytest.approx([0, 0.9, 1.9, 2.9, 3.9], abs=1e-3)
    assert (clip.fps, clip.duration_s, clip.width, clip.height) == (FPS, 4, WIDTH, HEIGHT)
    assert clip.count == FRAMES
    assert clip.decoder == "decord"
    for i, frame in zip(clip.indices, clip.frames, strict=True):
        assert (frame.mode, frame.size) == ("RGB", (WIDTH, HEIGHT))
        assert near(corner(frame, 0.75, 0.75), (6 * i,) * 3)
        assert near(corner(frame, 0.25, 0.25), RED)
        assert near(corner(frame, 0.75, 0.25), GREEN)
        assert near(corner(frame, 0.25, 0.75), BLUE)


def test_the_name_does_not_matter_only_the_content(tmp_path, mp4):
    renamed = put(tmp_path / "%d concat:a.jpg", mp4.read_bytes())
    assert is_clip(renamed)
    assert load_clip(renamed, 2).indices == [0, 39]
    for picture in (b"\x89PNG\r\n\x1a\n" + bytes(9), b"RIFF\0\0\0\0WEBPVP8 ", b"\0\0\0\x18ftypheic\0\0\0\0", b""):
        assert not is_clip(put(tmp_path / "a.mp4", picture))
    assert not is_clip(tmp_path / "nothing.mp4")


@pytest.mark.parametrize(
    ("matrix", "size", "top_left", "top_right"),
    [
        ((0, 1, -1, 0, HEIGHT, 0), (HEIGHT, WIDTH), BLUE, RED),
        ((-1, 0, 0, -1, WIDTH, HEIGHT), (WIDTH, HEIGHT), (0, 0, 0), BLUE),
        ((0, -1, 1, 0, 0, WIDTH), (HEIGHT, WIDTH), GREEN, (0, 0, 0)),
    ],
    ids=["90", "180", "270"],
)
def test_turned_clips_stand_upright(tmp_path, mp4, matrix, size, top_left, top_right):
    clip = load_clip(put(tmp_path / "a.mp4", turned(mp4.read_bytes(), *matrix)), 3)
    assert (clip.width, clip.height) == clip.frames[0].size == size
    assert clip.indices == [0, 19, 39]
    assert near(corner(clip.frames[0], 0.25, 0.25), top_left)
    assert near(corner(clip.frames[0], 0.75, 0.25), top_right)


def test_a_variable_frame_rate_is_sampled_evenly_in_time(tmp_path, mp4):
    clip = load_clip(put(tmp_path / "a.mp4", slowed(mp4.read_bytes())), 8)
    assert clip.indices[0] == 0
    assert clip.indices[-1] == 39
    shown = [i / 10 if i <= 20 else 2 + 3 * (i - 20) / 10 for i in clip.indices]
    assert clip.timestamps_s == pytest.approx(shown, abs=1e-3)
    assert clip.duration_s == pytest.approx(8, abs=0.31)
    assert np.diff(clip.timestamps_s) == pytest.approx(7.7 / 7, abs=0.31)  # a frame of the slow half
    for i, frame in zip(clip.indices, clip.frames, strict=True):
        assert near(corner(frame, 0.75, 0.75), (6 * i,) * 3)


@each("n", [1, 2, 3, 8, 40, 41, 1000])
@each("count", [1, 2, 5, 8, 32])
def test_at_a_constant_rate_the_sample_is_that_of_llava_video(n, count):
    times = np.arange(n, dtype=np.float32) / np.float32(29.97)
    expected = [0] if count == 1 else np.linspace(0, n - 1, min(count, n), dtype=int).tolist()
    assert sampled(times.astype(float), count) == expected


def test_a_frame_is_never_taken_twice():
    generator = np.random.default_rng(0)
    for _ in range(200):
        n, count = (int(x) for x in generator.integers(2, 30, 2))
        indices = sampled(np.cumsum(generator.exponential(1, n) ** 4), count)
        assert len(indices) == min(n, count) == len(set(indices))
        assert indices == sorted(indices)
        assert (indices[0], indices[-1]) == (0, n - 1)
    assert sampled(np.zeros(9), 3) == sampled(np.full(9, np.nan), 3) == [0, 4, 8]


def test_frames_without_times_of_their_own_are_counted():
    unknown = -(2.0**63) / 25  # what decord gives for AVI files with frames packed together
    for times in ([unknown] * 4, [0.0, np.nan, 0.1, 0.2], [0.3, 0.2, 0.4, 0.5], [0.0] * 4):
        assert not rising(np.asarray(times))
    assert rising(np.asarray([0.0, 0.1, 0.1, 0.4]))
    assert rising(np.asarray([0.5]))
    times, end = counted(4, 25)
    assert times.tolist() == pytest.approx([0, 0.04, 0.08, 0.12])
    assert end == pytest.approx(0.16)


def test_one_frame_and_more_frames_than_there_are(tmp_path):
    assert load_clip(written(tmp_path / "a.mp4", frames=1), 8).indices == [0]
    assert load_clip(written(tmp_path / "b.mp4", frames=3), 8).indices == [0, 1, 2]


def test_large_frames_are_scaled_down(tmp_path, mp4):
    clip = load_clip(mp4, 2, replace(LIMITS, max_side=32))
    assert (clip.width, clip.height, clip.frames[0].size) == (WIDTH, HEIGHT, (32, 24))


def test_opencv_takes_over_what_decord_refuses(tmp_path, mp4):
    data = header_first(mp4.read_bytes())
    assert load_clip(put(tmp_path / "a.mp4", data), 3).decoder == "decord"
    clip = load_clip(put(tmp_path / "b.mp4", data[:-30]), 3)
    assert clip.decoder == "opencv"
    assert clip.indices[-1] in (37, 38, 39)
    assert near(corner(clip.frames[-1], 0.75, 0.75), (6 * clip.indices[-1],) * 3)


# -- hostile files


def audio(path: Path) -> bytes:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return path.read_bytes()


# kind -> the file, from an MP4, an AVI and a WAV
BROKEN: dict[str, Callable[[bytes, bytes, bytes], bytes]] = {
    "empty": lambda mp4, avi, wav: b"",
    "text": lambda mp4, avi, wav: b"there is nothing to see here\n" * 9,
    "playlist": lambda mp4, avi, wav: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "random": lambda mp4, avi, wav: np.random.default_rng(0).bytes(20_000),
    "sound renamed": lambda mp4, avi, wav: wav,
    "random after a good start": lambda mp4, avi, wav: mp4[:32] + np.random.default_rng(1).bytes(20_000),
    "sound in an mp4": lambda mp4, avi, wav: mp4.replace(b"vide", b"soun"),
    "cut before its index": lambda mp4, avi, wav: mp4[: len(mp4) // 2],
    "cut after its index": lambda mp4, avi, wav: header_first(mp4)[: -len(mp4) // 4],
    "half an avi": lambda mp4, avi, wav: avi[: len(avi) // 2],
    "index of zero frames": lambda mp4, avi, wav: mp4.replace(
        b"stsz" + bytes(8) + struct.pack(">I", FRAMES), b"stsz" + bytes(12)
    ),
    "frames of zeros": lambda mp4, avi, wav: mp4[:48] + bytes(mp4.index(b"moov") - 52) + mp4[mp4.index(b"moov") - 4 :],
}
NO_CLIPS = ("empty", "text", "playlist", "random", "sound renamed")


def children() -> set[int]:
    """The processes that this one started and that are still there, dead ones that nobody waited for included."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
            found.add(int(folder.name))
    return found


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path_factory, monkeypatch):
    """So that nobody else's files are counted."""
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("temporary")))
    monkeypatch.setattr(tempfile, "tempdir", None)


def refusal(path: Path, limits: ClipLimits = LIMITS) -> str:
    """The sentence with which a clip is refused; asserts that it is one and that nothing is left behind."""
    before, files = children(), set(os.listdir(tempfile.gettempdir()))
    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InvalidInput) as caught:
        load_clip(path, 8, limits)
    assert children() == before
    assert len(os.listdir("/proc/self/fd")) == open_files
    assert not [name for name in set(os.listdir(tempfile.gettempdir())) - files if name.startswith("tmp")]
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_with_one_sentence(tmp_path, mp4, kind):
    avi = written(tmp_path / "a.avi", codec="MJPG").read_bytes()
    data = BROKEN[kind](mp4.read_bytes(), avi, audio(tmp_path / "a.wav"))
    assert data != mp4.read_bytes()
    sentence = refusal(put(tmp_path / "a.mp4", data))
    assert ("not an MP4" in sentence) == (kind in NO_CLIPS)


def test_eight_thousand_pixels_wide_is_too_large_whatever_the_header_says(tmp_path):
    path = written(tmp_path / "a.mp4", frames=1, size=(7680, 4320))
    assert "7680 x 4320 pixels; at most 9 million" in refusal(path)
    data = path.read_bytes().replace(struct.pack(">HH", 7680, 4320), struct.pack(">HH", WIDTH, HEIGHT))
    data = data.replace(struct.pack(">II", 7680 << 16, 4320 << 16), struct.pack(">II", WIDTH << 16, HEIGHT << 16))
    assert "million are allowed" in refusal(put(path, data))


@pytest.mark.parametrize(
    ("limits", "frames", "fps", "sentence"),
    [
        ({}, 40, 0.01, "lasts 4000 s; at most 120 s"),
        ({"frames": 30}, 40, 10, "has 40 frames; at most 30"),
        ({"bytes": 1000}, 40, 10, "larger than 0.001 MB"),
        ({"pixels": 3000}, 40, 10, "64 x 48 pixels; at most 0.003 million"),
    ],
    ids=["hours long", "many frames", "many bytes", "many pixels"],
)
def test_each_limit_is_named(tmp_path, limits, frames, fps, sentence):
    assert sentence in refusal(written(tmp_path / "a.mp4", frames, fps), replace(LIMITS, **limits))


@pytest.mark.parametrize("decoder", ["decord", "opencv"])
def test_a_length_that_the_header_hides_is_found_while_reading(tmp_path, mp4, decoder):
    """An AVI header may promise any number of frames; what counts is what is there."""
    data = bytearray(written(tmp_path / "a.avi", codec="MJPG").read_bytes())
    for at in (data.index(b"avih") + 24, data.index(b"strh") + 40):
        struct.pack_into("<I", data, at, 2)
    path = put(tmp_path / "b.avi", bytes(data if decoder == "decord" else data[:-300]))
    assert "frames; at most 30" in refusal(path, replace(LIMITS, frames=30))


def test_a_decoder_that_takes_too_much_memory_is_stopped(tmp_path):
    path = written(tmp_path / "a.mp4", frames=2, size=(1920, 1080))
    assert len(load_clip(path).frames) == 2
    sentence = refusal(path, replace(LIMITS, memory=280_000_000))
    assert "memory" in sentence or "too large" in sentence


def test_a_decoder_that_hangs_is_killed_in_time():
    """It reads from a pipe into which nobody writes."""
    reading, writing = os.pipe()
    before, seen = children(), set()
    watch = threading.Timer(1.5, lambda: seen.update(children() - before))
    watch.start()
    start = time.monotonic()
    with (
        os.fdopen(reading, "rb", buffering=0) as pipe,
        pytest.raises(InvalidInput, match=r"within 2 s; give a shorter"),
    ):
        decoded(pipe, 8, replace(LIMITS, wait_s=2))
    os.close(writing)
    watch.join()
    assert time.monotonic() - start >= 2
    assert len(seen) == 1
    assert not seen & children()


def test_a_decoder_that_nobody_waits_for_ends_itself():
    reading, writing = os.pipe()
    job = json.dumps({"count": 1, **{name: getattr(LIMITS, name) for name in LIMITS.__dict__}, "wait_s": 0.5})
    command = [sys.executable, "-m", "fsr.media.video_decoder", job]
    child = subprocess.Popen(command, stdin=reading, stdout=subprocess.DEVNULL)
    assert child.wait(30) == -signal.SIGALRM
    os.close(reading)
    os.close(writing)


def test_only_ordinary_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")  # whoever opens it waits for ever
    assert "not a file" in refusal(tmp_path / "pipe.mp4")
    assert "not a file" in refusal(tmp_path)
    assert "not a file" in refusal(Path("/dev/zero"))
    assert "no clip 'nothing.mp4'" in refusal(tmp_path / "nothing.mp4")
    assert not is_clip(tmp_path / "pipe.mp4")


@each("count", [0, -1, 65, 2.0, True, "8"])
def test_the_number_of_frames_is_checked(mp4, count):
    with pytest.raises(InvalidInput, match="from 1 to 64"):
        load_clip(mp4, count)


def test_the_decoding_process_starts_without_the_heavy_libraries_and_without_our_secrets(monkeypatch):
    from fsr.media import video

    monkeypatch.setenv("HF_TOKEN", "secret")
    assert "secret" not in video._environment().values()
    code = "import sys, fsr.media.video_decoder; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], env=video._environment(), timeout=60, check=False).returncode == 0
    )
