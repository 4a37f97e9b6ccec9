"""What a measurement says of this machine: what it ran on, in which versions, the process's peak memory."""

from __future__ import annotations

import datetime
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak() -> bool:
    """Begin to count this process's peak memory anew; whether the system lets it."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int | None:
    """This process's peak memory since `reset_peak`; None where the system does not tell."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def processor_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def device_name(device: Any) -> str:
    """The GPU or processor that a torch.device stands for, as its maker calls it, where the system tells."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return processor_name()


def about(device: Any) -> dict[str, Any]:
    """Card, driver, versions, date and commit: what was measured on what, and nothing of whose it is."""
    import torch

    cuda = device.type == "cuda"
    return {
        "card": device_name(device),
        "memory_gb": round(torch.cuda.get_device_properties(device).total_memory / 1e9, 1) if cuda else None,
        "driver": driver() if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        "torch": torch.__version__,
        **{name: _version(name) for name in ("transformers", "triton")},
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "commit": commit(),
    }


def driver() -> str | None:
    """The version of NVIDIA's driver; None where it is not told."""
    command = shutil.which("nvidia-smi")
    return None if command is None else _output(command, "--query-gpu=driver_version", "--format=csv,noheader")


def commit() -> str | None:
    """The commit of these files, with "-dirty" where some differ from it; None outside a clone."""
    return _output("git", "-C", str(ROOT), "describe", "--always", "--dirty") if (ROOT / ".git").exists() else None


def _output(*command: str) -> str | None:
    """The first line that a command prints; None where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.partition("\n")[0].strip() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
