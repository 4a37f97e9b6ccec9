"""Train the embedded model from scratch: `make train-shapes`.

Seven stages, each resumable from its last checkpoint, each step's data a function of (stage, step) alone:
1. vision: the CLIP tower learns, for every patch, what it shows (colour, shape, digit, place), and its CLS token which
   objects there are and where to look; mostly on crops.
2. context: the same on larger pictures, and now each object's neighbours, its rank and how many are like it count too;
   patches of an object learn to look at its neighbours and at those like it.
3. polish: the same on full pictures, digits above all, at a falling rate.
4. language: tower frozen; projector and Llama learn to answer, many questions behind one picture, and where to look for
   each answer; on crops.
5. reading: the same on full pictures.
6. together: tower, projector and Llama at once, from the labels of `polish` and the answers, on full pictures; where
   to look is taught in the first half only.
7. text: the CLIP text tower learns to point at the patches a question is about.
No token of a shown picture is ever dropped: a crop is a small picture of its own, drawn in a window of the grid.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsr.shapes.questions import TYPES
from training import batches as data
from training.answering import LOOKS, looks_loss, packed_blocks, question_mask, told_loss
from training.model import WIDTH, build_clip, build_llava, count, save, weights_bytes
from training.muon import Muon
from training.phase import Phase
from training.seeing import VisionHeads, blocks, lower_blocks, see, states, vision_loss

VISION_SHARE = 0.5  # of the labels' loss beside that of the answers, in `together`
EQUAL = dict.fromkeys(TYPES, 1.0)
READING = {**EQUAL, "exists": 3.0, "count": 3.0, "digit": 3.0, "where": 1.5, "relation": 2.0, "list": 2.0}
NEGATION = {**READING, "exists": 12.0}
HARDEST = {**EQUAL, "exists": 4.0, "count": 4.0, "digit": 2.5, "relation": 4.0, "list": 4.0}


def phases(stage: str, scale: float) -> list[Phase]:
    plan = {
        "vision": [
            Phase(900, 8, 8, 64, small=0.2, context=0.02),
            Phase(800, 12, 12, 32, context=0.2),
            Phase(420, 24, 24, 12, context=0.4),
        ],
        "context": [
            Phase(500, 12, 12, 32, context=0.5, structure=0.5),
            Phase(500, 16, 16, 24, context=0.5, structure=0.5),
            Phase(400, 16, 16, 24, context=0.5, structure=1.0),
            Phase(1000, 24, 24, 12, context=0.5, structure=1.0),
        ],
        "polish": [Phase(250, 24, 24, 12, context=0.5, structure=0.5, digits=4.0)],
        "language": [
            Phase(160, 8, 8, 64, small=0.2, room=96, kinds=READING),
            Phase(120, 8, 8, 64, small=0.2, room=96, kinds=NEGATION, negated=0.6),
            Phase(120, 12, 12, 32, room=160, kinds=READING),
        ],
        "reading": [Phase(600, 24, 24, 8, room=256, kinds=READING)],
        "together": [
            Phase(1000, 24, 24, 8, context=0.5, structure=0.25, digits=4.0, room=352, kinds=HARDEST),
            Phase(1100, 24, 24, 8, context=0.5, structure=0.25, digits=4.0, room=352, kinds=HARDEST, looks=0.0),
        ],
        "text": [Phase(240, 24, 24, 10)],
    }[stage]
    return [replace(p, steps=max(2, round(p.steps * scale))) for p in plan]


# The place is part of the data's seed: append, never reorder.
STAGES = ("vision", "language", "text", "context", "reading", "polish", "together")


class Run:
    """One stage: modules to train, a loss for a step, a schedule, checkpoints and a log."""

    def __init__(
        self,
        stage: str,
        folder: Path,
        scale: float,
        modules: Mapping[str, nn.Module],
        lr: float,
        fall: float = 0.4,
        plan: Sequence[Any] | None = None,
        save_every: int = 200,
    ) -> None:
        """plan: phases of another model's stage, each with `steps` and `rows`. save_every: steps to a checkpoint."""
        self.save_every = save_every
        self.stage, self.folder, self.modules, self.lr, self.fall = stage, folder, modules, lr, fall
        self.data = 1 + STAGES.index(stage) if plan is None else 0
        self.phases = phases(stage, scale) if plan is None else plan
        self.total = sum(p.steps for p in self.phases)
        self.step = 0
        self.optimizers = _optimizers(modules)
        self.path = folder / f"{stage}.pt"
        if self.path.exists():
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            self.step = state["step"]
            for name, module in modules.items():
                module.load_state_dict(state["modules"][name])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)

    def schedule(self) -> Iterator[tuple[int, Any]]:
        done = 0
        for phase in self.phases:
            for _ in range(phase.steps):
                if done >= self.step:
                    yield done, phase
                done += 1

    def train(self, loss_of: Callable[[int, Any], tuple[Tensor, dict[str, float]]]) -> None:
        shown: dict[str, list[float]] = {}
        start, since = time.time(), self.step
        for step, phase in self.schedule():
            _set_rate(self.optimizers, self.lr * _rate(step, self.total, self.fall))
            loss, facts = loss_of(step, phase)
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([p for g in self.optimizers for q in g.param_groups for p in q["params"]], 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
            self.step = step + 1
            for name, value in facts.items():
                shown.setdefault(name, []).append(value)
            if self.step % 25 == 0 or self.step == self.total:
                means = {k: round(sum(v) / len(v), 4) for k, v in shown.items()}
                rate = (self.step - since) / (time.time() - start)
                self.log(
                    {"step": self.step, "of": self.total, "grid": phase.rows, "steps_per_s": round(rate, 2), **means}
                )
                shown, start, since = {}, time.time(), self.step
            if self.step % self.save_every == 0 or self.step == self.total:
                self.checkpoint()

    def checkpoint(self) -> None:
        state = {
            "step": self.step,
            "modules": {n: m.state_dict() for n, m in self.modules.items()},
            "optimizers": [o.state_dict() for o in self.optimizers],
        }
        torch.save(state, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)

    def log(self, record: dict) -> None:
        line = json.dumps({"stage": self.stage, **record})
        print(line, flush=True)
        with open(self.folder / "log.jsonl", "a") as file:
            file.write(line + "\n")


def _optimizers(modules: Mapping[str, nn.Module]) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside transformer blocks, AdamW for everything else."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for module in modules.values():
        for name, p in module.named_parameters():
            if p.requires_grad:
                (matrices if p.ndim == 2 and ".layers." in "." + name else rest).append(p)
    return [
        Muon(matrices, lr=1.0, weight_decay=0.02),
        torch.optim.AdamW(rest, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _rate(step: int, total: int, fall: float) -> float:
    """Warm-up over 60 steps, flat, then linear to 2 % over the last `fall` of all steps."""
    warm = min(1.0, (step + 1) / 60)
    left = (total - step) / (fall * total)
    return warm * max(0.02, min(1.0, left))


def _set_rate(optimizers: list[torch.optim.Optimizer], lr: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr


# -------------------------------------------------------------------------------------------------------- language


def language_loss(
    llava: Any, run_llama: Callable, features: Tensor, scenes: list, rng: Any, phase: Phase
) -> tuple[Tensor, dict]:
    packed = data.pack(scenes, rng, phase.room, phase.kinds, phase.negated)
    embedding = llava.get_input_embeddings()
    prefix = data.prefix_ids().expand(len(scenes), -1)
    ahead = prefix.shape[1] + features.shape[1]
    position = torch.cat([torch.arange(ahead).expand(len(scenes), -1), packed.position], 1)
    mask = question_mask(packed, ahead)
    with torch.autocast("cpu", torch.bfloat16):
        visual = llava.model.multi_modal_projector(features)
        x = torch.cat([embedding(prefix), visual.float(), embedding(packed.ids)], 1)
        hidden, inputs = run_llama(x, mask, position)
    loss, facts = told_loss(llava.lm_head, hidden, packed, TYPES)
    if not phase.looks:
        return loss, facts
    looked, shares = looks_loss(llava.model.language_model, inputs, position, mask, packed, data.looks(packed, scenes))
    return loss + phase.looks * looked, facts | shares


# ------------------------------------------------------------------------------------------------------------ text


def text_loss(clip: Any, seen: Tensor, scenes: list, rng: Any) -> tuple[Tensor, dict]:
    """Cross-entropy between the patches a question is about and the softmax of its cosines; the rest near 0."""
    maps = [data.focus_map(s, data.coverage(s)) for s in scenes]
    asked = [(k, q) for k, q in data.questions_for(scenes, rng, 16) if q.about]
    text = embed_questions(clip, [[2, *data.token_ids(q.text), 3] for _, q in asked])
    wanted = torch.stack([torch.from_numpy(_wanted(maps[k], q)) for k, q in asked])
    return pointing_loss(clip, seen, text, torch.tensor([k for k, _ in asked]), wanted)


def pointing_loss(clip: Any, seen: Tensor, text: Tensor, owner: Tensor, wanted: Tensor) -> tuple[Tensor, dict]:
    """seen: (B, N, WIDTH) after post_layernorm. text: (Q, WIDTH). owner: (Q,) whose picture. wanted: (Q, N)."""
    patches = F.normalize(clip.visual_projection(seen), dim=-1)
    cosine = torch.einsum("qd,qnd->qn", F.normalize(text, dim=-1), patches[owner])
    loss = F.cross_entropy(cosine / 0.05, wanted)
    peak = wanted / wanted.amax(1, keepdim=True)
    level = F.mse_loss(cosine, 0.75 * peak, reduction="none")
    weight = 1 + 12 * peak
    hit = (wanted.gather(1, cosine.argmax(1, keepdim=True)) > 0).float().mean()
    return loss + 4 * (level * weight).sum() / weight.sum(), {"loss": loss.item(), "points_at_object": hit.item()}


def _wanted(maps, question):  # type: ignore[no-untyped-def]
    """Patches of the objects a question names; of a relation, the object it asks for counts half."""
    rows = maps[list(question.about)]
    if question.type == "relation" and len(rows) == 2:
        return (rows[0] + 0.5 * rows[1]) / 1.5
    return rows.mean(0)


def embed_questions(clip: Any, rows: list[list[int]]) -> Tensor:
    """(questions, WIDTH) text_projection of the state at EOS; padded on the right with EOS, whose first is pooled."""
    longest = max(map(len, rows))
    ids = torch.tensor([r + [3] * (longest - len(r)) for r in rows])
    return clip.text_projection(clip.text_model(input_ids=ids).pooler_output)


# ------------------------------------------------------------------------------------------------------------ main


def compiled(function: Callable) -> Callable:
    """torch.compile where a C++ compiler is there, else the function itself."""
    try:
        torch._inductor.cpp_builder.get_cpp_compiler()
    except Exception:
        return function
    torch._dynamo.config.recompile_limit = 64  # one compilation a size of window; past the limit it would run as it is
    return torch.compile(function, dynamic=False)


def add_arguments(parser: argparse.ArgumentParser, name: str = "shapes") -> None:
    """name: of the folders."""
    parser.add_argument("--work", type=Path, default=Path("train") / name, help="checkpoints and log")
    parser.add_argument("--out", type=Path, default=Path("assets") / name, help="where the weights go")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on every phase's steps")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights")


def main(options: argparse.Namespace) -> int:
    options.work.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    torch.manual_seed(options.seed)
    llava, clip = build_llava(), build_clip()
    tower = llava.model.vision_tower
    tower.set_attn_implementation("eager")  # faster than sdpa when compiled
    print(f"{count(llava)} + {count(clip)} weights, {torch.get_num_threads()} threads", flush=True)

    heads = VisionHeads()
    others = nn.ModuleDict({name: nn.Linear(WIDTH, n) for name, n in data.STRUCTURE.items()})
    blocks_of_tower = compiled(lambda x: blocks(tower, x))
    lower_blocks_of_tower = compiled(lambda x: lower_blocks(tower, x))
    llama = llava.model.language_model
    reader = nn.ModuleDict({"projector": llava.model.multi_modal_projector, "llama": llama, "lm_head": llava.lm_head})
    blocks_of_llama = compiled(lambda x, mask, position: packed_blocks(llama, x, mask, position, tuple(LOOKS)))

    def scenes_of(run: Run, step: int, phase: Phase) -> tuple[list, Any]:
        return data.random_scenes(step, run.data, phase.batch, phase.rows, phase.cols, phase.small)

    def see_stage(stage: str, lr: float, modules: dict[str, nn.Module]) -> None:
        tower.requires_grad_(True)
        run = Run(stage, options.work, options.scale, modules, lr)

        def loss(step: int, phase: Phase) -> tuple[Tensor, dict]:
            scenes, rng = scenes_of(run, step, phase)
            return vision_loss(tower, heads, others, states(tower, blocks_of_tower, scenes), scenes, rng, phase)

        run.train(loss)
        tower.requires_grad_(False)

    def answer_stage(stage: str, lr: float, fall: float) -> None:
        run = Run(stage, options.work, options.scale, {"reader": reader}, lr, fall)

        def loss(step: int, phase: Phase) -> tuple[Tensor, dict]:
            scenes, rng = scenes_of(run, step, phase)
            features = see(tower, lower_blocks_of_tower, scenes)
            return language_loss(llava, blocks_of_llama, features, scenes, rng, phase)

        run.train(loss)

    def joint_stage(stage: str, lr: float, fall: float) -> None:
        tower.requires_grad_(True)
        modules = {"tower": tower, "heads": heads, "others": others, "reader": reader}
        run = Run(stage, options.work, options.scale, modules, lr, fall)

        def loss(step: int, phase: Phase) -> tuple[Tensor, dict]:
            scenes, rng = scenes_of(run, step, phase)
            of = states(tower, blocks_of_tower, scenes)
            answers, told = language_loss(llava, blocks_of_llama, of.penultimate[:, 1:].float(), scenes, rng, phase)
            seen, labelled = vision_loss(tower, heads, others, of, scenes, rng, phase)
            facts = {f"seen_{name}": value for name, value in labelled.items()}
            return answers + VISION_SHARE * seen, told | facts

        run.train(loss)
        tower.requires_grad_(False)

    see_stage("vision", 2.5e-3, {"tower": tower, "heads": heads})
    see_stage("context", 2e-3, {"tower": tower, "heads": heads, "others": others})
    see_stage("polish", 1e-3, {"tower": tower, "heads": heads, "others": others})
    answer_stage("language", 2.5e-3, fall=0.1)
    answer_stage("reading", 2e-3, fall=0.3)
    joint_stage("together", 1.2e-3, fall=0.85)

    clip.vision_model.load_state_dict(tower.state_dict())
    clip.vision_model.requires_grad_(False)
    pointer = nn.ModuleDict({"text": clip.text_model, "text_projection": clip.text_projection})
    pointer["visual_projection"] = clip.visual_projection
    run = Run("text", options.work, options.scale, {"pointer": pointer}, lr=1.5e-3)

    def pointing(step: int, phase: Phase) -> tuple[Tensor, dict]:
        scenes, rng = scenes_of(run, step, phase)
        with torch.no_grad():
            seen = tower.post_layernorm(see(tower, lower_blocks_of_tower, scenes))
        return text_loss(clip, seen, scenes, rng)

    run.train(pointing)

    save(options.out, llava, clip, {"title": "Shapes (embedded)", "relevance_sign": 1, "positions": "original"})
    print(f"saved {weights_bytes(options.out) / 1e6:.1f} MB of weights to {options.out}")
    return 0
