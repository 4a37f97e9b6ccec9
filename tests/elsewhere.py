"""Devices that are not the CPU, emulated where there is no GPU: what is on one refuses to meet what is on another.

The numbers lie on the CPU and every operation runs there, after a check that its tensors are on one device, as CUDA
demands: single numbers and indices may come from the CPU. So a tensor made or left on the wrong device is found, and
whatever would wait for the device is told; speed, memory and a GPU's own rounding are not shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ops = torch.ops.aten
COPIES = {ops.copy_.default, ops._to_copy.default}
ASKING = {  # of what a device holds, so that it is waited for
    *(ops._local_scalar_dense.default, ops.nonzero.default, ops.masked_select.default, ops._unique2.default),
    *(ops.unique_dim.default, ops.unique_consecutive.default, ops.equal.default),
}
INDEXING = {ops.index.Tensor, ops.index_put_.default, ops.index_put.default, ops._index_put_impl_.default}


class Elsewhere(torch.Tensor):
    """A tensor that says it is on `device`. held: its numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor, device: torch.device) -> Elsewhere:
        return torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), dtype=held.dtype, device=device, requires_grad=False
        )

    def __init__(self, held: torch.Tensor, device: torch.device) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    def tolist(self) -> Any:
        WAITS.append("tolist")
        return self.held.tolist()

    def new_tensor(self, data: Any, **options: Any) -> torch.Tensor:
        return self.held.new_tensor(data, **options).to(self.device)


class Emulation(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func is ops._fused_sdp_choice.default:
        return 0  # plain operations, not a GPU's kernel
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    away = [x for x in tensors if isinstance(x, Elsewhere)]
    check(func, args, tensors)
    if away and waits(func, args, kwargs):
        WAITS.append(str(func))
    first = args[0] if func in INDEXING or func is ops.copy_.default else next(iter(away), None)
    device = first.device if isinstance(first, Elsewhere) else None
    if kwargs.get("device") is not None:
        wanted = torch.device(kwargs["device"])
        device = None if wanted.type == "cpu" else wanted
        kwargs = {**kwargs, "device": torch.device("cpu")}
    plain = tree_map(lambda x: x.held if isinstance(x, Elsewhere) else x, (args, kwargs))
    known = {id(x.held): x for x in away}  # what is changed in place stays what it was

    def wrapped(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or device is None:
            return x
        return known[id(x)] if id(x) in known else Elsewhere(x, device)

    return tree_map(wrapped, func(*plain[0], **plain[1]))


WAITS: list[str] = []  # what would have waited for a device


def waits(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a GPU would be waited for: its numbers are asked for, or copied while the program stands still."""
    if func in INDEXING:
        return any(i is not None and i.dtype == torch.bool for i in args[1])
    if func is ops._to_copy.default:
        there = kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cpu"
        return there and not kwargs.get("non_blocking")
    if func is ops.copy_.default:
        return args[0].device.type != args[1].device.type and not (args[2:3] == (True,) or kwargs.get("non_blocking"))
    return func in ASKING


def check(func: Any, args: Any, tensors: list[torch.Tensor]) -> None:
    if func in COPIES:
        return
    if func in INDEXING:
        found = {i.device for i in args[1] if i is not None and i.device.type != "cpu"} | {args[0].device}
        found |= {x.device for x in args[2:3] if x.ndim}
    else:
        found = {x.device for x in tensors if x.ndim or x.device.type != "cpu"}
    if len(found) > 1:
        raise RuntimeError(f"{func}: tensors on {', '.join(sorted(map(str, found)))}")


@contextmanager
def emulated(monkeypatch: Any) -> Iterator[None]:
    """While it lasts, "cuda:0", "cuda:1", ... are such devices. Modules are moved by `moved`."""
    torch._C._ensureCUDADeviceGuardSet()
    for name in ("_lazy_init", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: WAITS.append("synchronize"))
    for name in ("device_count", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: 1)
    for name in ("tensor", "as_tensor"):  # which no mode sees
        monkeypatch.setattr(torch, name, _elsewhere(getattr(torch, name)))
    with torch.no_grad(), Emulation():
        yield


def _elsewhere(make: Any) -> Any:
    def made(data: Any, device: Any = None, **options: Any) -> torch.Tensor:
        away = device is not None and torch.device(device).type == "cuda"
        return make(data, **options).to(device) if away else make(data, device=device, **options)

    return made


def moved(module: torch.nn.Module, name: str, device: Any, **_: Any) -> None:
    """Put one parameter or buffer on a device, as accelerate's set_module_tensor_to_device."""
    owner, _, name = name.rpartition(".")
    module = module.get_submodule(owner)
    if name in module._parameters:
        value = torch.nn.Parameter(module._parameters[name].detach().to(device), requires_grad=False)
        module._parameters[name] = value
    else:
        module._buffers[name] = module._buffers[name].to(device)
