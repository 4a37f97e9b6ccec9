"""SmolVLM2: a picture in tiles, each announced by marker tokens, and the whole picture once more behind them.

Every tile has the same few tokens: the connector puts `scale_factor` x `scale_factor` patches into one. The markers
(`<row_1_col_2>`, `<global-img>`) are text: they stay, whatever is left of their tile. The SigLIP tower has no [CLS]
token: saliency is the attention received in its last layer, averaged over the patches of a token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fsr.errors import FsrError, InvalidInput
from fsr.tokens import Layout
from fsr.vlm import prompt
from fsr.vlm.anyres import Part, Tiles, base_part, layout
from fsr.vlm.capture import find
from fsr.vlm.cost import timed
from fsr.vlm.family import Family, pixels_in
from fsr.vlm.geometry import View
from fsr.vlm.media import CAPTURES, Media
from fsr.vlm.tower import Tower

Split = tuple[int, int]  # rows and columns of tiles; (0, 0) where a picture is one tile and nothing else


@dataclass(eq=False)
class TiledMedia(Media):
    """Media whose tokens come tile after tile, the whole picture last.

    tile: (N,) int64, numbered through all pictures. splits: one a picture or frame. times: seconds, one a frame, of a
    video; None for pictures.
    """

    tile: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    splits: tuple[Split, ...] = ()
    times: tuple[float, ...] | None = None

    @property
    def group(self) -> Tensor:
        return self.tile


class SmolVLM(Family):
    """A SmolVLMForConditionalGeneration checkpoint. Every frame of a video is one tile with its time before it."""

    captures = CAPTURES - {"summary"}
    reads_clips = True

    def _tower_of(self, model: Any) -> ShuffledTower:
        return ShuffledTower(model)

    @property
    def vision(self) -> Any:
        return find(self.model, "vision_model")

    @property
    def tiles(self) -> Tiles:
        vision = self.model.config.vision_config
        return Tiles(int(vision.image_size), int(vision.patch_size) * self.tower.scale)

    # -- what `fsr.check` asks

    def processor_input(self, frames: Sequence[Image.Image], times: Sequence[float] | None) -> dict[str, Any]:
        if times is None:
            return {"images": [list(frames)]}
        read = {
            "fps": 1 / (times[1] - times[0]),
            "frames_indices": [*range(len(times))],
            "total_num_frames": len(times),
        }
        return {"videos": [list(frames)], "video_metadata": [read], "do_sample_frames": False}

    def saliency_of(self, weights: Sequence[Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        received = torch.cat(list(weights)).float().mean(dim=(1, 2))
        saliency: Tensor = self.tower.shuffled(received[..., None]).mean(dim=-1).flatten()
        return saliency

    def patch_reader(self) -> tuple[object, str, Callable[..., Any]]:
        owner, name, patches = super().patch_reader()
        tiles = self.tiles

        def grouped(pixels: Tensor, wanted: frozenset[str] = frozenset()) -> dict[str, Tensor]:
            out = patches(pixels, wanted)["embeddings"].unflatten(0, (-1, (tiles.cells * self.tower.scale) ** 2))
            out = self.tower.shuffled(out).flatten(0, 1)
            return {"embeddings": out, "features": out, "saliency": out[:, 0].float()}

        return owner, name, grouped

    # -- media

    def _encode_frames(
        self,
        frames: Sequence[Image.Image],
        key: str,
        times: tuple[float, ...] | None = None,
        wanted: frozenset[str] = frozenset(),
    ) -> TiledMedia:
        sizes = [frame.size for frame in frames]
        if times is not None:
            return self._tiled(sizes, [(0, 0)] * len(frames), self.video_pixels(frames), key, wanted, times)
        values = self.processor.image_processor(images=[list(frames)], return_row_col_info=True, return_tensors="pt")
        splits = list(zip(values["rows"][0], values["cols"][0], strict=True))
        return self._tiled(sizes, splits, values["pixel_values"][0], key, wanted)

    def video_pixels(self, frames: Sequence[Image.Image]) -> Tensor:
        """(F, 3, S, S): every frame squeezed into one tile."""
        one_by_one = [[[frame]] for frame in frames]  # frames may differ in size
        read = [self.processor.video_processor(v, do_sample_frames=False, return_tensors="pt") for v in one_by_one]
        return torch.cat([one["pixel_values"][0] for one in read])

    def media_of(self, inputs: Mapping[str, Any], wanted: frozenset[str] = frozenset()) -> TiledMedia:
        pixels = pixels_in(inputs, "pixel_values")
        if pixels.ndim != 5 or len(pixels) != 1:
            raise InvalidInput("one prompt at a time can be pruned: pixel_values of shape (1, tiles, 3, side, side).")
        mask = inputs.get("pixel_attention_mask")
        if mask is not None and not bool(mask.all()):
            raise InvalidInput("tiles with padding cannot be pruned; give what the model's own processor returns.")
        side, (splits, times) = self.tiles.side, self._told(inputs.get("input_ids"), pixels.shape[1])
        sizes = [(side * max(1, cols), side * max(1, rows)) for rows, cols in splits]
        return self._tiled(sizes, splits, pixels[0], "", wanted, times)

    def _told(self, ids: Tensor | None, tiles: int) -> tuple[list[Split], tuple[float, ...] | None]:
        """How the pictures of a prompt were cut, or when the frames of its video are, by its markers.

        Without markers every tile is a picture.
        """
        text = "" if ids is None else self.tokenizer.decode(ids[0].tolist(), skip_special_tokens=False)
        around, whole, image = self._marks()
        seconds = re.findall(rf"Frame from (\d+):(\d\d):{around}{whole}{image}", text)
        if len(seconds) == tiles:
            return [(0, 0)] * tiles, tuple(60.0 * int(minute) + int(second) for minute, second in seconds)
        splits: list[Split] = [(0, 0)]
        for row, col in re.findall(rf"(?:<row_(\d+)_col_(\d+)>|{whole}){image}", text):
            if row:
                splits[-1] = (int(row), int(col))
            else:
                splits.append((0, 0))
        splits.pop()
        found = sum(rows * cols + 1 for rows, cols in splits)
        return (splits if found == tiles else [(0, 0)] * tiles), None

    def _tiled(
        self,
        sizes: Sequence[tuple[int, int]],
        splits: Sequence[Split],
        pixels: Tensor,
        key: str,
        wanted: frozenset[str],
        times: tuple[float, ...] | None = None,
    ) -> TiledMedia:
        pixels = pixels.to(self.device, self.dtype)
        if not self._vision_warm:
            self.tower.read(torch.zeros_like(pixels[:1]))
            self._vision_warm = True
        read, ms = timed(lambda: self._read(pixels, wanted), self.device)
        places, n_tile = tiled_layout(sizes, splits, self.tiles), self.tiles.cells**2
        if len(places) != len(read["embeddings"]):
            raise FsrError(
                f"the model made {len(read['embeddings'])} visual tokens where its tiles have {len(places)}."
            )
        return TiledMedia(
            key,
            places,
            read["embeddings"],
            read["features"],
            read["saliency"],
            ms,
            captures={name: read.get(name) for name in wanted},
            tile=torch.arange(len(pixels)).repeat_interleave(n_tile),
            splits=tuple(splits),
            times=times,
        )

    def _marks(self) -> Iterator[str]:
        """What stands around a tile, before a whole picture, and for a token, as patterns."""
        processor = self.processor
        return map(re.escape, (processor.fake_image_token, processor.global_image_token, processor.image_token))

    # -- question

    @property
    def _image_token(self) -> str:
        token: str = self.processor.image_token
        return token

    def placeholders(self, media: Media) -> list[int]:
        """How many image tokens every tile has in the prompt."""
        assert isinstance(media, TiledMedia)
        return torch.bincount(media.tile).tolist()

    def rendered(self, media: Media) -> tuple[str, str]:
        assert isinstance(media, TiledMedia)
        if media.times is not None:
            return prompt.template(self.processor, 1, self.processor.video_token, "video")
        return prompt.template(self.processor, len(media.splits), self._image_token)

    def template(self, media: Media) -> tuple[str, str]:
        """The prompt before and after the question, with the markers of every tile and one image token for each."""
        assert isinstance(media, TiledMedia)
        before, after = self.rendered(media)
        if media.times is not None:
            return before.replace(self.processor.video_token, self._video_text(media.times)), after
        pictures = iter([self._picture_text(*split) for split in media.splits])
        return re.sub(re.escape(self._image_token), lambda _: next(pictures), before), after

    def _picture_text(self, rows: int, cols: int) -> str:
        from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

        around, whole = self.processor.fake_image_token, self.processor.global_image_token
        text: str = get_image_prompt_string(rows, cols, 1, around, self._image_token, whole)
        return text

    def _video_text(self, times: Sequence[float]) -> str:
        """What the model was trained to be told: how many frames from how long a video, and the time of each.

        The length is taken to be the time of the last frame, as frames are spread from the first to the last.
        """
        from num2words import num2words
        from transformers.models.smolvlm import processing_smolvlm as told

        frame, length = self._picture_text(0, 0), timedelta(seconds=int(times[-1]))
        text: str = told.DEFAULT_VIDEO_INTRO.format(frame_count=num2words(len(times)), video_duration=str(length))
        for second in map(int, times):
            at = f"{second // 60:02d}:{second % 60:02d}"
            text += told.FRAME_TIMESTAMP_MESSAGE.format(timestamp=at) + frame
        return text + str(told.DEFAULT_MEDIA_OUTTRO)


class ShuffledTower(Tower):
    """A SigLIP tower whose patches are put together in squares, `scale` along each edge, by a pixel shuffle."""

    def __init__(self, model: Any) -> None:
        vision = find(model, "vision_model")
        self.model, self.patch = model, int(model.config.vision_config.patch_size)
        self.scale = int(model.config.scale_factor)
        self.connector = find(model, "connector")
        self.projector = self.connector.modality_projection
        self.layers = find(vision, "encoder.layers")
        self.has_cls, self.extra = False, 0
        self.feature, self.layer = -1, len(self.layers) - 1

    def saliency_words(self) -> str:
        return f"{super().saliency_words()}, then over the {self.scale} x {self.scale} patches of a token"

    def shuffled(self, states: Tensor) -> Tensor:
        """(F, T, c) of patches -> (F, n, scale * scale * c) of tokens, as the connector puts them together."""
        together: Tensor = self.connector.pixel_shuffle(states, self.scale)
        return together

    def _saliency(self, queries: Tensor, keys: Tensor, heads: int, scale: float | None = None) -> Tensor:
        received = super()._saliency(queries, keys, heads, scale)
        return self.shuffled(received[..., None]).mean(dim=-1)

    def _patches(self, states: Tensor) -> Tensor:
        means: Tensor = self.shuffled(states).unflatten(-1, (self.scale**2, -1)).mean(dim=2)
        return means

    def run(self, pixels: Tensor) -> None:
        self.model.get_image_features(pixel_values=pixels[None])


def tiled_layout(sizes: Sequence[tuple[int, int]], splits: Sequence[Split], tiles: Tiles) -> Layout:
    """The layout of pictures cut into tiles: of each a mosaic, its tokens tile after tile, then the whole picture.

    sizes: (width, height) of every picture. A mosaic covers the picture exactly: it is stretched to whole tiles.
    """
    parts, orders, before = [], [], 0
    cut = any(rows for rows, _ in splits)
    for picture, (size, (rows, cols)) in enumerate(zip(sizes, splits, strict=True)):
        if rows:
            parts.append(_mosaic(size, rows, cols, tiles, picture))
            raster = torch.arange(rows * cols * tiles.cells**2).view(rows, tiles.cells, cols, tiles.cells)
            orders.append(before + raster.transpose(1, 2).flatten())
            before += len(orders[-1])
        parts.append(replace(base_part(size, tiles), part="base" if cut else "", picture=picture if cut else 0))
        orders.append(before + torch.arange(tiles.cells**2))
        before += tiles.cells**2
    places, order = layout(parts), torch.cat(orders)
    return Layout(places.frame[order], places.row[order], places.col[order], places.rect[order], places.grids)


def _mosaic(size: tuple[int, int], rows: int, cols: int, tiles: Tiles, picture: int) -> Part:
    output, shape = (cols * tiles.side, rows * tiles.side), (rows * tiles.cells, cols * tiles.cells)
    view = View(size, output, (0, 0), (output[0] / size[0], output[1] / size[1]), (0, 0))
    return Part(view, tiles, (0, 0), shape, shape, "tiles", picture)
