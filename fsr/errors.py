"""What can go wrong, in a sentence that a person can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class FsrError(Exception):
    """An error a person can act on: one sentence that says what was wrong and what is allowed."""


class InvalidInput(FsrError, ValueError):  # noqa: N818
    """The caller's picture, question, budget or parameter cannot be used."""


@contextmanager
def within_memory() -> Iterator[None]:
    """Raises FsrError where a GPU has no room for what the block does."""
    import torch  # here: whoever reads files needs the errors alone

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise FsrError(
            "the memory of the GPU is full; take a smaller picture, fewer frames, a smaller model or dtype 4bit."
        ) from error
