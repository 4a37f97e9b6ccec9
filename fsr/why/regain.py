"""What pruning lost: how much more probable the unpruned answer becomes when dropped tokens are put back.

gain(S) = log P(y | kept + S) - log P(y | kept), in nats, teacher-forced on the answer y of the unpruned model. First
for coarse regions, all dropped tokens of a block at once, then for each token of the best ones: single tokens of
a region that gains nothing are not tried, so a pair of tokens that helps only across regions can be missed.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from fsr.tokens import Layout, Role, Selection
from fsr.vlm.base import VLM, Chosen, Forced
from fsr.vlm.media import Encoding
from fsr.why.changed import studied, with_more

REGIONS = 64  # at most, over all frames, as long as there are fewer frames
FINEST = 4  # blocks along each edge of one picture
TOKENS = 96  # tried one by one: those of the best regions, until there are so many


@dataclass(frozen=True)
class Gain:
    """tokens: put back together. gain: in nats. agrees: whether the greedy answer is then the unpruned one."""

    tokens: tuple[int, ...]
    gain: float
    agrees: bool


@dataclass(frozen=True)
class Regain:
    """What is known so far. base: the unpruned answer with the selection as it is. regions, tokens: in the order in
    which they were tried; a token is a `Gain` of one. of: how many of both there will be, as far as that is known."""

    base: Forced
    regions: tuple[Gain, ...] = ()
    tokens: tuple[Gain, ...] = ()
    of: int = 0

    @property
    def forwards(self) -> int:
        """Prompts that the language model read."""
        return 1 + len(self.regions) + len(self.tokens)


def regain(
    vlm: VLM,
    encoding: Encoding,
    selection: Chosen,
    answer_ids: Sequence[int],
    stop: threading.Event | None = None,
    most: int = TOKENS,
) -> Iterator[Regain]:
    """All that is known after every batch of prompts; ends early when `stop` is set.

    answer_ids: of the unpruned answer, see `fsr.vlm.answers.greedy_answer`. most: about so many single tokens are
    tried.
    Raises InvalidInput for a method inside the language model.
    """
    return _measured(vlm, encoding, studied(selection, encoding.tokens), answer_ids, stop, most)


def _measured(
    vlm: VLM, encoding: Encoding, chosen: Selection, ids: Sequence[int], stop: threading.Event | None, most: int
) -> Iterator[Regain]:
    blocks = regions(encoding.tokens.layout, chosen)
    known: Regain | None = None
    for batch in vlm.forced_batches(encoding, _prompts(encoding, chosen, [(), *blocks]), ids):
        if known is None:
            known, batch = Regain(batch[0], of=len(blocks)), batch[1:]
        at = len(known.regions)
        gains = _gains(known.base, blocks[at : at + len(batch)], batch)
        known = replace(known, regions=known.regions + gains)
        yield known
        if stop is not None and stop.is_set():
            return
    assert known is not None
    singles = best_singles(known.regions, most)
    known = replace(known, of=len(blocks) + len(singles))
    for batch in vlm.forced_batches(encoding, _prompts(encoding, chosen, singles), ids):
        at = len(known.tokens)
        known = replace(known, tokens=known.tokens + _gains(known.base, singles[at : at + len(batch)], batch))
        yield known
        if stop is not None and stop.is_set():
            return


def _prompts(encoding: Encoding, chosen: Selection, sets: Sequence[Sequence[int]]) -> list[Selection]:
    return [with_more(chosen, encoding.tokens, added) for added in sets]


def _gains(base: Forced, sets: Sequence[tuple[int, ...]], found: Sequence[Forced]) -> tuple[Gain, ...]:
    return tuple(Gain(s, one.log_prob - base.log_prob, one.agrees) for s, one in zip(sets, found, strict=True))


def regions(layout: Layout, selection: Selection) -> list[tuple[int, ...]]:
    """The tokens that do not reach the language model by themselves, in blocks: each frame's grid cut into b x b.

    b = 4 for one picture, and less where there are many frames, so that there are about 64 regions at most. Tokens of a
    frame outside its grid (newline, CLS) are one region.
    """
    frame, row, col = layout.frame.cpu(), layout.row.cpu(), layout.col.cpu()
    lost = (selection.roles < int(Role.KEPT)).cpu()
    b = max(1, min(FINEST, math.isqrt(REGIONS // max(1, len(layout.grids)))))
    rows = torch.tensor([grid.rows for grid in layout.grids])[frame]
    cols = torch.tensor([grid.cols for grid in layout.grids])[frame]
    block = torch.where(row < 0, b * b, (row * b // rows) * b + col * b // cols)
    region = frame * (b * b + 1) + block
    found = [((region == one) & lost).nonzero()[:, 0].tolist() for one in region[lost].unique().tolist()]
    return [tuple(tokens) for tokens in found]


def best_singles(found: Sequence[Gain], most: int) -> list[tuple[int, ...]]:
    """Each token of the regions that gain most, best region first, until there are `most`; a region is taken whole."""
    singles: list[tuple[int, ...]] = []
    for region in sorted(found, key=lambda one: -one.gain):
        if singles and (len(singles) >= most or region.gain <= 0):
            break
        singles += [(token,) for token in region.tokens]
    return singles
