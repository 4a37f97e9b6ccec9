"""Train the embedded model on pictures that others drew: `make train-shapes`.

It starts from the former weights, which know the drawn scenes: their tower sees shapes, their Llama answers. Seven
stages, each resumable from its last checkpoint, each step's data a function of (stage, step) alone:
1. seeing: the tower learns, for every patch, what it shows, by name, kind and colour, and how it relates to the others.
2. reading: tower frozen; projector and Llama learn the new words and wordings.
3. together: tower, projector and Llama at once; some steps see small windows, so that prompts differ in length and
   position; for the first half it is told where the answers look.
4. again: as `seeing`, with new read-outs.
5. longer: as `together`, and asked more often what was answered worst.
6. pointing: the CLIP text tower learns to point at the patches a question is about.
7. rereading, with `--last rereading` only, as the shipped weights were made without it: as `reading`; mostly what of
   two things is bigger, and lists, where names were mixed up. What comes out is the mean of the weights before and
   after (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", eq. 1).
No token of a shown picture is ever dropped: a window is a small picture of its own.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsr.errors import FsrError
from fsr.vlm.capture import cls_attention
from fsr.world.asking import TYPES
from fsr.world.icons import TRAINED
from fsr.world.words import build_world_tokenizer
from training import world_data as data
from training.answering import LOOKS, looks_loss, packed_blocks, question_mask, told_loss
from training.batches import IGNORE, MEAN, STD, prefix_ids
from training.model import count, save, weights_bytes
from training.precision import narrow, narrow_type
from training.seeing import blocks, embed, gaze_loss, lower_blocks
from training.train import Run, compiled, embed_questions, pointing_loss
from training.world_data import Batch, Labels, Mix, drawn_ahead, moved
from training.world_model import ReadOuts, start_clip, start_llava

FACTS = {"title": "Shapes (embedded)", "relevance_sign": 1, "positions": "original"}
SEEN = 0.5  # weight of the labels' loss beside that of the answers, in `together`
_OFTEN = {"exists": 1.5, "negation": 3.0, "count": 3.0, "relation": 2.5, "list": 2.0, "size": 1.5, "digit": 2.0}
KINDS = tuple({"unknown": 0.4, **_OFTEN}.get(t, 1.0) for t in TYPES)
_WEAKEST = {"negation": 3.0, "count": 4.0, "relation": 2.5, "list": 3.0, "size": 3.0, "digit": 4.0}
HARDEST = tuple({"unknown": 0.3, "exists": 1.5, **_WEAKEST}.get(t, 1.0) for t in TYPES)
_MIXED_UP = {"size": 6.0, "list": 5.0, "negation": 2.5, "count": 2.5, "relation": 2.5, "exists": 1.5, "name": 1.5}
COMPARED = tuple({"size": 12.0, "relation": 1.0, "list": 1.0}.get(t, 0.4) for t in TYPES)
MIXED_UP = tuple({"unknown": 0.3, **_MIXED_UP}.get(t, 1.0) for t in TYPES)
# Of the losses of the read-outs; the others 0.3
WEIGHTS = {"name": 2.5, "kind": 0.5, "color": 0.7, "digit": 2.0}
_WINDOWS = ((8, 24, 96), (4, 48, 64), (12, 16, 160), (6, 32, 64))  # as many question tokens as in other steps
_MIDDLE = ((12, 20, 160), (8, 40, 80), (12, 20, 160), (6, 64, 48))
# As many patches in each, and up to four times the objects that larger windows hold.
_SMALL = ((4, 150, 0), (8, 40, 0), (4, 150, 0), (10, 26, 0))

_FIRST = TRAINED[:6]  # artists of the first steps; the others joined them later

# Most steps see windows of at most 16 x 16: more objects than full pictures in the same time. The last see it all.
PLAN = {
    "seeing": (
        Mix(500, 8, 40, icons=0.4, artists=_FIRST, scenes=0.1),
        Mix(900, 16, 12, icons=0.4, artists=_FIRST, scenes=0.1),
        Mix(2200, 6, 80, sizes=_SMALL, every=2, icons=0.5, scenes=0.06),
        Mix(400, 16, 12, icons=0.4, scenes=0.1),
        Mix(250, 24, 8, icons=0.3, scenes=0.15),
    ),
    "reading": (
        Mix(250, 8, 24, room=128, kinds=KINDS, looks=0.3, labels=False),
        Mix(350, 16, 12, sizes=_WINDOWS, room=256, kinds=KINDS, looks=0.3, labels=False),
    ),
    "together": (
        Mix(1000, 16, 12, sizes=_MIDDLE, every=2, room=256, kinds=KINDS, looks=0.3),
        Mix(850, 24, 8, sizes=_WINDOWS, room=352, kinds=KINDS),
    ),
    "again": (
        Mix(1800, 6, 80, sizes=_SMALL, every=2, icons=0.4, scenes=0.1),
        Mix(300, 16, 12, icons=0.3, scenes=0.15),
    ),
    "longer": (
        Mix(1300, 16, 12, sizes=_MIDDLE, every=2, icons=0.25, room=256, kinds=HARDEST, looks=0.3),
        Mix(800, 24, 8, sizes=_WINDOWS, room=352, kinds=HARDEST),
    ),
    "pointing": (Mix(200, 24, 8, labels=False),),
    "rereading": (
        Mix(350, 8, 40, icons=0.3, room=80, kinds=COMPARED, looks=0.3, labels=False),
        Mix(500, 16, 12, sizes=_MIDDLE, every=2, icons=0.3, room=288, kinds=MIXED_UP, looks=0.3, labels=False),
        Mix(180, 24, 8, sizes=_MIDDLE, icons=0.3, room=352, kinds=MIXED_UP, looks=0.3, labels=False),
    ),
}
RATES = {  # the highest, and the share of the steps over which it falls
    "seeing": (1.5e-3, 0.4),
    "reading": (2e-3, 0.3),
    "together": (1.2e-3, 0.85),
    "again": (1.2e-3, 0.15),
    "longer": (1.2e-3, 0.75),
    "pointing": (1.5e-3, 0.4),
    "rereading": (1.5e-3, 0.85),
}

AVERAGED = ("rereading",)  # alone it answers relations worse than before; the mean keeps both


def plan(stage: str, scale: float) -> list[Mix]:
    return [replace(m, steps=max(2, round(m.steps * scale))) for m in PLAN[stage]]


# -------------------------------------------------------------------------------------------------------------- losses


def seen_loss(
    tower: Any, heads: ReadOuts, states: tuple[Tensor, ...], labels: Labels
) -> tuple[Tensor, dict[str, float]]:
    """states: as `training.seeing.blocks` returns them."""
    earlier, before, penultimate, last = states
    device = penultimate.device
    with narrow(device):
        seen = tower.post_layernorm(penultimate)
        top = tower.post_layernorm(last)[:, 0].float()
        layer = tower.encoder.layers[-2]
        normed, a = layer.layer_norm1(before), layer.self_attn
        attention = cls_attention(a.q_proj(normed[:, :1]), a.k_proj(normed), a.num_heads, a.scale)
    patches, cls = seen[:, 1:].float(), seen[:, 0].float()
    facts: dict[str, float] = {}
    loss = torch.zeros((), device=device)
    for name, head in heads.patch.items():
        chosen = labels.heads[name] != IGNORE
        wanted = labels.heads[name][chosen]
        w = (labels.middle if name in data.RELATED else labels.weight)[chosen]
        if name == "digit":
            w = w * (1 + 4 * (wanted > 0))  # most objects have none
        logits = head(patches[chosen])
        one = (F.cross_entropy(logits, wanted, reduction="none") * w).sum() / w.sum().clamp_min(1)
        loss = loss + WEIGHTS.get(name, 0.3) * one
        if name in ("color", "name", "kind", "digit", "left_name", "same_name", "size"):
            on = w * (wanted > 0)
            facts[f"seen_{name}"] = (((logits.argmax(-1) == wanted) * on).sum() / on.sum().clamp_min(1e-6)).item()
    binary = F.binary_cross_entropy_with_logits
    loss = loss + 4 * (binary(heads.names(cls), labels.names) + binary(heads.last_names(top), labels.names))
    loss = loss + 2 * binary(heads.pairs(cls), labels.pairs) + 0.2 * F.cross_entropy(heads.count(cls), labels.count)
    for i, (x, gaze) in enumerate(zip((earlier, before), labels.gazes, strict=True)):
        with narrow(device):
            loss = loss + gaze_loss(tower.encoder.layers[i - 3], x, labels.queries, gaze)
    apart = F.kl_div(attention.float().clamp_min(1e-8).log(), labels.attention, reduction="batchmean")
    facts |= {"seen_loss": loss.item(), "attention_kl": apart.item()}
    return loss + 0.5 * apart, facts


def answered_loss(llava: Any, run_llama: Callable, features: Tensor, of: Batch, looks: float) -> tuple[Tensor, dict]:
    """features: (B, N, WIDTH), hidden_states[-2] of the patches."""
    packed = of.packed
    assert packed is not None
    embedding = llava.get_input_embeddings()
    prefix = prefix_ids().to(features.device).expand(len(features), -1)
    position = torch.cat([of.ahead, packed.position], 1)
    mask = question_mask(packed, of.ahead.shape[1])
    with narrow(features.device):
        visual = llava.model.multi_modal_projector(features)
        x = torch.cat([embedding(prefix), visual.float(), embedding(packed.ids)], 1)
        hidden, inputs = run_llama(x, mask, position)
    loss, facts = told_loss(llava.lm_head, hidden, packed, TYPES)
    if not looks:
        return loss, facts
    assert of.looks is not None
    looked, shares = looks_loss(llava.model.language_model, inputs, position, mask, packed, of.looks)
    return loss + looks * looked, facts | shares


# ---------------------------------------------------------------------------------------------------------------- main


class Learning:
    """The model, and what a stage does with a batch."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.llava = start_llava(options.start).to(self.device)
        self.clip = start_clip(options.start).to(self.device)
        self.heads = ReadOuts().to(self.device)
        self.tower: Any = self.llava.model.vision_tower
        if options.compile and self.device.type == "cpu":
            self.tower.set_attn_implementation("eager")  # faster than sdpa when compiled
        llama = self.llava.model.language_model
        faster = compiled if options.compile else lambda function: function
        self.blocks = faster(lambda x: blocks(self.tower, x))
        self.lower = faster(lambda x: lower_blocks(self.tower, x))
        self.llama = faster(lambda x, mask, position: packed_blocks(llama, x, mask, position, tuple(LOOKS)))
        self.mean, self.std = MEAN.to(self.device), STD.to(self.device)

    def embedded(self, of: Batch) -> Tensor:
        pixels = (of.pixels.float() / 255 - self.mean) / self.std
        return embed(self.tower, pixels, 1 + of.places)

    def features(self, of: Batch) -> Tensor:
        """hidden_states[-2] of the patches, from the frozen tower."""
        with torch.no_grad(), narrow(self.device):
            return self.lower(self.embedded(of))[:, 1:].float()

    def seeing(self, of: Batch, mix: Mix) -> tuple[Tensor, dict]:
        with narrow(self.device):
            states = self.blocks(self.embedded(of))
        assert of.labels is not None
        return seen_loss(self.tower, self.heads, states, of.labels)

    def reading(self, of: Batch, mix: Mix) -> tuple[Tensor, dict]:
        return answered_loss(self.llava, self.llama, self.features(of), of, mix.looks)

    def together(self, of: Batch, mix: Mix) -> tuple[Tensor, dict]:
        with narrow(self.device):
            states = self.blocks(self.embedded(of))
        answers, told = answered_loss(self.llava, self.llama, states[2][:, 1:].float(), of, mix.looks)
        assert of.labels is not None
        seen, facts = seen_loss(self.tower, self.heads, states, of.labels)
        return answers + SEEN * seen, told | facts

    again, longer, rereading = seeing, together, reading

    def pointing(self, of: Batch, mix: Mix) -> tuple[Tensor, dict]:
        seen = self.tower.post_layernorm(self.features(of))
        text = embed_questions(self.clip, [ids for ids, _, _ in of.pointed])
        owner = torch.tensor([k for _, k, _ in of.pointed], device=self.device)
        return pointing_loss(self.clip, seen, text, owner, torch.stack([wanted for _, _, wanted in of.pointed]))

    def modules(self, stage: str) -> Mapping[str, nn.Module]:
        """What a stage trains."""
        llava = self.llava
        parts = {"projector": llava.model.multi_modal_projector, "llama": llava.model.language_model}
        reader = nn.ModuleDict({**parts, "lm_head": llava.lm_head})
        tower = {"tower": self.tower, "heads": self.heads}
        if stage == "pointing":
            clip = self.clip
            clip.vision_model.load_state_dict(self.tower.state_dict())
            clip.vision_model.requires_grad_(False)
            kept = {"text": clip.text_model, "text_projection": clip.text_projection}
            return {"pointer": nn.ModuleDict({**kept, "visual_projection": clip.visual_projection})}
        both = {**tower, "reader": reader}
        reading = {"reader": reader}
        return {"seeing": tower, "again": tower, "reading": reading, "rereading": reading}.get(stage, both)

    def stage(self, stage: str) -> None:
        mixes, (lr, fall) = plan(stage, self.options.scale), RATES[stage]
        if stage == "again":
            self.heads = ReadOuts().to(self.device)
        modules = self.modules(stage)
        self.tower.requires_grad_("tower" in modules)
        trained = [p for m in modules.values() for p in m.parameters()]
        before = [p.detach().clone() for p in trained] if stage in AVERAGED else []
        run = Run(stage, self.options.work, 1.0, modules, lr, fall, plan=mixes, save_every=100)
        ahead = self._drawn(stage, mixes, run.step)
        loss_of = getattr(self, stage)

        def loss(step: int, mix: Mix) -> tuple[Tensor, dict]:
            since = time.time()
            of = moved(next(ahead), self.device)
            waited = time.time() - since
            found, facts = loss_of(of, mix)
            return found, facts | {"waited_s": waited}

        run.train(loss)
        if before:
            average(trained, before)

    def _drawn(self, stage: str, mixes: list[Mix], first: int) -> Iterator[Batch]:
        return drawn_ahead(stage, mixes, first, self.options.workers)


@torch.no_grad()
def average(trained: Iterable[Tensor], before: Iterable[Tensor]) -> None:
    for p, former in zip(trained, before, strict=True):
        p.lerp_(former, 0.5)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--start", type=Path, default=Path("assets/shapes"), help="the weights to start from")
    parser.add_argument("--work", type=Path, default=Path("train/world"), help="checkpoints and log")
    parser.add_argument("--out", type=Path, default=Path("train/world/weights"), help="where the weights go")
    parser.add_argument("--first", choices=tuple(PLAN), default="seeing", help="the stage to begin with")
    parser.add_argument("--last", choices=tuple(PLAN), default="pointing", help="the stage to end with")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on every stage's steps")
    parser.add_argument("--seed", type=int, default=0, help="of what is not in the weights to start from")
    workers = 1 if (os.cpu_count() or 1) < 4 else min(12, (os.cpu_count() or 1) - 2)
    parser.add_argument("--workers", type=int, default=workers, help="processes that draw; 0: none beside this one")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=not torch.cuda.is_available() and narrow_type(torch.device("cpu")) == torch.bfloat16,
        help="torch.compile: steps take a seventh to a half less time; default where a CPU multiplies bfloat16",
    )


def main(options: argparse.Namespace) -> int:
    stages = list(PLAN)
    stages = stages[stages.index(options.first) : stages.index(options.last) + 1]
    if not stages:
        raise FsrError(f"--first {options.first} comes after --last {options.last}; the order is {', '.join(PLAN)}.")
    options.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    learning = Learning(options)
    print(
        f"{count(learning.llava)} + {count(learning.clip)} weights on {learning.device}, {options.workers} draw",
        flush=True,
    )
    for stage in stages:
        learning.stage(stage)
    save(options.out, learning.llava.cpu(), learning.clip.cpu(), FACTS, build_world_tokenizer())
    print(f"saved {weights_bytes(options.out) / 1e6:.1f} MB of weights to {options.out}")
    return 0
