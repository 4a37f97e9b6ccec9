"""Half precision where the machine computes in it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import torch


@cache
def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16; else it is emulated, slower than single precision."""
    info = Path("/proc/cpuinfo")
    return not info.exists() or any(flag in info.read_text() for flag in ("avx512_bf16", "amx_bf16", "bf16 "))


def narrow_type(device: torch.device) -> torch.dtype:
    """What matrices are multiplied in."""
    return torch.float32 if device.type == "cpu" and not _cpu_has_bfloat16() else torch.bfloat16


def narrow(device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision on a GPU and on such a CPU."""
    if narrow_type(device) == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
