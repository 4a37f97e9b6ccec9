"""LLaVA-Video: OneVision's modules with frames averaged 2 x 2, a newline for every row, and the times in the prompt.

With 27 x 27 patches a frame has 13 x 13 tokens and 13 newlines; the last row and column of patches are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from fsr.vlm.anyres import Part, RowMedia
from fsr.vlm.llava_onevision import LlavaOnevision
from fsr.vlm.media import Media


class LlavaVideo(LlavaOnevision):
    """A LLaVA-Video checkpoint, its authors' own files or a conversion of them."""

    no_video_reference = (
        "transformers' class pools frames as OneVision does, so it is no reference for LLaVA-Video's frames"
    )

    def _pooled_part(self, part: Part) -> Part:
        rows, cols = part.extent[0] // 2, part.extent[1] // 2
        return replace(part, extent=(2 * rows, 2 * cols), shape=(rows, cols))

    def _pool(self, values: Tensor) -> Tensor:
        rows, cols = values.shape[0] // 2, values.shape[1] // 2
        groups = values[: 2 * rows, : 2 * cols].unflatten(1, (cols, 2)).unflatten(0, (rows, 2))
        means: Tensor = groups.mean(dim=(1, 3))
        return means

    def _video_rows(self, parts: Sequence[Part]) -> list[tuple[int, bool]]:
        return [(part.shape[1], True) for part in parts for _ in range(part.shape[0])]

    def template(self, media: Media) -> tuple[str, str]:
        before, after = super().template(media)
        if isinstance(media, RowMedia) and media.times is not None:
            before += time_instruction(media.times) + "\n"
        return before, after


def time_instruction(times: Sequence[float]) -> str:
    """What the model was trained to be told: the length of the video, how many frames it sees, and where they lie.

    The length is taken to be the time of the last frame, as frames are spread from the first to the last.
    """
    places = ",".join(f"{t:.2f}s" for t in times)
    return (
        f"The video lasts for {times[-1]:.2f} seconds, and {len(times)} frames are uniformly sampled from it. "
        f"These frames are located at {places}.Please answer the following questions related to this video."
    )
