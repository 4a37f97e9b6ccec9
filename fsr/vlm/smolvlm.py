"""SmolVLM2: a picture in tiles, each announced by marker tokens, and the whole picture once more behind them.

Every tile has the same few tokens: the connector puts `scale_factor` x `scale_factor` patches into one. The markers
(`<row_1_col_2>`, `<global-img>`) are text: they stay, whatever is left of their tile. The SigLIP tower has no [CLS]
token: saliency is the attention received in its last layer, averaged over the patches of a token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.vlm import prompt
from fsr.vlm.capture import find
from fsr.vlm.family import pixels_in
from fsr.vlm.media import Media
from fsr.vlm.tiled import ShuffledTower, Split, Tiled, TiledMedia


class SmolVLM(Tiled):
    """A SmolVLMForConditionalGeneration checkpoint. Every frame of a video is one tile with its time before it."""

    def _tower_of(self, model: Any) -> SmolTower:
        return SmolTower(model)

    @property
    def vision(self) -> Any:
        return find(self.model, "vision_model")

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


class SmolTower(ShuffledTower):
    """A SigLIP tower with a connector that shuffles."""

    def __init__(self, model: Any) -> None:
        vision = find(model, "vision_model")
        self.model, self.patch = model, int(model.config.vision_config.patch_size)
        self.scale = int(model.config.scale_factor)
        self.connector = find(model, "connector")
        self.projector = self.connector.modality_projection
        self.layers = find(vision, "encoder.layers")
        self.has_cls, self.extra = False, 0
        self.feature, self.layer = -1, len(self.layers) - 1

    def shuffled(self, states: Tensor) -> Tensor:
        together: Tensor = self.connector.pixel_shuffle(states, self.scale)
        return together

    def run(self, pixels: Tensor) -> None:
        self.model.get_image_features(pixel_values=pixels[None])
