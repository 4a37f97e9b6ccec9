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

    The dropped patches never enter the layers of the vision tower, which encodes the rest alone, each at its own place:
    kept tokens have not seen them. A token must be one patch for that, as in LLaVA-1.5 and the embedded picture model;
    elsewhere tokens are made of several patches or tiles, and the method cannot be chosen. Where tokens come without
    `encode_some`, and so whole from the tower, only the choice is PixelPrune's (`n_not_encoded` is not told).

    Ours: pixels are compared as the tower reads them, in its precision. Tokens outside the grid are kept, and [CLS]
    always enters the tower. Scores that other methods read come from the pass over the whole picture.

    facts: n_predicted, tokens whose pixels were predicted; n_not_encoded, those that never entered the tower.
    """

    name: ClassVar[str] = "pixelprune"
    label: ClassVar[str] = "PixelPrune"
    paper: ClassVar[str] = "https://arxiv.org/abs/2604.00886"
    caution: ClassVar[str] = (
        "The picture decides how many are dropped, not the budget; they never enter the vision tower, so the kept ones "
        "have not seen them."
    )
    requires: ClassVar[frozenset[str]] = frozenset({"pixels", "encode_some"})
    optional: ClassVar[frozenset[str]] = frozenset({"encode_some"})
    exact_count: ClassVar[bool] = False

    def _select(self, tokens: VisualTokens, budget: int) -> Selection:
        assert tokens.pixels is not None
        gone = predicted(fetch(firsts(tokens.pixels))[0], tokens.layout)
        chosen = keep(self.name, tokens, (~gone).nonzero()[:, 0])
        return replace(chosen, facts={"n_predicted": int(gone.sum())})

    def _finished(self, tokens: VisualTokens, selection: Selection) -> Selection:
        """The same, its tokens encoded without the dropped ones, where the model can do that."""
        if tokens.encode_some is None:
            return selection
        embeddings, ms = tokens.encode_some(selection.kept)
        facts = selection.facts | {"n_not_encoded": len(tokens) - len(selection.kept)}
        return replace(selection, embeddings=embeddings, encode_ms=ms, facts=facts)

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
