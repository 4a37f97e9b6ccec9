"""The greedy answer as token ids, and whether a selection still gives it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from torch import Tensor

from fsr.vlm.base import VLM, Chosen
from fsr.vlm.media import Encoding


def greedy_answer(
    vlm: VLM,
    encoding: Encoding,
    max_new_tokens: int = 128,
    stop: threading.Event | None = None,
    selection: Chosen = None,
    scores: list[Tensor] | None = None,
) -> list[int]:
    """The greedy answer as token ids, the end-of-text id included where the answer ended by it.

    selection: what the language model reads; None: every visual token. scores: given the (V,) next-token scores before
    each of these ids.
    """
    *_, step = vlm.generate(encoding, selection, max_new_tokens, stop, scores=scores)
    if step.end != "eos":
        return step.token_ids
    return [*step.token_ids, _end_id(vlm, encoding, selection, step.token_ids)]


def _end_id(vlm: VLM, encoding: Encoding, selection: Chosen, ids: list[int]) -> int:
    """The end-of-text id that the model chose; some models have several."""
    ends = sorted(vlm.decoder.eos)
    if len(ends) == 1:
        return ends[0]
    scores = vlm.forced(encoding, selection, [*ids, ends[0]])[-1]
    return ends[int(scores[ends].argmax())]


def answers_the_same(vlm: VLM, encoding: Encoding, selection: Chosen, answer_ids: Sequence[int]) -> bool:
    """Whether the greedy answer with this selection is `answer_ids`; decoding ends at the first token that differs."""
    ids = list(answer_ids)
    ends = ids[-1] in vlm.decoder.eos
    words = ids[:-1] if ends else ids
    for step in vlm.generate(encoding, selection, len(ids)):
        if step.token_ids != words[: len(step.token_ids)]:
            return False
    return step.token_ids == words and (step.end == "eos") == ends
