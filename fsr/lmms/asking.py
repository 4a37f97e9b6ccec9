"""What lmms-eval's requests come to in our library; nothing here imports lmms-eval.

A request is text, a list of media (pictures, or the path of a clip) and what to generate. Pictures stand in front of
the text, as every family's own template places them.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from fsr.bench.fidelity import possible
from fsr.errors import InvalidInput
from fsr.media.pictures import load_image
from fsr.media.video import MAX_FRAMES, ClipLimits, is_clip, load_clip
from fsr.pruners import Pruner
from fsr.pruners.full import Full
from fsr.vlm.base import VLM, Chosen
from fsr.vlm.media import Encoding
from fsr.vlm.prompt import plain_ids

# A benchmark's own clips: long ones, on a machine that does nothing else.
CLIPS = ClipLimits(bytes=16_000_000_000, duration_s=24 * 3600, frames=10_000_000, wait_s=600, memory=8_000_000_000)
PLACE = re.compile(r"<(?:image|video)(?: ?\d+)?>\n?")  # where a task's text names the place of a picture
NEW_TOKENS = 1024  # where neither the task nor the user says


@dataclass(frozen=True)
class Question:
    """text: what is asked. media: pictures, or one path of a clip. name: of the request, for sentences."""

    text: str
    media: Sequence[Any]
    name: str = "a question"


@dataclass(frozen=True)
class Wish:
    """How an answer is generated. until: texts that end it, themselves left out."""

    max_new_tokens: int = NEW_TOKENS
    until: tuple[str, ...] = ()

    @staticmethod
    def of(settings: Mapping[str, Any], most: int | None = None) -> Wish:
        """A task's `generation_kwargs`. most: new tokens that the user allows. Raises InvalidInput for sampling."""
        warmth, sampling, beams = (settings.get(name) for name in ("temperature", "do_sample", "num_beams"))
        sampled = bool(warmth) if sampling is None else sampling and warmth != 0
        if sampled or (beams or 1) > 1:
            raise InvalidInput(
                "answers are greedy here, and this task asks for sampling or beams; "
                "add --gen_kwargs temperature=0,do_sample=False,num_beams=1."
            )
        tokens, until = settings.get("max_new_tokens") or NEW_TOKENS, settings.get("until") or ()
        if isinstance(tokens, bool) or not isinstance(tokens, int | float) or tokens < 1:
            raise InvalidInput(f"max_new_tokens must be at least 1, not {tokens!r}.")
        ends = (until,) if isinstance(until, str) else tuple(str(end) for end in until)
        return Wish(int(min(tokens, most or tokens)), tuple(end for end in ends if end))

    def cut(self, text: str) -> str:
        """The text before the first of `until`."""
        return text[: min((at for at in map(text.find, self.until) if at >= 0), default=len(text))]


@dataclass(frozen=True)
class Amount:
    """How many of N visual tokens are kept: a number of them, or a share of the N; of both exactly one."""

    budget: int | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if (self.budget is None) == (self.share is None):
            raise InvalidInput("say either budget=K, visual tokens to keep, or keep=S, the share of them from 0 to 1.")
        if self.budget is not None and (
            isinstance(self.budget, bool) or not isinstance(self.budget, int) or self.budget < 1
        ):
            raise InvalidInput(f"budget must be a whole number from 1 on, not {self.budget!r}.")
        if self.share is not None and not (isinstance(self.share, int | float) and 0 < self.share <= 1):
            raise InvalidInput(f"keep must be a share above 0 and up to 1, not {self.share!r}.")

    def of(self, n: int) -> int:
        """Of n tokens; a picture with no more than the budget is read whole."""
        return min(n, self.budget) if self.budget is not None else max(1, round((self.share or 1) * n))


@dataclass(frozen=True)
class Asker:
    """One model with one method. amount: None with the unpruned model. frames: of a clip."""

    vlm: VLM
    pruner: Pruner
    amount: Amount | None
    frames: int

    def __post_init__(self) -> None:
        if isinstance(self.frames, bool) or not isinstance(self.frames, int) or not 1 <= self.frames <= MAX_FRAMES:
            raise InvalidInput(f"frames must be a whole number from 1 to {MAX_FRAMES}, not {self.frames!r}.")
        if not isinstance(self.pruner, Full) and self.amount is None and self.pruner.takes_budget:
            Amount()

    def answers(self, questions: Sequence[tuple[Question, Wish]], at_once: int = 1) -> list[str]:
        """The greedy answer to each, several prompts at a time where they may be as long as each other."""
        texts = [""] * len(questions)
        groups: dict[int, list[int]] = defaultdict(list)
        for i, (_, wish) in enumerate(questions):
            groups[wish.max_new_tokens].append(i)
        for tokens, group in groups.items():
            prompts = [self.pruned(questions[i][0]) for i in group]
            for i, text in zip(group, self.vlm.generate_batch(prompts, tokens, at_once), strict=True):
                texts[i] = questions[i][1].cut(text)
        return texts

    def log_likelihood(self, question: Question, continuation: str) -> tuple[float, bool]:
        """Nats of a given answer behind the question, and whether it is what greedy decoding begins with."""
        ids = plain_ids(self.vlm.tokenizer, continuation)
        if not ids:
            raise InvalidInput(f"{question.name}: an empty answer has no likelihood.")
        encoding, chosen = self.pruned(question)
        scores = self.vlm.forced(encoding, chosen, ids).double().log_softmax(dim=-1).cpu()
        wanted = torch.tensor(ids)
        return float(scores.gather(1, wanted[:, None]).sum()), bool((scores.argmax(dim=-1) == wanted).all())

    def pruned(self, question: Question) -> tuple[Encoding, Chosen]:
        """The question about its pictures, and what of them the language model reads.

        Raises InvalidInput, with the name of the question, for what cannot be asked.
        """
        try:
            frames, times = self._frames(question.media)
            needs = self.pruner.requires
            media = self.vlm.encode_media(frames, times, needs)
            encoding = self.vlm.encode(media, PLACE.sub("", question.text), needs)
            return encoding, self._chosen(encoding)
        except InvalidInput as error:
            raise InvalidInput(f"{question.name}: {error}") from error

    def _chosen(self, encoding: Encoding) -> Chosen:
        n = len(encoding.tokens)
        if isinstance(self.pruner, Full):
            return None
        budget = n if self.amount is None else self.amount.of(n)
        if budget == n and self.pruner.takes_budget:
            return None
        if not possible(self.vlm, encoding, self.pruner, budget):
            raise InvalidInput(f"{self.pruner.label} cannot keep {budget}: the layers before its first cut read more.")
        return self.pruner(encoding.tokens, budget)

    def _frames(self, media: Sequence[Any]) -> tuple[list[Image.Image], list[float] | None]:
        """Pictures, or the frames of one clip with their times in seconds."""
        if not media:
            raise InvalidInput("there is no picture and no clip, so there is nothing to prune.")
        paths = [Path(one) if isinstance(one, str | os.PathLike) else None for one in media]
        if len(media) == 1 and paths[0] is not None and is_clip(paths[0]):
            clip = load_clip(paths[0], self.frames, CLIPS)
            return clip.frames, clip.times
        return [_picture(one, path) for one, path in zip(media, paths, strict=True)], None


def _picture(one: Any, path: Path | None) -> Image.Image:
    if path is not None:
        if is_clip(path):
            raise InvalidInput("a clip together with other pictures or clips cannot be read.")
        return load_image(path)
    if isinstance(one, Image.Image):
        return one.convert("RGB")
    raise InvalidInput(f"pictures and clips are read here, not {type(one).__name__}.")


def listed(found: Any) -> list[Any]:
    """What a task's `doc_to_visual` gives, without nesting: nothing, one, or several media."""
    if found is None:
        return []
    if isinstance(found, list | tuple):
        return [one for part in found for one in listed(part)]
    return [found]
