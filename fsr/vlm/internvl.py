"""InternVL3 and 3.5: a picture in up to twelve tiles and once more as a whole, the frames of a video one tile each.

A pixel shuffle puts 2 x 2 patches into one token. InternViT has a [CLS] token: saliency is the attention it gives in
the last layer used, averaged over the patches of a token by the model's own shuffle.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image
from torch import Tensor
from torch.nn import functional

from fsr.errors import FsrError, InvalidInput
from fsr.vlm import prompt
from fsr.vlm.capture import find
from fsr.vlm.family import pixels_in
from fsr.vlm.media import Media
from fsr.vlm.tiled import ShuffledTower, Split, Tiled, TiledMedia, edge


class InternVL(Tiled):
    """An InternVLForConditionalGeneration checkpoint. A picture is one stretch of tokens, a video one a frame."""

    video_input = "pixel_values_videos"
    patch_embedding = "patch_embeddings.projection"

    def _tower_of(self, model: Any) -> InternTower:
        return InternTower(model)

    def processor_input(self, frames: Sequence[Image.Image], times: Sequence[float] | None) -> dict[str, Any]:
        given = super().processor_input(frames, times)
        return given if times is None else {**given, "do_sample_frames": False}

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
        # the family's processor has pictures cut, whatever the image processor's own setting is
        values = self.processor.image_processor(images=list(frames), crop_to_patches=True, return_tensors="pt")
        return self._tiled(sizes, [self._split(*size) for size in sizes], values["pixel_values"], key, wanted)

    def _split(self, width: int, height: int) -> Split:
        """Rows and columns of tiles, as the image processor chooses them."""
        processor, side = self.processor.image_processor, self.tiles.side
        choose = vars(sys.modules[type(processor).__module__])["get_optimal_tiled_canvas"]
        cols, rows = choose((height, width), (side, side), processor.min_patches, processor.max_patches)
        return (int(rows), int(cols)) if rows * cols > 1 else (0, 0)

    def media_of(self, inputs: Mapping[str, Any], wanted: frozenset[str] = frozenset()) -> TiledMedia:
        pixels = pixels_in(inputs, "pixel_values")
        if pixels.ndim != 4:
            raise InvalidInput("one prompt at a time can be pruned: pixel_values of shape (tiles, 3, side, side).")
        counts, times = self._told(inputs.get("input_ids"), len(pixels))
        side = self.tiles.side
        splits = [cut_of(one) for one in pixels.split(counts)]
        sizes = [(side * max(1, cols), side * max(1, rows)) for rows, cols in splits]
        return self._tiled(sizes, splits, pixels, "", wanted, times)

    def _told(self, ids: Tensor | None, tiles: int) -> tuple[list[int], tuple[float, ...] | None]:
        """How many tiles every picture of a prompt has, or that its stretches of tokens are frames of a video.

        Frames are a second apart: the prompt does not tell their times. Where it does not fit, every tile is a picture.
        """
        if ids is None:
            return [1] * tiles, None
        begin, token, end = map(re.escape, self._around)
        text = self.tokenizer.decode(ids[0].tolist(), skip_special_tokens=False)
        runs = re.findall(rf"(Frame\d+: ?)?{begin}((?:{token})+){end}", text)
        each = self.tiles.cells**2 * len(self._around[1])
        counts = [len(run) // each for _, run in runs]
        if sum(counts) != tiles or not all(counts):
            return [1] * tiles, None
        if all(named for named, _ in runs):
            return counts, tuple(float(i) for i in range(tiles))
        return counts, None

    # -- question

    @property
    def _around(self) -> tuple[str, str, str]:
        """What begins the tokens of a picture, one of them, and what ends them."""
        return self.processor.start_image_token, self.processor.image_token, self.processor.end_image_token

    def placeholders(self, media: Media) -> list[int]:
        """How many tokens every picture, or every frame, has in the prompt."""
        assert isinstance(media, TiledMedia)
        return [(rows * cols + 1) * self.tiles.cells**2 for rows, cols in media.splits]

    def rendered(self, media: Media) -> tuple[str, str]:
        assert isinstance(media, TiledMedia)
        if media.times is not None:
            return prompt.template(self.processor, 1, self.processor.video_token, "video")
        return prompt.template(self.processor, len(media.splits), self._around[1])

    def template(self, media: Media) -> tuple[str, str]:
        before, after = self.rendered(media)
        assert isinstance(media, TiledMedia)
        picture = "".join(self._around)
        if media.times is None:
            return before.replace(self._around[1], picture), after
        frames = "\n".join(f"Frame{i + 1}: {picture}" for i in range(len(media.times)))
        return before.replace(self.processor.video_token, frames), after


class InternTower(ShuffledTower):
    """InternViT and its projector. Larger ones norm queries and keys before they are compared."""

    def __init__(self, model: Any) -> None:
        config = model.config
        if config.vision_feature_select_strategy != "default":
            raise FsrError("InternVL checkpoints whose projector reads [CLS] as well are not supported.")
        vision = find(model, "vision_tower")
        self.model, self.patch = model, edge(config.vision_config.patch_size)
        self.scale, self.ratio = round(1 / config.downsample_ratio), config.downsample_ratio
        self.shuffling = next(m for m in model.modules() if hasattr(m, "pixel_shuffle"))
        self.projector = find(model, "multi_modal_projector")
        self.layers = find(vision, "encoder.layer")
        self.has_cls, self.extra = True, 0
        self.feature = config.vision_feature_layer
        self.layer = self._fed_layer(self.feature)

    def _attention_of(self, layer: Any) -> Any:
        return layer.attention

    def _queries_and_keys(self, attention: Any) -> tuple[Any, Any]:
        return attention.q_norm, attention.k_norm

    def shuffled(self, states: Tensor) -> Tensor:
        side = round(states.shape[1] ** 0.5)
        squares: Tensor = self.shuffling.pixel_shuffle(states.unflatten(1, (side, side)), scale_factor=self.ratio)
        return squares.flatten(1, 2)


def cut_of(pixels: Tensor) -> Split:
    """Rows and columns of a picture's tiles, the last of which is the whole picture; (0, 0) for a single tile.

    The processor does not tell them: they are those with which the tiles, made small, are most like the whole picture.
    pixels: (tiles, 3, S, S).
    """
    n = len(pixels) - 1
    if not n:
        return 0, 0
    tiles, whole = pixels[:-1].float(), pixels[-1].float()

    def difference(rows: int) -> float:
        mosaic = tiles.unflatten(0, (rows, n // rows)).permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
        small = functional.interpolate(mosaic[None], whole.shape[-2:], mode="area")[0]
        return float((small - whole).square().mean())

    rows = min((r for r in range(1, n + 1) if n % r == 0), key=difference)
    return rows, n // rows
