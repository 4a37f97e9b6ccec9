"""The base of all families: what does not depend on how a vision tower cuts its pictures. It is no family itself."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from fsr.errors import FsrError, InvalidInput, within_memory
from fsr.tokens import Selection, VisualTokens, unit_rows
from fsr.vlm import geometry, prompt
from fsr.vlm.base import VLM, content_key
from fsr.vlm.capture import find
from fsr.vlm.decode import Decoder, end_ids
from fsr.vlm.media import CAPTURES, EVERYTHING, MEDIA_CACHE_BYTES, Encoding, Media
from fsr.vlm.placement import device_of
from fsr.vlm.relevance import ClipRelevance
from fsr.vlm.tower import Tower

POSITIONS = ("contiguous", "original")
MAX_FRAMES = 64
FRAMES_AT_ONCE = 8


class Family(VLM):
    """What all families do alike: caching, relevance, prompts, and the language model's inputs.

    A family says how frames become tokens (`_encode_frames`, `media_of`), and of the rest only what it does otherwise.

    clip: gives the ClipRelevance on first use, or raises FsrError with the reason why there is none.
    framing: "processor" (the checkpoint's own geometry) or "pad" (to a square first, as the original LLaVA code).
    positions: of kept tokens in the language model: "contiguous", as the methods' releases for LLaVA count them, or
    "original", those they have among all tokens; a property of the checkpoint, the same for every method.
    """

    captures = CAPTURES

    def __init__(
        self,
        model: Any,
        processor: Any,
        id: str,
        title: str,
        clip: Callable[[], ClipRelevance] | None = None,
        clip_source: str = "",
        relevance_sign: int = 1,
        framing: str = "processor",
        positions: str = "contiguous",
        media_cache: int = 16,
        media_cache_bytes: int = MEDIA_CACHE_BYTES,
    ) -> None:
        super().__init__(media_cache, media_cache_bytes)
        self.model, self.processor, self.tokenizer = model.eval(), processor, processor.tokenizer
        self.id, self.title, self.relevance_sign = id, title, relevance_sign
        self.device = device_of(model.get_input_embeddings())
        self.dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
        self.precision = str(self.dtype).removeprefix("torch.")
        if framing not in geometry.FRAMINGS:
            raise InvalidInput(f"framing must be one of {', '.join(geometry.FRAMINGS)}, not {framing!r}.")
        self.framing = framing
        if positions not in POSITIONS:
            raise InvalidInput(f"positions must be one of {', '.join(POSITIONS)}, not {positions!r}.")
        self.kept_positions = positions
        self.decoder = Decoder(model, end_ids(model, self.tokenizer), self.lock)
        self._clip: ClipRelevance | None = None
        self._load_clip, self._clip_source = clip, clip_source
        self._no_clip = "" if clip else clip_source or "this checkpoint has no matching CLIP text encoder"
        self.tower = self._tower_of(model)
        self._vision_warm = False
        self._by_embedding = False

    # -- what it is made of

    def _tower_of(self, model: Any) -> Any:
        """How the vision tower of this family is read."""
        return Tower(model)

    @property
    def pathways(self) -> dict[str, str]:
        return {"saliency": self.tower.saliency_words(), "relevance": self._relevance_words()}

    # -- what `fsr.check` asks, to compare this with the unmodified model

    patch_embedding: ClassVar[str] = "embeddings.patch_embedding"  # how its convolution's name ends
    no_video_reference: ClassVar[str] = ""  # why transformers' class is no reference for the frames of a video
    hidden_is_left_out: ClassVar[bool] = True  # whether a token hidden by an attention mask is as good as left out

    @property
    def vision(self) -> Any:
        """The module of the vision tower."""
        return find(self.model, "vision_tower")

    def processor_input(self, frames: Sequence[Image.Image], times: Sequence[float] | None) -> dict[str, Any]:
        """How the family's own processor is given pictures or, with times, the frames of a video."""
        return {"images": list(frames)} if times is None else {"videos": [list(frames)]}

    def masked_positions(self, inputs: Mapping[str, Tensor], mask: Tensor) -> Tensor:
        """The positions that kept tokens are promised, for a call in which the others are masked. mask: (1, L)."""
        if self.kept_positions == "original":
            return torch.arange(mask.shape[1], device=mask.device)[None]
        return (mask.cumsum(dim=1) - 1).clamp(min=0)

    def run_tower(self, pixels: Tensor, inputs: Mapping[str, Tensor]) -> None:
        """One pass of the tower over a processor's pixels."""
        self.tower.run(pixels)

    def read_saliency(self, pixels: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """(N,) float32: saliency as this family reads it."""
        saliency: Tensor = self.tower.read(pixels)["saliency"]
        return saliency

    def saliency_of(self, weights: Sequence[Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        """(N,) float32: the same from the attention weights of eager attention, (F, H, T, T) each."""
        rows = torch.cat(list(weights)).float()
        if not self.tower.has_cls:
            return rows.mean(dim=(1, 2)).flatten()
        from_cls = rows[:, :, 0, 1:].mean(dim=1)
        return torch.nn.functional.pad(from_cls, (self.tower.extra, 0)).flatten()

    def patch_reader(self) -> tuple[object, str, Callable[..., Any]]:
        """Which method of what reads the tower, and one in its place that reads its embedding layer alone."""
        vision, extra = self.vision, self.tower.extra

        def convolved(pixels: Tensor, wanted: frozenset[str] = frozenset()) -> dict[str, Tensor]:
            out = find(vision, self.patch_embedding)(pixels).flatten(2).transpose(1, 2)
            out = torch.nn.functional.pad(out, (0, 0, extra, 0)).flatten(0, 1)
            return {"embeddings": out, "features": out, "saliency": out[:, 0].float()}

        self.encode_media([Image.new("RGB", (336, 336))])  # its warm-up is the tower's own
        return self, "_read", convolved

    # -- relevance

    def measure_relevance_in_the_language_model(self) -> None:
        """From now on relevance is the cosine to the question's mean input embedding (`llm_embedding`), sign +1."""
        self._by_embedding, self.relevance_sign = True, 1

    def _relevance_words(self) -> str:
        if self._by_embedding:
            return "cosine of every visual token to the mean input embedding of the question in the language model"
        if self._no_clip:
            return f"none: {self._no_clip}"
        words = f"cosine of every patch to the question in the space of {self._clip_source}"
        tuned = self._clip is not None and not self._clip.exact
        return words + (" (this tower was trained further, so it is approximate)" if tuned else "")

    @property
    def relevance_model(self) -> ClipRelevance | None:
        """The CLIP parts, loaded on first use; None where there are none (see `pathways`)."""
        if self._clip is None and not self._no_clip and self._load_clip is not None:
            with self.lock:
                try:
                    self._clip = self._clip or self._load_clip().to(self.device)
                except FsrError as error:
                    self._no_clip = str(error)
        return self._clip

    # -- media

    def encode_media(
        self,
        frames: Sequence[Image.Image],
        times: Sequence[float] | None = None,
        needs: frozenset[str] = EVERYTHING,
    ) -> Media:
        """Encode 1 to 64 pictures; the same pictures again come from a bounded cache.

        times: seconds, one a frame: the frames are a video's. Models without a way for videos read them as pictures.
        needs: see `VLM.encode_media`.

        Raises InvalidInput for no or too many frames, or a picture the processor cannot frame.
        """
        if not 1 <= len(frames) <= MAX_FRAMES:
            raise InvalidInput(f"this model takes 1 to {MAX_FRAMES} frames, not {len(frames)}.")
        frames = [frame.convert("RGB") for frame in frames]
        seconds = self._checked_times(frames, times)
        key = content_key(frames, self.id, self.framing, seconds)
        wanted = self.captures & needs
        held = self._media.get(key)
        if held is not None and wanted.issubset(held.captures):
            return held
        with self.lock, within_memory():
            held = self._media.get(key)  # another thread may have encoded the same frames while we waited
            if held is None:
                held = self._encode_frames(frames, key, seconds, wanted)
            elif missing := wanted.difference(held.captures):
                held.captures.update(self._encode_frames(frames, key, seconds, missing).captures)
            self._media.put(held)
        return held

    def encode_ms(
        self,
        frames: Sequence[Image.Image],
        times: Sequence[float] | None = None,
        needs: frozenset[str] = EVERYTHING,
    ) -> float:
        """See `VLM.encode_ms`."""
        frames = [frame.convert("RGB") for frame in frames]
        with self.lock, within_memory():
            return self._encode_frames(frames, "", self._checked_times(frames, times), self.captures & needs).encode_ms

    def _checked_times(self, frames: Sequence[Image.Image], times: Sequence[float] | None) -> tuple[float, ...] | None:
        if times is None:
            return None
        seconds = tuple(float(t) for t in times)
        rising = all(a <= b for a, b in pairwise(seconds))
        if len(seconds) != len(frames) or not rising or not all(math.isfinite(t) and t >= 0 for t in seconds):
            raise InvalidInput(f"times must be {len(frames)} seconds, one a frame, from 0 on and rising.")
        return seconds

    @abstractmethod
    def _encode_frames(
        self,
        frames: Sequence[Image.Image],
        key: str,
        times: tuple[float, ...] | None = None,
        wanted: frozenset[str] = frozenset(),
    ) -> Media:
        """One pass of the vision tower. wanted: the captures to make."""

    @abstractmethod
    def media_of(self, inputs: Mapping[str, Any], wanted: frozenset[str] = frozenset()) -> Media:
        """What the vision tower makes of a processor's own output (a batch of one); nothing is cached.

        The layout lies on the pixels of the model's input where the output does not tell the picture's size.
        Raises InvalidInput where it holds no picture.
        """

    def _read(self, pixels: Tensor, wanted: frozenset[str] = frozenset()) -> dict[str, Tensor]:
        """`Tower.read` of all frames, frame after frame."""
        parts = [self.tower.read(part, wanted) for part in pixels.split(FRAMES_AT_ONCE)]
        return {name: torch.cat([part[name] for part in parts]).to(self.device) for name in parts[0]}

    # -- question

    def encode(self, media: Media, question: str, needs: frozenset[str] = EVERYTHING) -> Encoding:
        """Scores and prompt of one question. needs: see `VLM.encode`.

        Raises InvalidInput for an empty or too long question.
        """
        question = self.checked_question(question)
        with self.lock:
            before, after = self.template(media)
            ids = prompt.encode(self.tokenizer, before, question, after)
            unknown = prompt.unknown_words(self.tokenizer, question)
        expanded, visual = self._expanded(ids, media)
        return Encoding(media, question, self.tokens(media, question, needs), expanded, visual, unknown)

    def tokens(self, media: Media, question: str, needs: frozenset[str] = EVERYTHING) -> VisualTokens:
        """The visual tokens with their scores for one question."""
        with self.lock:
            relevance = self._relevance(media, question) if "relevance" in needs else None
        return VisualTokens(
            embeddings=media.embeddings,
            layout=media.layout,
            features=media.features,
            saliency=media.saliency if "saliency" in needs else None,
            relevance=relevance,
            relevance_sign=self.relevance_sign,
            shared=True,
            question=self.question_embeddings(question) if "question" in needs else None,
            project=self.projection if "project" in needs else None,
            encode_some=self.some_encoder(media) if "encode_some" in needs else None,
            **{name: media.captures.get(name) for name in CAPTURES & needs},
        ).sharing(media.computed)

    @property
    def projection(self) -> Callable[[Tensor], Tensor] | None:
        return self._project

    @torch.no_grad()
    def _project(self, features: Tensor) -> Tensor:
        """(n, C) -> (n, D): the projector."""
        with self.lock:  # so that no pass that is being read takes this one for its own
            projected: Tensor = self.tower.projector(features.to(self.device, self.dtype)).to(self.device)
            return projected

    def template(self, media: Media) -> tuple[str, str]:
        """The prompt before and after the question, with one visual token for every entry of `placeholders`."""
        return prompt.template(self.processor, len(self.placeholders(media)), self.visual_token(media)[1])

    def rendered(self, media: Media) -> tuple[str, str]:
        """The same as the family's own processor takes it, before it writes anything around a picture."""
        return self.template(media)

    def placeholders(self, media: Media) -> list[int]:
        """How many visual tokens every image token of the template stands for."""
        return torch.bincount(media.layout.frame, minlength=len(media.layout.grids)).tolist()

    def _relevance(self, media: Media, question: str) -> Tensor | None:
        if self._by_embedding:
            return self._embedding_cosine(media, question)
        clip = self.relevance_model
        if clip is None:
            return None
        if media.clip_patches is None:
            width = clip.post_layernorm.normalized_shape[0]
            media.clip_patches = clip.patches(media.features[:, -width:])
        return clip.cosine(media.clip_patches, question)

    @torch.no_grad()
    def _embedding_cosine(self, media: Media, question: str) -> Tensor:
        """(N,) float32 in [-1, 1]."""
        asked = self.question_embeddings(question).float().mean(dim=0)
        return unit_rows(media.embeddings.to(self.device)) @ unit_rows(asked)

    @torch.no_grad()
    def question_embeddings(self, question: str) -> Tensor:
        """See `VLM.question_embeddings`."""
        with self.lock:
            ids = torch.tensor(prompt.plain_ids(self.tokenizer, question), device=self.device)
            embeddings: Tensor = self.model.get_input_embeddings()(ids)
        return embeddings

    def visual_token(self, media: Media) -> tuple[int, str]:
        """The id and the text of the prompt token in whose place visual tokens are read."""
        image = self.model.config.image_token_id
        return image, getattr(self.processor, "image_token", None) or self.tokenizer.convert_ids_to_tokens(image)

    def _expanded(self, ids: list[int], media: Media) -> tuple[Tensor, Tensor]:
        """Prompt ids with every image token repeated once per visual token of its frame, and their positions."""
        prompt_ids = torch.tensor(ids)
        token = self.visual_token(media)[0]
        is_image = prompt_ids == token
        counts = self.placeholders(media)
        if int(is_image.sum()) != len(counts):
            raise InvalidInput("the question holds the model's image token; leave it out.")
        repeats = torch.ones_like(prompt_ids)
        repeats[is_image] = torch.tensor(counts)
        expanded = prompt_ids.repeat_interleave(repeats)
        return expanded, self.located(expanded, media)

    def located(self, ids: Tensor, media: Media) -> Tensor:
        """(N,) int64: where the visual tokens stand in an expanded prompt."""
        return (ids == self.visual_token(media)[0]).nonzero().flatten()

    # -- answer

    @torch.no_grad()
    def language_inputs(self, encoding: Encoding, selection: Selection | None) -> dict[str, Tensor]:
        """The prompt with the kept visual tokens in the place of all, at the positions that `kept_positions` says.

        Raises InvalidInput where that is more than the language model can read.
        """
        ids = encoding.prompt
        embeddings, places = encoding.tokens.embeddings, {}
        if selection is not None:
            embeddings = selection.sent
            source = self.source(encoding, selection)
            ids = ids[source]
            places = self._places(source)
        self._check_room(len(ids))
        table = self.model.get_input_embeddings()
        is_image = (ids == self.visual_token(encoding.media)[0]).to(self.device)
        embeds = table(ids.to(self.device).masked_fill(is_image, 0))
        embeds[is_image] = embeddings.to(self.device, embeds.dtype)
        return {"inputs_embeds": embeds[None], **places}

    def script_inputs(self, encoding: Encoding, selection: Selection | None) -> dict[str, Any]:
        """The same prompt as `generate` of the transformers class takes it, with a mask in which nothing is hidden."""
        inputs: dict[str, Any] = dict(self.language_inputs(encoding, selection))
        shape = inputs["inputs_embeds"].shape[:2]
        return {**inputs, "attention_mask": torch.ones(shape, dtype=torch.long, device=self.device)}

    def source(self, encoding: Encoding, selection: Selection) -> Tensor:
        return replaced(torch.arange(len(encoding.prompt)), encoding.visual, selection)

    def _places(self, source: Tensor) -> dict[str, Tensor]:
        """What tells the language model where the prompt's tokens stand. source: (L,) their places before pruning."""
        if self.kept_positions == "contiguous":
            return {}
        position = source[None].to(self.device)
        # with a mask, a gap in the positions is not taken for the start of another sequence
        return {"position_ids": position, "attention_mask": torch.ones_like(position)}

    def _check_room(self, length: int) -> None:
        room = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if room is not None and length >= room:
            raise InvalidInput(f"question and pictures make {length} tokens, the model reads at most {room}.")


def pixels_in(inputs: Mapping[str, Any], name: str) -> Tensor:
    """This entry of a processor's output. Raises InvalidInput where there is none."""
    if inputs.get(name) is None:
        raise InvalidInput(f"the inputs hold no {name}; give what the model's own processor returns.")
    found: Tensor = inputs[name]
    return found


def replaced(ids: Tensor, visual: Tensor, selection: Selection) -> Tensor:
    """The prompt with one image token for everything the selection sends. visual: (N,) places of the image tokens.

    What a selection sends beside the grid stands at the place of the first and of the last image token.
    """
    repeats = torch.ones_like(ids)
    repeats[visual] = 0
    repeats[visual[selection.kept.cpu()]] = 1
    repeats[visual[0]] += 0 if selection.before is None else len(selection.before)
    repeats[visual[-1]] += 0 if selection.after is None else len(selection.after)
    return ids.repeat_interleave(repeats)
