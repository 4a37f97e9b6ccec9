"""Which tokens an answer rests on, and what would bring back one that pruning lost: measured by leaving out and putting
back, not read off attention. The formulas are in docs/why.md."""

from __future__ import annotations

from fsr.why.changed import check_studied, studied
from fsr.why.influence import Influence, Influences, influence
from fsr.why.regain import Gain, Regain, regain
from fsr.why.repair import Repair, kept_by, repair

__all__ = [
    "Gain",
    "Influence",
    "Influences",
    "Regain",
    "Repair",
    "check_studied",
    "influence",
    "kept_by",
    "regain",
    "repair",
    "studied",
]
