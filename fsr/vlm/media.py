"""What was encoded: all of a picture or clip that does not depend on a question, and what a question adds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fsr.tokens import Layout, VisualTokens, computed_bytes

EVERYTHING = frozenset({"saliency", "relevance"})
CAPTURES = frozenset(
    {"keys", "last_keys", "last_saliency", "summary", "pixels"}
)  # read in the vision tower when asked for
MEDIA_CACHE_BYTES = 512_000_000


@dataclass(eq=False)
class Media:
    """Encoded frames: all that does not depend on the question.

    key: content hash. embeddings: (N, D), projected. features: (N, C), before the projector. saliency: (N,) or None.
    clip_patches: (N, P) unit rows for relevance, filled the first time a question asks for them.
    encode_ms: what the vision tower took when these frames were encoded. captures: those of `CAPTURES` that were asked
    for, as in `VisualTokens`; None where the tower has none. computed: unit rows and similarities of the tokens, which
    all questions share.
    """

    key: str
    layout: Layout
    embeddings: Tensor
    features: Tensor
    saliency: Tensor | None
    encode_ms: float
    clip_patches: Tensor | None = None
    captures: dict[str, Tensor | None] = field(default_factory=dict, kw_only=True)
    computed: dict[str, Any] = field(default_factory=dict, kw_only=True)

    @property
    def group(self) -> Tensor:
        """(N,) int64: the frame or tile of every token, those that a budget can be shared out to."""
        return self.layout.frame

    @property
    def nbytes(self) -> int:
        held = (self.embeddings, self.features, self.saliency, self.clip_patches, *self.captures.values())
        return sum(x.numel() * x.element_size() for x in held if x is not None) + computed_bytes(self.computed)


@dataclass(frozen=True, eq=False)
class Encoding:
    """One question about one media: its visual tokens with scores, and the prompt that waits for a selection.

    prompt: (L,) int64 on the CPU, image placeholders expanded to one per visual token. visual: (N,) their positions.
    unknown_words: words of the question that the tokenizer does not know.
    """

    media: Media
    question: str
    tokens: VisualTokens
    prompt: Tensor
    visual: Tensor
    unknown_words: list[str] = field(default_factory=list)


class MediaCache:
    """A thread-safe cache of at most `size` media and `nbytes` bytes that forgets the least recently used.

    The media used last is held even where it alone is larger.
    """

    def __init__(self, size: int, nbytes: int = MEDIA_CACHE_BYTES) -> None:
        self.size, self.nbytes = size, nbytes
        self._held: OrderedDict[str, Media] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Media | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, media: Media) -> None:
        with self._lock:
            self._held[media.key] = media
            self._held.move_to_end(media.key)
            while len(self._held) > self.size or (len(self._held) > 1 and self._bytes() > self.nbytes):
                self._held.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._held.clear()

    def _bytes(self) -> int:
        return sum(media.nbytes for media in self._held.values())

    def __len__(self) -> int:
        return len(self._held)
