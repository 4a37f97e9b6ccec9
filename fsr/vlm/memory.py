"""Whether a model fits, before its weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fsr.errors import FsrError
from fsr.vlm.placement import WHOLE, Placement

SLACK = 1.05  # besides the weights: buffers and a short prompt
FOUR_BIT_BYTES = 0.5625  # NF4: half a byte a number, and a float32 for every block of 64
CGROUP = Path("/sys/fs/cgroup")


def parameters_of(kind: Any, config: Any) -> dict[str, int]:
    """How many numbers every parameter of a transformers class holds, by name, counted without making them."""
    with torch.device("meta"):
        model = kind(config)
    return {name: p.numel() for name, p in model.named_parameters()}  # tied weights count once


def weight_bytes(kind: Any, config: Any, dtype: torch.dtype) -> int:
    """What the parameters of a transformers class take in this dtype."""
    return sum(parameters_of(kind, config).values()) * dtype.itemsize


def placed_bytes(parameters: Mapping[str, int], placement: Placement) -> int:
    """What these parameters take once they are placed; with 4 bit the language model's layers take less."""

    def size(name: str) -> float:
        small = placement.four_bit and ".layers." in name and not name.startswith(WHOLE)
        return FOUR_BIT_BYTES if small else placement.dtype.itemsize

    return round(sum(n * size(name) for name, n in parameters.items()))


def free_bytes(device: torch.device) -> int | None:
    """What can still be taken on this device; None where it does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    free = [x for x in (_proc_available(), _cgroup_left()) if x is not None]
    return min(free) if free else None


def free_together() -> int | None:
    """The same for all GPUs and the CPU, over which a device_map can spread a model."""
    devices = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    free = [free_bytes(device) for device in [*devices, torch.device("cpu")]]
    return sum(x for x in free if x is not None) if any(x is not None for x in free) else None


def check_fits(name: str, needed: int, placement: Placement) -> None:
    """Raises FsrError where the weights need more than is free."""
    spread = placement.device_map is not None
    free = free_together() if spread else free_bytes(placement.device)
    if free is not None and needed * SLACK > free:
        where = "all devices together have" if spread else f"{placement.device} has"
        smaller = ["bfloat16"] if placement.dtype.itemsize > 2 else []
        smaller += ["4bit"] if placement.device.type == "cuda" and not placement.four_bit else []
        hint = f"try dtype {' or '.join(smaller)} or a smaller model" if smaller else "try a smaller model"
        raise FsrError(
            f"{name} needs {needed * SLACK / 1e9:.1f} GB in {placement.precision}, "
            f"{where} {free / 1e9:.1f} GB free; {hint}."
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
