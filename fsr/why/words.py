"""The words of an answer, and which of its tokens each is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fsr.errors import InvalidInput
from fsr.vlm.base import VLM

HALF = "\ufffd"  # what a decoder puts in the place of a character of which bytes are missing
UNSPACED = ("\u3040", "\u9fff")  # kana and Han are written without blanks: there every token is a word


@dataclass(frozen=True)
class Word:
    """ids[start:stop] of the answer, as text without blanks around it."""

    text: str
    start: int
    stop: int


def words_of(vlm: VLM, answer_ids: Sequence[int]) -> list[Word]:
    """The words in order; punctuation belongs to the word before. Ids that end an answer are no word.

    Raises InvalidInput for an answer without a word or with an id outside the vocabulary.
    """
    ids = list(answer_ids)
    if any(isinstance(i, bool) or not 0 <= i < vlm.shape.vocabulary for i in ids):
        raise InvalidInput(f"an answer is token ids from 0 to {vlm.shape.vocabulary - 1}.")
    while ids and ids[-1] in vlm.decoder.eos:
        ids.pop()
    starts, said, waiting = [0], [""], 0  # waiting: the first of the tokens that showed nothing yet
    for end in range(1, len(ids) + 1):
        with vlm.lock:
            text = vlm.tokenizer.decode(ids[:end], skip_special_tokens=True).rstrip(HALF)
        said.append(text)
        if not text[len(said[waiting]) :].strip():
            continue
        if _begins(said[waiting], text):
            starts.append(waiting)
        waiting = end
    stops = [*starts[1:], len(ids)]
    words = [Word(said[b][len(said[a]) :].strip(), a, b) for a, b in zip(starts, stops, strict=True)]
    if not words[0].text:
        raise InvalidInput("the answer has no words, so there is nothing to look from.")
    return words


def _begins(before: str, text: str) -> bool:
    """Whether what these tokens add begins another word."""
    piece = text[len(before) :]
    if not before.strip():
        return False
    return piece[0].isspace() or before[-1].isspace() or UNSPACED[0] <= piece[0] <= UNSPACED[1]
