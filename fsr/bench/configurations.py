"""Configuration and processor of a real-size model; `fsr.bench.architectures` fills it with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fsr.vlm.original_weights import config_of, processor_of

CHAT = (
    "{% for m in messages %}{{ 'USER: ' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ '<image>\n' }}{% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
QWEN_CHAT = (
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}"
    "{{ '<|vision_start|><|' + part['type'] + '_pad|><|vision_end|>' }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_MARKS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
SMOL_MARKS = (
    *("<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>"),
    *(f"<row_{row}_col_{col}>" for row in range(1, 5) for col in range(1, 5)),
)

GEMMA_MARKS = ("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>")
GEMMA_CHAT = (
    "{% for m in messages %}{{ '<start_of_turn>' + m['role'] + '\n' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ '<start_of_image>' }}{% endif %}{% endfor %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Architecture:
    """One model's shape. text, vision: what differs from the defaults of their configurations in transformers.

    make: (architecture, text settings) -> configuration and processor. kind: the class in transformers. family: our
    module and class. picture: (width, height) of the picture, or of every frame of a video, that gives `tokens` visual
    tokens. clip: the text tower that relevance needs, None where the family has no relevance. join:
    patches along each edge that a pixel shuffle or an average makes one token.
    """

    title: str
    kind: str
    family: tuple[str, str]
    make: Callable[[Architecture, dict[str, Any]], tuple[Any, Any]]
    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    picture: tuple[int, int]
    tokens: int
    video: bool = False
    clip: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    join: int = 1

    @property
    def layers(self) -> int:
        """Decoder layers of the language model."""
        return int(self.text["num_hidden_layers"])


def tokenizer(marks: tuple[str, ...], **names: str) -> Any:
    """One token a byte, and one for every mark. names: attributes such as image_token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ("<pad>", "<unk>", "<s>", "</s>", "<image>", *marks)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({t: i for i, t in enumerate([*special, *alphabet])}, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    begin = "" if marks else "<s> "
    core.post_processor = processors.TemplateProcessing(single=f"{begin}$A", special_tokens=[("<s>", 2)])
    core.add_special_tokens(list(special))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token=None if marks else "<s>",
        eos_token="</s>",
        extra_special_tokens=names,
        padding_side="left",
    )


def llava_parts(one: Architecture, text: dict[str, Any]) -> tuple[Any, Any]:
    import transformers

    t: Any = transformers
    words, side = tokenizer((), image_token="<image>"), one.vision["image_size"]
    parts = {"vision_config": t.CLIPVisionConfig(**one.vision), "text_config": t.LlamaConfig(**text)}
    image: int = words.convert_tokens_to_ids("<image>")
    frame = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    to: dict[str, Any] = {
        "tokenizer": words,
        "patch_size": one.vision["patch_size"],
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "chat_template": CHAT,
    }
    if one.kind == "LlavaForConditionalGeneration":
        config = t.LlavaConfig(**parts, image_token_id=image)
        return config, t.LlavaProcessor(image_processor=t.CLIPImageProcessor(**frame), **to)
    places = [[side * down, side * across] for down, across in ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))]
    config = t.LlavaNextConfig(**parts, image_token_index=image, image_grid_pinpoints=places)
    pictures = t.LlavaNextImageProcessor(**frame, image_grid_pinpoints=places)
    return config, t.LlavaNextProcessor(image_processor=pictures, **to)


def qwen_parts(one: Architecture, text: dict[str, Any]) -> tuple[Any, Any]:
    """Of Qwen2.5-VL, Qwen3-VL or Qwen3.5, by the class in transformers."""
    import transformers

    t: Any = transformers
    words = tokenizer(QWEN_MARKS, image_token="<|image_pad|>", video_token="<|video_pad|>")
    ids = {mark: words.convert_tokens_to_ids(mark) for mark in QWEN_MARKS}
    newer = one.kind != "Qwen2_5_VLForConditionalGeneration"
    config = getattr(t, one.kind.replace("ForConditionalGeneration", "Config"))(
        vision_config=dict(one.vision),
        text_config=text,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=text["tie_word_embeddings"],
    )
    if newer:
        size = {"shortest_edge": 256 * 256, "longest_edge": 4096 * 4096}
        pictures = t.Qwen2VLImageProcessor(size=size, patch_size=one.vision["patch_size"])
        clips = t.Qwen3VLVideoProcessor(cap_pixels_per_frame=True)
    else:
        pictures = t.Qwen2VLImageProcessor(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 16384})
        clips = t.Qwen2VLVideoProcessor()
    parts = {"image_processor": pictures, "tokenizer": words, "video_processor": clips, "chat_template": QWEN_CHAT}
    return config, (t.Qwen3VLProcessor if newer else t.Qwen2_5_VLProcessor)(**parts)


def original_parts(one: Architecture, text: dict[str, Any]) -> tuple[Any, Any]:
    words = tokenizer(("<|im_start|>", "<|im_end|>", "<video>"), image_token="<image>", video_token="<video>")
    original = {
        **text,
        "mm_vision_tower": one.vision["tower"],
        "mm_projector_type": "mlp2x_gelu",
        "mm_newline_position": "grid",
        "image_aspect_ratio": "anyres_max_9",
    }
    config = config_of(original, words)
    for name in one.vision.keys() - {"tower"}:  # what differs from the tower's own shape
        setattr(config.vision_config, name, one.vision[name])
    return config, processor_of(config, words)


INTERN_MARKS = ("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
INTERN_CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'video' %}{{ '<video>\n' }}"
    "{% else %}{{ '<IMG_CONTEXT>\n' }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def intern_parts(one: Architecture, text: dict[str, Any]) -> tuple[Any, Any]:
    import transformers

    t: Any = transformers
    names = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    words, side = tokenizer(INTERN_MARKS, video_token="<video>", **names), one.vision["image_size"]
    each = (side // one.vision["patch_size"] // one.join) ** 2
    config = t.InternVLConfig(
        vision_config=t.InternVLVisionConfig(**one.vision),
        text_config=t.AutoConfig.for_model(**text),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=each,
        downsample_ratio=1 / one.join,
        tie_word_embeddings=text["tie_word_embeddings"],
    )
    size = {"height": side, "width": side}
    processor = t.InternVLProcessor(
        image_processor=t.GotOcr2ImageProcessor(size=size),
        tokenizer=words,
        video_processor=t.InternVLVideoProcessor(size=size),
        image_seq_length=each,
        chat_template=INTERN_CHAT,
    )
    return config, processor


def smol_parts(one: Architecture, text: dict[str, Any]) -> tuple[Any, Any]:
    import transformers
    from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig
    from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

    t: Any = transformers
    words, side, scale = tokenizer(SMOL_MARKS, image_token="<image>"), one.vision["image_size"], one.join
    config = t.SmolVLMConfig(
        vision_config=SmolVLMVisionConfig(**one.vision),
        text_config=t.LlamaConfig(**text),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=scale,
    )
    look = {"max_image_size": {"longest_edge": side}}
    processor = t.SmolVLMProcessor(
        image_processor=t.SmolVLMImageProcessor(size={"longest_edge": 4 * side}, **look),
        tokenizer=words,
        video_processor=t.SmolVLMVideoProcessor(size={"longest_edge": side}, **look),
        image_seq_len=(side // one.vision["patch_size"] // scale) ** 2,
        chat_template=DEFAULT_CHAT_TEMPLATE,
    )
    return config, processor


def gemma_parts(one: Architecture, text: dict[str, Any]) -> tuple[Any, Any]:
    import transformers

    t: Any = transformers
    begin, end, image = GEMMA_MARKS[2:]
    words = tokenizer(GEMMA_MARKS, image_token=image, boi_token=begin, eoi_token=end)
    side = one.vision["image_size"]
    tokens = (side // one.vision["patch_size"] // one.join) ** 2
    config = t.Gemma3Config(
        vision_config=dict(one.vision),
        text_config=text,
        mm_tokens_per_image=tokens,
        image_token_index=words.convert_tokens_to_ids(image),
        boi_token_index=words.convert_tokens_to_ids(begin),
        eoi_token_index=words.convert_tokens_to_ids(end),
    )
    look = {"size": {"height": side, "width": side}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    processor = t.Gemma3Processor(
        image_processor=t.Gemma3ImageProcessor(**look),
        tokenizer=words,
        chat_template=GEMMA_CHAT,
        image_seq_length=tokens,
    )
    return config, processor
