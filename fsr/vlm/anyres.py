"""Pictures of any resolution: a small base picture and a mosaic of tiles, without padding, rows closed by newlines.

What LLaVA-NeXT and LLaVA-OneVision share. A newline is no visual token: no method sees it, no budget counts it. It
reaches the language model with the row that it closes, as long as one token of that row is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fsr.errors import FsrError
from fsr.tokens import Grid, Layout, Selection
from fsr.vlm.capture import find
from fsr.vlm.cost import timed
from fsr.vlm.family import Family, pixels_in
from fsr.vlm.geometry import View
from fsr.vlm.media import CAPTURES, Encoding, Media
from fsr.vlm.tower import Tower


@dataclass(eq=False)
class RowMedia(Media):
    """Media whose place in the prompt also holds newlines.

    counts: how many tokens and newlines every image token of the prompt stands for. place: (N,) int64, where a token
    stands among them all. newline: (N,) int64, where the newline stands that closes its row, or -1.
    tile: (N,) int64, the picture of the vision tower a token comes from, numbered through all frames.
    times: seconds, one a frame, of a video; None for pictures.
    """

    counts: list[int] = field(default_factory=list)
    place: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    newline: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    tile: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    times: tuple[float, ...] | None = None

    @property
    def group(self) -> Tensor:
        return self.tile


@dataclass(frozen=True)
class Tiles:
    """The tower's square input: `side` pixels, `cells` patches of `patch` pixels along each edge; a rest is unseen."""

    side: int
    patch: int

    @property
    def cells(self) -> int:
        return self.side // self.patch

    def pixel(self, cell: float, end: bool = False) -> float:
        """Where a coordinate counted in cells through several tiles lies in pixels; `end`: as the end of a stretch."""
        tile = math.ceil(cell / self.cells) - 1 if end else math.floor(cell / self.cells)
        return tile * self.side + (cell - tile * self.cells) * self.patch


@dataclass(frozen=True, eq=False)
class Part:
    """One grid of tokens: the base picture, a mosaic of tiles, or a video frame.

    view: how the picture lies in the pixels of this part. origin: (row, col) of the first cell that is kept, extent:
    how many cells, both counted through all tiles. shape: (rows, cols) of tokens, after any pooling. part, picture:
    see `Grid`.
    """

    view: View
    tiles: Tiles
    origin: tuple[int, int]
    extent: tuple[int, int]
    shape: tuple[int, int]
    part: str = ""
    picture: int = 0

    def rects(self) -> Tensor:
        """(rows * cols, 4) float32 on the visitor's picture."""
        (left, right), (top, bottom) = self._edges(0), self._edges(1)
        rows = [
            [x0, y0, x1, y1] for y0, y1 in zip(top, bottom, strict=True) for x0, x1 in zip(left, right, strict=True)
        ]
        return torch.tensor(rows, dtype=torch.float32)

    def _edges(self, axis: int) -> tuple[list[float], list[float]]:
        """Where every column (axis 0) or row (axis 1) begins and ends on the picture."""
        n, first = self.shape[1 - axis], self.origin[1 - axis]
        step = self.extent[1 - axis] / n
        begins = [self.view.back(axis, self.tiles.pixel(first + i * step)) for i in range(n)]
        ends = [self.view.back(axis, self.tiles.pixel(first + (i + 1) * step, end=True)) for i in range(n)]
        return begins, ends

    def grid(self) -> Grid:
        rects, (width, height) = self.rects(), self.view.size
        low, high = rects[:, :2].min(dim=0).values.tolist(), rects[:, 2:].max(dim=0).values.tolist()
        seen = (max(0.0, low[0]), max(0.0, low[1]), min(float(width), high[0]), min(float(height), high[1]))
        return Grid(width, height, *self.shape, seen, self.part, self.picture)


def layout(parts: Sequence[Part]) -> Layout:
    """The layout of the tokens of all parts, one frame each, in raster order."""
    frame = torch.cat([torch.full((p.shape[0] * p.shape[1],), i) for i, p in enumerate(parts)])
    row = torch.cat([torch.arange(p.shape[0]).repeat_interleave(p.shape[1]) for p in parts])
    col = torch.cat([torch.arange(p.shape[1]).repeat(p.shape[0]) for p in parts])
    return Layout(frame, row, col, torch.cat([p.rects() for p in parts]), tuple(p.grid() for p in parts))


def base_part(size: tuple[int, int], tiles: Tiles) -> Part:
    """The whole picture squeezed into one tile."""
    side, cells = tiles.side, tiles.cells
    view = View(size, (side, side), (0, 0), (side / size[0], side / size[1]), (0, 0))
    return Part(view, tiles, (0, 0), (cells, cells), (cells, cells))


def square_part(size: tuple[int, int], tiles: Tiles) -> Part:
    """The picture padded to a square, in one tile."""
    longest, cells = max(size), tiles.cells
    pad = ((longest - size[0]) // 2, (longest - size[1]) // 2)
    view = View(size, (tiles.side, tiles.side), pad, (tiles.side / longest,) * 2, (0, 0))
    return Part(view, tiles, (0, 0), (cells, cells), (cells, cells))


def mosaic(
    size: tuple[int, int], pinpoints: Sequence[Sequence[int]], tiles: Tiles, unpad: bool = True
) -> tuple[Part, Tensor]:
    """The mosaic of a (width, height) picture, and (rows, cols) int64: which of the tiles' tokens lies where.

    Tokens are counted tile by tile, without the base picture. unpad: leave out the rows or columns of padding.
    """
    from transformers.image_processing_utils import select_best_resolution
    from transformers.models.llava_next.modeling_llava_next import unpad_image

    width, height = size
    high, wide = select_best_resolution((height, width), [list(p) for p in pinpoints])
    scale_x, scale_y = wide / width, high / height
    if scale_x < scale_y:
        new = (wide, min(math.ceil(height * scale_x), high))
    else:
        new = (min(math.ceil(width * scale_y), wide), high)
    shift = ((wide - new[0]) // 2, (high - new[1]) // 2)
    view = View(size, (wide, high), (0, 0), (new[0] / width, new[1] / height), shift)
    down, across, cells = high // tiles.side, wide // tiles.side, tiles.cells
    index = torch.arange(down * across * cells * cells).view(down, across, cells, cells)
    index = index.transpose(1, 2).reshape(down * cells, across * cells)
    row, col = torch.meshgrid(torch.arange(down * cells), torch.arange(across * cells), indexing="ij")
    where = torch.stack([index, row, col])
    if unpad:
        where = unpad_image(where, (height, width))
    shape = (where.shape[1], where.shape[2])
    return Part(view, tiles, (int(where[1, 0, 0]), int(where[2, 0, 0])), shape, shape), where[0]


def resampled(values: Tensor, shape: tuple[int, int]) -> Tensor:
    """(rows, cols, ...) -> (*shape, ...): bilinear between cell centres."""
    if values.shape[:2] == shape:
        return values
    flat = values.flatten(2) if values.ndim > 2 else values[..., None]
    new = torch.nn.functional.interpolate(flat.permute(2, 0, 1)[None], list(shape), mode="bilinear")[0]
    return new.permute(1, 2, 0).reshape(*shape, *values.shape[2:])


def nearest(values: Tensor, shape: tuple[int, int]) -> Tensor:
    """(rows, cols) -> shape: the value at the cell in which the centre of each new cell lies."""
    row, col = ((2 * torch.arange(new) + 1) * old // (2 * new) for new, old in zip(shape, values.shape, strict=True))
    return values[row][:, col]


def with_newlines(rows: Sequence[tuple[int, bool]]) -> tuple[Tensor, Tensor, int]:
    """`place` and `newline` of `RowMedia`, and their length, from (how many tokens, whether a newline follows)."""
    place, newline, at = [], [], 0
    for n, closed in rows:
        place.append(torch.arange(at, at + n))
        newline.append(torch.full((n,), at + n if closed else -1))
        at += n + closed
    return torch.cat(place), torch.cat(newline), at


class AnyresTower(Tower):
    """A tower that is run without what the model does to its output afterwards (mosaic, pooling, newlines)."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        if self.extra:
            raise FsrError("a mosaic of tiles cannot be made from features that keep the [CLS] token.")
        self.vision = find(model, "vision_tower")
        self.cls_dropped = 1 if model.config.vision_feature_select_strategy == "default" else 0

    def run(self, pixels: Tensor) -> None:
        hidden = self.vision(pixels, output_hidden_states=True).hidden_states
        layers = [self.feature] if isinstance(self.feature, int) else self.feature
        self.projector(torch.cat([hidden[layer] for layer in layers], dim=-1)[:, self.cls_dropped :])


class Anyres(Family):
    """A checkpoint whose visual tokens are grids with newlines. Subclasses say which grids (`_encode_frames`)."""

    captures = CAPTURES - {"summary"}  # a mosaic has a [CLS] state for every tile

    def _tower_of(self, model: Any) -> AnyresTower:
        return AnyresTower(model)

    @property
    def tiles(self) -> Tiles:
        vision = self.model.config.vision_config
        return Tiles(int(vision.image_size), int(vision.patch_size))

    def _anyres(
        self,
        sizes: Sequence[tuple[int, int]],
        pixels: Sequence[Tensor],
        key: str,
        wanted: frozenset[str],
        unpad: bool = True,
        newlines: bool = True,
    ) -> RowMedia:
        """Base picture and mosaic of every picture. sizes: (width, height) each. pixels: as `tile_pixels` each."""
        tiles, parts, pieces, rows, before = self.tiles, [], [], [], 0
        n_tile = tiles.cells**2
        for picture, (size, tiled) in enumerate(zip(sizes, pixels, strict=True)):
            part, index = mosaic(size, self.pinpoints, tiles, unpad)
            part = replace(part, shape=self._mosaic_shape(part), part="tiles", picture=picture)
            base = torch.arange(n_tile).view(tiles.cells, tiles.cells)
            parts += [replace(base_part(size, tiles), part="base", picture=picture), part]
            pieces += [before * n_tile + base, (before + 1) * n_tile + index]
            rows.append([(n_tile, False), *[(part.shape[1], newlines)] * part.shape[0]])
            before += len(tiled)
        tile = [nearest(piece, part.shape).flatten() // n_tile for piece, part in zip(pieces, parts, strict=True)]
        self._warm_vision(pixels[0])
        read, ms = timed(lambda: self._assembled(torch.cat(list(pixels)), wanted, pieces, parts), self.device)
        return self._row_media(key, parts, read, ms, wanted, rows, tile=torch.cat(tile))

    def _mosaic_shape(self, part: Part) -> tuple[int, int]:
        """(rows, cols) of the mosaic's tokens."""
        return part.extent

    def _assembled(
        self, pixels: Tensor, wanted: frozenset[str], pieces: Sequence[Tensor], parts: Sequence[Part]
    ) -> dict[str, Tensor]:
        """What the tower shows of all tiles, laid out as `pieces`, each resampled to the shape of its part."""

        def assembled(value: Tensor) -> Tensor:
            laid = [resampled(value[piece.to(self.device)], p.shape) for piece, p in zip(pieces, parts, strict=True)]
            return torch.cat([one.flatten(0, 1) for one in laid])

        read = self._read(pixels, wanted)
        return {name: value if name == "summary" else assembled(value) for name, value in read.items()}

    def _row_media(
        self,
        key: str,
        parts: Sequence[Part],
        read: dict[str, Tensor],
        ms: float,
        wanted: frozenset[str],
        rows: Sequence[Sequence[tuple[int, bool]]],
        **more: Any,
    ) -> RowMedia:
        """rows: for every image token of the prompt, what `with_newlines` takes."""
        place, newline, _ = with_newlines([stretch for one in rows for stretch in one])
        return RowMedia(
            key=key,
            layout=layout(parts),
            embeddings=read["embeddings"],
            features=read["features"],
            saliency=read["saliency"],
            encode_ms=ms,
            captures={name: read.get(name) for name in wanted},
            counts=[with_newlines(one)[2] for one in rows],
            place=place,
            newline=newline,
            **more,
        )

    def _warm_vision(self, pixels: Tensor) -> None:
        if not self._vision_warm:
            self.tower.read(torch.zeros_like(pixels[:1]))
            self._vision_warm = True

    @property
    def pinpoints(self) -> list[list[int]]:
        pinpoints: list[list[int]] = self.model.config.image_grid_pinpoints
        return pinpoints

    def tile_pixels(self, frame: Image.Image) -> Tensor:
        """(T, 3, H, W): the base picture, then the tiles."""
        values = self.processor.image_processor(
            images=[frame], image_grid_pinpoints=self.pinpoints, return_tensors="pt"
        )["pixel_values"]
        pixels: Tensor = values[0].to(self.device, self.dtype)
        return pixels

    def media_of(self, inputs: Mapping[str, Any], wanted: frozenset[str] = frozenset()) -> RowMedia:
        pixels = pixels_in(inputs, "pixel_values").to(self.device, self.dtype)
        sizes = [(int(w), int(h)) for h, w in pixels_in(inputs, "image_sizes").tolist()]
        tiled = [one[: self._tile_count(size)] for one, size in zip(pixels, sizes, strict=True)]
        return self._of_pixels(sizes, tiled, "", wanted)

    def _tile_count(self, size: tuple[int, int]) -> int:
        """Tiles of a picture, the base picture included."""
        return 1 + math.prod(n // self.tiles.side for n in mosaic(size, self.pinpoints, self.tiles)[0].view.output)

    def _of_pixels(
        self, sizes: Sequence[tuple[int, int]], pixels: Sequence[Tensor], key: str, wanted: frozenset[str]
    ) -> RowMedia:
        """Media of pictures that are cut into tiles already."""
        return self._anyres(sizes, pixels, key, wanted)

    # -- question and answer

    def placeholders(self, media: Media) -> list[int]:
        assert isinstance(media, RowMedia)
        return media.counts

    def located(self, ids: Tensor, media: Media) -> Tensor:
        assert isinstance(media, RowMedia)
        return super().located(ids, media)[media.place]

    @torch.no_grad()
    def language_inputs(self, encoding: Encoding, selection: Selection | None) -> dict[str, Tensor]:
        """The prompt with the kept visual tokens and the newlines of their rows, at positions by `kept_positions`."""
        ids, token = encoding.prompt, self.visual_token(encoding.media)[0]
        is_newline = self._newlines(encoding)
        source, embeddings, places = torch.arange(len(ids)), encoding.tokens.embeddings, {}
        if selection is not None:
            embeddings = selection.sent
            source = self.source(encoding, selection)
            places = self._places(source)
        self._check_room(len(source))
        is_newline, ids = is_newline[source].to(self.device), ids[source].to(self.device)
        is_visual = (ids == token) & ~is_newline
        embeds = self.model.get_input_embeddings()(ids.masked_fill(is_visual | is_newline, 0))
        embeds[is_visual] = embeddings.to(self.device, embeds.dtype)
        embeds[is_newline] = self._newline.to(embeds)
        return {"inputs_embeds": embeds[None], **places}

    def source(self, encoding: Encoding, selection: Selection) -> Tensor:
        media = encoding.media
        assert isinstance(media, RowMedia)
        every = (encoding.prompt == self.visual_token(media)[0]).nonzero().flatten()
        closing = media.newline[selection.kept.cpu()]
        unread = self._newlines(encoding)
        unread[every[closing[closing >= 0]]] = False
        source = super().source(encoding, selection)
        return source[~unread[source]]

    def _newlines(self, encoding: Encoding) -> Tensor:
        """(L,) bool: which places of the unpruned prompt are newlines."""
        is_newline = encoding.prompt == self.visual_token(encoding.media)[0]
        is_newline[encoding.visual] = False
        return is_newline

    @property
    def _newline(self) -> Tensor:
        """(D,): what closes a row."""
        parameter: Tensor
        for name, parameter in self.model.named_parameters():
            if name.endswith("image_newline"):
                return parameter
        raise FsrError("this checkpoint has no image_newline.")
