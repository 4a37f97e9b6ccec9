"""Tiny random checkpoints of the real transformers classes, complete directories as users have them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
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
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>")
SIDE, PATCH = 70, 14  # a grid of 5 x 5
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\n' }}{% else %}{{ part['text'] + ' ' }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte: every text is known, and a character can take several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({t: i for i, t in enumerate([*SPECIAL, *alphabet])}, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
    )


def vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=24,
    )


def tiny_llava(
    vocabulary: int,
    vision: PreTrainedConfig | None = None,
    text_kind: type[PreTrainedConfig] = LlamaConfig,
    layers: int = 3,
    **llava: Any,
) -> LlavaForConditionalGeneration:
    text = text_kind(  # type: ignore[call-arg]
        vocab_size=vocabulary,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    config = LlavaConfig(vision_config=vision or vision_config(), text_config=text, image_token_id=4, **llava)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.update(bos_token_id=2, eos_token_id=3, pad_token_id=0, do_sample=True, temperature=1.7)
    return enlivened(model)


def tiny_clip(vocabulary: int) -> CLIPModel:
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=20,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    vision = vision_config().to_dict()
    return enlivened(CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision, projection_dim=24)))


@dataclass(frozen=True)
class InMemory:
    """In the place of a `Checkpoint`: of a model that the tests share, and need not load again."""

    vlm: Any

    def misfit(self, *_: Any) -> str:
        return ""

    def fetch(self, *_: Any) -> None: ...

    def load(self, *_: Any) -> Any:
        return self.vlm


def in_memory(vlm: Any) -> Any:
    """What looks for checkpoints, and always finds this model."""
    return lambda *_, **__: InMemory(vlm)


def enlivened(model):
    """Weights large enough that attention is uneven and the answers depend on every input."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)
    return model.eval()


def save_tiny(
    folder: Path,
    clip: bool = True,
    tokenizer: PreTrainedTokenizerFast | None = None,
    facts: dict | None = None,
    pictures: Any = None,
    **llava: Any,
) -> Path:
    """A complete checkpoint directory as users have them; `clip/` shares the vision tower."""
    torch.manual_seed(0)
    tokenizer = tokenizer or byte_tokenizer()
    crop = {"height": SIDE, "width": SIDE}
    pictures = pictures or CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=crop)
    model = tiny_llava(len(tokenizer), **llava)
    processor = LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy=model.config.vision_feature_select_strategy,
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
    if facts is not None:
        (folder / "fsr.json").write_text(json.dumps(facts))
    return folder
