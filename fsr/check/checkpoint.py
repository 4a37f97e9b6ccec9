"""`python -m fsr check MODEL`: does this library read a checkpoint as transformers does? For people with the weights.

Every check compares the adapter with the unmodified model behind it, in this process, on a drawn picture and a batch
of one. Figures are largest differences over the largest value compared; half precision rounds, so its limits are wide:
float32 is the strict check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fsr.bench.machine import device_name
from fsr.check.reach import attending, embedding_layer, forgetful, recorded
from fsr.check.sign import scene, sign
from fsr.errors import FsrError
from fsr.pruners import make
from fsr.tokens import Selection
from fsr.vlm.base import VLM
from fsr.vlm.catalogue import FAMILIES
from fsr.vlm.decode import Decoder
from fsr.vlm.family import Family
from fsr.vlm.media import Encoding, Media

QUESTION = "What is left of the ring?"
NEW = 10  # generated tokens
SHAPES = {"1:1": (672, 672), "3:1": (1008, 336), "1:3": (336, 1008)}
TIMES = (0.0, 0.5, 1.0, 1.5)  # seconds, of a video's frames
PAINTED = 12  # tokens painted in every grid
# by dtype: logits and saliency, over the largest value; and the share of kept tokens that must be the same
LOGITS = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}
SALIENCY = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
SAME = {torch.float32: 1.0, torch.float16: 0.95, torch.bfloat16: 0.9}


@dataclass(frozen=True)
class Finding:
    """One check. status: PASS, FAIL or SKIP. figure, limit: what was measured and allowed, None where skipped."""

    name: str
    status: str
    figure: float | None
    limit: float | None
    detail: str

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def check(
    model: str, device: str | None = None, dtype: str | None = None, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Load a model and check it. say: told what is at work.

    Returns {"model", "title", "family": as in the registry, "device", "hardware", "dtype", "passed", "checks":
    [Finding], "relevance_sign": see `sign`}.
    Raises FsrError with one sentence when it cannot be loaded.
    """
    from fsr.vlm import load

    say(f"loading {model}")
    vlm = load(model, device, dtype, media_cache=0)  # every encode is a new one
    if not isinstance(vlm, Family):
        raise FsrError(f"{model} is of no family that can be checked.")
    subject = Subject(vlm)
    checks: dict[str, Callable[[], Finding]] = {
        "all tokens": lambda: all_tokens(subject),
        "kept tokens": lambda: kept_tokens(subject),
        "saliency": lambda: saliency(subject),
        "attention": lambda: attention(subject),
        "video": lambda: video(vlm),
    }
    checks |= {f"layout {name}": lambda name=name: layout(vlm, name) for name in SHAPES}  # type: ignore[misc]
    findings = []
    for name, one in checks.items():
        say(f"checking {name}")
        findings.append(_found(name, one))
    say("measuring the relevance sign")
    return {
        "model": vlm.id,
        "title": vlm.title,
        "family": next(name for name, one in FAMILIES.items() if one.name == type(vlm).__name__),
        "device": str(vlm.device),
        "hardware": device_name(vlm.device),
        "dtype": vlm.precision,
        "passed": all(one.status != "FAIL" for one in findings),
        "checks": [one.to_json() for one in findings],
        "relevance_sign": _sign(vlm),
    }


def _found(name: str, one: Callable[[], Finding]) -> Finding:
    try:
        return one()
    except Exception as error:  # whatever goes wrong in a model is a finding about it
        return Finding(name, "FAIL", None, None, _said(error))


def _sign(vlm: VLM) -> dict[str, Any]:
    try:
        return sign(vlm)
    except Exception as error:  # the same; the checks above tell what is wrong
        return {"skipped": _said(error)}


def _said(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"ended with {type(error).__name__}: {text[0] if text else ''}"


class Subject:
    """One picture, or frames of a video, and a question, as the adapter and as the model's own processor read them."""

    def __init__(self, vlm: Family, times: tuple[float, ...] | None = None) -> None:
        self.vlm, self.times = vlm, times
        self.frames = [scene(i)[0].resize((504, 336)) for i in range(len(times or [0]))]

    @cached_property
    def encoding(self) -> Encoding:
        return self.vlm.encode(self.vlm.encode_media(self.frames, self.times), QUESTION)

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """The processor's own output."""
        before, after = self.vlm.rendered(self.encoding.media)
        given = self.vlm.processor_input(self.frames, self.times)
        begin = self.vlm.tokenizer.bos_token
        if begin and before.startswith(begin):  # written by the template, and not once more by the tokenizer
            given["add_special_tokens"] = False
        values = self.vlm.processor(**given, text=before + QUESTION + after, return_tensors="pt")
        return {name: self._placed(value) for name, value in values.items()}

    def _placed(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(self.vlm.device, self.vlm.dtype if value.is_floating_point() else None)

    @cached_property
    def pixels(self) -> Tensor:
        """(F, 3, H, W), or Qwen's (patches, C)."""
        values = self.inputs["pixel_values"]
        pixels: Tensor = values.flatten(0, 1) if values.ndim == 5 else values
        return pixels

    @torch.no_grad()
    def unmodified(self, ids: list[int], hidden: Tensor | None = None) -> Tensor:
        """(L, V): the model's own pass over the prompt and all but the last of `ids`, in one piece.

        hidden: (L,) bool, places of the prompt that nobody may attend to; the others keep the positions that the
        adapter promises for kept tokens. Where hiding is not leaving out, they are left out, and so are their rows.
        """
        answer = torch.tensor([ids[:-1]], device=self.vlm.device)
        inputs = {**self.inputs, "input_ids": torch.cat([self.inputs["input_ids"], answer], dim=1)}
        for kinds in ("mm_token_type_ids", "token_type_ids"):
            if kinds in inputs:
                inputs[kinds] = _longer(inputs[kinds], answer, 0)
        mask = torch.ones_like(inputs["input_ids"])
        if hidden is not None:
            mask[0, : len(hidden)] = (~hidden).long()
            inputs["position_ids"] = self.vlm.masked_positions(inputs, mask)
            if not self.vlm.hidden_is_left_out:
                return self._left_out(inputs, mask[0].bool())
        with self.vlm.lock, forgetful(self.vlm.model):
            logits: Tensor = self.vlm.model(**{**inputs, "attention_mask": mask}, use_cache=False).logits[0]
            return logits

    def _left_out(self, inputs: dict[str, Any], stays: Tensor) -> Tensor:
        """(kept, V): the model's own embeddings of what stays (L,), at its positions."""
        model = self.vlm.model
        seen = model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"]).pooler_output
        embeds = model.get_input_embeddings()(inputs["input_ids"][0])
        embeds[inputs["mm_token_type_ids"][0] == 1] = torch.cat(list(seen))
        with self.vlm.lock, forgetful(model):
            positions = inputs["position_ids"][..., stays]
            logits: Tensor = model(inputs_embeds=embeds[stays][None], position_ids=positions, use_cache=False).logits[0]
            return logits

    @torch.no_grad()
    def hidden(self, selection: Selection) -> Tensor:
        """(L,) bool: the places of the processor's prompt that hold neither a kept token nor the end of its row.

        Found without the adapter: newlines are where the unmodified model's features are its newline, a row is what
        lies between two of them.
        """
        ids = self.inputs["input_ids"][0]
        place = (ids == self.vlm.model.config.image_token_id).nonzero().flatten()
        closing = torch.zeros(len(place), dtype=torch.bool, device=ids.device)
        ends = [name for name, _ in self.vlm.model.named_parameters() if name.endswith("image_newline")]
        if ends and len(place) > len(self.encoding.tokens):
            wanted = ("pixel_values", "image_sizes", "batch_num_images")
            known = {name: self.inputs[name] for name in wanted if name in self.inputs}
            features = torch.cat(list(self.vlm.model.get_image_features(**known).pooler_output))
            closing = (features == self.vlm.model.get_parameter(ends[0]).to(features)).all(dim=-1)
        token = (~closing).nonzero().flatten()
        if len(token) != len(self.encoding.tokens):
            raise FsrError(f"the model reads {len(token)} visual tokens, the adapter {len(self.encoding.tokens)}.")
        kept = torch.zeros_like(closing)
        kept[token[selection.kept]] = True
        lines = closing.nonzero().flatten().tolist()
        for line in lines:  # every row is as long as the last
            kept[line] = bool(kept[line - (lines[-1] - lines[-2] - 1) : line].any())
        hidden = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        hidden[place] = ~kept
        return hidden

    def ours(self, selection: Selection | None) -> tuple[Tensor, list[int]]:
        """(L + 9, V): the adapter's scores at every place of the prompt and before nine more tokens; all ten tokens."""
        vlm, open_end = self.vlm, Decoder(self.vlm.model, frozenset(), self.vlm.lock)  # ten tokens, end of text or not
        inputs: dict[str, Any] = dict(vlm.language_inputs(self.encoding, selection))
        embeds = inputs.pop("inputs_embeds")
        *_, progress = open_end.greedy(embeds, NEW, **inputs)
        scores = open_end.forced(embeds, progress.ids, **inputs)
        return torch.cat([vlm.logits(self.encoding, selection), scores[1:]]), progress.ids


def all_tokens(subject: Subject, name: str = "all tokens") -> Finding:
    """Every token kept: the unmodified model's logits over the processor's own prompt and ten greedy tokens."""
    if subject.encoding.prompt.tolist() != subject.inputs["input_ids"][0].tolist():
        return Finding(name, "FAIL", None, None, "the prompt is not the processor's own")
    n = len(subject.encoding.tokens)
    ours, ids = subject.ours(make("full")(subject.encoding.tokens, n))
    what = f"{n} visual tokens, prompt and {NEW} tokens against the unmodified model"
    return _compared(name, ours, subject.unmodified(ids), ids, what)


def video(vlm: Family) -> Finding:
    """The same for the frames of a video."""
    if not vlm.reads_clips:
        return Finding("video", "SKIP", None, None, "this family reads the frames of a video as so many pictures")
    if vlm.no_video_reference:
        return Finding("video", "SKIP", None, None, vlm.no_video_reference)
    return all_tokens(Subject(vlm, TIMES), "video")


def kept_tokens(subject: Subject) -> Finding:
    """A ninth kept, none merged: the unmodified model with all others hidden from attention, or left out."""
    n = len(subject.encoding.tokens)
    selection = make("fsr", kappa=0.0)(subject.encoding.tokens, max(1, n // 9))
    ours, ids = subject.ours(selection)
    hidden = subject.hidden(selection)
    theirs = subject.unmodified(ids, hidden)
    rest = "left out by hand"
    if subject.vlm.hidden_is_left_out:
        read = torch.cat([~hidden, torch.ones(len(theirs) - len(hidden), dtype=torch.bool, device=hidden.device)])
        theirs, rest = theirs[read], "masked"
    what = f"{len(selection.kept)} of {n} visual tokens, prompt and {NEW} tokens against the model with the rest {rest}"
    return _compared("kept tokens", ours, theirs, ids, what)


def _compared(name: str, ours: Tensor, theirs: Tensor, ids: list[int], what: str) -> Finding:
    if ours.shape != theirs.shape:
        detail = f"{what}: {len(ours)} positions where the model has {len(theirs)}"
        return Finding(name, "FAIL", None, None, detail)
    figure = _relative(ours, theirs)
    same = sum(a == b for a, b in zip(ids, theirs[-NEW:].argmax(dim=-1).tolist(), strict=True))
    return _judged(name, figure, _limit(LOGITS, ours.dtype), f"{what}; {same} of {NEW} tokens the same")


def saliency(subject: Subject) -> Finding:
    """The rows that the adapter computes from hooks, against the weights of transformers' eager attention."""
    ours, theirs = subject.vlm.read_saliency(subject.pixels, subject.inputs), _eager_saliency(subject)
    words = subject.vlm.pathways["saliency"]
    return _judged("saliency", _relative(ours, theirs), _limit(SALIENCY, subject.vlm.dtype), f"eager weights; {words}")


@torch.no_grad()
def _eager_saliency(subject: Subject) -> Tensor:
    vlm = subject.vlm
    with vlm.lock, recorded(vlm.vision, vlm.tower.attention) as weights:
        vlm.run_tower(subject.pixels, subject.inputs)
    return vlm.saliency_of(weights, subject.inputs)


def attention(subject: Subject) -> Finding:
    """FSR keeps the same tokens whether the tower computes attention fused (sdpa) or plainly (eager)."""
    vlm, kept = subject.vlm, []
    for implementation in ("sdpa", "eager"):
        with vlm.lock, attending(vlm.vision, implementation):
            tokens = vlm.encode(vlm.encode_media(subject.frames), QUESTION).tokens
        kept.append(set(make("fsr")(tokens, max(1, len(tokens) // 9)).kept.tolist()))
    share = len(kept[0] & kept[1]) / len(kept[0])
    limit = _limit(SAME, vlm.dtype)
    detail = f"of {len(kept[0])} tokens kept with sdpa and eager attention in the vision tower, this share is the same"
    return Finding("attention", "PASS" if share >= limit else "FAIL", share, limit, detail)


@torch.no_grad()
def layout(vlm: Family, name: str) -> Finding:
    """Paint a token's rectangle on the picture: in the embedding layer, that token must change most of its grid."""
    plain = Image.new("RGB", SHAPES[name], (30, 60, 90))
    right = painted = 0
    with vlm.lock, embedding_layer(vlm):
        media = vlm.encode_media([plain])
        for token, box in _boxes(media):
            picture = plain.copy()
            picture.paste((255, 255, 255), box)
            change = (vlm.encode_media([picture]).embeddings - media.embeddings).float().norm(dim=1)
            change[media.layout.frame != media.layout.frame[token]] = -1
            right, painted = right + (int(change.argmax()) == token), painted + 1
    grids = ", ".join(f"{g.rows} x {g.cols}" for g in media.layout.grids)
    width, height = plain.size
    detail = f"{right} of {painted} painted tokens found; {width} x {height} pixels, grids {grids}"
    figure = right / painted if painted else 0.0
    return Finding(f"layout {name}", "PASS" if painted and right == painted else "FAIL", figure, 1.0, detail)


def _boxes(media: Media) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    """Tokens spread over every grid, and the middle of their rectangles where it lies on the picture."""
    for frame, grid in enumerate(media.layout.grids):
        inside = []
        for token in ((media.layout.frame == frame) & (media.layout.row >= 0)).nonzero().flatten().tolist():
            x0, y0, x1, y1 = media.layout.rect[token].tolist()
            w, h = x1 - x0, y1 - y0
            box = (round(x0 + w / 4), round(y0 + h / 4), round(x1 - w / 4), round(y1 - h / 4))
            fits = box[0] >= 0 and box[1] >= 0 and box[2] <= grid.width and box[3] <= grid.height
            if fits and box[2] > box[0] and box[3] > box[1]:
                inside.append((token, box))
        yield from inside[:: max(1, len(inside) // PAINTED)]


def _longer(value: Tensor, answer: Tensor, fill: int) -> Tensor:
    return torch.cat([value, torch.full_like(answer, fill)], dim=1)


def _relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference over the largest value."""
    ours, theirs = ours.float(), theirs.float()
    if ours.shape != theirs.shape:
        raise FsrError(f"shapes differ: {tuple(ours.shape)} and {tuple(theirs.shape)}.")
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12))


def _limit(limits: dict[torch.dtype, float], dtype: torch.dtype) -> float:
    return limits.get(dtype, limits[torch.bfloat16])


def _judged(name: str, figure: float, limit: float, detail: str) -> Finding:
    return Finding(name, "PASS" if figure <= limit else "FAIL", figure, limit, detail)  # NaN fails
