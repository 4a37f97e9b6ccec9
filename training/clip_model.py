"""The clip model's architecture: LLaVA-OneVision's own class around the picture model's tower and a small Llama."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
)
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from fsr.shapes.scenes import GRID, SIDE
from fsr.shapes.vocabulary import IMAGE, VIDEO, build_tokenizer, words
from training.model import SHARD

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] + ' ' }}"
    "{% else %}{{ '<' + part['type'] + '>\n' }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def build_onevision(picture_model: LlavaForConditionalGeneration) -> LlavaOnevisionForConditionalGeneration:
    """Every weight of the picture model, and new rows for the words that only clips need.

    The class takes any tower and any language model; the tower's [CLS] token is dropped by the select strategy, and
    the class pools 24 x 24 patches to 12 x 12 tokens after the projector.
    """
    index = {w: i for i, w in enumerate(words(clips=True))}
    old: Any = picture_model.config
    text = type(old.text_config)(**{**old.text_config.to_dict(), "vocab_size": len(index)})
    config = LlavaOnevisionConfig(  # type: ignore[call-arg]
        vision_config=old.vision_config,
        text_config=text,
        image_token_index=index[IMAGE],
        video_token_index=index[VIDEO],
        vision_feature_layer=old.vision_feature_layer,
        vision_feature_select_strategy="default",
        image_grid_pinpoints=[[SIDE, SIDE]],
    )
    model = LlavaOnevisionForConditionalGeneration(config)
    state = {name: value.float() for name, value in picture_model.state_dict().items()}
    for name in [n for n in state if n.endswith(("embed_tokens.weight", "lm_head.weight"))]:
        state[name] = grown(state[name], len(index))
    missing, strange = model.load_state_dict(state, strict=False)
    if set(missing) != {"model.image_newline"} or strange:
        raise ValueError(f"the picture model does not fit: {missing} missing, {strange} too many.")
    with torch.no_grad():
        model.model.image_newline.copy_(state["model.language_model.embed_tokens.weight"].mean(0))
    model.generation_config = picture_model.generation_config
    return model


def build_pointer(clip: CLIPModel) -> CLIPModel:
    """The picture model's CLIP with the words of clips."""
    old: Any = clip.config
    text, vision = old.text_config.to_dict(), old.vision_config.to_dict()
    text["vocab_size"] = len(words(clips=True))
    new = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=old.projection_dim))
    state = {name: value.float() for name, value in clip.state_dict().items()}
    name = "text_model.embeddings.token_embedding.weight"
    state[name] = grown(state[name], text["vocab_size"])
    new.load_state_dict(state)
    return new


def grown(table: torch.Tensor, rows: int) -> torch.Tensor:
    """An embedding table with new rows behind the old ones, around their mean and as wide as they are spread.

    Of a longer table (the world's words begin with those of clips) the first rows.
    """
    if rows <= len(table):
        return table[:rows]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(rows - len(table), table.shape[1], generator=generator)
    return torch.cat([table, table.mean(0) + 0.5 * table.std(0) * noise])


def save_clips(folder: Path, model: LlavaOnevisionForConditionalGeneration, clip: CLIPModel, facts: dict) -> None:
    """Write `folder` and `folder/clip` as from_pretrained reads them, and the facts in fsr.json."""
    tokenizer = build_tokenizer(clips=True)
    look: dict[str, Any] = {"size": {"height": SIDE, "width": SIDE}}
    look |= {"image_mean": OPENAI_CLIP_MEAN, "image_std": OPENAI_CLIP_STD}
    processor = LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(image_grid_pinpoints=[[SIDE, SIDE]], **look),
        tokenizer=tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(**look),
        num_image_tokens=GRID * GRID + 1,  # what the tower returns; "default" drops one
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
    )
    parts: list[tuple[nn.Module, Path]] = [(model, folder), (clip, folder / "clip")]
    for part, path in parts:
        path.mkdir(parents=True, exist_ok=True)
        for old in path.glob("model*.safetensors*"):
            old.unlink()
        part.half().save_pretrained(path, max_shard_size=SHARD)  # type: ignore[operator]
        part.float()
    processor.save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    CLIPProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder / "clip")
    (folder / "fsr.json").write_text(json.dumps(facts, indent=1) + "\n")
