"""Tiny random checkpoints of the families that people run now, written to disk as published ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
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

from tests.tiny_families import QWEN_MARKS, QWEN_TEMPLATE, living, llama_config, marked_tokenizer

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
