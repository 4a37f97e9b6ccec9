"""The child process of `fsr.media.video`: decodes one untrusted clip under limits, then exits. It imports no torch.

The clip is standard input, an open file, so that its name means nothing. Standard output gets one line of JSON, the
facts or {"error": sentence}, and then the sampled frames as raw RGB bytes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

CLIP = "/dev/fd/0"
NEVER = 1e9  # seconds; decoders mark a time that they do not know with a number beyond it
KEPT = 0.9  # a clip that ends before this share of what its header promises is cut off
NO_VIDEO = "the clip holds no video that can be read; it may be audio only, damaged or cut off."
CUT_OFF = "the clip is damaged or cut off; save it again and retry."
BROKE = "the clip cannot be decoded; it is damaged, or too large to decode here."
TOO_BIG = "the clip needs more memory than is allowed for decoding; give a smaller one."


class Refused(Exception):  # noqa: N818
    """A sentence for the visitor."""


def main() -> None:
    """Decode the clip on standard input as the JSON job in the first argument says."""
    job = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is not for our reader
    facts, frames = _guarded(job)
    out.write(json.dumps(facts).encode() + b"\n")
    for frame in frames:
        out.write(frame.tobytes())
    out.close()


def _guarded(job: dict[str, Any]) -> tuple[dict[str, Any], list[Image.Image]]:
    try:
        restrict(job)
        return decode(job)
    except Refused as refused:
        return {"error": str(refused)}, []
    except MemoryError:
        return {"error": TOO_BIG}, []
    except Exception:  # the decoders raise nearly anything, also when they get no memory
        return {"error": BROKE}, []


def restrict(job: dict[str, Any]) -> None:
    """Limits that the kernel enforces on this process, even while a library hangs and when nobody waits for it."""
    seconds = job["wait_s"]
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + 1)
    try:
        import resource
    except ImportError:  # Windows has none
        return
    cpu = math.ceil(seconds) + 1
    frame = 3 * job["max_side"] ** 2
    limits = {
        resource.RLIMIT_AS: job["memory"],
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_FSIZE: job["count"] * frame + 1_000_000,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(kind, (limit, limit))


def decode(job: dict[str, Any]) -> tuple[dict[str, Any], list[Image.Image]]:
    """Facts and sampled frames: by decord, by OpenCV where decord refuses the clip or is not there."""
    header = _header()
    check_size(header["width"], header["height"], job)
    check_length(header["duration_s"], header["frames"], job)
    reader = _decord_reader()
    if reader is not None and not header["rotation"]:  # decord 0.6 garbles frames that stand on their side
        with contextlib.suppress(*_decord_errors()):
            return _by_decord(reader, header, job)
        reader = None
    return _by_opencv(header, job, whole=reader is not None)


def _header() -> dict[str, Any]:
    """What the clip's header says: width, height (upright), fps, frames, duration_s, rotation; 0 where it is silent."""
    import cv2

    capture = _opened()
    names = ("FRAME_WIDTH", "FRAME_HEIGHT", "FPS", "FRAME_COUNT", "ORIENTATION_META")
    width, height, fps, frames, rotation = (_number(capture.get(getattr(cv2, f"CAP_PROP_{name}"))) for name in names)
    capture.release()
    duration = frames / fps if fps > 0 else 0.0
    return {
        "width": int(width),
        "height": int(height),
        "fps": fps,
        "frames": int(frames),
        "duration_s": duration,
        "rotation": int(rotation) % 360,
    }


def _number(value: float) -> float:
    return value if math.isfinite(value) and value > 0 else 0.0


def check_size(width: int, height: int, job: dict[str, Any]) -> None:
    if width < 1 or height < 1:
        raise Refused(NO_VIDEO)
    if width * height > job["pixels"]:
        allowed = job["pixels"] / 1e6
        raise Refused(f"the clip has frames of {width} x {height} pixels; at most {allowed:g} million are allowed.")


def check_length(duration: float, frames: int, job: dict[str, Any]) -> None:
    if duration > job["duration_s"]:
        raise Refused(f"the clip lasts {duration:.0f} s; at most {job['duration_s']:g} s are allowed.")
    if frames > job["frames"]:
        raise Refused(f"the clip has {frames} frames; at most {job['frames']} are allowed.")


def _decord_reader() -> Any:
    """decord's reader, which reads the whole index, or None."""
    try:
        import decord

        return decord.VideoReader(CLIP, ctx=decord.cpu(0), num_threads=1)
    except MemoryError:
        raise
    except Exception:
        return None


def _decord_errors() -> tuple[type[Exception], ...]:
    from decord import DECORDError

    return (DECORDError, RuntimeError, IndexError, ValueError)


def _by_decord(reader: Any, header: dict[str, Any], job: dict[str, Any]) -> tuple[dict[str, Any], list[Image.Image]]:
    check_length(0, len(reader), job)
    spans = np.asarray(reader.get_frame_timestamp(list(range(len(reader)))), dtype=np.float64).reshape(-1, 2)
    times, end = spans[:, 0], float(spans[-1, 1])
    if not rising(times) or not times[-1] <= end < math.inf:  # a stream without times of its own
        times, end = counted(len(times), header["fps"])
    indices = sampled(times, job["count"])
    frames = [framed(reader[i].asnumpy(), job) for i in indices]
    return facts("decord", header, times, end, indices, frames, job), frames


def _by_opencv(header: dict[str, Any], job: dict[str, Any], whole: bool) -> tuple[dict[str, Any], list[Image.Image]]:
    """Two passes: one for the time of every frame, one for the frames. whole: the clip is known not to be cut off."""
    import cv2

    capture, found = _opened(), []
    while capture.grab():
        found.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
        check_length(0, len(found), job)
    capture.release()
    if not found:
        raise Refused(NO_VIDEO)
    times = np.asarray(found)
    if rising(times):
        end = times[-1] + (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1 / (header["fps"] or 25)
    else:
        times, end = counted(len(times), header["fps"])
    if not whole and len(times) < KEPT * header["frames"] and end < KEPT * header["duration_s"]:
        raise Refused(CUT_OFF)
    indices = sampled(times, job["count"])
    wanted, frames, capture = set(indices), [], _opened()
    for i in range(indices[-1] + 1):
        if not capture.grab():
            raise Refused(CUT_OFF)
        if i in wanted:
            ok, frame = capture.retrieve()
            if not ok:
                raise Refused(CUT_OFF)
            frames.append(framed(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), job))
    capture.release()
    return facts("opencv", header, times, end, indices, frames, job), frames


def _opened() -> Any:
    import cv2

    with contextlib.suppress(OSError):  # where the place in the file is shared by all who open it again
        os.lseek(0, 0, os.SEEK_SET)
    capture = cv2.VideoCapture(CLIP, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise Refused(NO_VIDEO)
    return capture


def framed(pixels: Any, job: dict[str, Any]) -> Image.Image:
    """An RGB picture, scaled down to `max_side`."""
    height, width, channels = pixels.shape
    if channels != 3:
        raise Refused(CUT_OFF)
    check_size(width, height, job)
    frame = Image.fromarray(np.ascontiguousarray(pixels))
    frame.thumbnail((job["max_side"], job["max_side"]), Image.Resampling.LANCZOS)
    return frame


def rising(times: Any) -> bool:
    """Whether these are times of frames: (n,) seconds, finite, none before the one in front of it."""
    known = np.isfinite(times).all() and np.abs(times).max() < NEVER
    return bool(known and (np.diff(times) >= 0).all() and (len(times) == 1 or times[-1] > times[0]))


def counted(n: int, fps: float) -> tuple[Any, float]:
    """(n,) seconds at a constant rate, and when the last frame ends."""
    every = 1 / (fps or 25)
    return np.arange(n) * every, n * every


def sampled(times: Any, count: int) -> list[int]:
    """Indices of min(count, n) distinct frames: those on screen at evenly spaced times, first and last included.

    At a constant frame rate these are numpy.linspace(0, n - 1, count, dtype=int), as in LLaVA-Video.
    times: (n,) seconds, ascending; times that are not are replaced by frame numbers.
    """
    n = len(times)
    if not rising(times):
        times = np.arange(n, dtype=np.float64)
    k = min(count, n)
    if k < 2:
        return list(range(k))
    slack = 0.001 * (times[-1] - times[0]) / (n - 1)  # of a frame, for times that were rounded
    index = np.searchsorted(times, np.linspace(times[0], times[-1], k) + slack, side="right") - 1
    index[0], step = 0, np.arange(k)
    distinct = np.maximum.accumulate(index - step) + step
    return [int(i) for i in np.minimum(distinct, n - k + step)]


def facts(
    decoder: str,
    header: dict[str, Any],
    times: Any,
    end: float,
    indices: Sequence[int],
    frames: Sequence[Image.Image],
    job: dict[str, Any],
) -> dict[str, Any]:
    """What `fsr.media.video.Clip` holds beside the frames, as plain values."""
    duration = max(0.0, end - float(times[0]))
    check_length(duration, len(times), job)
    spread = float(times[-1] - times[0])
    return {
        "decoder": decoder,
        "width": header["width"],
        "height": header["height"],
        "fps": round((len(times) - 1) / spread if spread > 0 else header["fps"], 4),
        "duration_s": round(duration, 4),
        "count": len(times),
        "indices": [int(i) for i in indices],
        "timestamps_s": [round(float(times[i]), 6) for i in indices],
        "sizes": [frame.size for frame in frames],
    }


if __name__ == "__main__":
    main()
