"""Tokens that somebody forces into or out of what a method keeps: what if this one had stayed?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.host import hand

MOST = 64  # tokens each way


@dataclass(frozen=True)
class Forced:
    """inside: always kept; outside: never, nor merged into a kept one. Token indices, ascending.

    Raises InvalidInput for more than `MOST` each way, a token twice or both ways, or what is no token.
    """

    inside: tuple[int, ...] = ()
    outside: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for way, tokens in (("in", self.inside), ("out", self.outside)):
            if len(tokens) > MOST:
                raise InvalidInput(f"at most {MOST} tokens can be forced {way}, not {len(tokens)}.")
            for token in tokens:
                if isinstance(token, bool) or not isinstance(token, int) or token < 0:
                    raise InvalidInput(f"a token to force {way} is a whole number from 0 on, not {str(token)[:40]!r}.")
        twice = sorted({*self.inside} & {*self.outside})
        if twice:
            raise InvalidInput(f"token {twice[0]} is forced in and out at once; choose one of the two.")
        object.__setattr__(self, "inside", tuple(sorted({*self.inside})))
        object.__setattr__(self, "outside", tuple(sorted({*self.outside})))

    def __bool__(self) -> bool:
        return bool(self.inside or self.outside)

    def check(self, n: int) -> None:
        """Raises InvalidInput for a token that is none of n."""
        for token in (*self.inside, *self.outside):
            if token >= n:
                raise InvalidInput(f"there is no token {token} to force; the tokens are 0 to {n - 1}.")
        if len(self.outside) >= n:
            raise InvalidInput(f"all {n} visual tokens are forced out; at least one must be left.")

    def check_budget(self, budget: int, n: int) -> None:
        """Raises InvalidInput for a budget without room for what is forced in, or with room for what is forced out."""
        if budget < len(self.inside):
            raise InvalidInput(
                f"{len(self.inside)} tokens are forced in, so the budget must be at least that, not {budget}."
            )
        if budget > n - len(self.outside):
            most = n - len(self.outside)
            raise InvalidInput(
                f"{len(self.outside)} of {n} tokens are forced out, so the budget is at most {most}, not {budget}."
            )

    def masks(self, n: int) -> tuple[Tensor, Tensor]:
        """(N,) bool each, on the CPU: what is forced in, and out."""
        inside, outside = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
        inside[list(self.inside)] = True
        outside[list(self.outside)] = True
        return inside, outside

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(I,) and (O,) int64 on a device: what is forced in, and out."""
        inside, outside = (torch.tensor(tokens, dtype=torch.int64) for tokens in (self.inside, self.outside))
        return hand(inside, device), hand(outside, device)

    def to_json(self) -> dict[str, list[int]]:
        return {"in": list(self.inside), "out": list(self.outside)}


NOTHING = Forced()
