"""The plain record of one picture or clip, one question and one model: built, checked, and read again."""

from fsr.trace.checking import VERSION
from fsr.trace.record import (
    Trace,
    answer_record,
    build_trace,
    clip_record,
    method_record,
    scores_record,
    shown_frames,
)
from fsr.trace.validation import TraceError

__all__ = [
    "VERSION",
    "Trace",
    "TraceError",
    "answer_record",
    "build_trace",
    "clip_record",
    "method_record",
    "scores_record",
    "shown_frames",
]
