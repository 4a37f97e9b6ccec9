"""Whether a model fits, before its weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fsr.tokens import FsrError

SLACK = 1.05  # besides the weights: buffers and a short prompt
CGROUP = Path("/sys/fs/cgroup")


def weight_bytes(kind: Any, config: Any, dtype: torch.dtype) -> int:
    """What the parameters of a transformers class take in this dtype, counted without making them."""
    with torch.device("meta"):
        model = kind(config)
    seen = {id(p): p.numel() for p in model.parameters()}  # tied weights count once
    return sum(seen.values()) * dtype.itemsize


def free_bytes(device: torch.device) -> int | None:
    """What can still be taken on this device; None where it does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    free = [x for x in (_proc_available(), _cgroup_left()) if x is not None]
    return min(free) if free else None


def check_fits(name: str, needed: int, device: torch.device, dtype: torch.dtype) -> None:
    """Raises FsrError where the weights need more than is free."""
    free = free_bytes(device)
    if free is not None and needed * SLACK > free:
        label = str(dtype).removeprefix("torch.")
        hint = "try dtype bfloat16 or a smaller model" if dtype.itemsize > 2 else "try a smaller model"
        raise FsrError(
            f"{name} needs {needed * SLACK / 1e9:.1f} GB in {label}, {device} has {free / 1e9:.1f} GB free; {hint}."
        )


def _proc_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup_left() -> int | None:
    """A container's own limit, less what it holds and cannot give back."""
    try:
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such limit here
        return None
    return limit - used + int(stat.get("inactive_file", 0))
