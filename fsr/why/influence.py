"""How much an answer rests on each kept token: its log-probability with all of them less that without the one.

Leave-one-out, teacher-forced: delta_i = log P(y | kept) - log P(y | kept without i), in nats, y all tokens of the
answer with its end of text. The token is removed from the prompt, not masked, so positions are those that the family
gives a prompt that never held it; so does every single run of `VLM.forced`, which this equals up to rounding. An anchor
leaves with all that was merged into it: they are one embedding.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fsr.tokens import Selection
from fsr.vlm.base import VLM, Chosen
from fsr.vlm.media import Encoding
from fsr.why.changed import absorbed, studied, without


@dataclass(frozen=True)
class Influence:
    """delta: in nats; above 0 the answer is more probable with the token. absorbed: what was merged into it.

    by_answer_token: the same of each token of the answer behind those before it; they sum to delta.
    """

    token: int
    delta: float
    absorbed: tuple[int, ...]
    by_answer_token: tuple[float, ...]

    def of(self, start: int, stop: int) -> float:
        """Of answer tokens start to stop, as of a word, see `fsr.why.words`."""
        return math.fsum(self.by_answer_token[start:stop])


@dataclass(frozen=True)
class Influences:
    """What is known so far. base: log P(answer | kept), in nats. found: in the order of the tokens. of: how many in
    all."""

    base: float
    found: tuple[Influence, ...]
    of: int

    @property
    def ranked(self) -> list[Influence]:
        """By delta, largest first, ties to the lower token."""
        return sorted(self.found, key=lambda one: (-one.delta, one.token))


def influence(
    vlm: VLM,
    encoding: Encoding,
    selection: Chosen,
    answer_ids: Sequence[int],
    stop: threading.Event | None = None,
) -> Iterator[Influences]:
    """All that is known after every batch of prompts; ends early when `stop` is set.

    What a method sends besides tokens of the grid (VisionZip's [CLS], PruMerge's rest) is never left out.
    Raises InvalidInput for a method inside the language model, see `studied`.
    """
    return _measured(vlm, encoding, studied(selection, encoding.tokens), answer_ids, stop)


def _measured(
    vlm: VLM, encoding: Encoding, chosen: Selection, answer_ids: Sequence[int], stop: threading.Event | None
) -> Iterator[Influences]:
    groups = absorbed(chosen)
    prompts = [chosen, *(without(chosen, token) for token in groups)]
    units, base = iter(groups.items()), None
    each: tuple[float, ...] = ()
    found: list[Influence] = []
    for batch in vlm.forced_batches(encoding, prompts, answer_ids):
        left = list(batch)
        if base is None:
            whole = left.pop(0)
            base, each = whole.log_prob, whole.token_log_probs
        for one in left:
            token, group = next(units)
            by_token = tuple(a - b for a, b in zip(each, one.token_log_probs, strict=True))
            found.append(Influence(token, base - one.log_prob, group, by_token))
        yield Influences(base, tuple(found), len(groups))
        if stop is not None and stop.is_set():
            return
