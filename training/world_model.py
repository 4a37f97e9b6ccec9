"""The world's model: the former weights with more words, read-outs for training, and how it is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel, LlavaConfig, LlavaForConditionalGeneration

from fsr.errors import FsrError
from fsr.shapes.vocabulary import words as former_words
from fsr.world.names import NAMES
from fsr.world.words import words
from training import world_data as data
from training.clip_model import grown
from training.model import WIDTH

WORDS_OF_LLAVA = ("model.language_model.embed_tokens.weight", "lm_head.weight")
WORDS_OF_CLIP = ("text_model.embeddings.token_embedding.weight",)


def _known(rows: int) -> None:
    if rows not in (len(former_words()), len(former_words(clips=True)), len(words())):
        raise FsrError(f"The weights to start from know {rows} words, which is no vocabulary of this model.")


def start_llava(folder: Path) -> LlavaForConditionalGeneration:
    """The picture model of a folder with rows for every word of the world, single precision."""
    old: Any = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    config = old.config.to_dict()
    _known(config["text_config"]["vocab_size"])
    config["text_config"]["vocab_size"] = len(words())
    model: Any = LlavaForConditionalGeneration(LlavaConfig(**config))
    model.load_state_dict(_grown(old.state_dict(), WORDS_OF_LLAVA))
    model.generation_config = old.generation_config
    return model  # type: ignore[no-any-return]


def start_clip(folder: Path) -> CLIPModel:
    """Its CLIP likewise."""
    old: Any = CLIPModel.from_pretrained(folder / "clip", dtype=torch.float32)
    config = old.config.to_dict()
    config["text_config"]["vocab_size"] = len(words())
    model = CLIPModel(CLIPConfig(**config))
    model.load_state_dict(_grown(old.state_dict(), WORDS_OF_CLIP))
    return model


def _grown(state: dict[str, torch.Tensor], names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    return {k: grown(v, len(words())) if k in names and len(v) < len(words()) else v for k, v in state.items()}


class ReadOuts(nn.Module):
    """Linear read-outs used in training only: of patches, and of the CLS token after the last two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.ModuleDict({name: nn.Linear(WIDTH, n) for name, n in (data.HEADS | data.RELATED).items()})
        self.names = nn.Linear(WIDTH, len(NAMES))
        self.last_names = nn.Linear(WIDTH, len(NAMES))
        self.pairs = nn.Linear(WIDTH, len(data.PAIR_ID))
        self.count = nn.Linear(WIDTH, 9)
