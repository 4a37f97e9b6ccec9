"""What the tower learns by: labels of every patch, the CLS token, and where attention should look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsr.vlm.capture import cls_attention
from training import batches as data
from training.model import WIDTH

if TYPE_CHECKING:
    from training.phase import Phase


def embed(tower: Any, pixels: Tensor, positions: Tensor) -> Tensor:
    """The tower's embedding of windows: (B, 1 + rows * cols, WIDTH), each patch with its place in the full grid."""
    e = tower.embeddings
    patches = e.patch_embedding(pixels).flatten(2).transpose(1, 2) + e.position_embedding(positions)
    cls = (e.class_embedding + e.position_embedding.weight[0]).expand(len(pixels), 1, -1)
    return tower.pre_layrnorm(torch.cat([cls, patches], 1))


def blocks(tower: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(inputs of the last but two and last but one layers, output of that = hidden_states[-2], of the last layer)."""
    layers = tower.encoder.layers
    for layer in layers[:-3]:
        x = layer(x, None)
    before = layers[-3](x, None)
    penultimate = layers[-2](before, None)
    return x, before, penultimate, layers[-1](penultimate, None)


def gaze_loss(layer: Any, x: Tensor, queries: Tensor, wanted: Tensor) -> Tensor:
    """Mean KL divergence of the heads' attention at the queries from where they should look, where that is given."""
    h, a = layer.layer_norm1(x), layer.self_attn
    chosen = h.gather(1, 1 + queries[:, :, None].expand(-1, -1, h.shape[-1]))
    q = a.q_proj(chosen).unflatten(-1, (a.num_heads, a.head_dim)).transpose(1, 2)
    k = a.k_proj(h).unflatten(-1, (a.num_heads, a.head_dim)).transpose(1, 2)
    looks = (q.float() @ k.float().mT * a.scale).log_softmax(-1)
    return F.kl_div(looks, wanted, reduction="sum") / wanted.sum().clamp_min(1)


HEAD_WEIGHT = {"color": 0.5, "shape": 2.0, "center": 0.3, "place": 0.3}  # neighbours: Phase.context


class VisionHeads(nn.Module):
    """Linear read-outs used in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.ModuleDict({name: nn.Linear(WIDTH, n) for name, n in data.HEADS.items()})
        self.pairs = nn.Linear(WIDTH, data.PAIRS)
        self.last_pairs = nn.Linear(WIDTH, data.PAIRS)
        self.count = nn.Linear(WIDTH, 9)


def structure_loss(
    tower: Any, heads: nn.ModuleDict, states: tuple[Tensor, Tensor], patches: Tensor, scenes: list, rng: Any
) -> tuple[Tensor, dict]:
    """Labels and gazes of batches.Structure; `states` are the inputs of the layers of GAZES."""
    wanted = data.structure(scenes, rng)
    facts, loss = {}, torch.zeros(())
    for name, head in heads.items():
        chosen = wanted.heads[name] != data.IGNORE
        right = wanted.heads[name][chosen]
        w = wanted.middle[chosen]
        logits = head(patches[chosen].float())
        loss = loss + (F.cross_entropy(logits, right, reduction="none") * w).sum() / w.sum()
        hit = (logits.argmax(-1) == right).float()
        w = w * (right > 0) if name == "middle" else w
        facts[name] = ((hit * w).sum() / w.sum().clamp_min(1e-6)).item()
    for i, (x, gaze) in enumerate(zip(states, wanted.gazes, strict=True)):
        with torch.autocast("cpu", torch.bfloat16):
            divergence = gaze_loss(tower.encoder.layers[i - 3], x, wanted.queries, gaze)
        facts[f"gaze_{i}"] = divergence.item()
        loss = loss + 2 * divergence
    return loss, facts


@dataclass(frozen=True)
class States:
    """Of one pass, each (B, 1 + N, WIDTH): the inputs of the layers of GAZES, hidden_states[-2], the last."""

    earlier: Tensor
    before: Tensor
    penultimate: Tensor
    last: Tensor


def states(tower: Any, run_blocks: Callable, scenes: list) -> States:
    with torch.autocast("cpu", torch.bfloat16):
        return States(*run_blocks(embed(tower, data.pixels(scenes), data.positions(scenes))))


def vision_loss(
    tower: Any, heads: VisionHeads, others: nn.ModuleDict, of: States, scenes: list, rng: Any, phase: Phase
) -> tuple[Tensor, dict]:
    labels = data.label(scenes)
    with torch.autocast("cpu", torch.bfloat16):
        seen = tower.post_layernorm(of.penultimate)
        patches, cls, top = seen[:, 1:], seen[:, 0], tower.post_layernorm(of.last)[:, 0]
        layer = tower.encoder.layers[-2]
        normed, heads_of = layer.layer_norm1(of.before), layer.self_attn
        attention = cls_attention(
            heads_of.q_proj(normed[:, :1]), heads_of.k_proj(normed), heads_of.num_heads, heads_of.scale
        )
    facts, loss = {}, torch.zeros(())
    for name, head in heads.patch.items():
        wanted, chosen = labels.heads[name], labels.heads[name] != data.IGNORE
        logits = head(patches[chosen].float())
        w = labels.weight[chosen]
        share = phase.digits if name == "digit" else HEAD_WEIGHT.get(name, phase.context)
        loss = loss + share * (F.cross_entropy(logits, wanted[chosen], reduction="none") * w).sum() / w.sum().clamp_min(
            1
        )
        if name in ("color", "shape", "digit", "place", "left_shape"):
            on = (wanted[chosen] > 0) | (name == "place")
            facts[name] = ((logits.argmax(-1) == wanted[chosen])[on] * w[on]).sum().item() / max(
                w[on].sum().item(), 1e-6
            )
    loss = loss + 4 * F.binary_cross_entropy_with_logits(heads.pairs(cls.float()), labels.pairs)
    loss = loss + 4 * F.binary_cross_entropy_with_logits(heads.last_pairs(top.float()), labels.pairs)
    loss = loss + 0.2 * F.cross_entropy(heads.count(cls.float()), labels.count)
    divergence = F.kl_div(attention.clamp_min(1e-8).log(), labels.attention, reduction="batchmean")
    facts |= {"loss": loss.item(), "attention_kl": divergence.item()}
    if phase.structure:
        more, told = structure_loss(tower, others, (of.earlier, of.before), patches, scenes, rng)
        loss, facts = loss + phase.structure * more, facts | told
    return loss + 0.5 * divergence, facts


def lower_blocks(tower: Any, x: Tensor) -> Tensor:
    """All layers but the last: hidden_states[-2]."""
    for layer in tower.encoder.layers[:-1]:
        x = layer(x, None)
    return x


@torch.no_grad()
def see(tower: Any, run_lower: Callable, scenes: list) -> Tensor:
    """hidden_states[-2] of the patches, (B, N, WIDTH) float32, from the frozen tower."""
    with torch.autocast("cpu", torch.bfloat16):
        return run_lower(embed(tower, data.pixels(scenes), data.positions(scenes)))[:, 1:].float()
