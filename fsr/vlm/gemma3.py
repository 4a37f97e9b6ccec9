"""Gemma 3: a picture is squeezed into 896 x 896 pixels and becomes 256 tokens, each the average of 4 x 4 patches.

The tokens of a picture read each other in both directions, in the sliding and in the full layers of the language model.
`token_type_ids` say which positions are a picture's, so a prompt of kept tokens carries those of the kept positions;
words around every picture keep two pictures apart, whatever is left of them. The SigLIP tower has no [CLS] token:
saliency is the attention received in its last layer, averaged as the tokens are.

Pan-and-scan, crops of long pictures that the processor can add, is off, as it is by default; a script that turns it on
has its crops pruned as so many pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from fsr.errors import FsrError
from fsr.tokens import Selection
from fsr.vlm import prompt
from fsr.vlm.capture import find
from fsr.vlm.llava import Llava
from fsr.vlm.media import CAPTURES, Encoding, Media
from fsr.vlm.tower import Tower


class Gemma3(Llava):
    """A Gemma3ForConditionalGeneration checkpoint; the frames of a video are so many pictures to it."""

    captures = CAPTURES - {"summary", "pixels"}  # several patches are averaged into a token
    processing: ClassVar[Mapping[str, Any]] = {"do_pan_and_scan": False}

    def _tower_of(self, model: Any) -> PooledTower:
        return PooledTower(model)

    # -- what `fsr.check` asks

    def processor_input(self, frames: Sequence[Image.Image], times: Sequence[float] | None) -> dict[str, Any]:
        return {"images": list(frames)}

    def saliency_of(self, weights: Sequence[Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        received = torch.cat(list(weights)).float().mean(dim=(1, 2))
        saliency: Tensor = self.tower.pooled(received[..., None]).flatten()
        return saliency

    def patch_reader(self) -> tuple[object, str, Callable[..., Any]]:
        owner, name, patches = super().patch_reader()

        def averaged(pixels: Tensor, wanted: frozenset[str] = frozenset()) -> dict[str, Tensor]:
            out = patches(pixels, wanted)["embeddings"].unflatten(0, (len(pixels), -1))
            out = self.tower.pooled(out).flatten(0, 1)
            return {"embeddings": out, "features": out, "saliency": out[:, 0].float()}

        return owner, name, averaged

    # -- media

    @torch.no_grad()
    def _project(self, features: Tensor) -> Tensor:
        """(n, C) of tokens -> (n, D): the projector behind its pooling."""
        with self.lock:
            projected: Tensor = self.tower.project(features.to(self.device, self.dtype)).to(self.device)
            return projected

    # -- question

    def visual_token(self, media: Media) -> tuple[int, str]:
        return self.model.config.image_token_id, self.tokenizer.image_token

    def rendered(self, media: Media) -> tuple[str, str]:
        return prompt.template(self.processor, len(self.placeholders(media)), self.processor.boi_token)

    def template(self, media: Media) -> tuple[str, str]:
        """The processor's own words around a picture, with one image token for all of its tokens."""
        before, after = self.rendered(media)
        token = self.tokenizer.image_token
        one = self.processor.full_image_sequence.replace(token * self.processor.image_seq_length, token)
        return before.replace(self.processor.boi_token, one), after

    # -- answer

    def language_inputs(self, encoding: Encoding, selection: Selection | None) -> dict[str, Tensor]:
        """As of every family, and `token_type_ids` (1, L): 1 where something of a picture is read."""
        inputs = super().language_inputs(encoding, selection)
        pictures = self._ids(encoding, selection) == self.visual_token(encoding.media)[0]
        return {**inputs, "token_type_ids": pictures.long()}

    def script_inputs(self, encoding: Encoding, selection: Selection | None) -> dict[str, Any]:
        """The class refuses embeddings in `generate`: it is given what is kept as if its tower had just made it."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        inputs = super().script_inputs(encoding, selection)
        embeds = inputs.pop("inputs_embeds")
        seen = BaseModelOutputWithPooling(pooler_output=embeds[:, inputs["token_type_ids"][0].bool()])
        return {**inputs, "input_ids": self._ids(encoding, selection), "mm_encoder_outputs": {"image": seen}}

    def _ids(self, encoding: Encoding, selection: Selection | None) -> Tensor:
        """(1, L) int64: the prompt with an image token for everything of a picture that is sent."""
        ids = encoding.prompt if selection is None else encoding.prompt[self.source(encoding, selection)]
        return ids[None].to(self.device)


class PooledTower(Tower):
    """A SigLIP tower whose patches the projector averages in squares. patch: pixels along the edge of a token."""

    def __init__(self, model: Any) -> None:
        vision = model.config.vision_config
        if vision.model_type != "siglip_vision_model":
            raise FsrError(f"vision towers of type {vision.model_type} are not supported with Gemma 3; SigLIP is.")
        self.model, self.projector = model, find(model, "multi_modal_projector")
        self.scale = int(self.projector.kernel_size)
        self.patch = int(vision.patch_size) * self.scale
        self.layers = find(find(model, "vision_tower"), "encoder.layers")
        self.has_cls, self.extra = False, 0
        self.feature, self.layer = -1, len(self.layers) - 1

    def saliency_words(self) -> str:
        return f"{super().saliency_words()}, then over the {self.scale} x {self.scale} patches of a token"

    @torch.no_grad()
    def read(self, pixels: Tensor, wanted: frozenset[str] = frozenset()) -> dict[str, Tensor]:
        read = super().read(pixels, wanted)
        patches = read["features"].unflatten(0, (len(pixels), -1))
        return {**read, "features": self.pooled(patches).flatten(0, 1)}

    def pooled(self, states: Tensor) -> Tensor:
        """(F, T, c) of patches -> (F, n, c) of tokens: averages, as the projector takes them."""
        side = self.projector.patches_per_image
        averages: Tensor = self.projector.avg_pool(states.transpose(1, 2).unflatten(2, (side, side)))
        return averages.flatten(2).transpose(1, 2)

    def project(self, features: Tensor) -> Tensor:
        """(n, C) of tokens -> (n, D): what the projector does behind its averages."""
        projected: Tensor = self.projector.mm_soft_emb_norm(features) @ self.projector.mm_input_projection_weight
        return projected.type_as(features)

    def _saliency(self, queries: Tensor, keys: Tensor, heads: int, scale: float | None = None) -> Tensor:
        return self.pooled(super()._saliency(queries, keys, heads, scale)[..., None])[..., 0]

    def _patches(self, states: Tensor) -> Tensor:
        return self.pooled(states)
