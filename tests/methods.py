"""The table of methods and the table of token sets that drive every property test: a new method is one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from fsr.check.device import VECTORS, random_tokens, rounded
from fsr.tokens import Grid, Layout, Selection, VisualTokens

# id, name, parameters
METHODS = [
    ("full", "full", {}),
    ("fsr", "fsr", {}),
    ("fsr, capped focus", "fsr", {"focus_cap": 0.5}),
    ("fsr, saliency alone", "fsr", {"alpha": 0.0}),
    ("fsr, little focus", "fsr", {"rho": 0.2}),
    ("fsr, no merging", "fsr", {"rho": 0.2, "kappa": 0.0}),
    ("fsr, much merging", "fsr", {"rho": 0.2, "kappa": 2.5}),
    ("fsr, encoder features", "fsr", {"rho": 0.3, "similarity": "encoder"}),
    ("random", "random", {}),
    ("random, another seed", "random", {"seed": 7}),
    ("grid", "grid", {}),
    ("saliency", "saliency", {}),
    ("relevance", "relevance", {}),
    ("relevance, flipped", "relevance", {"relevance_sign": -1}),
    ("cdpruner", "cdpruner", {}),
    ("cdpruner, flipped", "cdpruner", {"relevance_sign": -1}),
    ("divprune", "divprune", {}),
    ("vispruner", "vispruner", {}),
    ("vispruner, all important", "vispruner", {"rho": 1.0}),
    ("vispruner, all diverse", "vispruner", {"rho": 0.0, "similarity": "projected"}),
    ("agilepruner", "agilepruner", {}),
    ("agilepruner, far apart", "agilepruner", {"erank_avg": 0.5, "tau_max": 0.9}),
    ("todre", "todre", {}),
    ("mmtok", "mmtok", {}),
    ("holov", "holov", {}),
    ("holov, four chunks", "holov", {"chunks": 4}),
    ("holov, as the paper means it", "holov", {"diverse": True, "alpha": 0.5}),
    ("pixelprune", "pixelprune", {}),
    ("2x2 pooling", "pool2x2", {}),
    ("fastvid", "fastvid", {}),
    ("fastvid, much context", "fastvid", {"context": 1.0, "step": 1, "segments": 2, "beta": 0.5}),
    ("visionzip", "visionzip", {}),
    ("visionzip, much context, true means", "visionzip", {"contextual_share": 0.6, "mean_with_target": True}),
    ("visionzip, all context", "visionzip", {"contextual_share": 1.0}),
    ("prumerge", "prumerge", {}),
    ("prumerge, no grid", "prumerge", {"grid": False, "neighbours": 3}),
    ("prumerge, to the budget", "prumerge", {"adaptive": False, "neighbours": 5}),
    ("fsr, Focus only", "fsr-focus", {}),
    ("fsr, Scan only", "fsr-scan", {}),
    ("fsr, no Refine", "fsr-no-refine", {}),
]


def equal_tokens() -> VisualTokens:
    one = random_tokens(1)
    return picked(one, torch.zeros(len(one), dtype=torch.int64))


def picked(tokens: VisualTokens, which: torch.Tensor) -> VisualTokens:
    """Tokens whose vectors are those of other tokens; the scores stay."""
    return replace(tokens, **{name: getattr(tokens, name)[which] for name in VECTORS})


def equal_scores() -> VisualTokens:
    equal = {"saliency": torch.full((30,), 0.3), "relevance": torch.full((30,), -0.1)}
    return replace(random_tokens(2), **equal, last_saliency=torch.full((30,), 0.01))


def repeated_tokens() -> VisualTokens:
    """Thirty tokens of four kinds."""
    some, generator = random_tokens(3), torch.Generator().manual_seed(3)
    return picked(some, torch.randint(4, (30,), generator=generator))


def blank_tokens() -> VisualTokens:
    some = random_tokens(4)
    return replace(
        some, **{name: 0 * getattr(some, name) for name in (*VECTORS, "saliency", "last_saliency", "summary")}
    )


def no_evidence() -> VisualTokens:
    """Priority is 0 everywhere: what is salient is not relevant, and the other way round."""
    salient = torch.zeros(30)
    salient[11] = 1.0
    return replace(random_tokens(5), saliency=salient, relevance=1 - salient)


def two_frames() -> VisualTokens:
    """Two frames of 3 x 4 tokens, each row ended by a newline token; the newlines are all the same."""
    col = torch.tensor([0, 1, 2, 3, -1]).repeat(6)
    newline = col < 0
    row = torch.arange(3).repeat_interleave(5).repeat(2).masked_fill(newline, -1)
    frame = torch.arange(2).repeat_interleave(15)
    rect = torch.stack([col, row, col + 1, row + 1], dim=1).float().masked_fill(newline[:, None], torch.nan)
    grid = Grid(4, 3, 3, 4, (0.0, 0.0, 4.0, 3.0))
    some = random_tokens(6)
    layout = Layout(frame, row, col, rect, (grid, grid))
    summary = torch.cat([some.summary, -some.summary])  # type: ignore[list-item, operator]
    return replace(picked(some, torch.where(newline, 4, torch.arange(30))), layout=layout, summary=summary)


def in_dtype(dtype: torch.dtype) -> VisualTokens:
    return rounded(random_tokens(7), dtype)


# id -> tokens; every set but the last but one has 30
TOKENS: dict[str, Callable[[], VisualTokens]] = {
    "random": lambda: random_tokens(0),
    "all tokens equal": equal_tokens,
    "all scores equal": equal_scores,
    "four kinds of token": repeated_tokens,
    "all zero": blank_tokens,
    "no priority anywhere": no_evidence,
    "two frames with newline tokens": two_frames,
    "one token": lambda: random_tokens(8, 1, 1),
    "half precision": lambda: in_dtype(torch.float16),
    "bfloat16": lambda: in_dtype(torch.bfloat16),
}


def still_clip() -> VisualTokens:
    """Three frames of 2 x 4 tokens: the second is the first, the third has one new token."""
    some, one = random_tokens(9, 2, 4), Layout.of_grid(2, 4)
    which = torch.tensor([*range(8), *range(8), *range(7), 0])
    layout = Layout(
        torch.arange(3).repeat_interleave(8), one.row.repeat(3), one.col.repeat(3), one.rect.repeat(3, 1), one.grids * 3
    )
    repeated = {name: getattr(some, name)[which] for name in (*VECTORS, "saliency", "relevance", "last_saliency")}
    return replace(some, layout=layout, summary=some.summary.repeat(3, 1), **repeated)  # type: ignore[union-attr]


# id -> tokens of several frames, for methods that compare frames
CLIPS: dict[str, Callable[[], VisualTokens]] = {
    "two frames with newline tokens": two_frames,
    "a still clip": still_clip,
    "half precision": lambda: rounded(two_frames(), torch.float16),
}


def same(a: Selection, b: Selection) -> bool:
    """Whether two selections agree in every token, to the last bit."""
    return all(
        torch.equal(torch.nan_to_num(getattr(a, f)), torch.nan_to_num(getattr(b, f)))
        for f in ("kept", "roles", "embeddings", "anchor", "similarity", "weight")
    )
