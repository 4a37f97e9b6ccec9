from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsr.host import fetch, hand
from fsr.pruners.base import GreedyPruner, Picks, highest_first, numbers
from fsr.pruners.clips import before
from fsr.pruners.plan import Plan
from fsr.similarity import STEPS
from fsr.tokens import VisualTokens

FIRST = 255.0  # how different a token without a frame before it is, as released: more than any other


@dataclass(frozen=True)
class EVS(GreedyPruner):
    """What changed from frame to frame: Efficient Video Sampling, Bagrov et al., arXiv 2510.14624, as in vLLM.

    A token's change is 1 - cos of its embedding to that at the same place in the frame before. All tokens of the first
    frame come first, then those that changed most, ties to the earlier token. So a still background is read once, and
    a frame keeps as many tokens as it has that are new. No saliency, no question.

    Written from vLLM's formula (Apache-2.0), which is given the share q to drop and never keeps less than one frame;
    the paper compares the pixels of patches (L1). Both keep the original positions; here the model's family says which
    positions kept tokens have. Ours: the budget is K, and where the first frame alone has more tokens, its first K are
    kept, from the top. Cosines are in steps of 2^-22, and 1 where embeddings are equal bit for bit. A frame of another
    grid than the one before, and a tile, count as first frames; a single picture is refused, since all of it is one.

    scores: change, 255 in the first frame. facts: n_unchanged, tokens equal to those before.
    """

    name: ClassVar[str] = "evs"
    label: ClassVar[str] = "EVS"
    paper: ClassVar[str] = "https://arxiv.org/abs/2510.14624"
    across_frames: ClassVar[bool] = True

    def picks(self, tokens: VisualTokens, count: int) -> Picks:
        changed = change(tokens, before(tokens.layout))
        still = int(fetch((changed == 0).sum())[0])
        return highest_first(changed)[:count], {"change": changed.float()}, {"n_unchanged": still}

    def why(self, tokens: VisualTokens, plan: Plan) -> dict[str, Any]:
        """of: the token at the same place in the frame before, -1 in the first; their cosine."""
        of = before(tokens.layout)
        cosine = torch.where(of < 0, 0.0, 1 - fetch(change(tokens, of))[0])
        return {"every": {"of": of.tolist(), "cosine": numbers(cosine, 6)}}


def change(tokens: VisualTokens, of: Tensor) -> Tensor:
    """(N,) float64: 1 - cos of every token to that of the frame before, FIRST where there is none. of: see `before`."""
    unit, x = tokens.space("projected"), tokens.embeddings
    at = hand(of, x.device)
    other = at.clamp(min=0)
    steps = ((unit * unit[other]).sum(dim=1) * STEPS).round().clamp(-STEPS, STEPS).double()
    steps = torch.where((x == x[other]).all(dim=1), float(STEPS), steps)
    return torch.where(at < 0, FIRST, 1 - steps / STEPS)
