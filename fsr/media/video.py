"""The only door for untrusted clips: a child process under limits decodes a few frames, or there is one sentence.

What is held against: decoders that hang, crash or eat memory on hostile files, and headers that lie. The child gets the
open file, a clock, a memory and a processor limit; it is killed when its time is over, and nothing of it is left.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import stat
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from PIL import Image

from fsr.errors import InvalidInput

FRAMES = 8
MAX_FRAMES = 64
DECODERS = ("decord", "opencv")
MAGIC = 16  # bytes that tell a clip
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # what an MP4 or MOV file may begin with
PICTURES = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")  # pictures in the same container
NO_CLIP = "the file is not an MP4, MOV, WebM, Matroska or AVI clip."
BROKE = "the clip cannot be decoded; it is damaged, or too large to decode here."


@dataclass(frozen=True)
class ClipLimits:
    """What a clip may be: bytes of the file, duration_s, pixels of a frame, frames in all.

    max_side: larger frames are scaled down to it. wait_s, memory: what decoding may take, in seconds and bytes.
    """

    bytes: int = 64_000_000
    duration_s: float = 120
    pixels: int = 9_000_000
    frames: int = 15_000
    max_side: int = 1280
    wait_s: float = 20
    memory: int = 2_000_000_000


LIMITS = ClipLimits()


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of a clip, upright, RGB, in the order of time.

    indices: which of the clip's `count` frames they are. timestamps_s: when each is shown. fps: the mean rate of the
    whole clip. width, height: of the clip itself, upright, before scaling. decoder: "decord" or "opencv".
    """

    frames: list[Image.Image]
    indices: list[int]
    timestamps_s: list[float]
    fps: float
    duration_s: float
    count: int
    width: int
    height: int
    decoder: str

    @property
    def times(self) -> list[float]:
        """Seconds from the first frame."""
        return [max(0.0, round(t - self.timestamps_s[0], 6)) for t in self.timestamps_s]

    def facts(self) -> dict[str, Any]:
        """All but the frames, as plain JSON values."""
        return {name: value for name, value in self.__dict__.items() if name != "frames"}


def is_clip(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins like a clip, whatever its name."""
    try:
        with _opened(path) as file:
            return _is_clip(file.read(MAGIC))
    except InvalidInput:
        return False


def load_clip(path: str | os.PathLike[str], count: int = FRAMES, limits: ClipLimits = LIMITS) -> Clip:
    """`count` frames of an MP4, MOV, WebM, Matroska or AVI file (all where it has fewer), see `sampled`.

    Raises InvalidInput for anything else, for what is over the limits, damaged or cut off, within limits.wait_s.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_FRAMES:
        raise InvalidInput(f"the number of frames must be a whole number from 1 to {MAX_FRAMES}, not {count!r}.")
    with _opened(path) as file:
        if os.fstat(file.fileno()).st_size > limits.bytes:
            raise InvalidInput(f"the clip is larger than {limits.bytes / 1e6:g} MB.")
        if not _is_clip(file.read(MAGIC)):
            raise InvalidInput(NO_CLIP)
        return decoded(file, count, limits)


def _opened(path: str | os.PathLike[str]) -> IO[bytes]:
    """The file, open; only an ordinary file, so that opening and reading cannot hang."""
    name = Path(path).name
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"there is no clip {name!r} that can be read.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidInput(f"{name!r} is not a file.")
    return os.fdopen(descriptor, "rb", buffering=0)


def _is_clip(start: bytes) -> bool:
    if start[:4] == b"RIFF":
        return start[8:12] == b"AVI "
    if start[4:8] == b"ftyp":
        return start[8:12] not in PICTURES
    return start[:4] == b"\x1aE\xdf\xa3" or start[4:8] in BOXES


def decoded(file: IO[bytes], count: int, limits: ClipLimits) -> Clip:
    """Frames of an open file, by a child process that is gone when this returns or raises."""
    job = json.dumps({"count": count, **asdict(limits)})
    with tempfile.TemporaryFile() as out:  # it has no name, so nothing can be left behind
        child = subprocess.Popen(
            [sys.executable, "-m", "fsr.media.video_decoder", job],
            stdin=file,
            stdout=out,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,
        )
        try:
            child.wait(limits.wait_s)
        except subprocess.TimeoutExpired:
            raise InvalidInput(
                f"the clip could not be decoded within {limits.wait_s:g} s; give a shorter one."
            ) from None
        finally:
            _end(child)
        out.seek(0)
        return _received(out, count, limits)


def _environment() -> dict[str, str]:
    """What the child needs to find the same modules, and no secret of ours."""
    names = ("PATH", "HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "LANG")
    root = str(Path(__file__).resolve().parents[2])
    return {
        **{name: os.environ[name] for name in names if name in os.environ},
        "PYTHONPATH": os.pathsep.join([root, *(path or os.getcwd() for path in sys.path)]),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OPENCV_LOG_LEVEL": "SILENT",
    }


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it started; reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    child.wait()


def _received(out: IO[bytes], count: int, limits: ClipLimits) -> Clip:
    """Read and check what the child wrote: a decoder that was taken over may have written anything."""
    try:
        facts = json.loads(out.readline(100_000))
        if "error" in facts:
            raise InvalidInput(str(facts["error"])[:300])
        sizes = [(int(width), int(height)) for width, height in facts.pop("sizes")]
        if not 1 <= len(sizes) <= count or any(not 1 <= side <= limits.max_side for size in sizes for side in size):
            raise InvalidInput(BROKE)
        frames = [Image.frombytes("RGB", size, out.read(3 * size[0] * size[1])) for size in sizes]
        clip = Clip(frames=frames, **facts)
        numbers = [*clip.indices, *clip.timestamps_s, clip.fps, clip.duration_s, clip.count, clip.width, clip.height]
        whole = len(clip.indices) == len(clip.timestamps_s) == len(frames) and all(map(math.isfinite, numbers))
        if not whole or clip.decoder not in DECODERS:
            raise InvalidInput(BROKE)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(BROKE) from error
    return clip
