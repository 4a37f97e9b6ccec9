"""What a visitor asks: one question about one picture or clip."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

from fsr.pruners import Pruner, make
from fsr.pruners.forced import NOTHING, Forced
from fsr.pruners.frames import with_share
from fsr.pruners.whatif import with_forced
from fsr.tokens import check_budget
from fsr.vlm import Encoding

Parameters = dict[str, dict[str, Any]]  # method -> its parameters that differ from the defaults


@dataclass(frozen=True)
class Request:
    """One question about one picture or clip. Everything in it comes from a visitor and is checked here.

    budget: visual tokens to keep `of` so many; another model may have another number, then the share counts. of 0: the
    budget is meant for this model as it is. budget 0: a ninth. share: "global", or "per_group": each tile of a
    picture, or frame of a clip, keeps its equal share of the budget and is pruned by itself. picture: the id
    of a picture or clip. frames: how many of a clip are read; 0: what the model reads by default. forced: tokens that
    every method keeps, or never keeps.
    """

    picture: str
    question: str
    method: str
    budget: int
    parameters: Parameters
    model: str
    of: int = 0
    share: str = "global"
    frames: int = 0
    forced: Forced = NOTHING

    def budget_for(self, n: int) -> int:
        """The budget for n visual tokens. Raises InvalidInput outside 1..n."""
        if self.budget == 0:
            return max(1, math.floor(n / 9 + 0.5))
        if self.of in (0, n):
            return check_budget(self.budget, n)
        return max(1, min(n, math.floor(self.budget / self.of * n + 0.5)))

    @property
    def scene(self) -> str:
        """What the trace depends on, everything but the budget, as a short hash."""
        return _short_hash(self.setting, self.method, sorted(self.parameters.items()), self.share, self.forced)

    @property
    def setting(self) -> str:
        """What the trace is about, whatever the methods: picture, question and model, as a short hash."""
        return _short_hash(self.picture, self.question.strip(), self.model, self.frames)

    def pruner(self, encoding: Encoding | None = None) -> Pruner:
        """The method with its parameters, for the tokens of `encoding`. Raises InvalidInput with one sentence."""
        return self.shared(make(self.method, **self.parameters.get(self.method, {})), encoding)

    def shared(self, pruner: Pruner, encoding: Encoding | None) -> Pruner:
        """The pruner with its budget for everything, or for each group of these tokens, around the forced tokens."""
        if encoding is not None:
            self.forced.check(len(encoding.tokens))
            if self.share != "global" and len(encoding.media.group.unique()) > 1:
                pruner = with_share(pruner, self.share, encoding.media.group)
        return with_forced(pruner, self.forced)


def _short_hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
