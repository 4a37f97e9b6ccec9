"""One question with every method at every budget: what each row of a sweep says.

The unpruned answer is given to every pruned prompt in one pass each, several prompts at a time: that tells the KL
divergence and the log-probability, and where every greedy choice is the given token the pruned answer is known to be
the same without being generated. Only what differs is answered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsr.bench.fidelity import Fidelity, Reference, possible
from fsr.errors import FsrError, InvalidInput, OutOfMemory
from fsr.pruners.base import Pruner
from fsr.pruners.inside import InsideSelection
from fsr.sweep.data import Item
from fsr.sweep.layout import packed
from fsr.tokens import Role
from fsr.vlm.answers import greedy_answer
from fsr.vlm.base import VLM, Chosen
from fsr.vlm.cost import timed
from fsr.vlm.media import Encoding

Score = Callable[[str, Sequence[str]], float]
FULL = "full"
BATCH = 16  # prompts of one length that are answered together


@dataclass(frozen=True)
class Asked:
    """What every item is asked with. methods: by the names that the rows carry. frames: of a clip; 0: the usual 8."""

    vlm: VLM
    methods: Mapping[str, Pruner]
    budgets: Sequence[int]
    score: Score
    max_new_tokens: int = 64
    frames: int = 0


@dataclass(frozen=True)
class One:
    """A method at a budget, and what it chose. budget: None for a method that decides itself how many it keeps."""

    method: str
    budget: int | None
    selection: Chosen
    select_ms: float


def rows_of(asked: Asked, item: Item) -> list[dict[str, Any]]:
    """The rows of one item: the unpruned model's first, then method by method; one with a problem where it failed."""
    if item.problem:
        return [problem(item, item.problem)]
    try:
        return _rows(asked, item)
    except (FsrError, OSError) as error:
        return [problem(item, str(error).splitlines()[0] or type(error).__name__)]


def problem(item: Item, text: str) -> dict[str, Any]:
    """The row of an item that could not be asked."""
    return {"item": item.index, "method": FULL, "problem": text}


def _rows(asked: Asked, item: Item) -> list[dict[str, Any]]:
    vlm = asked.vlm
    frames, times = _frames(asked, item)
    needs = frozenset().union(*(pruner.requires for pruner in asked.methods.values()))
    media = vlm.encode_media(frames, times, needs)
    encoding = vlm.encode(media, item.question, needs)
    scores: list[Tensor] = []
    ids, answer_ms = timed(lambda: greedy_answer(vlm, encoding, asked.max_new_tokens, scores=scores), vlm.device)
    reference = Reference(vlm, encoding, ids, torch.stack(scores))
    full = vlm.text(ids)
    first = {
        "item": item.index,
        "method": FULL,
        "budget": len(encoding.tokens),
        "visual_tokens": float(len(encoding.tokens)),
        "answer": full,
        "unpruned": full,
        "agrees": True,
        "score": _scored(asked, item, full),
        "encode_ms": encoding.media.encode_ms,
        "answer_ms": answer_ms,
        "layout": packed(encoding.tokens.layout),
        **_fidelity(reference.compare(None)),
    }
    chosen, problems = _chosen(asked, item, encoding)
    compared = reference.compare_all([one.selection for one in chosen])
    texts = _answers(asked, encoding, chosen, compared, full)
    rows = [first]
    for one, found, text in zip(chosen, compared, texts, strict=True):
        rows.append(
            {
                "item": item.index,
                "method": one.method,
                "budget": one.budget,
                "answer": text,
                "unpruned": full,
                "agrees": text == full,
                "score": _scored(asked, item, text),
                "select_ms": one.select_ms,
                **_fidelity(found),
                **_about(one.selection, len(encoding.tokens)),
            }
        )
    return rows + problems


def _frames(asked: Asked, item: Item) -> tuple[list[Any], list[float] | None]:
    """The picture, or the frames of the clip and their times in seconds. Raises InvalidInput for a bad file."""
    from fsr.media.pictures import load_image
    from fsr.media.video import FRAMES, is_clip, load_clip

    if not isinstance(item.media, Path):
        assert item.media is not None
        return [item.media.convert("RGB")], None
    if not item.media.is_file():
        raise InvalidInput(f"there is no file {item.name}.")
    if not is_clip(item.media):
        return [load_image(item.media)], None
    clip = load_clip(item.media, asked.frames or FRAMES)
    return clip.frames, [t - clip.timestamps_s[0] for t in clip.timestamps_s]


def _chosen(asked: Asked, item: Item, encoding: Encoding) -> tuple[list[One], list[dict[str, Any]]]:
    """Every method at every budget that it can keep to, and a row with a problem for every one that failed."""
    chosen, problems = [], []
    n = len(encoding.tokens)
    for name, pruner in asked.methods.items():
        for budget in asked.budgets if pruner.takes_budget else asked.budgets[:1]:
            own = budget if pruner.takes_budget else None
            try:
                if budget > n:
                    raise InvalidInput(f"the picture has {n} visual tokens.")
                if not possible(asked.vlm, encoding, pruner, budget):
                    raise InvalidInput("the layers before its first cut read more than that.")
                selection, ms = timed(lambda p=pruner, k=budget: p(encoding.tokens, k), asked.vlm.device)  # type: ignore[misc]
                chosen.append(One(name, own, selection, ms))
            except OutOfMemory:
                raise
            except FsrError as error:
                problems.append({"item": item.index, "method": name, "budget": own, "problem": str(error)})
    return chosen, problems


def _answers(
    asked: Asked, encoding: Encoding, chosen: Sequence[One], compared: Sequence[Fidelity], full: str
) -> list[str]:
    """The text of every answer. Prompts of one length share a batch, so that nothing is padded."""
    texts: dict[int, str] = {}
    groups: dict[int, list[int]] = defaultdict(list)
    for i, (one, found) in enumerate(zip(chosen, compared, strict=True)):
        if all(found.agrees):
            texts[i] = full
        else:
            groups[-1 - i if isinstance(one.selection, InsideSelection) else len(one.selection.sent)].append(i)  # type: ignore[union-attr]
    for group in groups.values():
        requests = [(encoding, chosen[i].selection) for i in group]
        texts.update(zip(group, asked.vlm.generate_batch(requests, asked.max_new_tokens, BATCH), strict=True))
    return [texts[i] for i in range(len(chosen))]


def _scored(asked: Asked, item: Item, text: str) -> float | None:
    return asked.score(text, item.answers) if item.answers else None


def _fidelity(found: Fidelity) -> dict[str, float]:
    return {"kl": found.kl, "log_prob": sum(found.token_log_probs)}


def _about(selection: Chosen, n: int) -> dict[str, Any]:
    """Roles as shares of all tokens, and the plain facts that led to them."""
    if isinstance(selection, InsideSelection):
        return {"visual_tokens": float(selection.average)}
    assert selection is not None
    shares = {name: float((selection.roles == int(role)).sum()) / n for name, role in ROLES.items()}
    facts = {name: selection.facts.get(name) for name in ("k_focus", "covering_radius")}
    roles = bytes(selection.roles.tolist())
    return {"visual_tokens": float(len(selection.sent)), "roles": roles, **shares, **facts}


ROLES = {"share_kept": Role.KEPT, "share_focus": Role.FOCUS, "share_scan": Role.SCAN, "share_merged": Role.MERGED}
