"""Tiny random checkpoints of the families that people run now, and the table of their tests: one row a family."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers import processors
from torch import Tensor
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    InternVLVisionConfig,
    LlamaConfig,
    Qwen2VLImageProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3Config,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

from tests.tiny_families import QUESTION, QWEN_MARKS, QWEN_TEMPLATE, living, llama_config, marked_tokenizer, noise

TIMES = (0.0, 2.0, 4.0)
FRAMES: dict[str, tuple[list[Image.Image], tuple[float, ...] | None]] = {
    "1:1": ([noise(300, 300)], None),
    "3:1": ([noise(300, 100)], None),
    "1:3": ([noise(100, 300)], None),
    "several": ([noise(270, 90), noise(90, 150, 2)], None),
    "video": ([noise(200, 130, seed) for seed in range(len(TIMES))], TIMES),
}

SMOL_SIDE, SMOL_PATCH, SMOL_SCALE = 100, 8, 4  # 12 x 12 patches and a rest of four pixels that no patch reads
SMOL_MARKS = (
    *("<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>"),
    *(f"<row_{row}_col_{col}>" for row in (1, 2, 3) for col in (1, 2, 3)),
)


def save_smolvlm(folder: Path) -> Path:
    """SmolVLM2 with 3 x 3 tokens a tile and at most 3 x 3 tiles."""
    torch.manual_seed(0)
    tokenizer = marked_tokenizer(SMOL_MARKS, image_token="<image>")
    vision = SmolVLMVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SMOL_SIDE,
        patch_size=SMOL_PATCH,
    )
    text = LlamaConfig(**{**llama_config(len(tokenizer)).to_dict(), "rope_theta": 1e5})
    config = SmolVLMConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=SMOL_SCALE,
    )
    model = living(SmolVLMForConditionalGeneration(config))
    look = {"size": {"longest_edge": 3 * SMOL_SIDE}, "max_image_size": {"longest_edge": SMOL_SIDE}}
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(**look),
        tokenizer=tokenizer,
        video_processor=SmolVLMVideoProcessor(**look),
        image_seq_len=(SMOL_SIDE // SMOL_PATCH // SMOL_SCALE) ** 2,
        chat_template=DEFAULT_CHAT_TEMPLATE,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_qwen3(folder: Path) -> Path:
    """Qwen3-VL with rows for the first two of its three layers."""
    return _save_qwen3(folder, Qwen3VLConfig, Qwen3VLForConditionalGeneration, {}, {"deepstack_visual_indexes": [0, 2]})


def save_qwen3_5(folder: Path) -> Path:
    """Qwen3.5 with full attention in the fourth of its five layers, and two value heads to a key head elsewhere."""
    text = {
        "num_hidden_layers": 5,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 12,
        "head_dim": 32,
        "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5},
    }
    return _save_qwen3(folder, Qwen3_5Config, Qwen3_5ForConditionalGeneration, text, {})


ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True}


def _save_qwen3(folder: Path, configuration: Any, kind: Any, text: dict[str, Any], vision: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    tokenizer = marked_tokenizer(QWEN_MARKS, image_token="<|image_pad|>", video_token="<|video_pad|>")
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in QWEN_MARKS}
    vision = {
        "depth": 4,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 4,
        "out_hidden_size": 48,
        "num_position_embeddings": 36,
        **vision,
    }
    text = {
        **{name: value for name, value in llama_config(len(tokenizer)).to_dict().items() if name in QWEN3_TEXT},
        "head_dim": 16,
        "rope_parameters": ROPE,
        "bos_token_id": None,
        **text,
    }
    config = configuration(
        vision_config=vision,
        text_config=text,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    model = living(kind(config))
    size = {"shortest_edge": 32 * 32 * 4, "longest_edge": 32 * 32 * 40}
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, patch_size=16),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(size={**size, "longest_edge": 32 * 32 * 120}, cap_pixels_per_frame=False),
        chat_template=QWEN_TEMPLATE,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


INTERN_SIDE, INTERN_PATCH = 68, 8  # 8 x 8 patches and a rest of four pixels that no patch reads
INTERN_MARKS = ("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
INTERN_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'video' %}{{ '<video>\n' }}"
    "{% else %}{{ '<IMG_CONTEXT>\n' }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def save_internvl(folder: Path) -> Path:
    """InternVL with 4 x 4 tokens a tile and at most six tiles, its queries and keys normed as in InternViT-6B."""
    torch.manual_seed(0)
    tokenizer = marked_tokenizer(
        INTERN_MARKS,
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    vision = InternVLVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        attention_bias=True,
        use_qk_norm=True,
        image_size=INTERN_SIDE,
        patch_size=INTERN_PATCH,
    )
    llama = llama_config(len(tokenizer)).to_dict()
    text = Qwen3Config(**{name: llama[name] for name in QWEN3_TEXT}, head_dim=16)
    config = InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=16,
        tie_word_embeddings=False,
    )
    model = living(InternVLForConditionalGeneration(config))
    look = {"size": {"height": INTERN_SIDE, "width": INTERN_SIDE}}
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(max_patches=6, **look),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(**look),
        image_seq_length=16,
        chat_template=INTERN_TEMPLATE,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


QWEN3_TEXT = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "eos_token_id", "pad_token_id"),
)

GEMMA_MARKS = ("<start_of_turn>", "<end_of_turn>", "<boi>", "<eoi>", "<soft>")
GEMMA_TEMPLATE = (  # writes the begin of text, as the tokenizer does
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m['role'] + '\n' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] | trim }}{% else %}{{ '<boi>' }}{% endif %}{% endfor %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA_SIDE, GEMMA_PATCH = 98, 4  # 24 x 24 patches and a rest of two pixels, averaged to 6 x 6 tokens


def save_gemma3(folder: Path, window: int = 512) -> Path:
    """Gemma 3 with two sliding layers and a full one, whose positions turn at different speeds."""
    torch.manual_seed(0)
    names = {"image_token": "<soft>", "boi_token": "<boi>", "eoi_token": "<eoi>"}
    tokenizer = marked_tokenizer(GEMMA_MARKS, **names)
    tokenizer.bos_token = "<s>"
    begin = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    tokenizer.backend_tokenizer.post_processor = begin
    text = {
        **{name: value for name, value in llama_config(len(tokenizer)).to_dict().items() if name in QWEN3_TEXT},
        "head_dim": 16,
        "query_pre_attn_scalar": 20,
        "sliding_window": window,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "bos_token_id": 2,
    }
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": GEMMA_SIDE,
        "patch_size": GEMMA_PATCH,
        "vision_use_head": False,
    }
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=36,
        **{f"{name}_index": tokenizer.convert_tokens_to_ids(mark) for name, mark in names.items()},
    )
    model = living(Gemma3ForConditionalGeneration(config))
    look = {"size": {"height": GEMMA_SIDE, "width": GEMMA_SIDE}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessor(**look),
        tokenizer=tokenizer,
        chat_template=GEMMA_TEMPLATE,
        image_seq_length=36,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


# -- the table of tests


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
