"""A process of its own that writes a film with OpenCV, as another library's encoders in the same process break its own.

`python film_writer.py VP80 RATE WIDTH HEIGHT PATH` with raw RGB frames as standard input; exits with 1 where this
machine's OpenCV cannot.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np


def main(letters: str, rate: str, width: str, height: str, path: str) -> int:
    size = (int(width), int(height))
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*letters), float(rate), size)  # type: ignore[attr-defined]
    if not writer.isOpened():
        return 1
    nbytes = 3 * size[0] * size[1]
    while len(raw := sys.stdin.buffer.read(nbytes)) == nbytes:
        frame = np.frombuffer(raw, np.uint8).reshape(size[1], size[0], 3)
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
