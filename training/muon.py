"""Muon (Jordan et al. 2024): momentum whose update is made orthogonal by Newton-Schulz, for matrices.

As torch.optim.Muon with adjust_lr_fn="match_rms_adamw", but for all matrices of one shape at once, and in the precision
that the machine is fast at: torch's is bfloat16 always, which a CPU without it emulates ten times slower.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.precision import narrow_type

_A, _B, _C = 3.4445, -4.7750, 2.0315  # of the quintic iteration
_ITERATIONS = 5


def orthogonal(grads: Tensor) -> Tensor:
    """(n, rows, cols) to matrices whose singular values are all near 1."""
    wide = grads.shape[1] <= grads.shape[2]
    x = (grads if wide else grads.mT).to(narrow_type(grads.device))
    x = x / x.flatten(1).norm(dim=1).clamp_min(1e-7)[:, None, None]
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return (x if wide else x.mT).to(grads.dtype)


class Muon(torch.optim.Optimizer):
    def __init__(
        self, params: Iterable[nn.Parameter], lr: float = 1.0, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[p.shape].append(p)
            for params in alike.values():
                self._step(params, group["lr"], group["momentum"], group["weight_decay"])

    def _step(self, params: list[nn.Parameter], lr: float, momentum: float, decay: float) -> None:
        updates = []
        for p in params:
            assert p.grad is not None
            state = self.state[p]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(p.grad)
            buffer = state["momentum_buffer"]
            buffer.lerp_(p.grad, 1 - momentum)
            updates.append(p.grad.lerp(buffer, momentum))
        rows, cols = params[0].shape
        scale = 0.2 * max(rows, cols) ** 0.5  # the size of AdamW's updates
        for p, update in zip(params, orthogonal(torch.stack(updates)), strict=True):
            p.mul_(1 - lr * decay).add_(update, alpha=-lr * scale)
