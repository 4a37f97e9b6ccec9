"""LLaVA-NeXT (1.6): a base picture and up to four tiles, as the model reads them or as papers count them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.vlm.anyres import Anyres, RowMedia

MODES = ("native", "paper")


class LlavaNext(Anyres):
    """A LlavaNextForConditionalGeneration checkpoint.

    mode: "native", the model's own way: the best resolution for the picture, padding left out before any budget, a
    newline for every row that keeps a token. "paper": always 2 x 2 tiles and no newline, padding included, 2880 tokens
    with 24 x 24 patches a tile: what pruning papers report.
    """

    def __init__(self, *args: Any, mode: str = "native", **settings: Any) -> None:
        super().__init__(*args, **settings)
        if mode not in MODES:
            raise InvalidInput(f"mode must be one of {', '.join(MODES)}, not {mode!r}.")
        self.mode = mode

    @property
    def pinpoints(self) -> list[list[int]]:
        side = self.tiles.side
        return [[2 * side, 2 * side]] if self.mode == "paper" else super().pinpoints

    def _encode_frames(
        self,
        frames: Sequence[Image.Image],
        key: str,
        times: tuple[float, ...] | None = None,
        wanted: frozenset[str] = frozenset(),
    ) -> RowMedia:
        return self._of_pixels([f.size for f in frames], [self.tile_pixels(f) for f in frames], key, wanted)

    def _of_pixels(
        self, sizes: Sequence[tuple[int, int]], pixels: Sequence[Tensor], key: str, wanted: frozenset[str]
    ) -> RowMedia:
        native = self.mode == "native"
        return self._anyres(sizes, pixels, key, wanted, unpad=native, newlines=native)
