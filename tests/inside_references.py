"""Slow references for methods inside the language model: masks over eager attention, loops for every rule."""

from __future__ import annotations

import math

import torch
from transformers import LlavaForConditionalGeneration
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

LAYERS = 7


def masked(vlm, encoding, depth, renumbered, ids=()):
    """(S, V) scores of the unmodified layers on the whole sequence; masks hide what is not alive in a layer."""
    text = vlm.model.model.language_model
    answer = text.embed_tokens(torch.tensor([list(ids)], dtype=torch.long))
    hidden = torch.cat([vlm.language_inputs(encoding, None)["inputs_embeds"], answer], dim=1)
    length = hidden.shape[1]
    for i, layer in enumerate(text.layers):
        visible = torch.ones(length, dtype=torch.bool)
        visible[encoding.visual[depth <= i]] = False
        seen = (visible[None] & torch.ones(length, length).tril().bool()) | torch.eye(length).bool()
        mask = torch.zeros(length, length).masked_fill(~seen, torch.finfo(torch.float32).min)
        positions = (visible.cumsum(0) - 1).clamp(min=0) if renumbered else torch.arange(length)
        rotary = text.rotary_emb(hidden, positions[None])
        hidden = layer(hidden, attention_mask=mask[None, None], position_embeddings=rotary)
    return vlm.model.lm_head(text.norm(hidden))[0]


@torch.no_grad()
def hidden_by_masks(model, inputs, depth, ids):
    """(S, V) scores of an unmodified Qwen3-VL on the whole prompt and an answer; masks hide what a layer has lost.

    inputs: the processor's own. The model reads pixels and adds what DeepStack adds where it always does.
    """
    kinds, count = inputs["mm_token_type_ids"], len(ids)
    grids = {name: value for name, value in inputs.items() if name.endswith("grid_thw")}
    positions, _ = model.model.get_rope_index(inputs["input_ids"], mm_token_type_ids=kinds, **grids)
    inputs = {
        **inputs,
        "input_ids": torch.cat([inputs["input_ids"], torch.tensor([list(ids)], dtype=torch.long)], dim=1),
        "mm_token_type_ids": torch.cat([kinds, kinds.new_zeros(1, count)], dim=1),
        "position_ids": torch.cat([positions, positions[..., -1:] + 1 + torch.arange(count)], dim=-1),
    }
    del inputs["attention_mask"]
    visual, length = kinds[0].nonzero()[:, 0], inputs["input_ids"].shape[1]

    def hiding(i):
        visible = torch.ones(length, dtype=torch.bool)
        visible[visual[depth <= i]] = False
        seen = (visible[None] & torch.ones(length, length).tril().bool()) | torch.eye(length).bool()
        mask = torch.zeros(length, length).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]
        return lambda _layer, args, kwargs: (args, {**kwargs, "attention_mask": mask})

    layers = model.model.language_model.layers
    handles = [layer.register_forward_pre_hook(hiding(i), with_kwargs=True) for i, layer in enumerate(layers)]
    logits = model(**inputs, use_cache=False).logits[0]
    [handle.remove() for handle in handles]
    return logits


class Slow:
    """Every rule in plain loops, on the attention that eager layers give; the sequence is cut by hand.

    rows: what DeepStack adds to the visual tokens behind each of the first layers.
    """

    renumbers = True
    rows = ()

    def __init__(self, folder, encoding, vlm):
        eager = {"dtype": torch.float32, "attn_implementation": "eager"}
        self.model = LlavaForConditionalGeneration.from_pretrained(folder, **eager).eval()
        self.text = self.model.model.language_model
        self.embeds = vlm.language_inputs(encoding, None)["inputs_embeds"]
        self.start = encoding.visual.tolist()
        self.after = self.embeds.shape[1] - 1 - self.start[-1]
        self.where = torch.arange(self.embeds.shape[1])[None]

    def layer(self, i, hidden, positions):
        """What layer i makes of a sequence, its attention (H, S, S) and its keys (S, G, d) after RoPE."""
        layer, length = self.text.layers[i], hidden.shape[1]
        weights = []
        handle = layer.self_attn.register_forward_hook(lambda _m, _i, out: weights.append(out[1][0]))
        mask = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)[None, None]
        cos, sin = self.text.rotary_emb(hidden, self.where[..., positions])
        out = layer(hidden, attention_mask=mask, position_embeddings=(cos, sin))
        handle.remove()
        heads = layer.self_attn.k_proj(layer.input_layernorm(hidden)).unflatten(-1, (-1, layer.self_attn.head_dim))
        heads = getattr(layer.self_attn, "k_norm", torch.nn.Identity())(heads)
        keys = apply_rotary_pos_emb(heads.transpose(1, 2), heads.transpose(1, 2), cos, sin)[1][0].transpose(0, 1)
        return out, weights[0], keys

    @torch.no_grad()
    def read(self, method, schedule):
        """(S, V) scores of what is left of the prompt, and the depth of every visual token."""
        hidden, positions = self.embeds, list(range(self.embeds.shape[1]))
        places = [(p, t) for t, p in enumerate(self.start)]  # position in the sequence, token or -1
        depth = [LAYERS] * len(self.start)
        rows, attention, keys = list(self.rows), None, None
        for i in range(LAYERS):
            if i in schedule:
                if method == "pyramiddrop":
                    attention = self.layer(i, hidden, positions)[1]
                kept, groups = getattr(self, method)(hidden, attention, keys, [p for p, _ in places], schedule[i])
                for at, (_, token) in enumerate(places):
                    if at not in kept and token >= 0:
                        depth[token] = i
                gone = {places[at][0] for at in range(len(places)) if at not in kept}
                length = hidden.shape[1]
                front = [p for p in range(length - self.after) if p not in gone]
                back = list(range(length - self.after, length))
                centres = [places[group[0]][0] for group in groups]
                made = [hidden[:, [places[at][0] for at in group]].mean(dim=1, keepdim=True) for group in groups]
                hidden = torch.cat([hidden[:, front], *made, hidden[:, back]], dim=1)
                places = [(front.index(places[at][0]), places[at][1]) for at in kept]
                places += [(len(front) + c, -1) for c in range(len(made))]
                rows = [torch.stack([*r[kept], *(r[group].mean(dim=0) for group in groups)]) for r in rows]
                positions = [positions[p] for p in [*front, *centres, *back]]
                if method in ("pyramiddrop", "sparsevlm") and self.renumbers:
                    positions = list(range(hidden.shape[1]))
            hidden, attention, keys = self.layer(i, hidden, positions)
            if i < len(rows):
                hidden[0, [p for p, _ in places]] += rows[i]
        return self.model.lm_head(self.text.norm(hidden))[0], depth

    def top(self, scores, count):
        return sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count])

    def fastv(self, hidden, attention, keys, places, count):
        row = attention[:, -1].mean(dim=0).tolist()
        return self.top([row[p] for p in places], count), []

    pyramiddrop = fastv

    def dart(self, hidden, attention, keys, places, count):
        size = [sum(abs(x) for x in key.flatten().tolist()) for key in keys]
        text = list(range(len(size) - self.after, len(size)))
        pivots = sorted(places, key=lambda p: (-size[p], p))[: min(4, count)]
        kept = {places.index(p) for p in pivots}
        pivots = pivots + sorted(text, key=lambda p: (-size[p], p))[:4]
        normed = self.text.norm(hidden)[0]
        quota = [0] * len(pivots)
        for turn in range(count - len(kept)):
            quota[turn % len(pivots)] += 1
        for pivot, many in zip(pivots, quota, strict=True):
            like = {
                at: float(torch.cosine_similarity(normed[p], normed[pivot], dim=0))
                for at, p in enumerate(places)
                if at not in kept
            }
            kept |= set(sorted(like, key=lambda at: (like[at], at))[:many])
        return sorted(kept), []

    def sparsevlm(self, hidden, attention, keys, places, count):
        visual, text = self.embeds[0, self.start], self.embeds[0, self.embeds.shape[1] - self.after :]
        share = [0.0] * len(text)
        for v in visual:
            exps = [math.exp(float(v @ t)) for t in text]
            share = [s + e / sum(exps) / len(visual) for s, e in zip(share, exps, strict=True)]
        rating = [t for t, s in enumerate(share) if s > sum(share) / len(share)]
        rows = [hidden.shape[1] - self.after + t for t in rating]
        mean = attention.mean(dim=0)[rows].mean(dim=0).tolist()
        scores = [mean[p] for p in places]
        kept = self.top(scores, count)
        out = [at for at in range(len(places)) if at not in kept]
        if not out:
            return kept, []
        best = sorted(out, key=lambda at: (-scores[at], at))[: int(0.3 * len(out)) + 1]
        best = sorted(best)
        points = hidden[0, [places[at] for at in best]]
        return kept, [[best[i] for i in group] for group in groups_of(points, int(len(best) / 10) + 1)]


class SlowQwen3(Slow):
    """The same on the layers of Qwen3-VL: places on the grid stay, and DeepStack's rows are added by hand."""

    renumbers = False

    def __init__(self, model, inputs):
        self.model, self.text = model, model.model.language_model
        ids, kinds = inputs["input_ids"], inputs["mm_token_type_ids"]
        grids = {name: value for name, value in inputs.items() if name.endswith("grid_thw")}
        self.where, _ = model.model.get_rope_index(ids, mm_token_type_ids=kinds, **grids)
        pixels = inputs.get("pixel_values", inputs.get("pixel_values_videos"))
        with torch.no_grad():
            seen = model.model.visual(pixels, grid_thw=next(iter(grids.values())))
            self.embeds = model.get_input_embeddings()(ids)
        self.start = kinds[0].nonzero()[:, 0].tolist()
        self.embeds[0, self.start] = seen.pooler_output
        self.rows = seen.deepstack_features
        self.after = ids.shape[1] - 1 - self.start[-1]


def clustered(points, clusters):
    """The means of the clusters, by the place of their centres."""
    return [points[group].mean(dim=0) for group in groups_of(points, clusters)]


def groups_of(points, clusters):
    """DPC-KNN in loops; the members of the clusters, centres first, by the place of their centres."""
    n = len(points)
    if clusters >= n:
        return [[i] for i in range(n)]
    far = [[float((a - b).norm()) / len(a) ** 0.5 for b in points] for a in points]
    density = []
    for i in range(n):
        near = sorted(far[i][j] for j in range(n) if j != i)[:clusters]
        density.append(math.exp(-sum(d * d for d in near) / len(near)))
    apart = []
    for i in range(n):
        above = [far[i][j] for j in range(n) if (-density[j], j) < (-density[i], i)]
        apart.append(min(above) if above else max(far[i]))
    centres = sorted(sorted(range(n), key=lambda i: (-density[i] * apart[i], i))[:clusters])
    members = {c: [c] for c in centres}
    for i in range(n):
        if i not in centres:
            members[min(centres, key=lambda c: (far[i][c], c))].append(i)
    return [members[c] for c in centres]
