"""Qwen2.5-VL: grids of any size, attention in windows, and positions that say where on the picture a token lies.

Saliency is the attention received in the last block that attends to the whole picture. That block, like all others,
has its tokens in the order of the windows; the order is undone, and the patches of a merged token are averaged. A kept
token keeps its own (time, row, column) position, and the answer goes on where it would have without pruning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from fsr.errors import FsrError, InvalidInput
from fsr.tokens import Selection, VisualTokens
from fsr.vlm import geometry, prompt
from fsr.vlm.base import Chosen
from fsr.vlm.capture import find
from fsr.vlm.cost import timed
from fsr.vlm.family import Family, pixels_in
from fsr.vlm.media import EVERYTHING, Encoding, Media

QUERIES_AT_ONCE = 1024


@dataclass(eq=False)
class QwenMedia(Media):
    """Media with the grids that positions are made of.

    grids: (pictures or videos, 3) int64, patches in time, height and width. seconds: what one step in time takes in a
    video, None for pictures. times: seconds, one a step in time of a video, where the prompt tells them. deepstack:
    (N, D) each, what is added to the tokens behind the first layers of the language model (Qwen3-VL).
    """

    grids: Tensor = field(default_factory=lambda: torch.zeros(0, 3, dtype=torch.long))
    seconds: float | None = None
    times: tuple[float, ...] = ()
    deepstack: tuple[Tensor, ...] = ()

    @property
    def nbytes(self) -> int:
        return super().nbytes + sum(x.numel() * x.element_size() for x in self.deepstack)


class QwenRead(NamedTuple):
    """What one pass of the tower shows, in raster order: see `QwenMedia`."""

    embeddings: Tensor
    features: Tensor
    saliency: Tensor
    deepstack: tuple[Tensor, ...] = ()


class Qwen25VL(Family):
    """A Qwen2_5_VLForConditionalGeneration checkpoint. Two frames of a video make one frame of tokens."""

    captures = frozenset()
    reads_clips = True

    def _tower_of(self, model: Any) -> Any:
        return QwenTower(model)

    @property
    def vision(self) -> Any:
        return self.tower.visual

    def processor_input(self, frames: Sequence[Image.Image], times: Sequence[float] | None) -> dict[str, Any]:
        given = super().processor_input(frames, times)
        if times is None:
            return given
        read = {
            "fps": 1 / (times[1] - times[0]),
            "frames_indices": [*range(len(times))],
            "total_num_frames": len(times),
        }
        return given | {"video_metadata": [read], "do_sample_frames": False}

    def masked_positions(self, inputs: Mapping[str, Tensor], mask: Tensor) -> Tensor:
        grids = {name: inputs[name] for name in ("image_grid_thw", "mm_token_type_ids")}
        positions: Tensor = self.model.model.get_rope_index(inputs["input_ids"], **grids)[0]
        return positions

    def run_tower(self, pixels: Tensor, inputs: Mapping[str, Tensor]) -> None:
        self.tower.visual(pixels, grid_thw=inputs["image_grid_thw"])

    def read_saliency(self, pixels: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        saliency: Tensor = self.tower.read(pixels, inputs["image_grid_thw"]).saliency
        return saliency

    def saliency_of(self, weights: Sequence[Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        from transformers.vision_utils import get_vision_window_index

        tower, vision = self.tower, self.model.config.vision_config
        got = torch.cat([w[0].float().mean(dim=(0, 1)) for w in weights]).view(-1, tower.merge**2).mean(dim=1)
        order, _ = get_vision_window_index(
            inputs["image_grid_thw"],
            spatial_merge_size=tower.merge,
            window_size=vision.window_size,
            patch_size=tower.patch,
        )
        return got[order.argsort()]

    def patch_reader(self) -> tuple[object, str, Callable[..., Any]]:
        tower = self.tower

        def patches(pixels: Tensor, grids: Tensor) -> QwenRead:
            out = tower.visual.patch_embed(pixels).view(-1, tower.merge**2 * tower.visual.config.hidden_size)
            return QwenRead(out, out, out[:, 0].float())

        return tower, "read", patches

    @property
    def _steps(self) -> int:
        return int(self.model.config.vision_config.temporal_patch_size)

    # -- media

    def _encode_frames(
        self,
        frames: Sequence[Image.Image],
        key: str,
        times: tuple[float, ...] | None = None,
        wanted: frozenset[str] = frozenset(),
    ) -> QwenMedia:
        try:
            pixels, grids = self._pictures(frames) if times is None else self._video(frames)
        except ValueError as error:  # the processor refuses pictures longer than 200 times their width
            raise InvalidInput(f"this model's image processor refuses the picture: {error}.") from error
        seconds = None if times is None else self._steps * _interval(times)
        return self._encode_grids(pixels, grids, self._views([f.size for f in frames], grids), key, seconds)

    def media_of(self, inputs: Mapping[str, Any], wanted: frozenset[str] = frozenset()) -> QwenMedia:
        video = inputs.get("pixel_values_videos") is not None
        if video and inputs.get("pixel_values") is not None:
            raise InvalidInput("pictures, or videos, can be pruned at a time, not both.")
        pixels = pixels_in(inputs, "pixel_values_videos" if video else "pixel_values")
        grids = pixels_in(inputs, "video_grid_thw" if video else "image_grid_thw").cpu()
        if video and len(grids) > 1:
            raise InvalidInput("one video, or pictures, can be pruned at a time.")
        seconds = inputs.get("second_per_grid_ts")
        interval = float(seconds[0]) if seconds is not None else 1.0
        sizes = [(self.tower.patch * cols, self.tower.patch * rows) for _, rows, cols in grids.tolist()]
        pixels = pixels.to(self.device, self.dtype)
        return self._encode_grids(pixels, grids, self._views(sizes, grids), "", interval if video else None)

    def _encode_grids(
        self, pixels: Tensor, grids: Tensor, views: list[geometry.View], key: str, seconds: float | None
    ) -> QwenMedia:
        if not self._vision_warm:
            side = 2 * self.tower.merge
            self.tower.read(torch.zeros_like(pixels[:1]).expand(side * side, -1), torch.tensor([[1, side, side]]))
            self._vision_warm = True
        read, ms = timed(lambda: self.tower.read(pixels, grids), self.device)
        embeddings, features, saliency = (x.to(self.device) for x in read[:3])
        layout = geometry.layout(views, self.tower.patch * self.tower.merge)
        if len(layout) != len(embeddings):
            raise FsrError(f"the model made {len(embeddings)} visual tokens where its grids have {len(layout)}.")
        deepstack = tuple(rows.to(self.device) for rows in read.deepstack)
        return QwenMedia(
            key, layout, embeddings, features, saliency, ms, grids=grids, seconds=seconds, deepstack=deepstack
        )

    def _pictures(self, frames: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
        values = self.processor.image_processor(images=list(frames), return_tensors="pt")
        return values["pixel_values"].to(self.device, self.dtype), values["image_grid_thw"]

    def _video(self, frames: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
        if len({frame.size for frame in frames}) > 1:
            raise InvalidInput("all frames of a video must have one size.")
        values = self.processor.video_processor(videos=[list(frames)], do_sample_frames=False, return_tensors="pt")
        return values["pixel_values_videos"].to(self.device, self.dtype), values["video_grid_thw"]

    def _views(self, sizes: Sequence[tuple[int, int]], grids: Tensor) -> list[geometry.View]:
        """How every picture, or every step in time of a video, lies in the model's input."""
        views = []
        for (steps, rows, cols), size in zip(grids.tolist(), sizes, strict=False):
            output = (cols * self.tower.patch, rows * self.tower.patch)
            scale = (output[0] / size[0], output[1] / size[1])
            views += [geometry.View(size, output, (0, 0), scale, (0, 0))] * steps
        return views

    # -- question

    def visual_token(self, media: Media) -> tuple[int, str]:
        assert isinstance(media, QwenMedia)
        config = self.model.config
        image = config.image_token_id if media.seconds is None else config.video_token_id
        return image, self.tokenizer.convert_ids_to_tokens(image)

    def template(self, media: Media) -> tuple[str, str]:
        assert isinstance(media, QwenMedia)
        kind = "image" if media.seconds is None else "video"
        return prompt.template(self.processor, len(media.grids), self.visual_token(media)[1], kind)

    def placeholders(self, media: Media) -> list[int]:
        assert isinstance(media, QwenMedia)
        counts: list[int] = (media.grids.prod(dim=1) // self.tower.merge**2).tolist()
        return counts

    @property
    def projection(self) -> None:
        return None

    def tokens(self, media: Media, question: str, needs: frozenset[str] = EVERYTHING) -> VisualTokens:
        """The visual tokens with their scores; `project` is None, as features are means over a merged group."""
        return super().tokens(media, question, needs - {"project"})

    # -- answer

    @torch.no_grad()
    def language_inputs(self, encoding: Encoding, selection: Selection | None) -> dict[str, Tensor]:
        """The prompt with the kept visual tokens in the place of all; everything keeps its own position."""
        inputs = super().language_inputs(encoding, selection)
        positions = self.positions(encoding)
        if selection is not None:
            positions = positions[:, :, self.source(encoding, selection)]
        return {**inputs, "position_ids": positions.to(self.device)}

    def positions(self, encoding: Encoding) -> Tensor:
        """(3, 1, L) int64: time, row and column of every place of the unpruned prompt."""
        media = encoding.media
        assert isinstance(media, QwenMedia)
        kinds = torch.zeros(1, len(encoding.prompt), dtype=torch.int)
        kinds[0, encoding.visual] = 1 if media.seconds is None else 2
        grids: dict[str, Tensor] = {"image_grid_thw": media.grids}
        if media.seconds is not None:
            grids = {"video_grid_thw": media.grids, "second_per_grid_ts": torch.tensor([media.seconds])}
        positions: Tensor = self.model.model.get_rope_index(encoding.prompt[None], mm_token_type_ids=kinds, **grids)[0]
        return positions

    def generate_batch(
        self, requests: Sequence[tuple[Encoding, Chosen]], max_new_tokens: int = 128, batch_size: int = 16
    ) -> list[str]:
        """The same answers as `generate`, one after the other: every prompt has positions of its own."""
        return [list(self.generate(*request, max_new_tokens))[-1].text for request in requests]


class QwenTower:
    """The vision side, read with hooks in one forward pass."""

    extra = 0

    def __init__(self, model: Any) -> None:
        vision = model.config.vision_config
        self.model, self.visual = model, find(model, "visual")
        self.patch, self.merge = int(vision.patch_size), int(vision.spatial_merge_size)
        self._see(vision)
        self.attention = self.visual.blocks[self.layer].attn

    def _see(self, vision: Any) -> None:
        self.window = max(1, int(vision.window_size) // self.merge // self.patch)
        self.layer = max(vision.fullatt_block_indexes)

    def saliency_words(self) -> str:
        where = f"block {self.layer + 1} of {len(self.visual.blocks)}, the last that sees the whole picture"
        heads = self.attention.num_heads
        return f"attention every patch receives in {where}, mean over {heads} heads, all patches and each merged group"

    @torch.no_grad()
    def read(self, pixels: Tensor, grids: Tensor) -> QwenRead:
        """(N, D) embeddings, (N, C) features and (N,) saliency of pictures or videos, all in raster order.

        features: the blocks' output, mean over the patches of a merged token.
        """
        with self._watched() as seen:
            out = self.visual(pixels, grid_thw=grids.to(pixels.device))
        order = self.order(grids).to(pixels.device)
        received = self._received(seen["attention"], seen["qkv"][0])
        group = self.merge**2
        saliency = _unordered(received.view(-1, group).mean(dim=1), order)
        hidden = seen["merger"][0]
        features = _unordered(hidden.view(-1, group, hidden.shape[-1]).float().mean(dim=1).to(hidden), order)
        return QwenRead(out.pooler_output, features, saliency, tuple(getattr(out, "deepstack_features", None) or ()))

    def order(self, grids: Tensor) -> Tensor:
        """(N,) int64: the merged tokens in the order in which the blocks see them, as indices in raster order."""
        return window_order(grids, self.merge, self.window)

    def _received(self, attention: dict[str, Any], qkv: Tensor) -> Tensor:
        """(patches,) float32: the attention every patch receives within its picture or step in time."""
        cos, sin = (x.float()[:, None] for x in attention["position_embeddings"])
        q, k, _ = qkv.view(len(qkv), 3, self.attention.num_heads, -1).unbind(dim=1)
        q, k = ((x.float() * cos + _rotated(x.float()) * sin).to(x.dtype).float() for x in (q, k))
        ends = attention["cu_seqlens"].tolist()
        return torch.cat([received(q[a:b], k[a:b]) for a, b in pairwise(ends)])

    @contextmanager
    def _watched(self) -> Iterator[dict[str, Any]]:
        """Record the arguments of the attention, the output of its qkv and the input of the merger; then forget."""
        seen: dict[str, Any] = {}

        def arguments(_module: Any, _inputs: Any, options: dict[str, Any]) -> None:
            seen["attention"] = options

        def output(_module: Any, _inputs: Any, out: Tensor) -> None:
            seen["qkv"] = (out.detach(),)

        def entering(_module: Any, inputs: tuple[Tensor, ...]) -> None:
            seen["merger"] = (inputs[0].detach(),)

        handles: list[Any] = []
        try:
            handles.append(self.attention.register_forward_pre_hook(arguments, with_kwargs=True))
            handles.append(self.attention.qkv.register_forward_hook(output))
            handles.append(self.visual.merger.register_forward_pre_hook(entering))
            yield seen
        finally:
            for handle in handles:
                handle.remove()


def received(queries: Tensor, keys: Tensor, at_once: int = QUERIES_AT_ONCE) -> Tensor:
    """(n,) float32: the attention received, mean over heads and queries. queries, keys: (n, heads, d), rotated.

    The queries come in chunks, so that a large picture takes n * at_once numbers and not n * n.
    """
    n, heads, width = queries.shape
    total = torch.zeros(n, device=queries.device)
    for head in range(heads):
        transposed = keys[:, head].T * width**-0.5
        for part in queries[:, head].split(at_once):
            total += (part @ transposed).softmax(dim=-1).sum(dim=0)
    return total / (n * heads)


def window_order(grids: Tensor, merge: int, window: int) -> Tensor:
    """(N,) int64: the merged tokens in the order of the attention windows, as indices in raster order.

    window: the side of a window in merged tokens. Each step in time has windows of its own.
    """
    orders, before = [], 0
    for steps, rows, cols in grids.tolist():
        rows, cols = rows // merge, cols // merge
        t, r, c = torch.meshgrid(torch.arange(steps), torch.arange(rows), torch.arange(cols), indexing="ij")
        across = -(-cols // window)
        of_window = (t * (-(-rows // window)) + r // window) * across + c // window
        orders.append(before + of_window.flatten().argsort(stable=True))
        before += steps * rows * cols
    return torch.cat(orders)


def _unordered(values: Tensor, order: Tensor) -> Tensor:
    """Values in the order of the windows -> in raster order."""
    raster = torch.empty_like(values)
    raster[order] = values
    return raster


def _rotated(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


def _interval(times: Sequence[float]) -> float:
    """Seconds between two frames, one where the times do not tell."""
    spread = times[-1] - times[0]
    return spread / (len(times) - 1) if len(times) > 1 and spread > 0 else 1.0
