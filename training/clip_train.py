"""Train the clip model on top of the picture model: `make train-shapes-video`.

The tower stays as it is; projector, newline and Llama begin with the picture model's weights. Three stages, each
resumable, each step's data a function of (stage, step) alone:
1. clips: questions about clips, many behind one clip; first on windows of the grid, then on full clips of 8 frames and
   1152 visual tokens. Beside the answers, every visual token learns what it should know by its time (`KNOWS`), from
   read-outs of a middle layer that are thrown away.
2. spread: the same, looking at every frame so far, so that no answer hangs on the tokens of one frame.
3. pointing: the text tower of the picture model's CLIP learns the words of clips, full clips, for relevance.
No token of a shown clip is ever dropped: a window is a small clip of its own, at its place in the full grid.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel, LlavaForConditionalGeneration

from fsr.shapes.clip_questions import CLIP_TYPES
from fsr.shapes.clips import FRAMES, Clip
from fsr.shapes.scenes import GRID
from training import clip_batches as data
from training import train
from training.answering import LOOKS, look_loss, looks_loss, packed_blocks, question_mask, told_loss
from training.batches import IGNORE, prefix_ids, token_ids
from training.clip_model import build_onevision, build_pointer, save_clips
from training.model import WIDTH, count, weights_bytes
from training.seeing import embed, lower_blocks
from training.train import Run, compiled, embed_questions, pointing_loss

AT_ONCE = 4  # full frames in one pass of the tower
CHECKPOINT = 50  # steps
GAZING = 1  # the layer of the Llama whose heads learn where to look
MIDDLE = 3  # layers of the Llama before the read-outs
EQUAL = dict.fromkeys(CLIP_TYPES, 1.0)
EVENTFUL = {**dict.fromkeys(CLIP_TYPES, 1.5), "color": 0.5, "shape": 0.5, "frame": 0.4, "count": 1.0, "happens": 1.0}
EVENTFUL |= {"order": 2.5, "overtakes": 2.5}


@dataclass(frozen=True)
class ClipPhase:
    """Steps on clips of windows of rows x rows patches with at most `most` objects.

    room: question tokens behind a clip. kinds: how often each type comes. knows, gaze, looks: weights of the
    losses of the read-outs, of where a clip's tokens look and where the answers do; spread: over every frame so far.
    """

    steps: int
    rows: int
    batch: int
    most: int
    room: int = 320
    kinds: dict[str, float] = field(default_factory=lambda: EVENTFUL)
    knows: float = 0.3
    gaze: float = 0.5
    looks: float = 0.0
    spread: bool = False


CLIPS = (ClipPhase(500, 12, 8, 2, room=224), ClipPhase(900, 24, 4, 4), ClipPhase(1200, 24, 4, 4, looks=0.3))
POINTING = (ClipPhase(126, 24, 4, 4),)
SPREAD = (ClipPhase(800, 24, 4, 4, looks=0.3, spread=True, kinds=EVENTFUL | {"disappears": 4.0}),)
# The place is part of the data's seed: append, never reorder.
STAGES = {"clips": CLIPS, "pointing": POINTING, "spread": SPREAD}


def phases(stage: str, scale: float) -> list[ClipPhase]:
    return [replace(p, steps=max(2, round(p.steps * scale))) for p in STAGES[stage]]


def pooled(patches: Tensor, side: int) -> Tensor:
    """(B * FRAMES, side * side, C) -> (B, FRAMES * (side / 2)^2, C), as the class pools: bilinear to the half."""
    grid = patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    small = F.interpolate(grid, [side // 2, side // 2], mode="bilinear")
    return small.flatten(2).transpose(1, 2).reshape(-1, FRAMES * (side // 2) ** 2, patches.shape[-1])


@torch.no_grad()
def see_clips(tower: Any, run_lower: Any, clips: list[Clip]) -> Tensor:
    """hidden_states[-2] of the patches, (B * FRAMES, N, WIDTH) float32, from the frozen tower.

    Frames of a clip that are the same in every pixel go through the tower once.
    """
    which, back = data.distinct_frames(clips)
    pixels, places = data.pixels(clips, which), data.patch_positions(clips)[which]
    size = AT_ONCE if places.shape[1] > GRID**2 // 2 else 2 * AT_ONCE
    with torch.autocast("cpu", torch.bfloat16):
        parts = zip(pixels.split(size), places.split(size), strict=True)
        seen = [run_lower(_filled(embed(tower, *part), size))[:, 1:].float() for part in parts]
    return torch.cat(seen)[back]


def _filled(x: Tensor, size: int) -> Tensor:
    """As many rows as were compiled for; what is added is not read."""
    return torch.cat([x, x[-1:].expand(size - len(x), *x.shape[1:])]) if len(x) < size else x


def answer_loss(
    model: Any, heads: nn.ModuleDict, run_llama: Any, features: Tensor, clips: list[Clip], rng: Any, phase: ClipPhase
) -> tuple[Tensor, dict]:
    packed = data.pack_clips(clips, rng, phase.room, phase.kinds)
    embedding, b = model.get_input_embeddings(), len(clips)
    before = prefix_ids().expand(b, -1)
    with torch.autocast("cpu", torch.bfloat16):
        visual = pooled(model.model.multi_modal_projector(features).float(), phase.rows)
        newline = model.model.image_newline.expand(b, 1, -1)
        x = torch.cat([embedding(before), visual, newline, embedding(packed.ids)], 1)
        ahead = x.shape[1] - phase.room
        first = torch.arange(before.shape[1]).expand(b, -1)
        position = torch.cat([first, data.positions(clips), packed.position], 1)
        mask = question_mask(packed, ahead)
        hidden, (early, middle, *late) = run_llama(x, mask, position)
    loss, facts = told_loss(model.lm_head, hidden, packed, CLIP_TYPES)
    llama = model.model.language_model
    if phase.looks:
        looked, shares = looks_loss(llama, late, position, mask, packed, data.looks(packed, clips, phase.spread))
        loss, facts = loss + phase.looks * looked, facts | shares
    known = data.label_clips(clips)
    prefix = before.shape[1]
    knows, told = known_loss(heads, middle[:, prefix : ahead - 1].float(), known)
    queries, wanted = data.gazes(known, rng, data.SPREAD_GAZES if phase.spread else data.GAZES)
    place, wanted = prefix + queries, F.pad(wanted, (prefix, 0))
    seen = (torch.arange(ahead) <= place[..., None])[:, None]
    with torch.autocast("cpu", torch.bfloat16):
        gaze = look_loss(llama, GAZING, early[:, :ahead], position[:, :ahead], place, seen, wanted)
    return loss + phase.knows * knows + phase.gaze * gaze, facts | told | {"gaze": gaze.item()}


def known_loss(heads: nn.ModuleDict, states: Tensor, known: data.Known) -> tuple[Tensor, dict]:
    """states: (B, tokens, WIDTH) of the visual tokens after MIDDLE layers. Shares right: of what is not nothing."""
    states = F.rms_norm(states, states.shape[-1:])
    facts, loss = {}, torch.zeros(())
    for name, head in heads.items():
        chosen = known.heads[name] != IGNORE
        wanted, w = known.heads[name][chosen], known.weight[chosen]
        logits = head(states[chosen])
        loss = loss + (F.cross_entropy(logits, wanted, reduction="none") * w).sum() / w.sum()
        w = w * (wanted > 0)
        if w.sum() > 0:
            facts[f"knows_{name}"] = (((logits.argmax(-1) == wanted) * w).sum() / w.sum()).item()
    return loss, facts


def pointing(clip: Any, seen: Tensor, clips: list[Clip], rng: Any, each: int = 16) -> tuple[Tensor, dict]:
    """seen: (B, tokens, WIDTH) after post_layernorm. Questions point at the tokens of what they are about."""
    rows, owner, wanted = [], [], []
    for k, one in enumerate(clips):
        asked = [q for q, _ in zip(data.questions(one, rng, EQUAL), range(each), strict=False) if q.about]
        rows += [[2, *token_ids(q.text, True), 3] for q in asked]
        owner += [k] * len(asked)
        wanted += [torch.from_numpy(data.clip_focus(one, q.about)) for q in asked]
    return pointing_loss(clip, seen, embed_questions(clip, rows), torch.tensor(owner), torch.stack(wanted))


# ------------------------------------------------------------------------------------------------------------ main


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--start", type=Path, default=Path("assets/shapes"), help="the picture model")
    train.add_arguments(parser, "shapes-video")


def main(options: argparse.Namespace) -> int:
    options.work.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    torch.manual_seed(options.seed)
    picture_model = LlavaForConditionalGeneration.from_pretrained(options.start, dtype=torch.float32)
    model = build_onevision(picture_model)
    clip = build_pointer(CLIPModel.from_pretrained(options.start / "clip", dtype=torch.float32))
    tower = model.model.vision_tower.requires_grad_(False)
    tower.set_attn_implementation("eager")  # faster than sdpa when compiled
    llama = model.model.language_model
    heads = nn.ModuleDict({name: nn.Linear(WIDTH, n) for name, n in data.KNOWS.items()})
    reader = nn.ModuleDict({"projector": model.model.multi_modal_projector, "llama": llama, "lm_head": model.lm_head})
    reader.register_parameter("newline", model.model.image_newline)
    print(f"{count(model)} + {count(clip)} weights, {torch.get_num_threads()} threads", flush=True)
    lower = compiled(lambda x: lower_blocks(tower, x))
    blocks = compiled(lambda x, mask, position: packed_blocks(llama, x, mask, position, (GAZING, MIDDLE, *LOOKS)))

    def clips_of(stage: str, step: int, phase: ClipPhase) -> tuple[list[Clip], Any]:
        return data.random_clips(step, list(STAGES).index(stage), phase.batch, phase.rows, phase.most)

    def answer_stage(stage: str, lr: float, fall: float) -> None:
        plan, modules = phases(stage, options.scale), {"reader": reader, "heads": heads}
        run = Run(stage, options.work, 1.0, modules, lr=lr, fall=fall, plan=plan, save_every=CHECKPOINT)

        def answering(step: int, phase: ClipPhase) -> tuple[Tensor, dict]:
            clips, rng = clips_of(stage, step, phase)
            return answer_loss(model, heads, blocks, see_clips(tower, lower, clips), clips, rng, phase)

        run.train(answering)

    answer_stage("clips", 2e-3, fall=0.75)
    answer_stage("spread", 8e-4, fall=0.9)

    clip.vision_model.requires_grad_(False)
    pointer = nn.ModuleDict({"text": clip.text_model, "text_projection": clip.text_projection})
    pointer["visual_projection"] = clip.visual_projection

    def pointed(step: int, phase: ClipPhase) -> tuple[Tensor, dict]:
        clips, rng = clips_of("pointing", step, phase)
        with torch.no_grad():
            seen = tower.post_layernorm(pooled(see_clips(tower, lower, clips), phase.rows))
        return pointing(clip, seen, clips, rng)

    plan = phases("pointing", options.scale)
    Run("pointing", options.work, 1.0, {"pointer": pointer}, lr=1e-3, plan=plan).train(pointed)
    facts = {"title": "Shapes, clips (embedded)", "relevance_sign": 1, "positions": "original"}
    save_clips(options.out, model, clip, facts)
    print(f"saved {weights_bytes(options.out) / 1e6:.1f} MB of weights to {options.out}")
    return 0
