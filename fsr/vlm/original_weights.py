"""LLaVA-Video and its kin as their authors released them (LlavaQwenForCausalLM): the same modules under other names.

The weights are read from the original files through a table of names; no converted copy is written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from fsr.errors import FsrError

MODEL_TYPE = "llava_qwen"
# original name -> name in transformers' LlavaOnevisionForConditionalGeneration, as patterns, the first that fits
KEY_MAPPING = {
    r"^model\.vision_tower\.vision_tower\.(?:vision_model\.)?": "model.vision_tower.",
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.(embed_tokens|layers|norm)\.": r"model.language_model.\1.",
}
# the SigLIP towers that these models name, without their last layer
TOWERS: dict[str, dict[str, Any]] = {
    "google/siglip-so400m-patch14-384": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 26,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    }
}
# the conversation these models were trained with, see their conv_mode qwen_1_5
TEMPLATE = (
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ '<' + part['type'] + '>\\n' }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def original_config(source: str, local: bool) -> dict[str, Any] | None:
    """The contents of config.json where it is one of these models, else None."""
    if local:
        path = Path(source) / "config.json"
    else:
        from huggingface_hub import hf_hub_download

        path = Path(hf_hub_download(source, "config.json"))
    config = json.loads(path.read_text())
    return config if isinstance(config, dict) and config.get("model_type") == MODEL_TYPE else None


def tokenizer_of(source: str, local: bool) -> Any:
    """The checkpoint's tokenizer with tokens for pictures and videos, which the original code marks by other means."""
    from transformers import AutoTokenizer, Qwen2Config

    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local, config=Qwen2Config())
    tokenizer.add_tokens(["<image>", "<video>"], special_tokens=True)
    return tokenizer


def config_of(original: dict[str, Any], tokenizer: Any) -> Any:
    """The LlavaOnevisionConfig of an original configuration. Raises FsrError for a tower that is not known."""
    from transformers import LlavaOnevisionConfig, Qwen2Config, SiglipVisionConfig

    tower = original.get("mm_vision_tower", original.get("vision_tower"))
    shape = TOWERS.get(str(tower))
    if shape is None:
        raise FsrError(f"the vision tower {tower} is not known; {', '.join(TOWERS)} is.")
    projector = original.get("mm_projector_type")
    if projector != "mlp2x_gelu":
        raise FsrError(f"projectors of type {projector} are not supported; mlp2x_gelu is.")
    vision = SiglipVisionConfig(**shape, vision_use_head=False)
    aspect = str(original.get("image_aspect_ratio", ""))
    side = int(shape["image_size"])
    kind: Any = LlavaOnevisionConfig  # keeps what it does not know, too
    return kind(
        vision_config=vision,
        text_config=Qwen2Config(**{k: v for k, v in original.items() if k in _text_fields()}),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=_pinpoints(original.get("image_grid_pinpoints"), side),
        vision_aspect_ratio=aspect if aspect.startswith("anyres_max_") else "anyres_max_9",
        tie_word_embeddings=bool(original.get("tie_word_embeddings", False)),
        dtype=original.get("dtype", original.get("torch_dtype")),
        mm_newline_position=original.get("mm_newline_position"),
    )


def _text_fields() -> set[str]:
    from transformers import Qwen2Config

    return (set(Qwen2Config().to_dict()) | {"rope_theta"}) - {"model_type", "architectures", "transformers_version"}


def _pinpoints(given: Any, side: int) -> list[list[int]]:
    """A list of (height, width), or the 6 x 6 combinations that "(1x1),...,(6x6)" stands for."""
    if isinstance(given, list) and given:
        return [[int(a), int(b)] for a, b in given]
    return [[side * a, side * b] for a in range(1, 7) for b in range(1, 7)]


def processor_of(config: Any, tokenizer: Any) -> Any:
    """The processor these models need: SigLIP's pictures, tiles, and the conversation above."""
    from transformers import LlavaOnevisionImageProcessor, LlavaOnevisionProcessor, LlavaOnevisionVideoProcessor

    side = config.vision_config.image_size
    look = {"size": {"height": side, "width": side}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(image_grid_pinpoints=config.image_grid_pinpoints, **look),
        tokenizer=tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(**look),
        num_image_tokens=(side // config.vision_config.patch_size) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio=config.vision_aspect_ratio,
        chat_template=TEMPLATE,
    )


def load_original(source: str, local: bool, config: Any, dtype: torch.dtype, **options: Any) -> Any:
    """The model in transformers' classes; options: of from_pretrained. Raises FsrError where weights are missing."""
    from transformers import LlavaOnevisionForConditionalGeneration

    kind: Any = LlavaOnevisionForConditionalGeneration
    model, info = kind.from_pretrained(
        source,
        config=config,
        key_mapping=KEY_MAPPING,
        dtype=dtype,
        local_files_only=local,
        output_loading_info=True,
        **options,
    )
    unused = {"model.vision_tower.post_layernorm.weight", "model.vision_tower.post_layernorm.bias"}  # not on the way
    missing = set(info["missing_keys"]) - unused
    if missing:
        raise FsrError(f"{source} lacks weights, for example {min(missing)}.")
    return model
