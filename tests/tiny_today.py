"""The families that people run now, and the table of their tests: one row a family."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    Gemma3ForConditionalGeneration,
    InternVLForConditionalGeneration,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
    SmolVLMForConditionalGeneration,
)

from tests.tiny_checkpoints import save_gemma3, save_internvl, save_qwen3, save_qwen3_5, save_smolvlm
from tests.tiny_families import QUESTION, noise

TIMES = (0.0, 2.0, 4.0)
FRAMES: dict[str, tuple[list[Image.Image], tuple[float, ...] | None]] = {
    "1:1": ([noise(300, 300)], None),
    "3:1": ([noise(300, 100)], None),
    "1:3": ([noise(100, 300)], None),
    "several": ([noise(270, 90), noise(90, 150, 2)], None),
    "video": ([noise(200, 130, seed) for seed in range(len(TIMES))], TIMES),
}


@dataclass(frozen=True)
class Row:
    """One family. save: writes a tiny checkpoint. kind: its class in transformers.

    layer: model -> the attention whose weights are saliency. saliency: these weights, (F, H, T, T) each, and the
    processor's inputs -> (N,), written down independently. by_hand: unmodified model, the processor's inputs and a
    selection -> (L, V), the logits of a prompt put together without our code. grids: case -> rows and columns of every
    grid; there is no "video" for a class that reads pictures only. inside: whether methods inside the language model
    work. masks: whether hiding a token by an attention mask is as good as leaving it out.
    """

    save: Callable[[Path], Path]
    kind: Any
    layer: Callable[[Any], Any]
    saliency: Callable[[Sequence[Tensor], dict[str, Tensor]], Tensor]
    by_hand: Callable[[Any, dict[str, Tensor], Any], Tensor]
    grids: dict[str, list[tuple[int, int]]]
    inside: bool = True
    masks: bool = True


def of_squares(weights: Sequence[Tensor], inputs: dict[str, Tensor], side: int = 3) -> Tensor:
    """Attention received, mean over the 4 x 4 patches of a token: `side` squares along each edge, in raster order."""
    received, places = torch.cat(list(weights)).mean(dim=(1, 2)).view(-1, 4 * side, 4 * side), range(0, 4 * side, 4)
    squares = [received[:, r : r + 4, c : c + 4].mean(dim=(1, 2)) for r in places for c in places]
    return torch.stack(squares, dim=1).flatten()


def intern_saliency(weights: Sequence[Tensor], inputs: dict[str, Tensor]) -> Tensor:
    """Attention from [CLS], mean over the 2 x 2 patches of a token: squares of the grid, in raster order."""
    given = torch.cat(list(weights)).mean(dim=1)[:, 0, 1:].view(-1, 8, 8)
    squares = [given[:, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean(dim=(1, 2)) for r in range(4) for c in range(4)]
    return torch.stack(squares, dim=1).flatten()


@torch.no_grad()
def embeddings_only(model: Any, inputs: dict[str, Tensor], selection: Any) -> Tensor:
    """Kept embeddings in the place of the image tokens, all else as it was."""
    ids = inputs["input_ids"][0]
    rows = model.get_input_embeddings()(ids)
    place = (ids == model.config.image_token_id).nonzero().flatten()
    rows[place[selection.kept]] = selection.embeddings
    stays = torch.ones(len(ids), dtype=torch.bool).index_fill_(0, place, False)
    stays[place[selection.kept]] = True
    kinds = {name: inputs[name][:, stays] for name in ("token_type_ids",) if name in inputs}
    logits: Tensor = model(inputs_embeds=rows[stays][None], **kinds).logits[0]
    return logits


def qwen3_saliency(weights: Sequence[Tensor], inputs: dict[str, Tensor]) -> Tensor:
    """Attention received, mean over the 2 x 2 patches of a token, which follow each other."""
    return torch.cat([w[0].mean(dim=(0, 1)) for w in weights]).view(-1, 4).mean(dim=1)


@torch.no_grad()
def with_deepstack(model: Any, inputs: dict[str, Tensor], selection: Any) -> Tensor:
    """Kept embeddings at their own positions, and the rows of every DeepStack layer, merged by their weights: none in
    Qwen3.5."""
    ids = inputs["input_ids"][0]
    grids = {name: inputs[name] for name in ("image_grid_thw", "video_grid_thw") if name in inputs}
    video = "video_grid_thw" in inputs
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"], mm_token_type_ids=inputs["mm_token_type_ids"], **grids
    )
    pixels = inputs["pixel_values_videos" if video else "pixel_values"]
    seen = model.model.visual(pixels, grid_thw=next(iter(grids.values())))
    rows = model.get_input_embeddings()(ids)
    place = (ids == (model.config.video_token_id if video else model.config.image_token_id)).nonzero().flatten()
    rows[place[selection.kept]] = selection.embeddings
    stays = torch.ones(len(ids), dtype=torch.bool).index_fill_(0, place, False)
    stays[place[selection.kept]] = True
    visual = torch.zeros(len(ids), dtype=torch.bool).index_fill_(0, place, True)[stays]
    deepstack = []
    for layer in getattr(seen, "deepstack_features", ()):
        carried = [
            sum(
                float(selection.weight[i]) * layer[i]
                for i in range(len(layer))
                if i == kept or (selection.roles[i] == 1 and selection.anchor[i] == kept)
            )
            for kept in selection.kept.tolist()
        ]
        deepstack.append(torch.stack(carried))
    beside = {"visual_pos_masks": visual[None], "deepstack_visual_embeds": deepstack} if deepstack else {}
    out = model.model.language_model(inputs_embeds=rows[stays][None], position_ids=positions[:, :, stays], **beside)
    logits: Tensor = model.lm_head(out.last_hidden_state)[0]
    return logits


QWEN3_GRIDS = {
    "1:1": [(6, 6)],
    "3:1": [(3, 9)],
    "1:3": [(9, 3)],
    "several": [(3, 8), (5, 3)],
    "video": [(4, 6)] * 2,
}
ROWS = {
    "qwen3": Row(
        save_qwen3,
        Qwen3VLForConditionalGeneration,
        lambda model: model.model.visual.blocks[-1].attn,
        qwen3_saliency,
        with_deepstack,
        QWEN3_GRIDS,
    ),
    "qwen3_5": Row(
        save_qwen3_5,
        Qwen3_5ForConditionalGeneration,
        lambda model: model.model.visual.blocks[-1].attn,
        qwen3_saliency,
        with_deepstack,
        QWEN3_GRIDS,
        inside=False,
        masks=False,
    ),
    "smolvlm": Row(
        save_smolvlm,
        SmolVLMForConditionalGeneration,
        lambda model: model.model.vision_model.encoder.layers[-1].self_attn,
        of_squares,
        embeddings_only,
        {
            "1:1": [(9, 9), (3, 3)],
            "3:1": [(3, 9), (3, 3)],
            "1:3": [(9, 3), (3, 3)],
            "several": [(3, 9), (3, 3), (9, 6), (3, 3)],
            "video": [(3, 3)] * 3,
        },
    ),
    "gemma3": Row(
        save_gemma3,
        Gemma3ForConditionalGeneration,
        lambda model: model.model.vision_tower.encoder.layers[-1].self_attn,
        partial(of_squares, side=6),
        embeddings_only,
        {"1:1": [(6, 6)], "3:1": [(6, 6)], "1:3": [(6, 6)], "several": [(6, 6)] * 2},
        inside=False,
    ),
    "internvl": Row(
        save_internvl,
        InternVLForConditionalGeneration,
        lambda model: model.model.vision_tower.encoder.layer[-1].attention,
        intern_saliency,
        embeddings_only,
        {
            "1:1": [(8, 8), (4, 4)],
            "3:1": [(4, 12), (4, 4)],
            "1:3": [(12, 4), (4, 4)],
            "several": [(4, 12), (4, 4), (12, 8), (4, 4)],
            "video": [(4, 4)] * 3,
        },
    ),
}
SLOW = ("1:1", "1:3")  # as 3:1, but for what a picture's shape changes
SELDOM = ("internvl",)  # stands on what other rows try; but for several pictures `make test-all` tries it
ALIKE = ("qwen3_5", "gemma3", *SELDOM)  # what they do with single pictures is in another row, or in their several


def cases(slow: tuple[str, ...]) -> list[Any]:
    """Every family with every case; slow are these, and of families that are alike all single pictures."""

    def seldom(family: str, name: str) -> bool:
        return name in slow or (family in ALIKE and ":" in name) or (family in SELDOM and name != "several")

    return [
        pytest.param(family, name, marks=[pytest.mark.slow] if seldom(family, name) else [])
        for family in ROWS
        for name in ROWS[family].grids
    ]


def families(of: Iterable[str]) -> list[Any]:
    """These names as parameters; slow are families that are seldom tried."""
    return [pytest.param(family, marks=[pytest.mark.slow] if family in SELDOM else []) for family in of]


EVERY, CASES = cases(()), cases(SLOW)
EACH = [pytest.param(family, marks=[pytest.mark.slow] if family in ALIKE else []) for family in ROWS]


def case(vlm: Any, name: str) -> tuple[Any, dict[str, Tensor]]:
    """An encoding and the processor's own inputs for it, made without our code."""
    frames, times = FRAMES[name]
    kind, count = ("image", len(frames)) if times is None else ("video", 1)
    content = [{"type": kind}] * count + [{"type": "text", "text": QUESTION}]
    text = vlm.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    given: dict[str, Any] = {"images": [frames] if "smolvlm" in vlm.model.config.model_type else frames}
    if times is not None:
        read = {
            "fps": 1 / (times[1] - times[0]),
            "frames_indices": [*range(len(times))],
            "total_num_frames": len(times),
        }
        given = {"videos": [frames], "video_metadata": [read], "do_sample_frames": False}
    begun = text.startswith(vlm.tokenizer.bos_token or "?")  # by the template, and not once more by the tokenizer
    inputs = vlm.processor(text=text, return_tensors="pt", add_special_tokens=not begun, **given)
    encoding = vlm.encode(vlm.encode_media(frames, times=times), QUESTION)
    return encoding, {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
