"""Where each word of an answer looked: the language model's attention to the visual tokens that it could read.

A token of an answer is the output of the position *before* it: the last of the prompt for the first one, the token
before for every other. Its row there, the softmax over everything that position may read, is what is shown: mean over
heads, mean over the tokens of a word. Attention is not influence: what a layer looks at need not matter to the answer.

The answer is forced through the model as `VLM.forced` does. Rows are computed while a layer runs, from its queries and
the cached keys, for the positions before answer tokens alone: A x S numbers a head, never S x S. Letters: A answer
tokens, W words, L layers, K visual tokens that are read, N all of them, S positions, H heads, G key heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from fsr.errors import FsrError, InvalidInput
from fsr.pruners.inside import InsideSelection
from fsr.tokens import Role, Selection
from fsr.vlm.base import VLM, Chosen
from fsr.vlm.inside import DECODERS, InsidePruning, decoder_stack, rotated
from fsr.vlm.media import Encoding
from fsr.why.words import Word, words_of

THIRDS = ("first", "middle", "last")
NUMBERS_AT_ONCE = 1 << 24  # of attention, over all heads
HEADS_FIRST = ("gemma3_text",)  # whose norm of the queries is given (1, H, S, d)
LINEAR_TOO = ("qwen3_5_text",)  # most of whose layers have no attention; the others are read
KNOWN = (*DECODERS, *HEADS_FIRST, *LINEAR_TOO)
CACHES = ("cache", "past_key_values")  # what layers call it, from transformers 5.23 on and before


@dataclass(frozen=True, eq=False)
class WordAttention:
    """What each word looked at, on the CPU.

    layers: which of all, from 0. tokens: (K,) int64, the visual token of each column; for a method inside the language
    model all N. attention: (W, L, K) float32, of the whole row, which sums to 1 over all that was read, words included;
    0 where `alive`, (L, K) bool, says that the layer did not read the token. beside: (W, L) float32, to visual
    embeddings that are no token of the grid (VisionZip's [CLS], PruMerge's rest, SparseVLM's recycled ones).
    """

    words: list[Word]
    layers: tuple[int, ...]
    tokens: Tensor
    attention: Tensor
    beside: Tensor
    alive: Tensor

    @property
    def share(self) -> Tensor:
        """(W, L) float32 in [0, 1]: how much went to the picture at all; the rest went to words."""
        return self.attention.sum(dim=-1) + self.beside


def answer_attention(
    vlm: VLM,
    encoding: Encoding,
    selection: Chosen,
    answer_ids: Sequence[int],
    layers: Sequence[int] | None = None,
) -> WordAttention:
    """From one pass over the prompt and one over the answer, in eager attention whatever the model itself runs.

    layers: from 0, of those that have attention (see `attending`), default all. A request to prune inside the language
    model is worked off here: each layer shows the tokens that it read. Raises InvalidInput for an answer without words,
    a layer that is not there or a prompt beyond a sliding window, FsrError for a decoder that is not known.
    """
    words = words_of(vlm, answer_ids)
    ids = list(answer_ids[: words[-1].stop])
    decoder = _decoder(vlm)
    chosen = _checked(layers, attending(decoder))
    columns, tokens = _columns(vlm, encoding, selection)
    rows = _Rows(decoder, chosen, words, columns, tokens, len(encoding.tokens))
    rows.check_window(len(encoding.prompt) + len(ids))
    vlm.forced(encoding, selection, ids, rows.watch)
    return rows.found()


def on_picture(attention: Tensor, tokens: Tensor, selection: Chosen, n: int) -> Tensor:
    """(..., K) -> (..., N): every token with its own, and merged ones a part of their anchor's; see `parts`."""
    column, token, part = parts(tokens, selection, n)
    out = attention.new_zeros(*attention.shape[:-1], n)
    out[..., token] = attention[..., column] * part
    return out


def parts(tokens: Tensor, selection: Chosen, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which column each token on the picture shows, and what part of it: column, token (P,) int64, part (P,) float32.

    An anchor's attention is shared out over its group by the weights with which they were averaged, so the sum stays.
    tokens: (K,) int64, the token of each column.
    """
    column = torch.full((n,), -1)
    column[tokens] = torch.arange(len(tokens))
    part = torch.ones(n)
    if isinstance(selection, Selection):
        anchor, weight = selection.anchor.cpu(), selection.weight.cpu().float()
        merged = ((selection.roles.cpu() == int(Role.MERGED)) & (anchor >= 0)).nonzero()[:, 0]
        to = anchor[merged]
        anchors = to.unique()
        total = torch.zeros(n).index_add(0, to, weight[merged])
        total[anchors] += weight[anchors]
        total = torch.where(total > 0, total, 1.0)
        column[merged] = column[to]
        part[merged], part[anchors] = weight[merged] / total[to], weight[anchors] / total[anchors]
    shown = (column >= 0).nonzero()[:, 0]
    return column[shown], shown, part[shown]


def thirds(layers: int) -> dict[str, list[int]]:
    """The groups of layers to look at together: all, and where there are as many the first, middle and last third."""
    groups = {"all": list(range(layers))}
    if layers >= len(THIRDS):
        cut = [round(layers * part / len(THIRDS)) for part in range(len(THIRDS) + 1)]
        groups |= {name: groups["all"][low:high] for name, (low, high) in zip(THIRDS, pairwise(cut), strict=True)}
    return groups


def group_of(group: object, layers: int) -> list[int]:
    """The layers, from 0, behind the name of a group, see `thirds`, or the number of a single one, from 1.

    Raises InvalidInput for any other.
    """
    groups, text = thirds(layers), str(group)[:40]
    if text in groups:
        return groups[text]
    if text.isascii() and text.isdigit() and 1 <= int(text) <= layers:
        return [int(text) - 1]
    raise InvalidInput(f"layers are {', '.join(groups)} or a number from 1 to {layers}, not {text!r}.")


def words_record(
    vlm: VLM, encoding: Encoding, selection: Chosen, answer_ids: Sequence[int], group: object = "all"
) -> dict[str, Any]:
    """One answer's words as plain JSON values: text, read (visual embeddings that a layer reads), layers (the group),
    words: text, share (of its attention that went to the picture) and attention (one number for every visual token)."""
    at = group_of(group, len(attending(decoder_stack(vlm.decoder.model))))
    found = answer_attention(vlm, encoding, selection, answer_ids, at)
    n = len(encoding.tokens)
    maps = on_picture(found.attention.mean(dim=1), found.tokens, selection, n)
    shares = found.share.mean(dim=1).tolist()
    words = [
        {"text": word.text, "share": _short(share), "attention": [_short(x) for x in values]}
        for word, share, values in zip(found.words, shares, maps.tolist(), strict=True)
    ]
    read = read_tokens(selection, n)
    return {"text": vlm.text(list(answer_ids)), "read": read, "layers": str(group), "words": words}


def read_tokens(selection: Chosen, n: int) -> float:
    """Visual embeddings that a layer of the language model reads, on average."""
    if isinstance(selection, InsideSelection):
        return selection.average
    return n if selection is None else len(selection.sent)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _decoder(vlm: VLM) -> Any:
    """The stack of layers whose attention is computed here as they compute it themselves."""
    stack = decoder_stack(vlm.decoder.model)
    if stack.config.model_type not in KNOWN:
        raise FsrError(
            f"the attention of {stack.config.model_type} layers is not known here, only of {', '.join(KNOWN)}."
        )
    return stack


def attending(decoder: Any) -> tuple[int, ...]:
    """The layers, from 0, that have attention, and so rows to show: all but those of linear attention (Qwen3.5: three
    of four carry a state instead, in which no position can be told from another)."""
    kinds = getattr(decoder.config, "layer_types", None) or [""] * int(decoder.config.num_hidden_layers)
    return tuple(i for i, kind in enumerate(kinds) if kind != "linear_attention")


def _checked(layers: Sequence[int] | None, known: tuple[int, ...]) -> tuple[int, ...]:
    count = len(known)
    if layers is None:
        return known
    if not layers or any(isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < count for i in layers):
        raise InvalidInput(f"layers are whole numbers from 0 to {count - 1}, not {list(layers)!r}.")
    return tuple(known[i] for i in layers)


def _columns(vlm: VLM, encoding: Encoding, selection: Chosen) -> tuple[Tensor, Tensor]:
    """Where in the prompt that is read visual embeddings stand, and which token each is, -1 for none of the grid."""
    if not isinstance(selection, Selection):
        return encoding.visual, torch.arange(len(encoding.visual))
    columns = torch.isin(vlm.source(encoding, selection), encoding.visual).nonzero()[:, 0]
    before = 0 if selection.before is None else len(selection.before)
    tokens = torch.full_like(columns, -1)
    tokens[before : before + len(selection.kept)] = selection.kept.cpu()
    return columns, tokens


class _Rows:
    """Hooks on the attention of some layers that keep the rows of answer tokens."""

    def __init__(
        self,
        decoder: Any,
        layers: tuple[int, ...],
        words: list[Word],
        columns: Tensor,
        tokens: Tensor,
        n: int,
    ) -> None:
        self.decoder, self.layers, self.words = decoder, layers, words
        self.of_row = torch.full((words[-1].stop,), -1)  # the word that each row predicts a token of
        for at, word in enumerate(words):
            self.of_row[word.start : word.stop] = at
        self.seen: dict[int, tuple[Tensor, Tensor]] = dict.fromkeys(layers, (columns, tokens))
        self.attention = torch.zeros(len(words), len(layers), n)
        self.beside = torch.zeros(len(words), len(layers))
        self.done = 0  # rows of passes that are over
        self._queries: Tensor | None = None

    def check_window(self, length: int) -> None:
        window = getattr(self.decoder.config, "sliding_window", None)
        if window is not None and length > window:
            raise InvalidInput(
                f"prompt and answer take {length} positions, beyond the model's sliding window of {window}."
            )

    @contextmanager
    def watch(self, pruning: InsidePruning | None) -> Iterator[None]:
        """Around one forward pass: the first reads the prompt, the second the answer. Nothing stays afterwards."""
        handles, first = [], self.done == 0
        try:
            for at, layer in enumerate(self.layers):
                attention = self.decoder.layers[layer].self_attn
                made = getattr(attention, "q_norm", attention.q_proj)  # what is turned by its position next
                handles.append(made.register_forward_hook(self._keep))
                read = self._reader(at, layer, first, pruning)
                handles.append(attention.register_forward_hook(read, with_kwargs=True))
            yield
            self.done = 1
        finally:
            self._queries = None
            for handle in handles:
                handle.remove()

    def _keep(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        queries = output.detach()[0]
        self._queries = queries.transpose(0, 1) if self.decoder.config.model_type in HEADS_FIRST else queries

    def _reader(self, at: int, layer: int, first: bool, pruning: InsidePruning | None) -> Callable[..., None]:
        def read(module: Any, _args: Any, kwargs: dict[str, Any], _output: Any) -> None:
            if first and pruning is not None:
                self.seen[layer] = pruning.alive
            cache = next((kwargs[name] for name in CACHES if kwargs.get(name) is not None), None)
            if cache is None or self._queries is None or "position_embeddings" not in kwargs:
                raise FsrError("this version of transformers does not show a layer's queries and keys.")
            cos, sin = (x[0] for x in kwargs["position_embeddings"])
            rows = slice(-1, None) if first else slice(None)
            queries = self._queries[rows].reshape(len(cos[rows]), -1, module.head_dim)
            queries = rotated(queries, cos[rows], sin[rows])
            keys = cache.layers[module.layer_idx].keys[0]
            columns, tokens = self.seen[layer]
            found = attention_rows(queries, keys, module.scaling, columns.to(keys.device)).cpu()
            self._add(at, found, tokens)

        return read

    def _add(self, at: int, found: Tensor, tokens: Tensor) -> None:
        """found: (R, columns) of the rows from `done` on."""
        for row, values in enumerate(found, self.done):
            word = int(self.of_row[row])
            if word < 0:
                continue
            values = values / (self.words[word].stop - self.words[word].start)
            on_grid = tokens >= 0
            self.attention[word, at, tokens[on_grid]] += values[on_grid]
            self.beside[word, at] += values[~on_grid].sum()

    def found(self) -> WordAttention:
        alive = torch.zeros(len(self.layers), self.attention.shape[-1], dtype=torch.bool)
        for at, layer in enumerate(self.layers):
            tokens = self.seen[layer][1]
            alive[at, tokens[tokens >= 0]] = True
        read = alive.any(dim=0).nonzero()[:, 0]
        return WordAttention(self.words, self.layers, read, self.attention[:, :, read], self.beside, alive[:, read])


def attention_rows(queries: Tensor, keys: Tensor, scale: float, columns: Tensor) -> Tensor:
    """(R, C) float32: the causal attention of the last R of S positions to some, mean over heads.

    queries: (R, H, d), keys: (G, S, d), both with their positions turned in. columns: (C,) int64.
    """
    groups, length, _ = keys.shape
    keys = keys.float()
    q = queries.float().unflatten(1, (groups, -1))  # heads that share a key head lie next to each other
    last = torch.arange(length - len(q), length, device=keys.device)  # what each row may read up to, itself
    place = torch.arange(length, device=keys.device)
    at_once = max(1, NUMBERS_AT_ONCE // (length * queries.shape[1]))
    found = []
    for part, up_to in zip(q.split(at_once), last.split(at_once), strict=True):
        scores = torch.einsum("rgnd,gsd->rgns", part, keys) * scale
        scores = scores.masked_fill((place > up_to[:, None])[:, None, None], -math.inf)
        found.append(scores.softmax(dim=-1).mean(dim=(1, 2))[:, columns])
    return torch.cat(found)
