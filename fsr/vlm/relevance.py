"""Relevance (Eq. 2): the cosine between every patch and the question, in the space of the tower's own CLIP model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fsr.errors import FsrError
from fsr.tokens import unit_rows
from fsr.vlm.prompt import plain_ids


@dataclass(frozen=True, eq=False)
class ClipRelevance:
    """The parts of a CLIPModel that relevance needs; its vision encoder is not kept (the VLM has the same one).

    The cosine returned is the one of Eq. 2, before any sign (see `VisualTokens.relevance_sign`).
    """

    text_model: Any
    text_projection: Any
    post_layernorm: Any
    visual_projection: Any
    tokenizer: Any
    exact: bool = True

    @staticmethod
    def of(clip: Any, tokenizer: Any, exact: bool = True) -> ClipRelevance:
        """Take what is needed from a transformers CLIPModel, in float32. exact: its tower equals the VLM's."""
        clip = clip.float().eval()
        norm = clip.vision_model.post_layernorm
        return ClipRelevance(clip.text_model, clip.text_projection, norm, clip.visual_projection, tokenizer, exact)

    def to(self, device: torch.device) -> ClipRelevance:
        for module in (self.text_model, self.text_projection, self.post_layernorm, self.visual_projection):
            module.to(device)
        return self

    @torch.no_grad()
    def patches(self, hidden: Tensor) -> Tensor:
        """(N, C) hidden states of the layer that feeds the projector -> (N, P) float32 unit rows."""
        return unit_rows(self.visual_projection(self.post_layernorm(hidden.float())))

    @torch.no_grad()
    def text(self, question: str) -> Tensor:
        """(chunks, P) float32 unit rows: the question in chunks that fit the text tower, each with its own BOS, EOS."""
        device = self.text_projection.weight.device
        rows = []
        for chunk in self.chunks(question):
            hidden = self.text_model(input_ids=torch.tensor([chunk], device=device)).last_hidden_state
            rows.append(hidden[0, -1])  # EOS is last: pooled by place, not by id (transformers has a legacy path there)
        return unit_rows(self.text_projection(torch.stack(rows)))

    def chunks(self, question: str) -> list[list[int]]:
        """The ids of the question, nothing cut off, as BOS + at most (positions - 2) ids + EOS each."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        room = self.text_model.config.max_position_embeddings - 2
        ids = plain_ids(self.tokenizer, question)
        return [[bos, *ids[start : start + room], eos] for start in range(0, max(len(ids), 1), room)]

    def cosine(self, patches: Tensor, question: str) -> Tensor:
        """(N,) float32 in [-1, 1]: mean cosine of every patch to the question's chunks."""
        return (patches @ self.text(question).T).mean(dim=1)


def same_tower(tower: nn.Module, clip_vision: nn.Module) -> bool:
    """Whether the VLM's vision tower holds this CLIP's weights (within half precision); deeper layers may be cut off.

    Raises FsrError where the architectures differ, so that no patch feature could be projected.
    """
    theirs = dict(clip_vision.named_parameters())
    equal = True
    for name, mine in tower.named_parameters():
        other = theirs.get(name.removeprefix("vision_model."))
        if other is None or other.shape != mine.shape:
            raise FsrError(f"its vision tower has no {name} of shape {tuple(mine.shape)}")
        held = not mine.is_meta  # weights that accelerate keeps elsewhere cannot be compared here
        equal = equal and held and torch.allclose(mine.float().cpu(), other.float().cpu(), rtol=2e-2, atol=2e-3)
    return equal
