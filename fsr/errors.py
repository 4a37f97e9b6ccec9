"""What can go wrong, in a sentence that a person can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

ON_THE_GPU = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")  # which PyTorch raises as a plain RuntimeError
ON_THE_CPU = "DefaultCPUAllocator"
SMALLER = "take a smaller picture, fewer frames, a smaller model or dtype"


class FsrError(Exception):
    """An error a person can act on: one sentence that says what was wrong and what is allowed."""


class InvalidInput(FsrError, ValueError):  # noqa: N818
    """The caller's picture, question, budget or parameter cannot be used."""


class OutOfMemory(FsrError):  # noqa: N818
    """There was no room for what was asked for."""


@contextmanager
def within_memory() -> Iterator[None]:
    """Raises OutOfMemory where a GPU, or this machine, has no room for what the block does."""
    import torch  # here: whoever reads files needs the errors alone

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"the memory of the GPU is full; {SMALLER} 4bit.") from error
    except (MemoryError, RuntimeError) as error:
        if any(words in str(error) for words in ON_THE_GPU):
            raise OutOfMemory(f"the memory of the GPU is full; {SMALLER} 4bit.") from error
        if isinstance(error, MemoryError) or ON_THE_CPU in str(error):
            raise OutOfMemory(f"this machine's memory is full; {SMALLER} bfloat16.") from error
        raise
