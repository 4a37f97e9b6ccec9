from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fsr.host import fetch
from fsr.pruners.base import Pruner, keep
from fsr.pruners.plan import Plan, TablePlan
from fsr.similarity import firsts
from fsr.tokens import Layout, Role, Selection, VisualTokens


@dataclass(frozen=True)
class PixelPrune(Pruner):
    """Patches whose pixels a neighbour predicts are dropped: Wang et al., PixelPrune, arXiv 2604.00886, lossless.

    In raster order a patch X is predicted by its left neighbour A, or by the upper one B where the upper left one C
    equals A and not B (LOCO-I, of JPEG-LS, with equal for near); in the first row by A, in the first column by B. It is
    dropped where its pixels equal the prediction, so that all of them could be drawn again from what is kept. How many
    that is, the picture decides, not the budget: a flat background goes, a photograph keeps all. No question, no
    saliency. Every frame is by itself. Written from the release's rule (Apache-2.0) at its default, tau = 0; of
    tau > 0 (nearly equal) nothing is here.

    What is ours, and not the paper's point: there patches are dropped in front of the vision tower, which then encodes
    the rest alone. The towers here read a whole grid of patches, so all *were* encoded, nothing is saved before the
    language model, and kept tokens have seen the dropped ones. Only the choice is PixelPrune's. Pixels are compared as
    the tower reads them, in its precision. Tokens outside the grid are kept. It needs the pixels of one patch for each
    token, which LLaVA-1.5 and the embedded picture model have; elsewhere tokens are made of several patches or tiles.

    facts: n_predicted, tokens whose pixels were predicted.
    """

    name: ClassVar[str] = "pixelprune"
    label: ClassVar[str] = "PixelPrune"
    paper: ClassVar[str] = "https://arxiv.org/abs/2604.00886"
    caution: ClassVar[str] = (
        "Chosen by equal pixels as in the paper, but behind the tower: the dropped patches were encoded here, too."
    )
    requires: ClassVar[frozenset[str]] = frozenset({"pixels"})
    exact_count: ClassVar[bool] = False

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        assert tokens.pixels is not None
        gone = predicted(fetch(firsts(tokens.pixels))[0], tokens.layout)
        chosen = keep(self.name, tokens, (~gone).nonzero()[:, 0])
        return replace(chosen, facts={"n_predicted": int(gone.sum())})

    def _plan(self, tokens: VisualTokens) -> Plan:
        assert tokens.pixels is not None
        gone = predicted(fetch(firsts(tokens.pixels))[0], tokens.layout)
        roles = torch.where(gone, int(Role.DROPPED), int(Role.KEPT)).to(torch.uint8)
        return TablePlan(len(tokens), (int((~gone).sum()),), lambda budget: roles)


def predicted(same: Tensor, layout: Layout) -> Tensor:
    """(N,) bool: whether the pixels of a token equal those that its neighbours predict, see `PixelPrune`.

    same: (N,) int64 on the CPU, one number for all tokens of equal pixels, 0 or more.
    """
    frame, row, col = layout.frame.cpu(), layout.row.cpu(), layout.col.cpu()
    inside = row >= 0
    if not bool(inside.any()):
        return torch.zeros(len(layout), dtype=torch.bool)
    grid = torch.full((int(frame.max()) + 1, int(row.max()) + 2, int(col.max()) + 2), -1)  # a border before, of none
    grid[frame[inside], row[inside] + 1, col[inside] + 1] = same[inside]
    x, a, b, c = grid[:, 1:, 1:], grid[:, 1:, :-1], grid[:, :-1, 1:], grid[:, :-1, :-1]
    above = (b >= 0) & ((a < 0) | ((c >= 0) & (c == a) & (c != b)))
    guess = torch.where(above, b, a)
    gone = torch.zeros(len(layout), dtype=torch.bool)
    gone[inside] = (guess == x)[frame[inside], row[inside], col[inside]]
    return gone
