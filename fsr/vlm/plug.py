"""Pruning for any script: a context in which a plain transformers model reads fewer visual tokens."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.pruners.inside import InsidePruner
from fsr.tokens import Selection, VisualTokens
from fsr.vlm.capture import find
from fsr.vlm.catalogue import FAMILIES
from fsr.vlm.media import Encoding
from fsr.vlm.relevance import ClipRelevance, same_tower

PICTURES = ("pixel_values", "pixel_values_videos")
# what the model would turn into visual tokens and positions itself; after pruning it is given these instead
REPLACED = {
    *PICTURES,
    *("inputs", "input_ids", "attention_mask", "position_ids", "mm_token_type_ids", "image_sizes", "batch_num_images"),
    *("image_grid_thw", "video_grid_thw", "second_per_grid_ts", "image_sizes_videos", "pixel_attention_mask"),
    "token_type_ids",
}


@dataclass(eq=False)
class Pruned:
    """The last answer's visual tokens and what was kept of them; None before the first answer."""

    encoding: Encoding | None = None
    selection: Selection | None = None

    @property
    def tokens(self) -> VisualTokens | None:
        return None if self.encoding is None else self.encoding.tokens


@contextmanager
def prune(
    model: Any,
    processor: Any,
    method: str = "fsr",
    budget: int | float | str = 64,
    *,
    question: str | None = None,
    relevance: ClipRelevance | tuple[Any, Any] | None = None,
    **parameters: Any,
) -> Iterator[Pruned]:
    """Inside the block, `model.generate(**inputs)` reads `budget` visual tokens; afterwards the model is as it was.

    model: of a class in `fsr.vlm.catalogue`, in eval mode. inputs: what its processor returns, a batch of one. budget:
    a count, a share as 0.25 or "25 %", or a reduction as "-77.8 %".
    question: what relevance is measured against; default the user text of the prompt. relevance: a (CLIPModel,
    tokenizer) pair of the model's own vision tower, or None: no relevance term, and nothing is downloaded.
    Raises InvalidInput for what cannot be served. The result of generate starts with the unpruned prompt, as always.

        with fsr.prune(model, processor, method="fsr", budget="-77.8 %"):
            ids = model.generate(**inputs, max_new_tokens=64)
    """
    pruner = make(method, **parameters)
    if isinstance(pruner, InsidePruner):
        raise InvalidInput(f"{pruner.label} prunes inside the language model; here methods that prune before it work.")
    kept_from(budget, 1_000_000)
    if hasattr(vars(model).get("generate"), "plain"):
        raise InvalidInput("this model is being pruned already; leave that block first.")
    vlm, pruned, plain = _opened(model, processor, relevance), Pruned(), model.generate

    def generate(*args: Any, **options: Any) -> Any:
        if all(options.get(name) is None for name in PICTURES):
            return plain(*args, **options)
        if len(args) > 1:
            raise InvalidInput("give everything but the ids to generate by name.")
        ids = _ids(args, options)
        media = vlm.media_of(options, vlm.captures & pruner.requires)
        asked = question or _asked(vlm, ids, media)
        reads = "question" in pruner.requires or (vlm.relevance_model is not None and "relevance" in pruner.requires)
        if reads and not asked:
            raise InvalidInput("the question cannot be told from the prompt; give question=...")
        tokens = vlm.tokens(media, asked, pruner.requires)
        encoding = Encoding(media, asked, tokens, ids[0].cpu(), _located(vlm, ids[0].cpu(), media))
        selection = pruner(tokens, kept_from(budget, len(tokens)))
        pruned.encoding, pruned.selection = encoding, selection
        inputs = vlm.script_inputs(encoding, selection)
        others = {name: value for name, value in options.items() if name not in REPLACED}
        repeated = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
        return _with_prompt(_undisturbed(model, lambda: plain(**inputs, **others)), ids, repeated)

    generate.plain = plain  # type: ignore[attr-defined]
    before = vars(model).get("generate")
    model.generate = generate
    try:
        yield pruned
    finally:
        del model.generate
        if before is not None:
            model.generate = before


def kept_from(budget: int | float | str, n: int) -> int:
    """How many of n tokens a budget keeps: a count, a share (0.25, "25 %") or a reduction ("-77.8 %"). At least 1."""
    wrong = InvalidInput(f'the budget must be a count, a share as 0.25 or "25 %", or "-77.8 %", not {budget!r}.')
    if isinstance(budget, bool):
        raise wrong
    if isinstance(budget, int):
        return budget
    try:
        text = str(budget).strip()
        percent = text.endswith("%")
        value = float(text.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        raise wrong from None
    if isinstance(budget, str) and not percent and value == int(value) and value >= 1:
        return int(value)
    share = 1 + value if value < 0 else value
    if not 0 < share <= 1:
        raise wrong
    return max(1, round(share * n))


def _opened(model: Any, processor: Any, relevance: ClipRelevance | tuple[Any, Any] | None) -> Any:
    """Our reader around a model that stays untouched."""
    family = FAMILIES.get(model.config.model_type)
    if family is None:
        raise InvalidInput(f"'{model.config.model_type}' models are not supported; {', '.join(FAMILIES)} are.")
    if model.training:
        raise InvalidInput("the model is in training mode; call model.eval() first.")
    sign = -1 if model.config.vision_config.model_type == "clip_vision_model" else 1
    clip = None if relevance is None else (lambda: _clip(relevance, model))
    kind = getattr(importlib.import_module(family.module), family.name)
    vlm = kind(model, processor, id="", title="", clip=clip, clip_source="the CLIP model given", relevance_sign=sign)
    vlm._vision_warm = True  # nothing is timed here
    if relevance is not None and vlm.relevance_model is None:
        raise InvalidInput(f"the CLIP model does not fit: {vlm.pathways['relevance'].removeprefix('none: ')}")
    return vlm


def _clip(relevance: ClipRelevance | tuple[Any, Any], model: Any) -> ClipRelevance:
    if isinstance(relevance, ClipRelevance):
        return relevance
    clip, tokenizer = relevance
    equal = same_tower(find(model, "vision_tower"), clip.vision_model)
    return ClipRelevance.of(copy.deepcopy(clip), getattr(tokenizer, "tokenizer", tokenizer), exact=equal)


def _ids(args: tuple[Any, ...], options: Mapping[str, Any]) -> Tensor:
    given = [args[0]] if args else [options.get("input_ids"), options.get("inputs")]
    ids: Tensor | None = next((x for x in given if x is not None), None)
    if ids is None or ids.ndim != 2 or len(ids) != 1:
        raise InvalidInput("one prompt at a time can be pruned: input_ids of shape (1, L).")
    mask = options.get("attention_mask")
    if mask is not None and not bool(mask.all()):
        raise InvalidInput("padding cannot be pruned around; give one prompt without it.")
    return ids


def _located(vlm: Any, ids: Tensor, media: Any) -> Tensor:
    """Where the visual tokens stand, after a check that prompt and pictures belong together."""
    found, wanted = int((ids == vlm.visual_token(media)[0]).sum()), sum(vlm.placeholders(media))
    if found != wanted:
        raise InvalidInput(f"the prompt has places for {found} visual tokens and newlines, the pictures make {wanted}.")
    places: Tensor = vlm.located(ids, media)
    return places


def _asked(vlm: Any, ids: Tensor, media: Any) -> str:
    """The user text of a prompt made by the model's own chat template; empty where it was made otherwise."""
    token, mark = vlm.visual_token(media)
    text = vlm.tokenizer.decode(ids[0][ids[0] != token].tolist(), skip_special_tokens=False)
    begin = vlm.tokenizer.bos_token or ""  # which the template writes, or the tokenizer
    before, after = (" ".join(part.replace(mark, "").removeprefix(begin).split()) for part in vlm.template(media))
    words = " ".join(text.split())
    start = words.removeprefix(begin).strip()
    if not start.startswith(before) or not start.endswith(after):
        return ""
    return start[len(before) : len(start) - len(after)].strip()


def _undisturbed(model: Any, run: Callable[[], Any]) -> Any:
    """What `run` returns, with the position offset that Qwen2.5-VL keeps between calls put back."""
    inner = getattr(model, "model", model)
    if not hasattr(inner, "rope_deltas"):
        return run()
    held, inner.rope_deltas = inner.rope_deltas, None
    try:
        return run()
    finally:
        inner.rope_deltas = held


def _with_prompt(out: Any, ids: Tensor, repeated: int) -> Any:
    """What generate returns, with the unpruned prompt in front: from embeddings it returns the answer alone.

    repeated: places of a pruned prompt that it returns before the answer.
    """
    if isinstance(out, Tensor):
        return torch.cat([ids.expand(len(out), -1), out[:, repeated:]], dim=1)
    out.sequences = torch.cat([ids.expand(len(out.sequences), -1), out.sequences[:, repeated:]], dim=1)
    return out
