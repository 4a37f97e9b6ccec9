"""What can go wrong, in a sentence that a person can act on."""

from __future__ import annotations


class FsrError(Exception):
    """An error a person can act on: one sentence that says what was wrong and what is allowed."""


class InvalidInput(FsrError, ValueError):  # noqa: N818
    """The caller's picture, question, budget or parameter cannot be used."""
