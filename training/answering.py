"""Training a Llama to answer: many questions packed behind one picture or clip, and where it looks for the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from training.batches import IGNORE, Packed, token_ids
from training.precision import narrow

LOOKS = {3: 3, 4: 2}  # layer of the Llama -> how many of its heads learn where to look for an answer


def question_mask(packed: Packed, ahead: int) -> Tensor:
    """(B, 1, L, ahead + L) bool: a question sees all that is ahead and itself up to each token."""
    b, length = packed.ids.shape
    own = torch.ones(length, length, dtype=torch.bool, device=packed.block.device).tril() & (
        packed.block[:, :, None] == packed.block[:, None]
    )
    return torch.cat([own.new_ones(b, length, ahead), own], -1)[:, None]


def packed_blocks(
    llama: Any, x: Tensor, mask: Tensor, position: Tensor, keep: Sequence[int] = ()
) -> tuple[Tensor, list[Tensor]]:
    """The Llama over visual tokens and the questions behind them.

    x: (B, ahead + L, WIDTH). mask: (B, 1, L, ahead + L), as from `question_mask`. Returns the normalised last states of
    the questions, (B, L, WIDTH), and the inputs of the layers `keep`, (B, ahead + L, WIDTH) each. The same as its own
    forward pass with one large mask; apart, the half of the visual tokens' attention that is masked costs nothing.
    """
    rope, ahead = llama.rotary_emb(x, position), x.shape[1] - mask.shape[2]
    kept = {}
    for i, layer in enumerate(llama.layers):
        kept[i] = x
        h, a = layer.input_layernorm(x), layer.self_attn
        q, k, v = (p(h).unflatten(-1, (-1, a.head_dim)).transpose(1, 2) for p in (a.q_proj, a.k_proj, a.v_proj))
        q, k = apply_rotary_pos_emb(q, k, *rope)
        q, k = q.to(v.dtype), k.to(v.dtype)
        seen = F.scaled_dot_product_attention(q[:, :, :ahead], k[:, :, :ahead], v[:, :, :ahead], is_causal=True)
        asked = F.scaled_dot_product_attention(q[:, :, ahead:], k, v, attn_mask=mask)
        x = x + a.o_proj(torch.cat([seen, asked], 2).transpose(1, 2).flatten(2))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return llama.norm(x[:, ahead:]), [kept[i] for i in keep]


def told_loss(lm_head: Any, hidden: Tensor, packed: Packed, types: Sequence[str]) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of the answers' tokens, and the share of them that is right, in all and by type of question.

    hidden: (B, L, WIDTH). Answers weigh alike (`Packed.share`), not tokens.
    """
    answered = packed.target != IGNORE
    logits = lm_head(hidden[answered].float())
    wanted, kinds, share = packed.target[answered], packed.kinds[answered], packed.share[answered]
    loss = (F.cross_entropy(logits, wanted, reduction="none") * share).sum() / share.sum()
    right = logits.argmax(-1) == wanted
    facts = {"loss": loss.item(), "tokens_right": right.float().mean().item()}
    for i, kind in enumerate(types):
        of_kind = (kinds == i) & (wanted != token_ids("</s>")[0])
        if of_kind.any():
            facts[kind] = right[of_kind].float().mean().item()
    return loss, facts


def looks_loss(
    llama: Any, inputs: Sequence[Tensor], position: Tensor, mask: Tensor, packed: Packed, wanted: Sequence[Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """`look_loss` of the tokens that are answered in each layer of LOOKS, summed.

    inputs: of these layers. mask: as from `question_mask`. wanted: (B, L, n) each, as
    from `batches.looks` and `clip_batches.looks`.
    """
    answered = packed.target != IGNORE
    rows = answered.int().argsort(dim=1, descending=True, stable=True)[:, : int(answered.sum(1).max())]
    seen = mask.gather(2, rows[:, None, :, None].expand(-1, -1, -1, mask.shape[-1]))
    place, facts, loss = mask.shape[-1] - mask.shape[2] + rows, {}, torch.zeros((), device=mask.device)
    for (index, heads), x, every in zip(LOOKS.items(), inputs, wanted, strict=True):
        chosen = every.gather(1, rows[..., None].expand(-1, -1, every.shape[-1]))
        with narrow(x.device):
            apart = look_loss(llama, index, x, position, place, seen, chosen[:, None].expand(-1, heads, -1, -1))
        facts[f"looks_{index}"] = apart.item()
        loss = loss + apart
    return loss, facts


def look_loss(
    llama: Any, index: int, x: Tensor, position: Tensor, place: Tensor, mask: Tensor, wanted: Tensor
) -> Tensor:
    """Mean KL divergence of the attention of a layer's first heads from where it should be.

    x: (B, S, WIDTH), the inputs of layer `index`. place: (B, Q) the tokens that look. mask: (B, 1, Q, S), what they may
    see. wanted: (B, heads, Q, n) the attention that they should pay to the first n tokens; rows may weigh less than 1,
    rows of zeros do not count.
    """
    layer, heads = llama.layers[index], wanted.shape[1]
    h, a = layer.input_layernorm(x), layer.self_attn
    q, k = (p(h).unflatten(-1, (-1, a.head_dim)).transpose(1, 2)[:, :heads].float() for p in (a.q_proj, a.k_proj))
    q, k = apply_rotary_pos_emb(q, k, *llama.rotary_emb(x, position))
    q = q.gather(2, place[:, None, :, None].expand(-1, heads, -1, q.shape[-1]))
    logits = (q @ k.mT).float() * a.scaling
    looks = logits.masked_fill(~mask, -1e4).log_softmax(-1)[..., : wanted.shape[-1]]
    rows = wanted.sum(-1)
    apart = F.kl_div(looks, wanted, reduction="none").sum(-1) - torch.xlogy(rows, rows)
    return apart.sum() / rows.sum().clamp_min(1e-6)
