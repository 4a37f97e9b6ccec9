"""The embedded model's architecture: plain transformers classes, built small, saved in half precision shards."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from fsr.shapes.scenes import PATCH, SIDE
from fsr.shapes.vocabulary import BOS, EOS, IMAGE, PAD, build_tokenizer, words

WIDTH = 192
SHARD = "8MB"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>\n' }}"
    "{% else %}{{ part['text'] + ' ' }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=6,
        num_attention_heads=6,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=WIDTH,
    )


def build_llava() -> LlavaForConditionalGeneration:
    """LLaVA-1.5 in miniature: CLIP tower, two-layer projector fed by hidden_states[-2], Llama."""
    index = {w: i for i, w in enumerate(words())}
    text = LlamaConfig(
        vocab_size=len(index),
        hidden_size=WIDTH,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=2048,
        bos_token_id=index[BOS],
        eos_token_id=index[EOS],
        pad_token_id=index[PAD],
    )
    config = LlavaConfig(  # type: ignore[call-arg]
        vision_config=vision_config(),
        text_config=text,
        image_token_id=index[IMAGE],
        image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.bos_token_id = index[BOS]
    model.generation_config.eos_token_id = index[EOS]
    model.generation_config.pad_token_id = index[PAD]
    return model


def build_clip() -> CLIPModel:
    """The CLIP whose vision tower is the LLaVA's. EOS has id 3: with id 2 transformers would pool at the largest id."""
    index = {w: i for i, w in enumerate(words())}
    text = CLIPTextConfig(
        vocab_size=len(index),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=6,
        max_position_embeddings=77,
        projection_dim=WIDTH,
        bos_token_id=index[BOS],
        eos_token_id=index[EOS],
        pad_token_id=index[PAD],
    )
    return CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision_config().to_dict(), projection_dim=WIDTH)
    )


def save(
    folder: Path,
    llava: LlavaForConditionalGeneration,
    clip: CLIPModel,
    facts: dict,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> None:
    """Write `folder` and `folder/clip` as from_pretrained reads them, and the facts of the tower in fsr.json.

    tokenizer: another than that of the drawn scenes.
    """
    tokenizer = tokenizer or build_tokenizer()
    pictures = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    processor = LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    for model, path in ((llava, folder), (clip, folder / "clip")):
        path.mkdir(parents=True, exist_ok=True)
        for old in path.glob("model*.safetensors*"):
            old.unlink()
        dtype = next(model.parameters()).dtype
        model.half().save_pretrained(path, max_shard_size=SHARD)
        model.to(dtype)  # type: ignore[arg-type]
    processor.save_pretrained(folder)
    CLIPProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder / "clip")
    (folder / "fsr.json").write_text(json.dumps(facts, indent=1) + "\n")


def weights_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*.safetensors"))


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
