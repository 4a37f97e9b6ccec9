"""The vision side of the LLaVA families: a CLIP or SigLIP tower and its projector, read with hooks in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fsr.errors import FsrError
from fsr.vlm.capture import capture, cls_attention, find, received_attention


class Tower:
    """The vision side of a LLaVA model, read with hooks in one forward pass."""

    def __init__(self, model: Any) -> None:
        vision = model.config.vision_config
        if vision.model_type not in ("clip_vision_model", "siglip_vision_model"):
            raise FsrError(f"vision towers of type {vision.model_type} are not supported; CLIP and SigLIP are.")
        self.model, self.patch = model, int(vision.patch_size)
        self.feature: int | list[int] = model.config.vision_feature_layer
        tower = find(model, "vision_tower")
        self.projector = find(model, "multi_modal_projector")
        self.layers = find(tower, "encoder.layers")
        self.has_cls = any(name.endswith("class_embedding") for name, _ in tower.named_parameters())
        self.layer = self._fed_layer(self.feature)
        keeps_cls = model.config.vision_feature_select_strategy == "full"
        self.extra = 1 if self.has_cls and keeps_cls else 0

    def _fed_layer(self, feature: int | list[int]) -> int:
        """The layer whose output feeds the projector: hidden_states[-2] of n layers is the output of layer n - 2.

        Where several are concatenated, the last listed.
        """
        last = feature if isinstance(feature, int) else feature[-1]
        layer = last - 1 if last >= 0 else len(self.layers) + last
        if not 0 <= layer < len(self.layers):
            raise FsrError(f"vision_feature_layer {feature} names no layer of a tower with {len(self.layers)}.")
        return layer

    def _fed_layers(self) -> list[int]:
        """All layers whose outputs are concatenated for the projector."""
        return [self._fed_layer([f]) for f in ([self.feature] if isinstance(self.feature, int) else self.feature)]

    def saliency_words(self) -> str:
        heads, where = self.attention.num_heads, f"layer {self.layer + 1} of {len(self.layers)}"
        if self.has_cls:
            return f"attention from [CLS] to every patch in {where} of the vision tower, mean over {heads} heads"
        return f"attention every patch receives in {where} of the vision tower, mean over {heads} heads and all patches"

    @property
    def attention(self) -> Any:
        return self._attention_of(self.layers[self.layer])

    def _attention_of(self, layer: Any) -> Any:
        return layer.self_attn

    def _queries_and_keys(self, attention: Any) -> tuple[Any, Any]:
        """The modules that return them as the attention compares them, (F, T, heads * d) each."""
        return attention.q_proj, attention.k_proj

    @torch.no_grad()
    def read(self, pixels: Tensor, wanted: frozenset[str] = frozenset()) -> dict[str, Tensor]:
        """What one pass of the tower over a few frames shows, frame after frame, by name.

        embeddings (N, D), features (N, C), saliency (N,) and the captures that are wanted, see `VisualTokens`. Without
        [CLS] there is no summary, and last_saliency is the attention received, computed over all heads as one as well.
        """
        attention, last = self.attention, self._attention_of(self.layers[-1])
        watched = {"projector": self.projector} | dict(zip("qk", self._queries_and_keys(attention), strict=True))
        if wanted & {"last_keys", "last_saliency"}:
            watched |= dict(zip(("last_q", "last_k"), self._queries_and_keys(last), strict=True))
        if self.has_cls and "summary" in wanted:
            watched |= {f"layer {layer}": self.layers[layer] for layer in self._fed_layers()}
        with capture(watched) as seen:
            self.run(pixels)
        queries, keys, fed = seen["q"].output, seen["k"].output, seen["projector"]
        scale = getattr(attention, "scale", None)
        read = {"embeddings": fed.output, "features": fed.input}
        read["saliency"] = self._saliency(queries, keys, attention.num_heads, scale)
        if "keys" in wanted:
            read["keys"] = self._patches(keys.float().unflatten(-1, (attention.num_heads, -1)).mean(dim=2))
        if "last_keys" in wanted:
            read["last_keys"] = self._patches(seen["last_k"].output)
        if "last_saliency" in wanted:
            read["last_saliency"] = self._saliency(seen["last_q"].output, seen["last_k"].output, 1)
        read = {name: value.flatten(0, 1) for name, value in read.items()}
        if self.has_cls and "summary" in wanted:
            states = [seen[f"layer {layer}"].output[:, 0] for layer in self._fed_layers()]
            read["summary"] = self.projector(torch.cat(states, dim=-1))
        return read

    @torch.no_grad()
    def read_some(self, pixels: Tensor, own: Tensor) -> Tensor:
        """(k, D): embeddings of some tokens of one frame, of which the others never enter the tower's layers.

        pixels: (1, 3, H, W). own: (k,) int64, ascending, tokens of the frame, in the order of `read`. A patch keeps the
        position embedding of its place; [CLS] is always there.
        """
        first = int(self.has_cls) - self.extra  # of the tokens, in the sequence of the tower
        own = own.to(pixels.device)
        within = torch.cat([own.new_zeros(int(self.has_cls)), own + first]).unique()
        embeddings = find(find(self.model, "vision_tower"), "embeddings")
        left_out = embeddings.register_forward_hook(lambda _module, _inputs, out: out.index_select(1, within))
        try:
            with capture({"projector": self.projector}) as seen:
                self.run(pixels)
        finally:
            left_out.remove()
        fed = within[first:]
        some: Tensor = seen["projector"].output[0][torch.isin(fed, own + first)]
        return some

    def _saliency(self, queries: Tensor, keys: Tensor, heads: int, scale: float | None = None) -> Tensor:
        """(F, n) float32: the attention from [CLS], in towers without one the attention received."""
        if not self.has_cls:
            return received_attention(queries, keys, heads, scale)
        saliency = cls_attention(queries, keys, heads, scale)
        return torch.nn.functional.pad(saliency, (self.extra, 0))  # a kept [CLS] token has no patch

    def _patches(self, states: Tensor) -> Tensor:
        """(F, T, c) -> (F, n, c): without [CLS], unless it is kept."""
        return states[:, 1:] if self.has_cls and not self.extra else states

    def run(self, pixels: Tensor) -> None:
        """One pass of the tower and the projector over (F, 3, H, W)."""
        self.model.get_image_features(pixel_values=pixels)
