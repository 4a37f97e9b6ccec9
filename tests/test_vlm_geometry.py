"""The layout, proven: paint what the layout calls one token's rectangle and see which patch of the input changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, LlavaImageProcessor, SiglipImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import fsr.vlm
from fsr.errors import FsrError, InvalidInput
from fsr.vlm.geometry import framed, layout, view
from tests.looping import each
from tests.proofs import proves

PATCH, SIDE = 14, 70
CROP = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
PROCESSORS = {
    "clip": CLIPImageProcessor(**CROP),
    "clip, PIL": CLIPImageProcessorPil(**CROP),
    "clip, larger before the crop": CLIPImageProcessor(**{**CROP, "size": {"shortest_edge": 91}}),
    "clip, stretched": CLIPImageProcessor(size={"height": SIDE, "width": SIDE}, do_center_crop=False),
    "siglip": SiglipImageProcessor(size={"height": SIDE, "width": SIDE}),
    "llava, pads itself": LlavaImageProcessor(**CROP, do_pad=True),
    "clip, smaller than the crop": CLIPImageProcessor(**{**CROP, "size": {"shortest_edge": 41}}),
    "clip, smaller than the crop, PIL": CLIPImageProcessorPil(**{**CROP, "size": {"shortest_edge": 41}}),
}
SHAPES = {"1:1": (210, 210), "3:1": (420, 140), "1:3": (140, 420), "small 3:2": (51, 34), "odd": (211, 157)}


def changed_mass(processor, framing: str, plain: Image.Image, painted: Image.Image) -> torch.Tensor:
    """(rows, cols): how much each patch of the model's input differs between two pictures."""
    one, two = (
        torch.as_tensor(
            np.asarray(processor(images=framed(processor, p, framing), return_tensors="pt")["pixel_values"][0])
        )
        for p in (plain, painted)
    )
    difference = (one - two).abs().sum(dim=0)
    rows, cols = difference.shape[0] // PATCH, difference.shape[1] // PATCH
    return difference[: rows * PATCH, : cols * PATCH].reshape(rows, PATCH, cols, PATCH).sum(dim=(1, 3))


def painted_inside(plain: Image.Image, rect: list[float]) -> Image.Image | None:
    """The picture with the middle of a rectangle painted white; None where the picture has no pixel there."""
    x0, y0, x1, y1 = rect
    keep = 0.25
    box = [x0 + keep * (x1 - x0), y0 + keep * (y1 - y0), x1 - keep * (x1 - x0), y1 - keep * (y1 - y0)]
    left, top, right, bottom = (round(v) for v in box)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    if left < 0 or top < 0 or right > plain.width or bottom > plain.height:
        return None
    painted = plain.copy()
    painted.paste((255, 255, 255), (left, top, right, bottom))
    return painted


def proven(processor, framing: str, size: tuple[int, int]) -> tuple[int, int]:
    """Check the tokens of one picture; returns how many were painted and how many lie off the picture."""
    plain = Image.new("RGB", size, (30, 60, 90))
    where = layout([view(processor, *size, framing)], PATCH)
    checked, off = 0, 0
    for token in range(len(where)):
        painted = painted_inside(plain, where.rect[token].tolist())
        if painted is None:
            off += 1
            continue
        mass = changed_mass(processor, framing, plain, painted)
        row, col = int(where.row[token]), int(where.col[token])
        assert mass.shape == (where.grids[0].rows, where.grids[0].cols)
        assert divmod(int(mass.argmax()), mass.shape[1]) == (row, col)
        assert mass[row, col] > 0.6 * mass.sum()
        checked += 1
    return checked, off


@proves("places", family="llava")
@each("framing", ["processor", "pad"])
@each("shape", SHAPES)
@each("name", PROCESSORS)
def test_painting_a_tokens_rectangle_changes_that_token(name, shape, framing):
    checked, off = proven(PROCESSORS[name], framing, SHAPES[shape])
    assert checked >= (1 if "smaller" in name else 4)
    crops_only = name in ("clip", "clip, PIL", "clip, stretched", "siglip") and framing == "processor"
    assert off == 0 or not crops_only


@each("shape", ["1:1", "3:1", "1:3"])
@each("framing", ["processor", "pad"])
@pytest.mark.slow
def test_the_patch_embedding_that_changes_is_the_one_the_layout_says(tiny_folder, shape, framing):
    vlm = fsr.vlm.load(str(tiny_folder), framing=framing)
    embed = vlm.model.model.vision_tower.embeddings.patch_embedding
    plain = Image.new("RGB", SHAPES[shape], (30, 60, 90))
    where = vlm.encode_media([plain]).layout
    with torch.no_grad():
        before = embed(vlm.pixels([plain])).flatten(2)[0]
        for token in range(0, len(where), 3):
            painted = painted_inside(plain, where.rect[token].tolist())
            if painted is not None:
                after = embed(vlm.pixels([painted])).flatten(2)[0]
                assert int((after - before).norm(dim=0).argmax()) == token


@each("name", PROCESSORS)
@each("shape", SHAPES)
def test_what_is_not_seen_changes_nothing_and_what_is_seen_does(name, shape):
    processor, (width, height) = PROCESSORS[name], SHAPES[shape]
    plain = Image.new("RGB", (width, height), (30, 60, 90))
    x0, y0, x1, y1 = view(processor, width, height).seen()
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    margin = 6  # bicubic resizing reaches a few pixels beyond the border
    outside = plain.copy()
    outside.paste((255, 255, 255), (0, 0, width, height))
    inner = (
        max(0, int(x0) - margin),
        max(0, int(y0) - margin),
        min(width, int(x1) + margin),
        min(height, int(y1) + margin),
    )
    outside.paste((30, 60, 90), inner)
    assert changed_mass(processor, "processor", plain, outside).sum() < 0.5
    inside = plain.copy()
    inside.paste((255, 255, 255), (int(x0), int(y0), int(x0) + 4, int(y0) + 4))
    assert changed_mass(processor, "processor", plain, inside).sum() > 1


def test_padding_shows_the_whole_picture_and_cropping_its_middle():
    processor = PROCESSORS["clip"]
    assert view(processor, 420, 140, "pad").seen() == (0, 0, 420, 140)
    assert view(processor, 420, 140).seen() == pytest.approx((140, 0, 280, 140))
    assert view(processor, 140, 420).seen() == pytest.approx((0, 140, 140, 280))


def test_a_picture_one_pixel_from_a_square_is_padded_too():
    assert view(PROCESSORS["clip"], 210, 209, "pad").scale == (SIDE / 210, SIDE / 210)


def test_rectangles_tile_the_seen_part_without_gaps():
    where = layout([view(PROCESSORS["clip"], 420, 140)], PATCH)
    rect = where.rect.reshape(5, 5, 4)
    assert torch.equal(rect[:, 1:, 0], rect[:, :-1, 2])
    assert torch.equal(rect[1:, :, 1], rect[:-1, :, 3])
    assert [rect[0, 0, 0], rect[0, 0, 1], rect[-1, -1, 2], rect[-1, -1, 3]] == pytest.approx(where.grids[0].seen)


def test_frames_of_different_shapes_share_a_layout():
    processor = PROCESSORS["clip"]
    where = layout([view(processor, 210, 210), view(processor, 420, 140)], PATCH)
    assert len(where) == 50
    assert where.frame.tolist() == [0] * 25 + [1] * 25
    assert [(g.width, g.height) for g in where.grids] == [(210, 210), (420, 140)]


def test_a_picture_too_narrow_to_resize_is_refused():
    with pytest.raises(InvalidInput, match="too narrow"):
        view(CLIPImageProcessor(size={"shortest_edge": 336}), 1, 40_000)


def test_unknown_resizing_is_refused_not_guessed():
    processor = LlavaImageProcessor(size={"shortest_edge": 70, "longest_edge": 90})
    with pytest.raises(FsrError, match="longest_edge, shortest_edge"):
        view(processor, 100, 50)


def test_unknown_framing_is_refused(tiny_folder):
    with pytest.raises(InvalidInput, match="processor, pad"):
        view(PROCESSORS["clip"], 10, 10, "stretch")
    with pytest.raises(InvalidInput, match="processor, pad"):
        fsr.vlm.load(str(tiny_folder), framing="stretch")
