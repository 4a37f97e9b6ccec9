"""Tiny random checkpoints of the larger families, and what their tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import processors
from torch import Tensor
from transformers import (
    CLIPProcessor,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    SiglipVisionConfig,
)

from tests.tiny import CHAT_TEMPLATE, PATCH, SIDE, byte_tokenizer, enlivened, tiny_clip, vision_config

PINPOINTS = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE], [3 * SIDE, SIDE], [SIDE, 3 * SIDE]]
QUESTION = "What is left of the ring?"
SIZES = [(120, 120), (300, 100), (100, 300), (160, 100)]  # width, height: 1:1, 3:1, 1:3, and one that needs padding


def llama_config(vocabulary: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )


def save_next(folder: Path, clip: bool = False) -> Path:
    """LLaVA-NeXT with tiles of 5 x 5 patches and the real five resolutions, scaled down."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    config = LlavaNextConfig(
        vision_config=vision_config(),
        text_config=llama_config(len(tokenizer)),
        image_token_index=4,
        image_grid_pinpoints=PINPOINTS,
    )
    model = living(LlavaNextForConditionalGeneration(config))
    pictures = LlavaNextImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=PINPOINTS
    )
    processor = LlavaNextProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if clip:
        twin = tiny_clip(len(tokenizer))
        twin.vision_model.load_state_dict(model.model.vision_tower.state_dict())
        twin.save_pretrained(folder / "clip")
        CLIPProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder / "clip")
    return folder


QWEN_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}"
    "{{ '<|vision_start|><|' + part['type'] + '_pad|><|vision_end|>' }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_MARKS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def marked_tokenizer(marks: tuple[str, ...], **named: str) -> PreTrainedTokenizerFast:
    """The byte-level tokenizer without a begin of text, with more special tokens, some of them under a name."""
    core = byte_tokenizer().backend_tokenizer
    core.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    core.add_special_tokens(list(marks))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        additional_special_tokens=list(marks),
        extra_special_tokens=named,
        padding_side="left",
    )


def save_qwen(folder: Path) -> Path:
    """Qwen2.5-VL with windows of 2 x 2 merged tokens, and a last full-attention block that is not the last block."""
    torch.manual_seed(0)
    tokenizer = marked_tokenizer(QWEN_MARKS, image_token="<|image_pad|>", video_token="<|video_pad|>")
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in QWEN_MARKS}
    vision = {
        "depth": 4,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 4,
        "out_hidden_size": 48,
        "window_size": 56,
        "fullatt_block_indexes": [0, 2],
        "tokens_per_second": 2,
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]},
        "bos_token_id": None,
        "eos_token_id": 3,
        "pad_token_id": 0,
    }
    config = Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    model = living(Qwen2_5_VLForConditionalGeneration(config))
    size = {"shortest_edge": 28 * 28 * 4, "longest_edge": 28 * 28 * 40}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size),
        chat_template=QWEN_TEMPLATE,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


TILE = 100  # seven patches and two pixels that no patch reads
TILE_CELLS = TILE // PATCH
TILE_PINPOINTS = [[TILE * rows, TILE * cols] for rows in (1, 2, 3) for cols in (1, 2, 3)]
ONEVISION_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + ' ' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ '\n' + part['text'] }}{% else %}{{ '<' + part['type'] + '>' }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def onevision_parts() -> tuple[LlavaOnevisionForConditionalGeneration, LlavaOnevisionProcessor]:
    """LLaVA-OneVision with tiles of 7 x 7 patches and at most four tiles' worth of tokens in a mosaic."""
    torch.manual_seed(0)
    tokenizer = marked_tokenizer(
        ("<|im_start|>", "<|im_end|>", "<video>"), image_token="<image>", video_token="<video>"
    )
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=TILE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=3,
        pad_token_id=0,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=TILE_PINPOINTS,
        vision_aspect_ratio="anyres_max_4",
    )
    model = living(LlavaOnevisionForConditionalGeneration(config))
    look = {"size": {"height": TILE, "width": TILE}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    processor = LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(image_grid_pinpoints=TILE_PINPOINTS, **look),
        tokenizer=tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(**look),
        num_image_tokens=TILE_CELLS**2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_4",
        chat_template=ONEVISION_TEMPLATE,
    )
    return model, processor


def save_onevision(folder: Path) -> Path:
    model, processor = onevision_parts()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def living(model: Any) -> Any:
    """Uneven weights, a newline that is told from zero, and an end-of-text id that no answer reaches by chance."""
    model.generation_config.update(bos_token_id=2, eos_token_id=3, pad_token_id=0, do_sample=True, temperature=1.7)
    enlivened(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("image_newline"):
                parameter.normal_()
    return model


def noise(width: int, height: int, seed: int = 1) -> Image.Image:
    """A picture of noise, coarse enough to survive being made small."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height // 10, width // 10, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy()).resize((width, height), Image.Resampling.NEAREST)


def greedy(model: Any, inputs: dict[str, Tensor], n: int = 10) -> list[int]:
    """Transformers' own greedy answer without the end-of-text id."""
    out = model.generate(**inputs, max_new_tokens=n, do_sample=False, temperature=None)[0]
    start = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
    return [t for t in out[start:].tolist() if t != 3]


def answer(vlm: Any, encoding: Any, selection: Any = None, n: int = 10) -> list[int]:
    return list(vlm.generate(encoding, selection, n))[-1].token_ids


def covered(grid: Any, rect: Tensor) -> tuple[int, int, int, int] | None:
    """The whole pixels of a token's rectangle on the picture, or None where the picture ends within or before it."""
    x0, y0, x1, y1 = (round(v) for v in rect.tolist())
    inside = x0 >= 0 and y0 >= 0 and x1 <= grid.width and y1 <= grid.height and x1 - x0 > 1 and y1 - y0 > 1
    return (x0, y0, x1, y1) if inside else None


def newline_rows(selection: Any, rows: int, cols: int, newline: Tensor) -> Tensor:
    """What LLaVA-Video's language model reads of a selection: a newline behind every row that keeps a token."""
    kept = {int(i): row for i, row in zip(selection.kept, selection.embeddings, strict=True)}
    sequence = []
    for row in range(rows):
        inside = [kept[i] for i in range(cols * row, cols * (row + 1)) if i in kept]
        sequence += [*inside, newline] if inside else []
    return torch.stack(sequence)
