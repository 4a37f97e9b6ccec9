"""The class behind `lmms-eval --model fsr`."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from lmms_eval.api.model import lmms
from tqdm import tqdm

import fsr.vlm
from fsr.errors import InvalidInput
from fsr.lmms.asking import Amount, Asker, Question, Wish, listed
from fsr.media.video import FRAMES
from fsr.pruners import make
from fsr.vlm.clips import clip_frames

LONGEST = 100_000  # characters of a question, tokens of an answer: a benchmark's own are trusted


class FSR(lmms):  # type: ignore[misc]
    """One of our models with one method, for lmms-eval.

    pretrained: as `--model` of `python -m fsr`. method, budget: a name of `python -m fsr methods`, and visual tokens to
    keep; keep: the share of them instead. frames: of a clip. max_new_tokens: at most, whatever the task asks for.
    dtype, framing, mode, relevance: of `fsr.vlm.load`. parameters: of the method. Under `accelerate launch` every
    process has the model on a GPU of its own and answers its part.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str = "shapes",
        method: str = "fsr",
        budget: int | None = None,
        keep: float | None = None,
        frames: int | None = None,
        max_new_tokens: int | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
        framing: str = "processor",
        mode: str | None = None,
        relevance: str = "clip",
        **parameters: Any,
    ) -> None:
        """Raises FsrError with one sentence for a model, method or value that there is not."""
        super().__init__()
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise InvalidInput(f"batch_size must be a whole number from 1 on, not {batch_size!r}.")
        pruner = make(method, **parameters)
        amount = None if budget is None and keep is None else Amount(budget, keep)
        self.accelerator = Accelerator()
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        if self._world_size > 1 and device == "auto":
            raise InvalidInput("device=auto spreads one model over all GPUs: start it without accelerate launch.")
        self.batch_size, self.most = int(batch_size), max_new_tokens
        vlm = fsr.vlm.load(
            pretrained,
            device=self._own_gpu() if device is None else device,
            dtype=dtype,
            framing=framing,
            mode=mode,
            relevance=relevance,
        )
        vlm.max_question_chars = vlm.max_new_tokens_limit = LONGEST
        self.device = vlm.device
        self.asker: Asker | None = Asker(vlm, pruner, amount, frames or clip_frames(pretrained) or FRAMES)

    def _own_gpu(self) -> str | None:
        """That of this process, where several were started; else as `fsr.vlm.load` chooses."""
        several = self._world_size > 1 and torch.cuda.is_available()
        return f"cuda:{self.accelerator.local_process_index}" if several else None

    def generate_until(self, requests: list[Any]) -> list[str]:
        asked = [self._asked(one) for one in requests]
        texts: list[str] = []
        with self._bar(len(requests)) as bar:
            for start in range(0, len(asked), self.batch_size):
                some = [(self._question(*one), wish) for one, wish in asked[start : start + self.batch_size]]
                texts += self._ready().answers(some, self.batch_size)
                bar.update(len(some))
        return texts

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        found = []
        with self._bar(len(requests)) as bar:
            for one in requests:
                if len(one.args) != 6:
                    raise InvalidInput("likelihoods without a picture (acc_mutual_info) cannot be measured here.")
                text, target, visual, *place = one.args
                answer = target(self._document(*place)) if callable(target) else target
                found.append(self._ready().log_likelihood(self._question(text, visual, *place), str(answer)))
                bar.update(1)
        return found

    def generate_until_multi_round(self, requests: list[Any]) -> list[str]:
        """Raises InvalidInput."""
        raise InvalidInput("a method chooses tokens for one question: tasks of several rounds cannot be run with fsr.")

    def generate_visual_cot(self, requests: list[Any]) -> list[str]:
        """Raises InvalidInput."""
        raise InvalidInput("no model here draws pictures: tasks of visual chains of thought cannot be run with fsr.")

    def clean(self) -> None:
        """Let the model go, so that a judge finds room."""
        self.asker = None
        super().clean()

    def _ready(self) -> Asker:
        if self.asker is None:
            raise InvalidInput("the model was let go after its answers.")
        return self.asker

    def _asked(self, request: Any) -> tuple[tuple[Any, ...], Wish]:
        text, settings, visual, *place = request.args
        try:
            return (text, visual, *place), Wish.of(settings, self.most)
        except InvalidInput as error:
            raise InvalidInput(f"{place[1]}: {error}") from error

    def _question(self, text: str, visual: Any, document: int, task: str, split: str) -> Question:
        return Question(text, listed(visual(self._document(document, task, split))), f"{task}, question {document}")

    def _document(self, document: int, task: str, split: str) -> Any:
        return self.task_dict[task][split][document]

    def _bar(self, count: int) -> Any:
        return tqdm(total=count, desc="fsr", disable=self.rank != 0)
