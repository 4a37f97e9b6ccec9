"""What questions were encoded to: one encoding a question, whatever methods ask for, bounded by the memory it holds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from PIL import Image

from fsr.vlm import VLM, Encoding
from fsr.vlm.media import CAPTURES, EVERYTHING, Media


@dataclass(frozen=True, eq=False)
class _Held:
    encoding: Encoding
    captured: frozenset[str]


class Encodings:
    """At most `size` encodings and `nbytes` bytes; the one that was used least recently is forgotten first.

    The one used last is held even where it alone is larger. Calls come from one turn at a time.
    """

    def __init__(self, size: int, nbytes: float) -> None:
        self.size, self.limit = size, nbytes
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(
        self,
        vlm: VLM,
        key: Hashable,
        frames: Sequence[Image.Image],
        times: Sequence[float] | None,
        question: str,
        needs: frozenset[str],
    ) -> Encoding:
        """The encoding of these frames and this question, with at least `needs` captured.

        key: what stands for model, frames and question. Captures that are missing are added to the encoding that is
        there, so that all methods share its similarities.
        """
        needs = EVERYTHING | needs
        if needs & CAPTURES:  # all of them in one more pass of the tower: the next method may ask for another
            needs |= vlm.captures
        held = self._held.get(key)
        if held is None:
            media = vlm.encode_media(frames, times, needs)
            held = _Held(vlm.encode(media, question, needs), needs)
        elif not needs <= held.captured:
            needs |= held.captured
            media = vlm.encode_media(frames, times, needs)
            held = _Held(vlm.with_captures(held.encoding, media, needs), needs)
        self._held[key] = held
        self._held.move_to_end(key)
        while len(self._held) > 1 and (len(self._held) > self.size or self.nbytes > self.limit):
            self._held.popitem(last=False)
        return held.encoding

    @property
    def latest(self) -> Media | None:
        """The media of the question that was asked for last."""
        return next(reversed(self._held.values())).encoding.media if self._held else None

    @property
    def nbytes(self) -> int:
        """Bytes that are really held: every picture or clip once, with its captures and the similarities that methods
        computed, of all spaces."""
        media = {id(held.encoding.media): held.encoding.media for held in self._held.values()}
        return sum(one.nbytes for one in media.values())

    def clear(self) -> None:
        self._held.clear()
