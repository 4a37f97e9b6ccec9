"""How much an answer rests on each kept token: its log-probability with all of them less that without the one.

Leave-one-out, teacher-forced: delta_i = log P(y | kept) - log P(y | kept without i), in nats, y all tokens of the
answer with its end of text. The token is removed from the prompt, not masked, so positions are those that the family
gives a prompt that never held it; so does every single run of `VLM.forced`, which this equals up to rounding. An anchor
leaves with all that was merged into it: they are one embedding.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fsr.tokens import Selection
from fsr.vlm.base import VLM, Chosen
from fsr.vlm.media import Encoding
from fsr.why.changed import absorbed, studied, without


@dataclass(frozen=True)
class Influence:
    """delta: in nats; above 0 the answer is more probable with the token. absorbed: what was merged into it."""

    token: int
    delta: float
    absorbed: tuple[int, ...] = ()


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
    found: list[Influence] = []
    for batch in vlm.forced_batches(encoding, prompts, answer_ids):
        log_probs = [one.log_prob for one in batch]
        if base is None:
            base, *log_probs = log_probs
        for log_prob in log_probs:
            token, group = next(units)
            found.append(Influence(token, base - log_prob, group))
        yield Influences(base, tuple(found), len(groups))
        if stop is not None and stop.is_set():
            return
