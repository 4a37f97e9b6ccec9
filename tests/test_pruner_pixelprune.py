"""PixelPrune against its rule patch by patch, and on pictures: what is dropped can be drawn again from what is kept."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageDraw

from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.pruners.forced import Forced
from fsr.pruners.whatif import with_forced
from fsr.tokens import Layout, VisualTokens
from fsr.vlm.llava import patch_pixels
from tests.methods import two_frames


def guess(grid, r, c):
    """The pixels that are expected at a place, None at the first."""
    if r == 0:
        return grid[0][c - 1] if c else None
    if c == 0:
        return grid[r - 1][0]
    a, b, corner = grid[r][c - 1], grid[r - 1][c], grid[r - 1][c - 1]
    return b if corner == a and corner != b else a


def test_it_keeps_what_the_rule_does_not_predict_and_the_rest_can_be_drawn_again() -> None:
    for seed in range(300):
        draw = random.Random(seed)
        rows, cols, frames, kinds = draw.randint(1, 6), draw.randint(1, 6), draw.randint(1, 3), draw.randint(1, 4)
        grids = [[[draw.randrange(kinds) for _ in range(cols)] for _ in range(rows)] for _ in range(frames)]
        expected = [
            (f * rows + r) * cols + c
            for f, grid in enumerate(grids) for r in range(rows) for c in range(cols)
            if guess(grid, r, c) != grid[r][c]
        ]  # fmt: skip
        one, n = Layout.of_grid(rows, cols), rows * cols
        layout = Layout(
            torch.arange(frames).repeat_interleave(n), one.row.repeat(frames), one.col.repeat(frames),
            one.rect.repeat(frames, 1), one.grids * frames,
        )  # fmt: skip
        pixels = torch.tensor(grids).reshape(-1, 1).float().repeat(1, 5)
        tokens = VisualTokens(torch.randn(frames * n, 3), layout, pixels=pixels)
        kept = make("pixelprune")(tokens, 1).kept.tolist()
        assert kept == expected
        for f, grid in enumerate(grids):
            again = [[None] * cols for _ in range(rows)]
            for r in range(rows):
                for c in range(cols):
                    again[r][c] = grid[r][c] if (f * rows + r) * cols + c in kept else guess(again, r, c)
            assert again == grid


def test_a_flat_picture_keeps_one_patch_and_a_rectangle_its_corners(tiny_vlm) -> None:
    side = tiny_vlm.encode_media([Image.new("RGB", (400, 400), "white")]).layout.grids[0].rows
    size = side * tiny_vlm.tower.patch
    flat = Image.new("RGB", (size, size), (200, 180, 90))
    drawn = flat.copy()
    patch = tiny_vlm.tower.patch
    ImageDraw.Draw(drawn).rectangle((patch, patch, 3 * patch - 1, 3 * patch - 1), fill=(10, 60, 200))
    kept = []
    for picture in (flat, drawn):
        media = tiny_vlm.encode_media([picture], needs=frozenset({"pixels"}))
        tokens = tiny_vlm.encode(media, "what?", frozenset({"pixels"})).tokens
        s = make("pixelprune")(tokens, 3)
        assert s.facts["n_predicted"] == len(tokens) - len(s.kept)
        kept.append(s.kept.tolist())
    assert kept[0] == [0]
    assert 1 < len(kept[1]) <= 8
    assert side + 1 in kept[1]


def test_the_pixels_of_a_patch_are_those_of_its_place() -> None:
    pixels = torch.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7).float()
    found = patch_pixels(pixels, 2)
    assert found.shape == (2 * 2 * 3, 12)
    assert torch.equal(found[6 + 4], pixels[1, :, 2:4, 2:4].flatten())
    assert patch_pixels(pixels, 2, 1).shape == (2 * 7, 12)
    assert not patch_pixels(pixels, 2, 1)[[0, 7]].any()


def test_tokens_outside_the_grid_are_kept_and_pixels_are_needed() -> None:
    tokens = two_frames()
    outside = (tokens.layout.row < 0).nonzero()[:, 0].tolist()
    assert set(outside) <= set(make("pixelprune")(tokens, 1).kept.tolist())
    with pytest.raises(InvalidInput, match="needs pixels"):
        make("pixelprune")(replace(tokens, pixels=None), 1)


def test_forced_tokens_are_kept_and_dropped() -> None:
    tokens = replace(two_frames(), pixels=torch.zeros(30, 2))
    found = with_forced(make("pixelprune"), Forced((7,), (0,)))(tokens, 1)
    assert 7 in found.kept.tolist()
    assert 0 not in found.kept.tolist()
