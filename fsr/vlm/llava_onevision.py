"""LLaVA-OneVision: one picture in tiles, several pictures padded to squares, the frames of a video pooled to a quarter.

The SigLIP tower has no [CLS] token: saliency is the attention received in its last layer, pooled like the tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.vlm import prompt
from fsr.vlm.anyres import Anyres, Part, RowMedia, base_part, resampled, square_part
from fsr.vlm.cost import timed
from fsr.vlm.family import pixels_in
from fsr.vlm.media import Media

ENLARGED = 1.1  # a mosaic this much larger than allowed, per edge, is made smaller


class LlavaOnevision(Anyres):
    """A LlavaOnevisionForConditionalGeneration checkpoint."""

    reads_clips = True

    def _encode_frames(
        self,
        frames: Sequence[Image.Image],
        key: str,
        times: tuple[float, ...] | None = None,
        wanted: frozenset[str] = frozenset(),
    ) -> RowMedia:
        if times is not None:
            return self._video([frame.size for frame in frames], self.video_pixels(frames), key, times, wanted)
        if len(frames) == 1:
            return self._anyres([frames[0].size], [self.tile_pixels(frames[0])], key, wanted)
        values = self.processor.image_processor(images=[list(frames)], return_tensors="pt")["pixel_values"]
        return self._squares([f.size for f in frames], values[:, 0].to(self.device, self.dtype), key, wanted)

    def media_of(self, inputs: Mapping[str, Any], wanted: frozenset[str] = frozenset()) -> RowMedia:
        if inputs.get("pixel_values_videos") is not None:
            if inputs.get("pixel_values") is not None or len(inputs["pixel_values_videos"]) > 1:
                raise InvalidInput("one video, or pictures, can be pruned at a time.")
            pixels = inputs["pixel_values_videos"][0].to(self.device, self.dtype)
            size = (pixels.shape[-1], pixels.shape[-2])
            return self._video([size] * len(pixels), pixels, "", tuple(float(i) for i in range(len(pixels))), wanted)
        pictures, together = len(pixels_in(inputs, "pixel_values")), inputs.get("batch_num_images")
        if pictures > 1 and together is not None and together.tolist() == [pictures]:
            sizes = [(int(w), int(h)) for h, w in pixels_in(inputs, "image_sizes").tolist()]
            return self._squares(sizes, inputs["pixel_values"][:, 0].to(self.device, self.dtype), "", wanted)
        return super().media_of(inputs, wanted)

    def _mosaic_shape(self, part: Part) -> tuple[int, int]:
        """At most as many cells as `anyres_max_9` and its like allow."""
        most = int(self.model.config.vision_aspect_ratio.removeprefix("anyres_max_"))
        rows, cols = part.extent
        ratio = math.sqrt(rows * cols / (most * part.tiles.cells**2))
        return (int(rows // ratio), int(cols // ratio)) if ratio > ENLARGED else part.extent

    def _squares(self, sizes: Sequence[tuple[int, int]], pixels: Tensor, key: str, wanted: frozenset[str]) -> RowMedia:
        """Several pictures: one tile each, followed by a newline."""
        self._warm_vision(pixels)
        read, ms = timed(lambda: self._read(pixels, wanted), self.device)
        parts = [square_part(size, self.tiles) for size in sizes]
        n_tile = self.tiles.cells**2
        tile = torch.arange(len(sizes)).repeat_interleave(n_tile)
        return self._row_media(key, parts, read, ms, wanted, [[(n_tile, True)]] * len(sizes), tile=tile)

    # -- videos

    def _video(
        self,
        sizes: Sequence[tuple[int, int]],
        pixels: Tensor,
        key: str,
        times: tuple[float, ...],
        wanted: frozenset[str],
    ) -> RowMedia:
        self._warm_vision(pixels)
        read, ms = timed(lambda: self._pooled_read(pixels, wanted), self.device)
        parts = [self._pooled_part(base_part(size, self.tiles)) for size in sizes]
        rows = self._video_rows(parts)
        tile = torch.arange(len(sizes)).repeat_interleave(math.prod(parts[0].shape))
        return self._row_media(key, parts, read, ms, wanted, [rows], tile=tile, times=times)

    def video_pixels(self, frames: Sequence[Image.Image]) -> Tensor:
        """(F, 3, H, W): every frame squeezed into one tile."""
        videos = [[frame] for frame in frames]  # one by one: frames may differ in size
        values = [self.processor.video_processor(videos=one, return_tensors="pt") for one in videos]
        return torch.cat([v["pixel_values_videos"][0] for v in values]).to(self.device, self.dtype)

    def _pooled_part(self, part: Part) -> Part:
        """One token for about 2 x 2 cells; an odd edge is shared out."""
        return replace(part, shape=(math.ceil(part.extent[0] / 2), math.ceil(part.extent[1] / 2)))

    def _pool(self, values: Tensor) -> Tensor:
        """(rows, cols, ...) of one frame -> (rows, cols, ...), fewer of both."""
        return resampled(values, (math.ceil(values.shape[0] / 2), math.ceil(values.shape[1] / 2)))

    def _video_rows(self, parts: Sequence[Part]) -> list[tuple[int, bool]]:
        """One newline at the end of the video."""
        return [(sum(math.prod(part.shape) for part in parts), True)]

    def _pooled_read(self, pixels: Tensor, wanted: frozenset[str]) -> dict[str, Tensor]:
        cells = self.tiles.cells

        def pooled(value: Tensor) -> Tensor:
            return torch.cat([self._pool(one).flatten(0, 1) for one in value.unflatten(0, (-1, cells, cells))])

        return {name: pooled(value) for name, value in self._read(pixels, wanted).items()}

    # -- question

    def visual_token(self, media: Media) -> tuple[int, str]:
        if not isinstance(media, RowMedia) or media.times is None:
            return super().visual_token(media)
        video = self.model.config.video_token_id
        return video, getattr(self.processor, "video_token", None) or self.tokenizer.convert_ids_to_tokens(video)

    def template(self, media: Media) -> tuple[str, str]:
        if not isinstance(media, RowMedia) or media.times is None:
            return super().template(media)
        return prompt.template(self.processor, 1, self.visual_token(media)[1], "video")
