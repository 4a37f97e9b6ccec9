"""A small set of dropped tokens that brings the unpruned answer back: greedy, verified by answering, then thinned out.

1. Grow: the token with the largest gain, then always the one that adds most to log P(y | kept + S), among those with
   the largest gains of their own, until greedy decoding would give y.
2. Where that gets stuck: the best regions together, as few of them as give y.
3. Thin out: leave out parts, halves first and at last single tokens, as long as y stays (Zeller and Hildebrandt, 2002).
4. Verify: the model answers with the selection and S. Nothing is called found that it did not answer.

At the end no single token of S can be spared; that no other, smaller set exists is not known (it is for one token).
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fsr.errors import InvalidInput
from fsr.tokens import Role, Selection
from fsr.vlm.answers import answers_the_same
from fsr.vlm.base import VLM, Chosen, Forced
from fsr.vlm.media import Encoding
from fsr.why.changed import studied, with_more
from fsr.why.regain import Gain, Regain

LIMIT = 512  # prompts for one repair, those of `regain` among them
WIDTH = 32  # tokens that one may be added of
LARGEST = 12  # tokens that are added one by one
LEAST = 1e-6  # nats that one more token must add

Set = tuple[int, ...]  # of tokens, ascending


@dataclass(frozen=True)
class Repair:
    """found: whether `tokens`, put back besides what is kept, give the unpruned answer; it was answered, not estimated.

    tokens: ascending; where nothing was found the best that was tried. minimal: whether it was tried that none of them
    can be spared. forwards: prompts that the language model read, those of `regain` among them; limit: how many it may.
    note: what is known of the set, in a sentence. finished: False while the search goes on, or where it was stopped.
    """

    found: bool
    tokens: Set
    forwards: int
    limit: int
    note: str = ""
    minimal: bool = False
    finished: bool = True


class _Ended(Exception):  # noqa: N818
    """Unwinds a search that may read no more prompts."""


def repair(
    vlm: VLM,
    encoding: Encoding,
    selection: Chosen,
    answer_ids: Sequence[int],
    regained: Regain,
    stop: threading.Event | None = None,
    limit: int = LIMIT,
) -> Iterator[Repair]:
    """The best set after every batch of prompts; the last one is finished, or was stopped.

    answer_ids: of the unpruned answer. regained: the last of `fsr.why.regain`. Raises InvalidInput for a method inside
    the language model, and for a limit below 1.
    """
    if limit < 1:
        raise InvalidInput(f"a repair may read at least 1 prompt, not {limit!r}.")
    chosen = studied(selection, encoding.tokens)
    return _Search(vlm, encoding, chosen, list(answer_ids), regained, stop, limit).steps()


class _Search:
    """best: the set that was verified last, or, before any was, the one with the largest log-probability."""

    def __init__(
        self,
        vlm: VLM,
        encoding: Encoding,
        chosen: Selection,
        ids: list[int],
        regained: Regain,
        stop: threading.Event | None,
        limit: int,
    ) -> None:
        self.vlm, self.encoding, self.chosen, self.ids = vlm, encoding, chosen, ids
        self.regained, self.stop, self.limit = regained, stop, limit
        self.forwards = regained.forwards
        self.known: dict[Set, Forced] = {(): regained.base}
        for gain in (*regained.regions, *regained.tokens):
            self.known[gain.tokens] = Forced(
                regained.base.log_prob + gain.gain, gain.agrees, ()
            )  # the sum is enough here
        self.refuted: set[Set] = set()  # the greedy answer was another one, whatever the scores said
        self.best: Set = ()
        self.verified = False

    def steps(self) -> Iterator[Repair]:
        minimal = False
        try:
            yield from self._found()
            if self.verified:
                minimal = yield from self._thinned()
        except _Ended:
            pass
        stopped = self.stop is not None and self.stop.is_set()
        yield Repair(
            self.verified, self.best, self.forwards, self.limit, self._note(minimal, stopped), minimal, not stopped
        )

    # -- what is tried

    def _found(self) -> Generator[Repair, None, None]:
        """Sets that give the answer, until one is verified."""
        if self.regained.base.agrees and self._verify(()):
            return
        while (grown := (yield from self._grown())) is not None:
            if self._verify(grown):
                return
        ranked = sorted(self.regained.regions, key=lambda one: -one.gain)
        unions = [_union(ranked[: i + 1]) for i in range(len(ranked))]
        singles = sorted((one.tokens for one in ranked if one.agrees), key=len)
        for tokens in singles:
            if self._verify(tokens):
                return
        yield from self._measure(unions)
        for tokens in unions:
            if self._agrees(tokens) and self._verify(tokens):
                return

    def _grown(self) -> Generator[Repair, None, Set | None]:
        """A set that agrees, token by token; None where that gets stuck."""
        singles = sorted((one.tokens for one in self.regained.tokens), key=self._order)
        if not singles:
            return None
        current = singles[0]
        while not self._agrees(current):
            if len(current) >= LARGEST:
                return None
            tried = [_with(current, one) for one in singles[:WIDTH] if one[0] not in current]
            yield from self._measure(tried)
            if not tried:
                return None
            after = min(tried, key=self._order)
            if not self._agrees(after) and self.known[after].log_prob < self.known[current].log_prob + LEAST:
                return None
            current = after
        return current

    def _thinned(self) -> Generator[Repair, None, bool]:
        """Leave out what is not needed; whether it was tried that nothing more can be left out."""
        part = max(1, len(self.best) // 2)
        while self.best:
            parts = [self.best[i : i + part] for i in range(0, len(self.best), part)]
            rests = [tuple(token for token in self.best if token not in one) for one in parts]
            yield from self._measure(rests)
            rest = min(rests, key=self._order)
            if self._agrees(rest) and self._verify(rest):
                part = min(part, max(1, len(self.best) // 2))
            elif not any(self._agrees(one) for one in rests):
                if part == 1:
                    return True
                part = max(1, part // 2)
        return True

    # -- pieces

    def _agrees(self, tokens: Set) -> bool:
        return self.known[tokens].agrees and tokens not in self.refuted

    def _order(self, tokens: Set) -> tuple[bool, float, Set]:
        """Sets that agree first, then by log-probability, then by the lower tokens."""
        return not self._agrees(tokens), -self.known[tokens].log_prob, tokens

    def _measure(self, sets: Sequence[Set]) -> Generator[Repair, None, None]:
        """Read the prompts with these sets put back, those that were not read before."""
        new = [one for one in dict.fromkeys(sets) if one not in self.known]
        room = self.limit - self.forwards
        prompts = [with_more(self.chosen, self.encoding.tokens, one) for one in new[: max(0, room)]]
        at = 0
        for batch in self.vlm.forced_batches(self.encoding, prompts, self.ids):
            self.known |= dict(zip(new[at : at + len(batch)], batch, strict=True))
            at += len(batch)
            self.forwards += len(batch)
            self._check_stop()
            if not self.verified:
                self.best = min(self.known, key=self._order)
            yield Repair(self.verified, self.best, self.forwards, self.limit, finished=False)
        if room < len(new):
            raise _Ended

    def _verify(self, tokens: Set) -> bool:
        """Whether the model really answers so; then this is the best set."""
        self._check_stop()
        if self.forwards >= self.limit:
            raise _Ended
        self.forwards += 1
        more = with_more(self.chosen, self.encoding.tokens, tokens)
        if not answers_the_same(self.vlm, self.encoding, more, self.ids):
            self.refuted.add(tokens)
            return False
        self.best, self.verified = tokens, True
        return True

    def _check_stop(self) -> None:
        if self.stop is not None and self.stop.is_set():
            raise _Ended

    def _note(self, minimal: bool, stopped: bool) -> str:
        count = len(self.best)
        if self.verified:
            if not count:
                return "The pruned answer is the unpruned one already; nothing needs to be put back."
            if count == 1:
                return "One token is the fewest that can be; another one might do as well."
            if minimal:
                return "No single one of them can be spared; a smaller set of other tokens may exist."
            why = "was stopped" if stopped else f"ended at its limit of {self.limit} prompts"
            return f"The search {why}, so a part of these tokens may be enough."
        if stopped:
            return "The search was stopped before anything was found."
        if self.forwards >= self.limit:
            return f"Not found within {self.limit} prompts."
        return f"Not found: none of the sets that were tried, {self.forwards} prompts, gives the unpruned answer."


def kept_by(tokens: Sequence[int], selections: Mapping[str, Selection]) -> dict[str, list[int]]:
    """Which of these tokens other methods send to the language model by themselves, by the name of the method."""
    return {
        name: [token for token in tokens if int(selection.roles[token]) >= int(Role.KEPT)]
        for name, selection in selections.items()
    }


def _union(regions: Sequence[Gain]) -> Set:
    return tuple(sorted({token for region in regions for token in region.tokens}))


def _with(tokens: Set, one: Set) -> Set:
    return tuple(sorted({*tokens, *one}))
