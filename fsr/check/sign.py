"""The relevance-sign experiment of `python -m fsr check`: does a patch on the object asked about come first or last?

Several code bases found that CLIP's cosine is lower on the object than beside it, and negate it. Which sign a tower
needs (`VisualTokens.relevance_sign`) can be measured on drawn scenes, where it is known what every patch shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from fsr.shapes import scenes
from fsr.vlm.base import VLM

PICTURES = 12


def sign(vlm: VLM) -> dict[str, Any]:
    """On which sign of the relevance the patches of the object asked about come first.

    Returns {"pictures", "mean_rank": {"+1", "-1"}, "in_use", "better", "agrees"}; a rank is 0 for the first patch of a
    picture and 1 for the last, 0.5 is chance. {"skipped": why} where the model has no relevance.
    """
    if "relevance" not in vlm.provides:
        return {"skipped": vlm.pathways["relevance"].removeprefix("none: ")}
    ranks = [_rank(vlm, index) for index in range(PICTURES)]
    positive = sum(ranks) / len(ranks)
    better = 1 if positive < 0.5 else -1
    return {
        "pictures": PICTURES,
        "mean_rank": {"+1": round(positive, 4), "-1": round(1 - positive, 4)},
        "in_use": vlm.relevance_sign,
        "better": better,
        "agrees": better == vlm.relevance_sign,
    }


def _rank(vlm: VLM, index: int) -> float:
    """Mean rank of the object's patches, sign +1."""
    picture, thing = scene(index)
    question = f"Where is the {thing.color} {thing.shape}?"
    tokens = vlm.encode(vlm.encode_media([picture]), question).tokens
    assert tokens.relevance is not None
    cover = torch.tensor([_covered(thing, rect) for rect in tokens.layout.rect.tolist()])
    order = tokens.relevance.cpu().argsort(descending=True)
    rank = torch.empty(len(order))
    rank[order] = torch.linspace(0, 1, len(order))
    return float(rank[cover >= min(0.5, float(cover.max()))].mean())


def scene(index: int) -> tuple[Image.Image, scenes.Thing]:
    """A drawn scene of three objects and the one that is asked about, the only one of its colour and shape."""
    drawn = scenes.random_scene(scenes.generator("test", 4, index), 3, small_share=0.0)
    alone = [t for t in drawn.things if sum(t.pair == other.pair for other in drawn.things) == 1]
    return (Image.fromarray(scenes.draw(drawn)), alone[0]) if alone else scene(index + 1000)


def _covered(thing: scenes.Thing, rect: list[float]) -> float:
    """The share of a token's rectangle that the object covers; 0 for tokens outside the picture."""
    mask, left, top = scenes.mask_of(thing, scenes.Window())
    whole = np.zeros((scenes.SIDE, scenes.SIDE), np.float32)
    y0, x0 = max(top, 0), max(left, 0)
    part = mask[y0 - top : scenes.SIDE - top, x0 - left : scenes.SIDE - left]
    whole[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part / 255
    if any(np.isnan(rect)):
        return 0.0
    a, b, c, d = (max(0, round(v)) for v in rect)
    inside = whole[b:d, a:c]
    return float(inside.mean()) if inside.size else 0.0
