"""LLaVA-1.5 and its kin: any LlavaForConditionalGeneration checkpoint with a fixed grid of patches per frame.

Saliency is the [CLS] row of the tower layer whose output feeds the projector (towers without [CLS]: the attention
received); relevance is the cosine in the space of the CLIP model that the tower comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from fsr.errors import FsrError, within_memory
from fsr.tokens import Layout
from fsr.vlm import geometry
from fsr.vlm.cost import timed
from fsr.vlm.family import Family, pixels_in
from fsr.vlm.media import Media


class Llava(Family):
    """A LlavaForConditionalGeneration checkpoint; the frames of a video are so many pictures to it."""

    processing: ClassVar[Mapping[str, Any]] = {}  # what the image processor is told beside its own settings

    def _encode_frames(
        self,
        frames: Sequence[Image.Image],
        key: str,
        times: tuple[float, ...] | None = None,
        wanted: frozenset[str] = frozenset(),
    ) -> Media:
        """One pass of the vision tower. wanted: the captures to make."""
        views = [geometry.view(self.processor.image_processor, *frame.size, self.framing) for frame in frames]
        return self._encode_pixels(self.pixels(frames), views, key, wanted)

    def _encode_pixels(self, pixels: Tensor, views: Sequence[geometry.View], key: str, wanted: frozenset[str]) -> Media:
        if not self._vision_warm:
            self.tower.read(torch.zeros_like(pixels[:1]))
            self._vision_warm = True
        read, ms = timed(lambda: self._read(pixels, wanted), self.device)
        layout, n = geometry.layout(list(views), self.tower.patch, self.tower.extra), len(read["embeddings"])
        if len(layout) != n:
            raise FsrError(f"the model made {n} visual tokens where its grid has {len(layout)}.")
        captures = {name: read.get(name) for name in wanted}
        if "pixels" in wanted:
            captures["pixels"] = patch_pixels(pixels, self.tower.patch, self.tower.extra)
        return Media(key, layout, read["embeddings"], read["features"], read["saliency"], ms, captures=captures)

    def media_of(self, inputs: Mapping[str, Any], wanted: frozenset[str] = frozenset()) -> Media:
        """What the vision tower makes of a processor's own output (a batch of one); nothing is cached.

        The layout lies on the pixels of the model's input where the output does not tell the picture's size.
        Raises InvalidInput where it holds no picture.
        """
        pixels = pixels_in(inputs, "pixel_values").to(self.device, self.dtype)
        size = (pixels.shape[-1], pixels.shape[-2])
        views = [geometry.View(size, size, (0, 0), (1.0, 1.0), (0, 0))] * len(pixels)
        return self._encode_pixels(pixels, views, "", wanted)

    def some_encoder(self, media: Media) -> Callable[[Tensor], tuple[Tensor, float]] | None:
        pixels = media.captures.get("pixels")
        return None if pixels is None else partial(self._encode_some, media.layout, pixels)

    def _encode_some(self, layout: Layout, pixels: Tensor, kept: Tensor) -> tuple[Tensor, float]:
        """See `VisualTokens.encode_some`. pixels: (N, P), see `patch_pixels`; those of other tokens are not looked at.

        Every frame is encoded by itself, since each keeps another number of patches.
        """
        kept, side = kept.cpu(), int(self.model.config.vision_config.image_size)
        sizes = torch.bincount(layout.frame.cpu(), minlength=len(layout.grids)).tolist()

        def encoded() -> Tensor:
            parts, start = [], 0
            for size in sizes:
                own = kept[(kept >= start) & (kept < start + size)] - start
                if len(own):
                    frame = torch.zeros_like(pixels[start : start + size])
                    frame[own] = pixels[start + own]
                    parts.append(self.tower.read_some(pictured(frame[self.tower.extra :], side), own))
                start += size
            return torch.cat(parts).to(self.device)

        with self.lock, within_memory():
            return timed(encoded, self.device)

    def pixels(self, frames: Sequence[Image.Image]) -> Tensor:
        """(F, 3, H, W): what the vision tower sees."""
        framed = [geometry.framed(self.processor.image_processor, frame, self.framing) for frame in frames]
        values = self.processor.image_processor(images=framed, return_tensors="pt", **self.processing)
        pixels: Tensor = values["pixel_values"]
        return pixels.to(self.device, self.dtype)


def patch_pixels(pixels: Tensor, patch: int, extra: int = 0) -> Tensor:
    """(F, 3, H, W) -> (N, 3 patch patch): the pixels of every patch, in the order of the tokens; of the `extra` tokens
    before those of a frame, which are none of its patches, zeros."""
    cut = pixels.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5)
    flat = cut.reshape(len(pixels), -1, 3 * patch * patch)
    return torch.nn.functional.pad(flat, (0, 0, extra, 0)).flatten(0, 1)


def pictured(patches: Tensor, side: int) -> Tensor:
    """(rows cols, 3 patch patch), as `patch_pixels` -> (1, 3, side, side): the square they are cut from, with zeros
    where no patch reads."""
    patch, across = math.isqrt(patches.shape[1] // 3), math.isqrt(len(patches))
    cut = patches.view(across, across, 3, patch, patch).permute(2, 0, 3, 1, 4).reshape(3, across * patch, -1)
    rest = side - across * patch
    return torch.nn.functional.pad(cut, (0, rest, 0, rest))[None]
