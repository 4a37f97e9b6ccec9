"""What every model family offers: media -> encoding -> answer. Nothing is kept between calls but a bounded cache."""

from __future__ import annotations

import hashlib
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.pruners.inside import InsideSelection
from fsr.tokens import Selection
from fsr.vlm.cost import Cost, DecoderShape, layered_decode_flops, layered_prefill_flops, synchronize
from fsr.vlm.decode import Around, Decoder, Progress
from fsr.vlm.familiar import Closeness, Familiar
from fsr.vlm.inside import InsidePruning
from fsr.vlm.media import CAPTURES, EVERYTHING, MEDIA_CACHE_BYTES, Encoding, Media, MediaCache

Chosen = Selection | InsideSelection | None  # None: every visual token
Watch = Callable[[InsidePruning | None], AbstractContextManager[None]]  # given what prunes inside the language model

POSITIONS_AT_ONCE = {"cpu": 2048, "gpu": 16_384}  # read together when one answer is forced through many prompts
SCORES_AT_ONCE = 16_000_000  # next-token scores held for that
MOST_AT_ONCE = 64
WORTH_ALONE = 8  # prompts of one length that are not padded to read longer ones with them


@dataclass(frozen=True)
class Forced:
    """A given answer behind one prompt. log_prob: of all its tokens, in nats. agrees: whether greedy decoding gives
    it. token_log_probs: of each token behind those before it."""

    log_prob: float
    agrees: bool
    token_log_probs: tuple[float, ...]

    @staticmethod
    def of(log_probs: Sequence[float], agrees: bool) -> Forced:
        """log_probs: of each token."""
        return Forced(math.fsum(log_probs), agrees, tuple(log_probs))


@dataclass(frozen=True)
class Step:
    """An answer so far. The last step has `done`, the measured `cost` and `end`: "eos", "length" or "stopped"."""

    text: str
    token_ids: list[int]
    done: bool = False
    cost: Cost | None = None
    end: str | None = None


class VLM(ABC):
    """A vision-language model with an opening between its projector and its language model.

    Safe to share between threads: every forward pass takes `lock`, a second caller waits.
    precision: of the weights in words, "float16" or "4bit".
    kept_positions: of kept tokens in the language model, "contiguous" or "original", those among all tokens.
    max_question_chars, max_new_tokens_limit: what is refused, with a sentence. captures: what of `CAPTURES` this family
    can read. media_cache, media_cache_bytes: how much encoded media is held. reads_clips: whether frames with times are
    read as a clip, not as so many pictures. familiar: how far pictures lie from those that it learnt from, where that
    was measured.
    """

    id: str
    title: str
    device: torch.device
    dtype: torch.dtype
    precision: str
    relevance_sign: int
    decoder: Decoder
    tokenizer: Any
    kept_positions: str = "contiguous"
    max_question_chars: int = 2000
    max_new_tokens_limit: int = 1024
    captures: frozenset[str] = frozenset()
    reads_clips: bool = False
    familiar: Familiar | None = None

    def __init__(self, media_cache: int = 16, media_cache_bytes: int = MEDIA_CACHE_BYTES) -> None:
        self.lock = threading.RLock()
        self._media = MediaCache(media_cache, media_cache_bytes)
        self._warm = False

    @property
    @abstractmethod
    def pathways(self) -> dict[str, str]:
        """What saliency and relevance are made of here, in plain words; starts with "none" where there is none."""

    @abstractmethod
    def encode_media(
        self,
        frames: Sequence[Image.Image],
        times: Sequence[float] | None = None,
        needs: frozenset[str] = EVERYTHING,
    ) -> Media:
        """Run the vision tower, or take the same frames from the cache.

        times: seconds, for the frames of a video. needs: fields of `VisualTokens` that questions about the frames will
        ask for; the tower runs once more for captures that the cached media lacks. Unknown names are ignored.
        """

    @abstractmethod
    def encode_ms(
        self,
        frames: Sequence[Image.Image],
        times: Sequence[float] | None = None,
        needs: frozenset[str] = EVERYTHING,
    ) -> float:
        """Milliseconds of one more pass of the vision tower over the same frames; nothing of it is kept."""

    @abstractmethod
    def encode(self, media: Media, question: str, needs: frozenset[str] = EVERYTHING) -> Encoding:
        """Relevance and prompt of a question; the vision tower does not run.

        needs: what the tokens will hold; a capture that `encode_media` was not asked for is None.
        """

    def with_captures(self, encoding: Encoding, media: Media, needs: frozenset[str]) -> Encoding:
        """The same encoding with more captures of its media; relevance, prompt and similarities stay as they are.

        media: the same frames, with everything of `needs` captured that this family can read.
        """
        more: dict[str, Any] = {name: media.captures.get(name) for name in CAPTURES & needs}
        if "project" in needs:
            more["project"] = self.projection
        if "question" in needs:
            more["question"] = self.question_embeddings(encoding.question)
        if "encode_some" in needs:
            more["encode_some"] = self.some_encoder(media)
        return replace(encoding, tokens=encoding.tokens.with_captures(**more))

    def question_embeddings(self, question: str) -> Tensor | None:
        """(T, D): what the language model reads for the tokens of a question, nothing around them; None where this
        family does not tell."""
        return None

    def some_encoder(self, media: Media) -> Callable[[Tensor], tuple[Tensor, float]] | None:
        """`VisualTokens.encode_some` of this media; None where its pixels are not held, or a token has no patch of its
        own."""
        return None

    @property
    def projection(self) -> Callable[[Tensor], Tensor] | None:
        """(n, C) -> (n, D): the projector alone, where this family lets it be used; else None."""
        return None

    @abstractmethod
    def language_inputs(self, encoding: Encoding, selection: Selection | None) -> dict[str, Tensor]:
        """`inputs_embeds` (1, L, D), and whatever else the language model's positions need."""

    @abstractmethod
    def source(self, encoding: Encoding, selection: Selection) -> Tensor:
        """(L',) int64: for every position of the pruned prompt its place in the unpruned one.

        What a selection sends besides tokens of the grid has the place of the first or the last image token.
        """

    def closeness(self, media: Media) -> Closeness | None:
        """How far a picture or clip lies from those that this model learnt from; None where that was not measured."""
        return None if self.familiar is None else self.familiar.closeness(media.embeddings)

    def remember(self, media: Media) -> None:
        """Hold this media as if it had been encoded here; it must come from this model."""
        self._media.put(media)

    def forget(self) -> None:
        """Let go of all encoded media."""
        self._media.clear()

    @property
    def held_bytes(self) -> int:
        """What its weights take in memory."""
        return sum(p.numel() * p.element_size() for p in self.decoder.model.parameters())

    @property
    def provides(self) -> frozenset[str]:
        """The scores this model can give: a subset of {"saliency", "relevance"}."""
        return frozenset(name for name, made_of in self.pathways.items() if not made_of.startswith("none"))

    def generate(
        self,
        encoding: Encoding,
        selection: Chosen = None,
        max_new_tokens: int = 128,
        stop: threading.Event | None = None,
        select_ms: float = 0.0,
        scores: list[Tensor] | None = None,
    ) -> Iterator[Step]:
        """Stream the greedy answer; `selection` None reads every visual token.

        select_ms: what the pruner took, entered into the cost. scores: given the (V,) scores that each token was chosen
        by, the end-of-text id's among them. Raises InvalidInput for a bad max_new_tokens, or
        for a budget that a method inside the language model cannot keep at this depth.
        """
        limit = self.max_new_tokens_limit
        if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int) or not 1 <= max_new_tokens <= limit:
            raise InvalidInput(f"max_new_tokens must be a whole number from 1 to {limit}, not {max_new_tokens!r}.")
        pruning = self._pruning(encoding, selection, max_new_tokens)
        self.warm_up()
        return self._stream(encoding, selection, pruning, max_new_tokens, stop, select_ms, scores)

    def _pruning(self, encoding: Encoding, selection: Chosen, new_tokens: int = 0) -> InsidePruning | None:
        if not isinstance(selection, InsideSelection):
            return None
        length, keep = len(encoding.prompt), self.kept_positions == "original"
        return InsidePruning(self.decoder.model, selection, encoding.visual, length, new_tokens, keep)

    def _stream(
        self,
        encoding: Encoding,
        selection: Chosen,
        pruning: InsidePruning | None,
        max_new_tokens: int,
        stop: threading.Event | None,
        select_ms: float,
        scores: list[Tensor] | None,
    ) -> Iterator[Step]:
        self._reset_peak()
        with self.lock:
            inputs, build_ms = self._built(encoding, selection)
        embeds = inputs.pop("inputs_embeds")
        for progress in self.decoder.greedy(embeds, max_new_tokens, stop, _around(pruning), scores, **inputs):
            text = self.text(progress.ids, whole=progress.end is not None)
            if progress.end is None:
                yield Step(text, list(progress.ids))
                continue
            lengths = pruning.lengths if pruning else [embeds.shape[1]] * self.shape.layers
            n, encode_ms = _visual_tokens(encoding, selection), encoding.media.encode_ms
            if isinstance(selection, Selection) and selection.encode_ms is not None:  # which was within select_ms
                encode_ms, select_ms = selection.encode_ms, max(0.0, select_ms - selection.encode_ms)
            cost = self._cost(progress, n, lengths, encode_ms, select_ms, build_ms)
            yield Step(text, list(progress.ids), True, cost, progress.end)

    def _built(self, encoding: Encoding, selection: Chosen) -> tuple[dict[str, Tensor], float]:
        from fsr.vlm.cost import timed

        return timed(lambda: self.language_inputs(encoding, _before(selection)), self.device)

    def generate_batch(
        self,
        requests: Sequence[tuple[Encoding, Chosen]],
        max_new_tokens: int = 128,
        batch_size: int = 16,
    ) -> list[str]:
        """The same answers as `generate`, several prompts at a time, for evaluations (nothing is timed).

        Prompts of similar length share a batch; half precision may differ from `generate` in the last bits. Methods
        that prune inside the language model answer one by one.
        """
        answers = [""] * len(requests)
        batched: list[tuple[int, Encoding, Selection | None]] = []
        for i, (encoding, selection) in enumerate(requests):
            if isinstance(selection, InsideSelection):
                *_, last = self.generate(encoding, selection, max_new_tokens)
                answers[i] = last.text
            else:
                batched.append((i, encoding, selection))
        batched.sort(key=lambda r: len(r[1].prompt) - (0 if r[2] is None else len(r[1].visual) - len(r[2].kept)))
        for start in range(0, len(batched), batch_size):
            rows = batched[start : start + batch_size]
            prompts = [self.language_inputs(encoding, chosen) for _, encoding, chosen in rows]
            for (i, _, _), ids in zip(rows, self.decoder.greedy_batch(prompts, max_new_tokens), strict=True):
                answers[i] = self.text(ids)
        return answers

    def logits(self, encoding: Encoding, selection: Chosen = None) -> Tensor:
        """(L, V) next-token scores at every position of the prompt that comes out of the last layer."""
        pruning = self._pruning(encoding, selection)
        inputs = self.language_inputs(encoding, _before(selection))
        return self.decoder.logits(inputs.pop("inputs_embeds"), _around(pruning), **inputs)

    def forced(
        self, encoding: Encoding, selection: Chosen, answer_ids: Sequence[int], watch: Watch | None = None
    ) -> Tensor:
        """(A, V) next-token scores before each of the A tokens of a given answer.

        watch: entered around the pass over the prompt, and again around that over the answer.
        """
        pruning = self._pruning(encoding, selection, len(answer_ids))
        inputs = self.language_inputs(encoding, _before(selection))
        around = _around(pruning) if watch is None else partial(_watched, pruning, watch)
        return self.decoder.forced(inputs.pop("inputs_embeds"), answer_ids, around, **inputs)

    def forced_batches(
        self, encoding: Encoding, selections: Sequence[Selection | None], answer_ids: Sequence[int]
    ) -> Iterator[list[Forced]]:
        """One given answer behind several selections of one question, a batch at a time, in their order.

        The same as `forced` one by one, up to rounding (in half precision: up to its last bits).
        """
        at = 0
        while at < len(selections):
            first = self.language_inputs(encoding, selections[at])
            size = self._rows_at_once(first["inputs_embeds"].shape[1] + len(answer_ids), len(answer_ids))
            some = selections[at : at + size]
            prompts = [first, *(self.language_inputs(encoding, selection) for selection in some[1:])]
            log_probs, agrees = self.decoder.forced_batch(prompts, answer_ids)
            yield list(map(Forced.of, log_probs.tolist(), agrees.all(dim=1).tolist()))
            at += len(some)

    def forced_scores(
        self, encoding: Encoding, selections: Sequence[Selection], answer_ids: Sequence[int]
    ) -> Iterator[tuple[int, Tensor]]:
        """What `forced` gives for each selection, several at a time, with its place: the shortest prompts first."""
        order = sorted(range(len(selections)), key=lambda i: len(selections[i].sent))
        for some in self._batches(encoding, selections, order, len(answer_ids)):
            prompts = [self.language_inputs(encoding, selections[i]) for i in some]
            yield from zip(some, self.decoder.forced_scores(prompts, answer_ids), strict=True)

    def _batches(
        self, encoding: Encoding, selections: Sequence[Selection], order: Sequence[int], answers: int
    ) -> Iterator[Sequence[int]]:
        text, at = len(encoding.prompt) - len(encoding.visual) + answers, 0
        while at < len(order):
            size, first = 1, len(selections[order[at]].sent)
            while at + size < len(order):
                length = len(selections[order[at + size]].sent)
                if size >= self._rows_at_once(text + length, answers) or (length > first and size >= WORTH_ALONE):
                    break
                size += 1
            yield order[at : at + size]
            at += size

    def _rows_at_once(self, length: int, answers: int) -> int:
        """Prompts of so many positions that are read together: bounded by what is read, and by the scores it makes."""
        positions, scores = POSITIONS_AT_ONCE["cpu" if self.device.type == "cpu" else "gpu"], SCORES_AT_ONCE
        return max(1, min(MOST_AT_ONCE, positions // length, scores // (answers * self.shape.vocabulary)))

    def text(self, ids: list[int], whole: bool = True) -> str:
        """The words of an answer; while it grows, a half-arrived character is held back."""
        with self.lock:
            text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip() if whole else text.rstrip("\ufffd").strip()

    @property
    def shape(self) -> DecoderShape:
        """The language model's numbers, for the formulas in `fsr.vlm.cost`."""
        return DecoderShape.of(self.decoder.model.config.get_text_config())

    def warm_up(self) -> None:
        """Run the language model once, uncounted, so that the first answer pays no one-time cost. Runs once a model."""
        with self.lock:
            if self._warm:
                return
            self._warm = True
            embeds = torch.zeros(1, 32, self.shape.width, device=self.device, dtype=self.dtype)
            for _ in self.decoder.greedy(embeds, 2):
                pass

    def _cost(
        self, p: Progress, n: int, lengths: Sequence[int], encode_ms: float, select_ms: float, build_ms: float
    ) -> Cost:
        """lengths: positions of the prompt that each layer reads."""
        flops = layered_prefill_flops(self.shape, lengths) + layered_decode_flops(self.shape, lengths, p.new_tokens)
        per_token = p.decode_ms / (p.new_tokens - 1) if p.new_tokens > 1 else None
        return Cost(
            visual_tokens=n,
            encode_ms=encode_ms,
            select_ms=select_ms,
            prefill_ms=p.prefill_ms + build_ms,
            first_token_ms=select_ms + p.prefill_ms + build_ms,
            decode_ms_per_token=per_token,
            new_tokens=p.new_tokens,
            kv_bytes=p.kv_bytes,
            peak_bytes=self._peak(),
            flops_estimated=flops,
        )

    def _reset_peak(self) -> None:
        if self.device.type == "cuda":
            synchronize(self.device)
            for i in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(i)

    def _peak(self) -> int | None:
        """Bytes, over all GPUs that the model is spread over."""
        if self.device.type != "cuda":
            return None
        return sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))

    def checked_question(self, question: str) -> str:
        """The question without surrounding blanks, or a sentence."""
        if not isinstance(question, str) or not question.strip():
            raise InvalidInput("the question is empty; type what you want to know about the picture.")
        if len(question) > self.max_question_chars:
            limit = self.max_question_chars
            raise InvalidInput(f"the question has {len(question)} characters, at most {limit} are allowed.")
        return question.strip()


def _before(selection: Chosen) -> Selection | None:
    """What is left out in front of the language model."""
    return None if isinstance(selection, InsideSelection) else selection


def _around(pruning: InsidePruning | None) -> Around:
    return pruning.hooks if pruning else nullcontext


@contextmanager
def _watched(pruning: InsidePruning | None, watch: Watch) -> Iterator[None]:
    with _around(pruning)(), watch(pruning):
        yield


def _visual_tokens(encoding: Encoding, selection: Chosen) -> int:
    """Visual tokens that a layer of the language model reads, on average."""
    if isinstance(selection, InsideSelection):
        return round(selection.average)
    return len(encoding.tokens) if selection is None else len(selection.sent)


def without_picture(encoding: Encoding) -> Selection:
    """A selection of no visual token at all: what the language model answers blind."""
    n, tokens = len(encoding.tokens), encoding.tokens
    none = torch.zeros(0, dtype=torch.long)
    return Selection(
        method="blind",
        budget=0,
        kept=none,
        roles=torch.zeros(n, dtype=torch.uint8),
        embeddings=tokens.embeddings[:0],
        anchor=torch.full((n,), -1),
        similarity=torch.full((n,), torch.nan),
        weight=torch.zeros(n),
    )


def content_key(frames: Sequence[Image.Image], *settings: Any) -> str:
    """A hash of the pixels of every frame and of the settings that change how they are encoded."""
    digest = hashlib.sha256(repr(settings).encode())
    for frame in frames:
        digest.update(f"{frame.mode}{frame.size}".encode())
        digest.update(frame.tobytes())
    return digest.hexdigest()
