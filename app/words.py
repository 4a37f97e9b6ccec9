"""Where each word of an answer looked, and what another question changes: two acts and what is kept of the first.

Attention crosses to the page, and from a leased process, as bytes: 255 (v / scale)^(1/2) rounded, with a scale for each
word and layer, or group of layers. The root keeps small values apart from none. Letters: W words, L layers, K columns,
N visual tokens.
"""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from app.compare import kept_of, needs_of, overlap
from app.request import Request
from app.service import Service
from app.work import Effort, Work
from fsr.errors import InvalidInput
from fsr.tokens import Selection
from fsr.vlm import Encoding
from fsr.vlm.inside import decoder_stack
from fsr.why.attention import answer_attention, attending, group_of, parts, read_tokens

FULL, METHOD = "full", "method"
KEPT_BYTES = 64_000_000
WHOLE_UP_TO = 600_000  # bytes of maps: up to here a page gets all groups of layers at once
QUESTIONS = 2


@dataclass(frozen=True, eq=False)
class Look:
    """One answer's words and what they looked at, as plain arrays.

    levels: (W, L, K) uint8, scale, share: (W, L) float32. to: where columns are shown, see `fsr.why.attention.parts`.
    read: visual embeddings that the language model read, a layer's average. numbers: which layers they are, from 1, of
    `depth`: in models with linear attention not all.
    """

    text: str
    words: tuple[str, ...]
    levels: np.ndarray
    scale: np.ndarray
    share: np.ndarray
    to: tuple[np.ndarray, np.ndarray, np.ndarray]
    n: int
    read: float
    numbers: tuple[int, ...]
    depth: int

    @property
    def layers(self) -> int:
        return int(self.levels.shape[1])

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in (self.levels, self.scale, self.share, *self.to))

    def values(self, group: object) -> tuple[np.ndarray, np.ndarray]:
        """Mean over a group of layers, see `group_of`: (W, N) attention, (W,) share that went to the picture."""
        at = group_of(group, self.layers)
        levels = (self.levels[:, at].astype(np.float32) / 255) ** 2 * self.scale[:, at, None]
        column, token, part = self.to
        shown = np.zeros((len(self.words), self.n), np.float32)
        shown[:, token] = levels.mean(axis=1)[:, column] * part
        return shown, self.share[:, at].mean(axis=1)

    def map(self, group: object) -> dict[str, Any]:
        """The same for the page."""
        values, share = self.values(group)
        levels, scale = quantised(values)
        return {
            "scale": [short(x) for x in scale.tolist()],
            "share": [short(x) for x in share.tolist()],
            "levels": [text_of_bytes(row) for row in levels],
        }

    def record(self, group: object) -> dict[str, Any]:
        """The same in numbers, as `fsr.why.attention.words_record`."""
        values, shares = self.values(group)
        words = [
            {"text": word, "share": short(share), "attention": [short(x) for x in row]}
            for word, share, row in zip(self.words, shares.tolist(), values.tolist(), strict=True)
        ]
        return {"text": self.text, "read": self.read, "layers": str(group), "words": words}


class Looks:
    """What was looked up, bounded by the memory it takes; the one used least recently is forgotten first."""

    def __init__(self, nbytes: int = KEPT_BYTES) -> None:
        self.limit = nbytes
        self._held: OrderedDict[str, Look] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Look | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: str, look: Look) -> None:
        with self._lock:
            self._held[key] = look
            self._held.move_to_end(key)
            while len(self._held) > 1 and sum(one.nbytes for one in self._held.values()) > self.limit:
                self._held.popitem(last=False)


@dataclass(frozen=True)
class Step:
    """phase: waiting, loading, encoding, answering, looking, done or stopped. at, of: how many answers are done.

    looks: what was found, by side, in the last step. pair: two questions so far, see `crosswise`.
    """

    phase: str
    text: str = ""
    at: int = 0
    of: int = 0
    looks: dict[str, Look] | None = None
    pair: dict[str, Any] | None = None


def quantised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., N) from 0 on -> uint8 of that shape and the scale (...,) of each row."""
    scale = values.max(axis=-1)
    shares = values / np.where(scale > 0, scale, 1)[..., None]
    return np.rint(255 * np.sqrt(shares)).astype(np.uint8), scale.astype(np.float32)


def text_of_bytes(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def short(value: float) -> float:
    return float(f"{value:.4g}")


# -- words


def words(
    service: Service, request: Request, stop: threading.Event | None = None, known: dict[str, Look] | None = None
) -> Iterator[Step]:
    """Steps; the last, phase done, has the looks of both answers. known: those that need not be made again, by side."""
    request, stop = service.checked(request), stop or threading.Event()
    request.pruner()
    act = partial(_words, request=request, known=known or {})
    yield from service.in_turn(Effort("words", 2), request, stop, Step, act)


def _words(work: Work, request: Request, known: dict[str, Look]) -> Iterator[Step]:
    yield Step("encoding", work.first_step, 0, 2)
    encoding = work.encoded(request)
    budget = request.budget_for(len(encoding.tokens))
    looks = {}
    for at, side in enumerate((FULL, METHOD)):
        pruner = request.pruner(encoding)
        what = "all tokens" if side == FULL else pruner.label
        if side in known:
            looks[side] = known[side]
            continue
        yield Step("answering", f"{what[0].upper()}{what[1:]}: answering.", at, 2)
        selection: Any = None if side == FULL else pruner(encoding.tokens, budget)
        *_, last = work.vlm.generate(encoding, selection, work.settings.max_new_tokens, work.stop)
        if work.stop.is_set():
            break
        yield Step("looking", f"{what[0].upper()}{what[1:]}: reading the attention of each word.", at, 2)
        looks[side] = look_at(work, encoding, selection, last.token_ids)
    if work.stop.is_set():
        yield Step("stopped", "Stopped.")
    else:
        yield Step("done", at=2, of=2, looks=looks)


def look_at(work: Work, encoding: Encoding, selection: Any, ids: list[int]) -> Look:
    """Plain arrays of one answer's attention; of an answer without words none."""
    n = len(encoding.tokens)
    numbers = tuple(i + 1 for i in attending(decoder_stack(work.vlm.decoder.model)))
    if not work.vlm.text(ids):
        return _nothing(numbers, work.vlm.shape.layers, n, float(read_tokens(selection, n)))
    found = answer_attention(work.vlm, encoding, selection, ids)
    levels, scale = quantised(found.attention.numpy())
    column, token, part = (x.numpy() for x in parts(found.tokens, selection, n))
    return Look(
        work.vlm.text(ids),
        tuple(word.text for word in found.words),
        levels,
        scale,
        found.share.numpy(),
        (column.astype(np.int32), token.astype(np.int32), part),
        n,
        float(read_tokens(selection, n)),
        numbers,
        work.vlm.shape.layers,
    )


def _nothing(numbers: tuple[int, ...], depth: int, n: int, read: float) -> Look:
    """Of an answer that has no words."""
    layers = len(numbers)
    each, none = np.zeros((0, layers), np.float32), np.zeros(0, np.int32)
    levels = np.zeros((0, layers, 0), np.uint8)
    return Look("", (), levels, each, each, (none, none, np.zeros(0, np.float32)), n, read, numbers, depth)


# -- two questions


def questions(service: Service, request: Request, other: str, stop: threading.Event | None = None) -> Iterator[Step]:
    """Two questions about what `request` is about, with one method and budget; see `crosswise`.

    Raises InvalidInput for the same question twice, or a method that prunes inside the language model.
    """
    stop = stop or threading.Event()
    requests = [service.checked(replace(request, question=text)) for text in (request.question, other)]
    if requests[0].question == requests[1].question:
        raise InvalidInput("the other question is the same; type one that asks for something else.")
    pruner = requests[0].pruner()
    if pruner.stage == "inside":
        raise InvalidInput(
            f"{pruner.label} chooses tokens inside the language model while it reads the question, so they cannot be "
            "handed to another question; choose a method that prunes before it."
        )
    yield from service.in_turn(Effort("questions", 6), requests[0], stop, Step, partial(_crosswise, requests=requests))


def _crosswise(work: Work, requests: Sequence[Request]) -> Iterator[Step]:
    """Selections of both, then six answers: each question with its own tokens, with the other's and with all.

    The pair, lists having an entry a question: {"questions", "unknown_words", "method", "label", "budget", "does_read":
    whether the method reads the question, "maps": [{"relevance", "priority": {"low", "high", "levels"} or null}],
    "kept": [tokens], "both": n, "iou", "answers": [{"own", "other", "full": {"text", "end"}}]}.
    """
    of = 3 * QUESTIONS
    yield Step("encoding", work.first_step, 0, of)
    encodings = [work.encoded(request, needs_of([request.method])) for request in requests]
    pruner = requests[0].pruner(encodings[0])
    budget = requests[0].budget_for(len(encodings[0].tokens))
    chosen = [request.pruner(e)(e.tokens, budget) for request, e in zip(requests, encodings, strict=True)]
    kept = [kept_of(selection) or () for selection in chosen]
    pair: dict[str, Any] = {
        "questions": [encoding.question for encoding in encodings],
        "unknown_words": [encoding.unknown_words for encoding in encodings],
        "method": requests[0].method,
        "label": pruner.label,
        "budget": len(kept[0]),
        "does_read": "relevance" in pruner.requires,
        "maps": [_maps(encoding, selection) for encoding, selection in zip(encodings, chosen, strict=True)],
        "kept": kept,
        "both": len(set(kept[0]) & set(kept[1])),
        "iou": short(overlap(*kept)),
        "answers": [{}, {}],
    }
    at = 0
    for asked, encoding in enumerate(encodings):
        for name, selection in (("own", chosen[asked]), ("other", chosen[1 - asked]), (FULL, None)):
            yield Step("answering", f"Answering {at + 1} of {of}.", at, of, pair=pair)
            *_, last = work.vlm.generate(encoding, selection, work.settings.max_new_tokens, work.stop)
            if work.stop.is_set():
                yield Step("stopped", "Stopped.", at, of, pair=pair)
                return
            at += 1
            answers = [dict(one) for one in pair["answers"]]
            answers[asked][name] = {"text": last.text, "end": last.end}
            pair = pair | {"answers": answers}
    yield Step("done", "", at, of, pair=pair)


def _maps(encoding: Encoding, selection: Selection) -> dict[str, Any]:
    tokens = encoding.tokens
    relevance = None if tokens.relevance is None else tokens.relevance_sign * tokens.relevance
    return {"relevance": _levels(relevance), "priority": _levels(selection.scores.get("priority"))}


def _levels(values: torch.Tensor | None) -> dict[str, Any] | None:
    """(N,) as bytes between its ends, linear: low + (high - low) level / 255."""
    if values is None:
        return None
    found = values.detach().float().cpu().numpy()
    low, high = float(found.min()), float(found.max())
    levels = np.rint(255 * (found - low) / ((high - low) or 1)).astype(np.uint8)
    return {"low": short(low), "high": short(high), "levels": text_of_bytes(levels)}
