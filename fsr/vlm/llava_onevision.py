"""LLaVA-OneVision: one picture in tiles, several pictures padded to squares, the frames of a video pooled to a quarter.

The SigLIP tower has no [CLS] token: saliency is the attention received in its last layer, pooled like the tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from fsr.cost import timed
from fsr.vlm import prompt
from fsr.vlm.anyres import AnyresLlava, Part, RowMedia, base_part, resampled, square_part
from fsr.vlm.base import Media

ENLARGED = 1.1  # a mosaic this much larger than allowed, per edge, is made smaller


class LlavaOnevision(AnyresLlava):
    """A LlavaOnevisionForConditionalGeneration checkpoint."""

    def _encode_frames(
        self,
        frames: Sequence[Image.Image],
        key: str,
        times: tuple[float, ...] | None = None,
        wanted: frozenset[str] = frozenset(),
    ) -> RowMedia:
        if times is not None:
            return self._video(frames, key, times, wanted)
        return self._anyres(frames, key, wanted) if len(frames) == 1 else self._squares(frames, key, wanted)

    def _mosaic_shape(self, part: Part) -> tuple[int, int]:
        """At most as many cells as `anyres_max_9` and its like allow."""
        most = int(self.model.config.vision_aspect_ratio.removeprefix("anyres_max_"))
        rows, cols = part.extent
        ratio = math.sqrt(rows * cols / (most * part.tiles.cells**2))
        return (int(rows // ratio), int(cols // ratio)) if ratio > ENLARGED else part.extent

    def _squares(self, frames: Sequence[Image.Image], key: str, wanted: frozenset[str]) -> RowMedia:
        """Several pictures: one tile each, followed by a newline."""
        values = self.processor.image_processor(images=[list(frames)], return_tensors="pt")["pixel_values"]
        pixels = values[:, 0].to(self.device, self.dtype)
        self._warm_vision(pixels)
        read, ms = timed(lambda: self._read(pixels, wanted), self.device)
        parts = [square_part(frame.size, self.tiles) for frame in frames]
        n_tile = self.tiles.cells**2
        tile = torch.arange(len(frames)).repeat_interleave(n_tile)
        return self._row_media(key, parts, read, ms, wanted, [[(n_tile, True)]] * len(frames), tile=tile)

    # -- videos

    def _video(
        self, frames: Sequence[Image.Image], key: str, times: tuple[float, ...], wanted: frozenset[str]
    ) -> RowMedia:
        pixels = self.video_pixels(frames)
        self._warm_vision(pixels)
        read, ms = timed(lambda: self._pooled_read(pixels, wanted), self.device)
        parts = [self._pooled_part(base_part(frame.size, self.tiles)) for frame in frames]
        rows = self._video_rows(parts)
        tile = torch.arange(len(frames)).repeat_interleave(math.prod(parts[0].shape))
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

    def _visual_token(self, media: Media) -> tuple[int, str]:
        if not isinstance(media, RowMedia) or media.times is None:
            return super()._visual_token(media)
        video = self.model.config.video_token_id
        return video, getattr(self.processor, "video_token", None) or self.tokenizer.convert_ids_to_tokens(video)

    def _template(self, media: Media) -> tuple[str, str]:
        if not isinstance(media, RowMedia) or media.times is None:
            return super()._template(media)
        return prompt.template(self.processor, 1, self._visual_token(media)[1], "video")
