"""A stretch of training with one kind of data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Phase:
    """Steps on pictures of rows x cols patches.

    small: share of small objects. Vision: context, structure, digits are the weights of the neighbours' labels, of what
    else relates the objects, of the digits'. Language: room is how many question tokens stand behind a picture, kinds
    how often each type of question comes, negated as in `batches.pack`, looks the weight of where the answers look.
    """

    steps: int
    rows: int
    cols: int
    batch: int
    small: float = 0.45
    context: float = 0.0
    structure: float = 0.0
    digits: float = 1.0
    room: int = 0
    kinds: dict[str, float] = field(default_factory=dict)
    negated: float = 0.0
    looks: float = 0.3
