"""Selections with one token less, or some more: what the language model is given instead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from fsr.errors import InvalidInput
from fsr.pruners.base import Pruner
from fsr.pruners.inside import InsideSelection
from fsr.tokens import Role, Selection, VisualTokens
from fsr.vlm.base import Chosen


def check_studied(pruner: Pruner) -> None:
    """Raises InvalidInput for a method that prunes inside the language model, see `studied`."""
    if pruner.stage != "before":
        raise InvalidInput(
            f"{pruner.label} prunes inside the language model, whose first layers read every token, so that no token "
            "can be left out or put back by itself; choose a method that prunes before the language model."
        )


def studied(chosen: Chosen, tokens: VisualTokens) -> Selection:
    """The selection itself; every token for None. Raises InvalidInput for a method inside the language model.

    There every token is read by the first layers and what is kept is chosen while reading: a prompt without one token,
    or with one more, would be pruned to other tokens, and nothing could be said of that one alone.
    """
    if isinstance(chosen, InsideSelection):
        check_studied(chosen.pruner)
    elif chosen is not None:
        return chosen
    n, to = len(tokens), tokens.embeddings.device
    return Selection(
        method="full",
        budget=n,
        kept=torch.arange(n, device=to),
        roles=torch.full((n,), int(Role.KEPT), dtype=torch.uint8, device=to),
        embeddings=tokens.embeddings,
        anchor=torch.full((n,), -1, device=to),
        similarity=torch.full((n,), math.nan, device=to),
        weight=torch.ones(n, device=to),
    )


def absorbed(selection: Selection) -> dict[int, tuple[int, ...]]:
    """For every kept token the tokens that were merged into it, ascending."""
    groups: dict[int, list[int]] = {token: [] for token in selection.kept.tolist()}
    merged = (selection.roles == int(Role.MERGED)).nonzero()[:, 0]
    for token, anchor in zip(merged.tolist(), selection.anchor[merged].tolist(), strict=True):
        if anchor in groups:
            groups[anchor].append(token)
    return {token: tuple(group) for token, group in groups.items()}


def without(selection: Selection, token: int) -> Selection:
    """The selection without a kept token and all that was merged into it; the other embeddings stay as they are."""
    rest = selection.kept != token
    gone = (selection.anchor == token) & (selection.roles == int(Role.MERGED))
    gone[token] = True
    return replace(
        selection,
        kept=selection.kept[rest],
        embeddings=selection.embeddings[rest],
        roles=selection.roles.masked_fill(gone, int(Role.DROPPED)),
        anchor=torch.where(selection.anchor == token, -1, selection.anchor),
        similarity=selection.similarity.masked_fill(selection.anchor == token, math.nan),
        weight=selection.weight.masked_fill(gone, 0.0),
    )


def with_more(selection: Selection, tokens: VisualTokens, added: Sequence[int]) -> Selection:
    """The selection with tokens that it dropped or merged put back as they were; what is sent already stays as it is.

    An anchor keeps what it absorbed, also of a token that is put back.
    """
    more = torch.tensor(sorted(added), dtype=torch.int64, device=selection.kept.device)
    kept, order = torch.cat([selection.kept, more]).sort()
    embeddings = torch.cat([selection.embeddings, tokens.embeddings[more].to(selection.embeddings)])[order]
    return replace(
        selection,
        kept=kept,
        embeddings=embeddings,
        roles=selection.roles.index_fill(0, more, int(Role.KEPT)),
        anchor=selection.anchor.index_fill(0, more, -1),
        similarity=selection.similarity.index_fill(0, more, math.nan),
        weight=selection.weight.index_fill(0, more, 1.0),
    )
