"""Greedy decoding that is measured phase by phase, streamed, stoppable, and the same on both sides of a comparison."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fsr.errors import within_memory
from fsr.vlm.cost import synchronize
from fsr.vlm.placement import device_of

Around = Callable[[], AbstractContextManager[None]]  # entered around every forward pass, while the lock is held


@dataclass
class Progress:
    """What is known after each new token. `ids` never holds the end-of-text id. end: None while it goes on."""

    ids: list[int]
    new_tokens: int
    prefill_ms: float
    decode_ms: float
    kv_bytes: int
    end: str | None = None  # "eos", "length" or "stopped"


class Decoder:
    """Prefill and decode of one language model; sampling settings of the checkpoint are not used.

    Each forward pass takes `lock`; nothing is held between two tokens, so a slow reader blocks nobody, and
    the time a reader takes is not counted.
    """

    def __init__(self, model: Any, eos: frozenset[int], lock: threading.RLock) -> None:
        self.model, self.eos, self.lock = model, eos, lock
        self._cache = cache_argument(model)

    @property
    def device(self) -> torch.device:
        return device_of(self.model.get_input_embeddings())

    def greedy(
        self,
        embeds: Tensor,
        max_new_tokens: int,
        stop: threading.Event | None = None,
        around: Around = nullcontext,
        scores: list[Tensor] | None = None,
        **inputs: Tensor,
    ) -> Iterator[Progress]:
        """Yield after every token, the first after prefill. embeds: (1, L, D). inputs: e.g. position_ids for mRoPE.

        scores: given the (V,) scores that each token is chosen by.
        """
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config)
        token, prefill_ms = self._step(cache, around, scores, inputs_embeds=embeds, **inputs)
        progress = Progress([], 1, prefill_ms, 0.0, cache_bytes(cache))
        while True:
            if token in self.eos:
                progress.end = "eos"
            else:
                progress.ids.append(token)
                if progress.new_tokens >= max_new_tokens:
                    progress.end = "length"
                elif stop is not None and stop.is_set():
                    progress.end = "stopped"
            yield progress
            if progress.end:
                return
            follow = following(inputs, progress.new_tokens)
            token, ms = self._step(
                cache, around, scores, input_ids=torch.tensor([[token]], device=self.device), **follow
            )
            progress.decode_ms += ms
            progress.new_tokens += 1

    @torch.no_grad()
    def _step(self, cache: Any, around: Around, scores: list[Tensor] | None, **inputs: Tensor) -> tuple[int, float]:
        with self.lock, within_memory():
            synchronize(self.device)
            start = time.perf_counter()
            with around():
                logits = self.model(**{self._cache: cache}, use_cache=True, logits_to_keep=1, **inputs).logits
            token = int(logits[0, -1].argmax())  # reading the number waits for the device
            took = (time.perf_counter() - start) * 1e3
            if scores is not None:
                scores.append(logits[0, -1])
            return token, took

    @torch.no_grad()
    def greedy_batch(self, prompts: list[dict[str, Tensor]], max_new_tokens: int) -> list[list[int]]:
        """The answers' ids for several prompts at once, padded on the left and masked.

        prompts: inputs_embeds (1, L_i, D) of each, position_ids (1, L_i) where they are not 0..L_i - 1, and
        token_type_ids (1, L_i) where the model asks for them.
        """
        from transformers import DynamicCache

        embeds = [prompt["inputs_embeds"] for prompt in prompts]
        padded, mask = left_padded(embeds)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        for row, prompt in enumerate(prompts):
            if "position_ids" in prompt:
                positions[row, -prompt["position_ids"].shape[1] :] = prompt["position_ids"][0]
        cache = DynamicCache(config=self.model.config)
        answers: list[list[int]] = [[] for _ in embeds]
        open_rows = set(range(len(embeds)))
        inputs: dict[str, Tensor] = {"inputs_embeds": padded, "position_ids": positions, **padded_kinds(prompts, mask)}
        with self.lock, within_memory():
            for _ in range(max_new_tokens):
                inputs |= {"attention_mask": mask}
                out = self.model(**{self._cache: cache}, use_cache=True, logits_to_keep=1, **inputs)
                tokens = out.logits[:, -1].argmax(dim=-1)
                for row, token in enumerate(tokens.tolist()):
                    if token in self.eos:
                        open_rows.discard(row)
                    elif row in open_rows:
                        answers[row].append(token)
                if not open_rows:
                    break
                mask = torch.cat([mask, mask.new_ones(len(embeds), 1)], dim=1)
                positions = positions[:, -1:] + 1
                inputs = {"input_ids": tokens[:, None], "position_ids": positions}
        return answers

    @torch.no_grad()
    def forced_batch(self, prompts: Sequence[dict[str, Tensor]], ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """One given answer behind several prompts at once: what `forced` finds for each alone, up to rounding.

        prompts: as of `greedy_batch`, and position_ids may be (3, 1, L_i). Prompt and answer are read in one pass,
        padded on the left. Returns on the CPU (B, A) float64, the log-probability of every answer token in nats, and
        (B, A) bool, whether the greedy choice is that token.
        """
        answer = torch.tensor(list(ids), device=self.device)
        with self.lock, within_memory():
            scores = self.forced_scores(prompts, ids)
            chosen = scores.argmax(dim=-1) == answer
            at = answer.expand(len(scores), -1)[..., None]
            log_probs = scores.double().log_softmax(dim=-1).gather(2, at)[..., 0]
        return log_probs.cpu(), chosen.cpu()

    @torch.no_grad()
    def forced_scores(self, prompts: Sequence[dict[str, Tensor]], ids: Sequence[int]) -> Tensor:
        """(B, A, V) next-token scores before each answer token, one given answer behind several prompts: see above."""
        answer = torch.tensor(list(ids), device=self.device)
        given = self.model.get_input_embeddings()(answer[:-1])[None]
        rows = [torch.cat([prompt["inputs_embeds"], given.to(prompt["inputs_embeds"])], dim=1) for prompt in prompts]
        padded, mask = left_padded(rows)
        inputs = {"inputs_embeds": padded, "attention_mask": mask, **padded_kinds(prompts, mask, len(ids) - 1)}
        inputs["position_ids"] = answered_positions(prompts, mask, len(ids) - 1)
        with self.lock, within_memory():
            scores: Tensor = self.model(use_cache=False, logits_to_keep=len(ids), **inputs).logits
            return scores

    @torch.no_grad()
    def logits(self, embeds: Tensor, around: Around = nullcontext, **inputs: Tensor) -> Tensor:
        """(L, V) next-token scores at every position of a prompt that comes out of the last layer."""
        with self.lock, within_memory(), around():
            logits: Tensor = self.model(inputs_embeds=embeds, use_cache=False, **inputs).logits[0]
            return logits

    @torch.no_grad()
    def forced(self, embeds: Tensor, ids: Sequence[int], around: Around = nullcontext, **inputs: Tensor) -> Tensor:
        """(A, V) next-token scores before each of the A given answer tokens.

        The prompt (1, L, D) is read first and then the answer in one pass on its cache, as `greedy` would.
        """
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config)
        with self.lock, within_memory():
            with around():
                prompt = self.model(
                    **{self._cache: cache}, use_cache=True, logits_to_keep=1, inputs_embeds=embeds, **inputs
                )
            scores = [prompt.logits[0]]
            if len(ids) > 1:
                answer = torch.tensor([list(ids[:-1])], device=self.device)
                with around():
                    out = self.model(
                        **{self._cache: cache}, use_cache=True, input_ids=answer, **following(inputs, 1, len(ids) - 1)
                    )
                    scores.append(out.logits[0])
        return torch.cat(scores)


def cache_argument(model: Any) -> str:
    """What the model's forward calls the cache: `past_key_values` until transformers 5.23, `cache` since."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def following(inputs: dict[str, Tensor], after: int, count: int = 1) -> dict[str, Tensor]:
    """Positions of `count` answer tokens, the first `after` places behind a prompt that came with explicit ones."""
    if "position_ids" not in inputs:
        return {}
    last = inputs["position_ids"][..., -1:]
    return {"position_ids": last + after + torch.arange(count, device=last.device)}


def answered_positions(prompts: Sequence[dict[str, Tensor]], mask: Tensor, count: int) -> Tensor:
    """(B, L), or (3, B, L) for mRoPE: where prompts that are padded on the left stand, with `count` answer tokens each.

    mask: (B, L), 1 where something is. Prompts without position_ids stand at 0..L_i - 1.
    """
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    given = [prompt.get("position_ids") for prompt in prompts]
    if all(one is None for one in given):
        return positions
    first = next(one for one in given if one is not None)
    if first.ndim == 3:
        positions = positions.expand(first.shape[0], -1, -1).clone()
    for row, one in enumerate(given):
        if one is not None:
            whole = torch.cat([one, *following({"position_ids": one}, 1, count).values()], dim=-1)
            positions[..., row, -whole.shape[-1] :] = whole[..., 0, :]
    return positions


def padded_kinds(prompts: Sequence[dict[str, Tensor]], mask: Tensor, count: int = 0) -> dict[str, Tensor]:
    """token_type_ids (B, L) of prompts that are padded on the left, with `count` answer tokens each: both of type 0.

    mask: (B, L), 1 where something is. Empty where the prompts have none.
    """
    if "token_type_ids" not in prompts[0]:
        return {}
    kinds, end = torch.zeros_like(mask), mask.shape[1] - count
    for row, prompt in enumerate(prompts):
        kinds[row, end - prompt["token_type_ids"].shape[1] : end] = prompt["token_type_ids"][0]
    return {"token_type_ids": kinds}


def left_padded(embeds: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack prompts of different lengths: (B, L, D) with zeros on the left, and the (B, L) mask of what is real."""
    longest = max(e.shape[1] for e in embeds)
    padded = embeds[0].new_zeros(len(embeds), longest, embeds[0].shape[2])
    mask = torch.zeros(len(embeds), longest, dtype=torch.long, device=padded.device)
    for row, one in enumerate(embeds):
        padded[row, longest - one.shape[1] :] = one[0]
        mask[row, longest - one.shape[1] :] = 1
    return padded, mask


def cache_bytes(cache: Any) -> int:
    """Bytes of all keys and values in a transformers cache object, and of the states that linear attention keeps."""
    return sum(x.numel() * x.element_size() for layer in cache.layers for x in _held(layer))


def _held(layer: Any) -> list[Tensor]:
    held = [getattr(layer, name, None) for name in ("keys", "values")]
    for name in ("conv_states", "recurrent_states"):
        held += getattr(layer, name, {}).values()
    return [x for x in held if x is not None]


def end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every id that ends an answer, from the generation settings, else the language model's, else the tokenizer's."""
    text = model.config.get_text_config()
    for found in (model.generation_config.eos_token_id, text.eos_token_id, tokenizer.eos_token_id):
        if found is not None:
            return frozenset(found if isinstance(found, list | tuple) else [found])
    return frozenset()
