"""Between the device that holds the tokens and the program: the only places where selection waits, or hands over."""

from __future__ import annotations

import torch
from torch import Tensor


def fetch(*tensors: Tensor) -> list[Tensor]:
    """The same tensors on the CPU; a device is waited for once for all of them."""
    if all(x.device.type == "cpu" for x in tensors):
        return list(tensors)
    if any(x.device.type not in ("cpu", "cuda") for x in tensors):
        return [x.cpu() for x in tensors]
    copies = [x.to("cpu", non_blocking=True) for x in tensors]
    for device in {x.device for x in tensors if x.device.type == "cuda"}:
        torch.cuda.synchronize(device)
    return copies


def hand(x: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device, which is not waited for."""
    return x.to(device, non_blocking=True)
