"""Hugging Face ZeroGPU: there the GPU is lent for one turn at a time, and asked for in seconds of a visitor's quota.

The package `spaces` of such a Space must be imported before torch (`app.py` does). It moves the model onto the GPU of
the process that it forks for a turn, see `app.leases`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

import gradio as gr

from fsr.errors import FsrError

if TYPE_CHECKING:
    from app.leases import Lease

AGAIN = re.compile(r"Try again in (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)")


class NoLease(FsrError):  # noqa: N818
    """The GPU is not to be had now."""


def is_zerogpu(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process runs in a ZeroGPU Space."""
    return environment.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def lease_of_spaces() -> Lease:
    """How a turn gets its GPU there."""
    import spaces  # type: ignore[import-not-found, unused-ignore]

    from app.leases import work_off

    leased = spaces.GPU(work_off, duration=lambda order, seconds: round(seconds))

    def lease(order: bytes, seconds: float) -> Generator[bytes, None, None]:
        try:
            yield from leased(order, seconds)
        except gr.Error as error:
            raise NoLease(refusal(str(getattr(error, "title", "")), str(error.message), seconds)) from None
        except RuntimeError as error:  # what spaces raises where its own service does not answer as it should
            raise NoLease(f"Hugging Face lent no GPU ({error}); ask again in a minute.") from None

    return lease


def refusal(title: str, message: str, seconds: float) -> str:
    """What a visitor reads where Hugging Face lends no GPU, or takes it away."""
    least = f"this question asks for {round(seconds)} s"
    if found := AGAIN.search(message):
        days, hours, minutes, rest = (int(x or 0) for x in found.groups())
        wait = ((days * 24 + hours) * 60 + minutes) * 60 + rest
        return f"your share of the GPU is used up, {least}; ask again in {_in_words(wait)}, or look at the examples."
    if "illegal duration" in title:
        return f"{least} of the GPU, which is more than is lent; compare fewer methods, or ask for a smaller model."
    if "runs limit" in message:
        return "you have had all your turns with the GPU for now; come back later, or look at the examples."
    if "its GPU limit" in message:
        return f"visitors who are not signed in to Hugging Face have used up their share of the GPU, {least}; sign in."
    if "worker error" in title:
        return f"the GPU was taken away before the answer was done ({message.rstrip('.')}); ask again."
    return "no GPU is free now; ask again in a minute, or look at the examples, which need none."


def _in_words(seconds: int) -> str:
    if seconds < 90:
        return f"{max(1, seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"
