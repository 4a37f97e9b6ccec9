"""Towers whose patches a pixel shuffle puts together in squares, and pictures in tiles with the whole picture last.

What SmolVLM2 and InternVL share. Every tile has the same few tokens.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from fsr.errors import FsrError
from fsr.tokens import Layout
from fsr.vlm.anyres import Part, Tiles, base_part, layout
from fsr.vlm.cost import timed
from fsr.vlm.family import Family
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


class Tiled(Family):
    """Every picture is cut into tiles and read once more as a whole; every frame of a video is one tile."""

    captures = CAPTURES - {"summary"}
    reads_clips = True
    video_input: ClassVar[str] = "pixel_values"  # what its video processor calls the pixels

    @property
    def tiles(self) -> Tiles:
        vision = self.model.config.vision_config
        return Tiles(edge(vision.image_size), edge(vision.patch_size) * self.tower.scale)

    # -- what `fsr.check` asks

    def saliency_of(self, weights: Sequence[Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        patches = super().saliency_of(weights, inputs).unflatten(0, (-1, (self.tiles.cells * self.tower.scale) ** 2, 1))
        saliency: Tensor = self.tower.together(patches).flatten()
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

    def video_pixels(self, frames: Sequence[Image.Image]) -> Tensor:
        """(F, 3, S, S): every frame squeezed into one tile."""
        one_by_one = [[[frame]] for frame in frames]  # frames may differ in size
        read = [self.processor.video_processor(v, do_sample_frames=False, return_tensors="pt") for v in one_by_one]
        return torch.cat([one[self.video_input][0] for one in read])

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


class ShuffledTower(Tower):
    """A tower whose patches are put together in squares, `scale` along each edge, by the model's own pixel shuffle."""

    scale: int

    def saliency_words(self) -> str:
        return f"{super().saliency_words()}, then mean over the {self.scale} x {self.scale} patches of a token"

    @abstractmethod
    def shuffled(self, states: Tensor) -> Tensor:
        """(F, T, c) of patches, without [CLS] -> (F, n, scale * scale * c) of tokens, as the model does it."""

    def together(self, states: Tensor) -> Tensor:
        """(F, T, c) of patches, without [CLS] -> (F, n, c): the mean of the patches of every token."""
        means: Tensor = self.shuffled(states).unflatten(-1, (self.scale**2, -1)).mean(dim=2)
        return means

    def _saliency(self, queries: Tensor, keys: Tensor, heads: int, scale: float | None = None) -> Tensor:
        return self.together(super()._saliency(queries, keys, heads, scale)[..., None])[..., 0]

    def _patches(self, states: Tensor) -> Tensor:
        return self.together(super()._patches(states))


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


def edge(size: int | Sequence[int]) -> int:
    """The edge of a square that a configuration gives as one number or as two."""
    return int(size if isinstance(size, int) else size[0])
