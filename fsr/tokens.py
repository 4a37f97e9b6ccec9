"""The vocabulary that everything speaks: visual tokens, where they lie on the picture, and what a pruner chose.

Letters: N visual tokens, K budget, D width of the language model, C width of the vision encoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, TypeVar

import torch
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.host import fetch
from fsr.similarity import ALL_UP_TO, Similarities, firsts, similarities_of

T = TypeVar("T")
SHARED_UP_TO = 8192  # tokens; beyond, a matrix of all similarities would be too large to keep


class Role(IntEnum):
    """What became of one visual token. Everything from KEPT on reaches the language model."""

    DROPPED = 0
    MERGED = 1  # dropped, but averaged into its anchor (Refine)
    KEPT = 2  # kept by a method that knows no stages
    SCAN = 3
    FOCUS = 4


@dataclass(frozen=True)
class Grid:
    """One frame: its size and the part of it the model saw, both in pixels of the visitor's picture.

    part: "" for a picture or frame that is one grid; else "base", the whole picture made small, or "tiles", a mosaic.
    picture: which of the visitor's pictures such a part belongs to.
    """

    width: int
    height: int
    rows: int
    cols: int
    seen: tuple[float, float, float, float]  # x0, y0, x1, y1
    part: str = ""
    picture: int = 0


@dataclass(frozen=True)
class Layout:
    """Where every token lies.

    frame, row, col: (N,) int64; row and col are -1 for tokens outside the grid (newline, CLS).
    rect: (N, 4) float32, x0, y0, x1, y1 in pixels of the visitor's frame; NaN for tokens outside the grid.
    grids: one Grid a frame.
    """

    frame: Tensor
    row: Tensor
    col: Tensor
    rect: Tensor
    grids: tuple[Grid, ...]

    def __len__(self) -> int:
        return self.row.shape[0]

    @staticmethod
    def of_grid(rows: int, cols: int, width: int | None = None, height: int | None = None) -> Layout:
        """One frame cut into rows x cols equal rectangles, in raster order."""
        width, height = width or cols, height or rows
        row = torch.arange(rows).repeat_interleave(cols)
        col = torch.arange(cols).repeat(rows)
        w, h = width / cols, height / rows
        rect = torch.stack([col * w, row * h, (col + 1) * w, (row + 1) * h], dim=1).float()
        grid = Grid(width, height, rows, cols, (0.0, 0.0, float(width), float(height)))
        return Layout(torch.zeros_like(row), row, col, rect, (grid,))


# fields of VisualTokens with a row for every token -> dimensions
_PER_TOKEN = {"embeddings": 2, "features": 2, "saliency": 1, "relevance": 1}
_PER_TOKEN |= {"keys": 2, "last_keys": 2, "last_saliency": 1, "pixels": 2}


@dataclass(frozen=True, eq=False)
class VisualTokens:
    """The visual tokens of one question, with every score that was captured.

    embeddings: (N, D), what the language model reads (projected). features: (N, C), before the projector, or None.
    saliency: (N,), Eq. 1, or None. relevance: (N,), the cosine of Eq. 2 *before* the sign, or None.
    relevance_sign: +1 or -1, the sign the model's tower needs (a property of the tower, see `fsr.focus`).
    keys: (N, d), the keys of the layer that saliency comes from, mean over heads. last_keys: (N, C), the keys of the
    tower's last layer, all heads. last_saliency: (N,), the attention from [CLS] there, computed over all heads as one.
    pixels: (N, P), those of the one patch that a token was made of, as the tower reads them.
    question: (T, D), the language model's input embeddings of the question's T tokens.
    summary: (F, D), the projected [CLS] state of every frame. project: the projector, (n, C) -> (n, D). encode_some:
    runs the vision tower with the patches of some tokens alone, the others left out in front of its first layer:
    ascending (k,) int64 -> their (k, D) and the milliseconds it took. Each None where it was not captured or the model
    has none. shared: many methods and budgets will read these tokens, so similarities are computed all at once and
    kept; a single selection is faster without.
    """

    embeddings: Tensor
    layout: Layout
    features: Tensor | None = None
    saliency: Tensor | None = None
    relevance: Tensor | None = None
    relevance_sign: int = 1
    keys: Tensor | None = None
    last_keys: Tensor | None = None
    last_saliency: Tensor | None = None
    pixels: Tensor | None = None
    question: Tensor | None = None
    summary: Tensor | None = None
    project: Callable[[Tensor], Tensor] | None = None
    encode_some: Callable[[Tensor], tuple[Tensor, float]] | None = None
    shared: bool = False
    _computed: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or self.embeddings.shape[0] == 0:
            raise InvalidInput(f"embeddings must be (N, D) with N >= 1, got {tuple(self.embeddings.shape)}.")
        n = self.embeddings.shape[0]
        if len(self.layout) != n:
            raise InvalidInput(f"the layout describes {len(self.layout)} tokens, the embeddings {n}.")
        if self.relevance_sign not in (-1, 1):
            raise InvalidInput(f"relevance_sign must be -1 or 1, not {self.relevance_sign!r}.")
        for name, ndim in _PER_TOKEN.items():
            value = getattr(self, name)
            if value is None:
                continue
            if value.ndim != ndim or value.shape[0] != n:
                wanted = f"({n}, C)" if ndim == 2 else f"({n},)"
                raise InvalidInput(f"{name} must be {wanted} like the embeddings, not {tuple(value.shape)}.")
            if not value.is_floating_point():
                raise InvalidInput(f"{name} must be floating point, not {value.dtype}.")
        if self.question is not None and not _reads(self.question, self.embeddings):
            wanted = f"(T, {self.embeddings.shape[1]}) in floating point with T >= 1"
            raise InvalidInput(f"question must be {wanted}, not {tuple(self.question.shape)} of {self.question.dtype}.")
        captured = {name: x for name in (*_PER_TOKEN, "question") if (x := getattr(self, name)) is not None}
        if not _finite(captured.values()):
            name = next(name for name, x in captured.items() if not bool(torch.isfinite(x).all()))
            raise InvalidInput(f"{name} holds NaN or infinite values; every score and feature must be finite.")

    def __len__(self) -> int:
        return self.embeddings.shape[0]

    def sharing(self, computed: dict[str, Any]) -> VisualTokens:
        """The same tokens, whose unit rows and similarities are kept in `computed` together with those of others: other
        questions about the same picture, or the same question with other captures."""
        same = replace(self)
        object.__setattr__(same, "_computed", computed)
        return same

    def with_captures(self, **captures: Tensor | Callable[[Tensor], Any] | None) -> VisualTokens:
        """The same tokens with more fields captured; what was computed of them goes along."""
        return replace(self, **captures).sharing(self._computed)  # type: ignore[arg-type]

    def space(self, name: str) -> Tensor:
        """(N, D or C) float32 unit rows of the similarity space `projected` or `encoder`; computed once."""
        if name == "projected":
            return self.once("unit projected", lambda: unit_rows(self.embeddings))
        if name == "encoder":
            if self.features is None:
                raise InvalidInput("similarity 'encoder' needs the encoder's features, which were not captured.")
            features = self.features
            return self.once("unit encoder", lambda: unit_rows(features))
        raise InvalidInput(f"similarity must be 'projected' or 'encoder', not {name!r}.")

    def similarities(self, name: str) -> Similarities:
        """The cosines of the similarity space `projected` or `encoder`.

        With `shared` (and up to SHARED_UP_TO tokens) all rows are computed at the first call and kept for whoever asks.
        Else each call starts anew and rows are computed on demand: the last digit of a product depends on which rows
        are computed together, and what one selection computed must not change the next.
        """
        if self.shared and len(self) <= SHARED_UP_TO:
            return self._all(name)
        return self._new_similarities(name)

    def gram(self, name: str) -> Similarities:
        """All cosines of a similarity space, computed once and kept: (N, N) float32, for methods that need them all.

        Raises InvalidInput for more than ALL_UP_TO tokens, of which no such matrix may be held.
        """
        if len(self) > ALL_UP_TO:
            raise InvalidInput(
                f"this method compares all pairs of at most {ALL_UP_TO} visual tokens, not {len(self)}; "
                "take fewer frames, or share the budget per_group."
            )
        return self._all(name)

    def _all(self, name: str) -> Similarities:
        return self.once(f"all {name}", lambda: self._new_similarities(name).complete())

    def _new_similarities(self, name: str) -> Similarities:
        unit = self.space(name)
        rows = self.embeddings if name == "projected" or self.features is None else self.features
        return similarities_of(rows, unit, self.once(f"first {name}", lambda: firsts(rows)))

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` finds of the tokens' embeddings or features, computed once and kept for all questions."""
        if name not in self._computed:
            self._computed[name] = make()
        found: T = self._computed[name]
        return found


def computed_bytes(computed: Mapping[str, Any]) -> int:
    """Bytes of the unit rows and similarities that are held for whoever asks next, see `VisualTokens.sharing`."""
    tensors = sum(x.numel() * x.element_size() for x in computed.values() if isinstance(x, Tensor))
    return tensors + sum(x.nbytes for x in computed.values() if isinstance(x, Similarities))


def _reads(question: Tensor, embeddings: Tensor) -> bool:
    """Whether the question's embeddings are of the space of the visual tokens'."""
    shape = question.shape
    return len(shape) == 2 and shape[0] > 0 and shape[1] == embeddings.shape[1] and question.is_floating_point()


def _finite(tensors: Collection[Tensor]) -> bool:
    """Whether all of them are finite. A finite sum proves it, and is several times cheaper than looking at each value;
    a device is waited for once."""
    sums = fetch(*(x.detach().sum() for x in tensors))
    return all(map(math.isfinite, map(float, sums))) or all(bool(torch.isfinite(x).all()) for x in tensors)


def unit_rows(x: Tensor) -> Tensor:
    """(N, D) -> (N, D) float32 rows of length one; a zero row stays zero."""
    return torch.nn.functional.normalize(x.float(), dim=-1, eps=1e-12)


@dataclass(frozen=True, eq=False)
class Selection:
    """What a pruner chose at one budget.

    kept: (K,) int64, ascending. roles: (N,) uint8 of `Role`. embeddings: (K, D) in the order of `kept`, after merging.
    anchor: (N,) int64, the nearest scan token of every dropped token (-1: none, or the token is kept).
    similarity: (N,) float32, its cosine to that anchor (NaN where anchor is -1).
    weight: (N,) float32, the share with which a token enters its merged embedding: for a MERGED token and for its
    anchor itself (a group's weights sum to 1, but those of PruMerge+); 0 for dropped tokens, 1 for kept tokens that
    absorbed nothing.
    scores: every (N,) score that led here, by name. facts: plain numbers worth showing, e.g. k_focus.
    before, after: (B, D), (A, D) embeddings that are no token of the grid and are sent before and after the kept ones
    (VisionZip's [CLS], PruMerge's rest), or None.
    encode_ms: milliseconds of the vision tower, where it ran with the kept patches alone; None where it read all.
    """

    method: str
    budget: int
    kept: Tensor
    roles: Tensor
    embeddings: Tensor
    anchor: Tensor
    similarity: Tensor
    weight: Tensor
    scores: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    before: Tensor | None = None
    after: Tensor | None = None
    encode_ms: float | None = None

    @property
    def sent(self) -> Tensor:
        """(B + K + A, D): everything that the language model reads in the place of the picture."""
        parts = [part for part in (self.before, self.embeddings, self.after) if part is not None]
        return torch.cat([part.to(self.embeddings) for part in parts])


def check_budget(budget: int, n: int) -> int:
    """The budget itself, or a sentence: it must be a whole number from 1 to N."""
    if isinstance(budget, bool) or not isinstance(budget, int) or not 1 <= budget <= n:
        raise InvalidInput(f"the budget must be a whole number from 1 to {n} visual tokens, not {budget!r}.")
    return budget
