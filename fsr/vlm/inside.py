"""Pruning inside the language model: hooks on one model's decoder layers that shorten the sequence while it is read.

The hooks are there during a forward pass and gone afterwards, so other answers of the same model can run in between.
Layers then hold key-value caches of different lengths. Only the attention rows that a method asks for are computed.
What DeepStack adds behind the first layers (Qwen3-VL) is added here while the prompt is read, to what is left: a kept
token keeps its rows, and one made of several has their mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fsr.errors import FsrError, InvalidInput
from fsr.pruners.inside import Choice, InsideSelection, LayerView

DECODERS = ("llama", "mistral", "qwen2", "qwen2_vl_text", "qwen2_5_vl_text", "qwen3", "qwen3_vl_text")


class InsidePruning:
    """One answer under an InsideSelection: what became of its prompt, for every layer.

    visual: (N,) int64, positions of the visual tokens in a prompt of `length` positions. new_tokens: how many may
    follow. keep_positions: tokens keep their positions, also with methods that renumber. lengths: positions that each
    layer holds once the prompt was read. Raises FsrError for a decoder that is not known, InvalidInput for a budget
    that this depth does not allow or a prompt beyond a sliding window.
    """

    def __init__(
        self,
        model: Any,
        selection: InsideSelection,
        visual: Tensor,
        length: int,
        new_tokens: int = 0,
        keep_positions: bool = False,
    ) -> None:
        self.decoder = text_model(model)
        self.layers: list[Any] = list(self.decoder.layers[: self.decoder.config.num_hidden_layers])
        if selection.n != len(visual):
            raise InvalidInput(f"this selection is for {selection.n} visual tokens, the prompt has {len(visual)}.")
        window = getattr(self.decoder.config, "sliding_window", None)
        if window is not None and length + new_tokens > window:
            raise InvalidInput(
                f"prompt and answer take up to {length + new_tokens} positions, beyond the model's sliding window of "
                f"{window}; methods that prune inside the language model need both to fit."
            )
        self.selection, self.pruner = selection, selection.pruner
        self.schedule = dict(self.pruner.schedule(selection.n, len(self.layers), selection.budget))
        parameters = getattr(self.decoder.config, "rope_parameters", None) or {}
        kept = keep_positions or "mrope_section" in parameters
        self.renumbered = self.pruner.positions == "renumbered" and not kept
        self.first_visual, self.length = visual, length
        self.lengths = [length] * len(self.layers)
        self.prompt_read = False
        self._seen: dict[str, Tensor] = {}

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Prune in the forward pass inside the block: the first reads the prompt, the others go on from it.

        The hooks are removed when the block ends, however it ends.
        """
        handles = []
        try:
            for i, layer in enumerate(self.layers):
                enter = self._continue if self.prompt_read else self._read
                handles.append(layer.register_forward_pre_hook(_at(i, enter), with_kwargs=True))
            if not self.prompt_read:
                self._begin()
                handles.append(self.decoder.register_forward_pre_hook(self._take_rows(handles), with_kwargs=True))
                for i in self.schedule if self.pruner.looks_at == "before" else ():
                    for name in ("q_proj", "k_proj"):
                        projection = getattr(self.layers[i - 1].self_attn, name)
                        handles.append(projection.register_forward_hook(self._keep(name)))
            yield
            if not self.prompt_read:
                self._finish()
        finally:
            for handle in handles:
                handle.remove()
            self._seen.clear()

    @property
    def alive(self) -> tuple[Tensor, Tensor]:
        """While the prompt is read, in the layer that it has come to: positions of the visual tokens, and which each of
        them is, -1 for one made of several. Both (V,) int64."""
        return self._visual, self._token

    # -- the prompt

    def _begin(self) -> None:
        n = self.selection.n
        self._visual, self._token = self.first_visual, torch.arange(n)
        self._text = self.length - 1 - int(self.first_visual[-1])
        self._depth = torch.full((n,), len(self.layers))
        self._counts = [n] * len(self.layers)
        self._scores: Tensor | None = None
        self._rotary: tuple[Tensor, Tensor] | None = None
        self._embeddings: Tensor | None = None
        self._recycled = 0
        self._rows: list[Tensor] = []

    def _take_rows(self, handles: list[Any]) -> Any:
        """A hook that takes from the decoder what it would add at the places of the whole prompt."""

        def take(_decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            kwargs.pop("visual_pos_masks", None)
            self._rows = list(kwargs.pop("deepstack_visual_embeds", None) or ())
            for i in range(min(len(self._rows), len(self.layers))):
                handles.append(self.layers[i].register_forward_hook(self._add_rows(i)))
            return args, kwargs

        return take

    def _add_rows(self, i: int) -> Any:
        def add(_layer: nn.Module, _inputs: Any, hidden: Tensor) -> Tensor:
            added = hidden.clone()
            added[:, self._visual.to(hidden.device)] += self._rows[i].to(hidden)
            return added

        return add

    def _keep(self, name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._seen[name] = output.detach()

        return keep

    def _read(self, i: int, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
        if i == 0:
            if hidden.shape[:2] != (1, self.length):
                raise FsrError(f"one prompt of {self.length} positions was expected, not {tuple(hidden.shape[:2])}.")
            self._embeddings, self._rotary = hidden[0], kwargs["position_embeddings"]
            self._unpruned_rotary = self._rotary
        if i in self.schedule:
            hidden = self._prune(i, hidden)
        length = hidden.shape[1]
        self.lengths[i], self._counts[i] = length, len(self._visual)
        if length < self.length:
            kwargs["position_embeddings"] = self._rotary
            kwargs["attention_mask"] = _causal(kwargs.get("attention_mask"), length)
            if kwargs.get("position_ids") is not None:  # the layers take a gap in them for a second sequence
                kwargs["position_ids"] = torch.arange(length, device=hidden.device)[None]
        return hidden

    def _prune(self, i: int, hidden: Tensor) -> Tensor:
        choice = self.pruner.choose(self._view(i, hidden), min(self.schedule[i], len(self._visual)))
        if self._scores is None:
            self._scores = choice.scores.float().cpu()
        kept = choice.kept.cpu()
        dropped = torch.ones(len(self._visual), dtype=torch.bool).index_fill_(0, kept, False)
        gone = self._token[dropped]
        self._depth[gone[gone >= 0]] = i
        return self._shortened(hidden, choice, kept, dropped)

    def _shortened(self, hidden: Tensor, choice: Choice, kept: Tensor, dropped: Tensor) -> Tensor:
        """The hidden states without the dropped tokens, merged ones before the text that follows the picture."""
        length, text = hidden.shape[1], hidden.shape[1] - self._text
        stays = torch.ones(length, dtype=torch.bool).index_fill_(0, self._visual[dropped], False)
        before, after = stays[:text].nonzero()[:, 0], torch.arange(text, length)
        made = 0 if choice.merged is None else len(choice.merged)
        centres = self._visual[choice.centres.cpu()] if choice.centres is not None else before[:0]
        source = torch.cat([before, centres, after]).to(hidden.device)  # whose place each position has
        states = hidden[:, source]
        if choice.merged is not None:
            states[:, len(before) : len(before) + made] = choice.merged.to(states.dtype)
        assert self._rotary is not None
        rotary = self._unpruned_rotary if self.renumbered else self._rotary
        cos, sin = (x.to(hidden.device) for x in rotary)  # a device_map may have layers elsewhere
        place = slice(len(source)) if self.renumbered else source
        self._rotary = cos[..., place, :], sin[..., place, :]
        self._visual = torch.cat(
            [torch.searchsorted(before, self._visual[kept]), torch.arange(len(before), len(before) + made)]
        )
        self._token = torch.cat([self._token[kept], torch.full((made,), -1)])
        self._recycled += made
        self._rows = [_left(rows, kept, choice.made_of) for rows in self._rows]
        return states

    def _view(self, i: int, hidden: Tensor) -> LayerView:
        assert self._rotary is not None
        assert self._embeddings is not None
        device, length = hidden.device, hidden.shape[1]  # a device_map may have the layer and the last norm elsewhere
        cos, sin = (x[0].to(device) for x in self._rotary)
        embeddings = self._embeddings.to(device)
        own = self.pruner.looks_at == "own"
        attention = self.layers[i if own else i - 1].self_attn
        normed = self.layers[i].input_layernorm(hidden)[0].to(device) if own else None

        def heads(projected: Tensor, norm: str, rows: Any = slice(None)) -> Tensor:
            split = projected.unflatten(-1, (-1, attention.head_dim))
            split = getattr(attention, norm)(split) if hasattr(attention, norm) else split  # Qwen3 norms every head
            return rotated(split.to(device), cos[rows], sin[rows])

        def queries(rows: Tensor) -> Tensor:
            projected = self._seen["q_proj"][0, rows] if normed is None else attention.q_proj(normed[rows])
            return heads(projected, "q_norm", rows)

        return LayerView(
            hidden=hidden[0],
            visual=self._visual.to(device),
            text=torch.arange(length - self._text, length, device=device),
            keys=heads(self._seen["k_proj"][0] if normed is None else attention.k_proj(normed), "k_norm"),
            queries=queries,
            scale=attention.scaling,
            norm=lambda states: self.decoder.norm(states).to(device),
            read_visual=embeddings[self.first_visual.to(device)],
            read_text=embeddings[self.length - self._text :],
        )

    def _finish(self) -> None:
        self.prompt_read = True
        chosen, counts = self.selection, self._counts
        chosen.layers, chosen.depth, chosen.counts, chosen.scores = len(counts), self._depth, counts, self._scores
        chosen.facts = {
            "average": sum(counts) / len(counts),
            "layers_pruned": len(counts) - min(self.schedule),
            "first_layer": min(self.schedule),
            "kept_last": int((self._depth == len(counts)).sum()),
            "recycled": self._recycled,
        }
        self._embeddings = self._rotary = None
        self._rows = []

    # -- the answer

    def _continue(self, i: int, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
        fewer = self.length - self.lengths[i]
        if fewer:
            mask = kwargs.get("attention_mask")
            if mask is not None:  # made for the first layer, whose cache holds the whole prompt
                kwargs["attention_mask"] = mask[..., fewer:]
            if self.renumbered:
                positions = kwargs["position_ids"] - fewer
                kwargs["position_embeddings"] = self.decoder.rotary_emb(hidden, positions)
        return hidden


def _at(i: int, enter: Any) -> Any:
    """A hook in front of layer i that takes the hidden states wherever they are passed."""

    def hook(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if args:
            return (enter(i, args[0], kwargs), *args[1:]), kwargs
        kwargs["hidden_states"] = enter(i, kwargs["hidden_states"], kwargs)
        return args, kwargs

    return hook


def _left(rows: Tensor, kept: Tensor, made_of: Tensor | None) -> Tensor:
    """Rows (V, D) of the visual tokens -> of the kept ones, and means of those that new ones are made of."""
    left = rows[kept.to(rows.device)]
    if made_of is None:
        return left
    return torch.cat([left, (made_of.to(rows.device) @ rows.float()).to(rows)])


def _causal(mask: Any, length: int) -> Any:
    """The causal mask of a shorter prompt: none was needed, or the first rows and columns of the long one."""
    return None if mask is None else mask[..., :length, :length]


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions. x: (S, H, d); cos, sin: (S, r), the two halves of the first r of d turning together."""
    turning, still = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    half = turning.shape[-1] // 2
    turned = torch.cat([-turning[..., half:], turning[..., :half]], dim=-1)
    return torch.cat([turning * cos[:, None] + turned * sin[:, None], still], dim=-1)


def decoder_stack(model: Any) -> Any:
    """The language model's stack of decoder layers inside any model. Raises FsrError where there is none."""
    parts = ("layers", "norm", "rotary_emb", "embed_tokens")
    for module in model.modules():
        if all(hasattr(module, name) for name in parts):
            return module
    raise FsrError("this checkpoint has no stack of decoder layers that is known.")


def text_model(model: Any) -> Any:
    """The same where its kind is known to bear hooks that shorten the sequence. Raises FsrError for any other."""
    stack = decoder_stack(model)
    kinds = getattr(stack.config, "layer_types", None) or []
    if linear := kinds.count("linear_attention"):
        raise FsrError(
            "methods that prune inside the language model look at the attention of layers that their papers name, and "
            f"{linear} of these {len(kinds)} layers have none, being linear; choose one that prunes before it."
        )
    if stack.config.model_type not in DECODERS:
        raise FsrError(
            "methods that prune inside the language model work with Llama, Mistral, Qwen2 and Qwen3 decoders, "
            f"not with {stack.config.model_type}; choose one that prunes before it."
        )
    return stack
