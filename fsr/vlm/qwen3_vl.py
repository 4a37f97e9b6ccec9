"""Qwen3-VL: Qwen2.5-VL's grids without windows, and DeepStack: what a token carries past the first layers.

The vision tower reads some of its blocks out early; these rows are added to the hidden states of the visual positions
behind the first layers of the language model. A kept token keeps its rows, a merged one has them merged with the
weights of its embedding, and what a method sends beside the grid has none. In a video every step in time stands by
itself behind its time in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from fsr.refine import merge
from fsr.tokens import Role, Selection
from fsr.vlm import prompt
from fsr.vlm.base import Forced
from fsr.vlm.media import Encoding, Media
from fsr.vlm.qwen2_5_vl import Qwen25VL, QwenMedia, QwenTower


class Qwen3Grids(Qwen25VL):
    """What Qwen3-VL and Qwen3.5 do alike: the tower, its grids, and the prompt. Two frames of a video make one frame of
    tokens."""

    template_settings: ClassVar[dict[str, bool]] = {}

    def _tower_of(self, model: Any) -> Qwen3Tower:
        return Qwen3Tower(model)

    def saliency_of(self, weights: Sequence[Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([w[0].float().mean(dim=(0, 1)) for w in weights]).view(-1, self.tower.merge**2).mean(dim=1)

    # -- media

    def _encode_frames(
        self,
        frames: Sequence[Image.Image],
        key: str,
        times: tuple[float, ...] | None = None,
        wanted: frozenset[str] = frozenset(),
    ) -> QwenMedia:
        media = super()._encode_frames(frames, key, times, wanted)
        if times is not None:
            media.times = self._middles(times)
        return media

    def _middles(self, times: Sequence[float]) -> tuple[float, ...]:
        """The middle of every step in time: between its first frame and its last, which may be doubled."""
        ends = [*times, *[times[-1]] * (-len(times) % self._steps)]
        return tuple((ends[i] + ends[i + self._steps - 1]) / 2 for i in range(0, len(ends), self._steps))

    def media_of(self, inputs: Mapping[str, Any], wanted: frozenset[str] = frozenset()) -> QwenMedia:
        media, ids = super().media_of(inputs, wanted), inputs.get("input_ids")
        if media.seconds is not None and ids is not None:
            token = re.escape("<|vision_start|>" + self.visual_token(media)[1])
            text = self.tokenizer.decode(ids[0].tolist(), skip_special_tokens=False)
            media.times = tuple(map(float, re.findall(rf"<([\d.]+) seconds>{token}", text)))
        return media

    # -- question

    def rendered(self, media: Media) -> tuple[str, str]:
        assert isinstance(media, QwenMedia)
        kind = "image" if media.seconds is None else "video"
        return prompt.template(
            self.processor, len(media.grids), self.visual_token(media)[1], kind, **self.template_settings
        )

    def template(self, media: Media) -> tuple[str, str]:
        before, after = self.rendered(media)
        assert isinstance(media, QwenMedia)
        if media.seconds is None:
            return before, after
        token, (begin, end) = self.visual_token(media)[1], self._around
        return before.replace(token, "".join(f"<{t:.1f} seconds>{begin}{token}{end}" for t in media.times)), after

    @property
    def _around(self) -> tuple[str, str]:
        return self.processor.vision_start_token, self.processor.vision_end_token

    def placeholders(self, media: Media) -> list[int]:
        """One entry a picture, or a step in time of a video."""
        return torch.bincount(media.layout.frame).tolist()


class Qwen3VL(Qwen3Grids):
    """A Qwen3VLForConditionalGeneration checkpoint."""

    @torch.no_grad()
    def language_inputs(self, encoding: Encoding, selection: Selection | None) -> dict[str, Any]:
        """The prompt with image tokens for what is kept, and beside it their rows, as if the tower had just made them.

        So transformers' own class puts the rows where they belong: the embeddings, and those of DeepStack.
        """
        inputs: dict[str, Any] = super().language_inputs(encoding, selection)
        sent = len(encoding.tokens) if selection is None else len(selection.sent)
        if not sent:
            return inputs
        from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

        embeds, ids = inputs["inputs_embeds"], encoding.prompt
        if selection is not None:
            ids = ids[self.source(encoding, selection)]
        places = (ids == self.visual_token(encoding.media)[0]).to(embeds.device)
        rows = embeds[0, places]
        mark = torch.tensor(self.model.config.image_token_id, device=embeds.device)
        embeds[0, places] = self.model.get_input_embeddings()(mark)
        deepstack = [(of_layer.to(rows),) for of_layer in carried(encoding.media, selection)]
        seen = BaseModelOutputWithDeepstackFeatures(pooler_output=(rows,), deepstack_features=deepstack)
        return {**inputs, "mm_encoder_outputs": {"image": seen}}

    def forced_scores(
        self, encoding: Encoding, selections: Sequence[Selection], answer_ids: Sequence[int]
    ) -> Iterator[tuple[int, Tensor]]:
        """One by one: a batch of prompts of different lengths cannot be given what DeepStack adds."""
        for i, selection in enumerate(selections):
            yield i, self.forced(encoding, selection, answer_ids)

    def forced_batches(
        self, encoding: Encoding, selections: Sequence[Selection | None], answer_ids: Sequence[int]
    ) -> Iterator[list[Forced]]:
        """One by one, as above."""
        ids = torch.tensor(list(answer_ids))
        for selection in selections:
            scores = self.forced(encoding, selection, answer_ids).double().log_softmax(dim=-1).cpu()
            log_probs = scores.gather(1, ids[:, None])[:, 0].tolist()
            yield [Forced.of(log_probs, bool((scores.argmax(dim=-1) == ids).all()))]


class Qwen3Tower(QwenTower):
    """The vision side, in which every block sees the whole picture, or the whole step in time of a video."""

    def _see(self, vision: Any) -> None:
        self.layer = len(self.visual.blocks) - 1

    def order(self, grids: Tensor) -> Tensor:
        return torch.arange(int(grids.prod(dim=1).sum()) // self.merge**2)


def carried(media: Media, selection: Selection | None) -> list[Tensor]:
    """(B + K + A, D) each: what DeepStack adds behind the first layers to everything that a selection sends.

    Merged with the selection's own weights; zero for what is no token of the grid.
    """
    assert isinstance(media, QwenMedia)
    if selection is None:
        return list(media.deepstack)
    found = []
    for rows in media.deepstack:
        kept, roles, anchor, weight = (
            x.to(rows.device) for x in (selection.kept, selection.roles, selection.anchor, selection.weight)
        )
        merged = (roles == int(Role.MERGED)).nonzero().flatten()
        beside = [
            rows.new_zeros(0 if x is None else len(x), rows.shape[1]) for x in (selection.before, selection.after)
        ]
        found.append(torch.cat([beside[0], merge(rows, kept, merged, anchor, weight), beside[1]]))
    return found
