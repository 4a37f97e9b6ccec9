"""The pruning methods: one file each, one registry that the page and the command line read."""

from __future__ import annotations

import dataclasses
from typing import Any

from fsr.errors import InvalidInput
from fsr.pruners.ablations import FocusOnly, NoRefine, ScanOnly
from fsr.pruners.agilepruner import AgilePruner
from fsr.pruners.base import Pruner
from fsr.pruners.cdpruner import CDPruner
from fsr.pruners.dart import Dart
from fsr.pruners.divprune import DivPrune
from fsr.pruners.evs import EVS
from fsr.pruners.fastv import FastV
from fsr.pruners.fastvid import FastVID
from fsr.pruners.fsr import FocusScanRefine
from fsr.pruners.full import Full
from fsr.pruners.grid import UniformGrid
from fsr.pruners.holov import HoloV
from fsr.pruners.mmtok import MMTok
from fsr.pruners.pixelprune import PixelPrune
from fsr.pruners.plan import NestedPlan, Plan, RankPlan, TablePlan
from fsr.pruners.pool2x2 import Pool2x2
from fsr.pruners.prumerge import PruMerge
from fsr.pruners.pyramiddrop import PyramidDrop
from fsr.pruners.random import Random
from fsr.pruners.relevance import TopRelevance
from fsr.pruners.saliency import TopSaliency
from fsr.pruners.sparsevlm import SparseVLM
from fsr.pruners.todre import ToDRE
from fsr.pruners.visionzip import VisionZip
from fsr.pruners.vispruner import VisPruner

# name -> class, in display order
REGISTRY: dict[str, type[Pruner]] = {
    cls.name: cls
    for cls in (
        Full,
        FocusScanRefine,
        Random,
        UniformGrid,
        TopSaliency,
        TopRelevance,
        CDPruner,
        DivPrune,
        VisPruner,
        AgilePruner,
        ToDRE,
        MMTok,
        HoloV,
        VisionZip,
        PruMerge,
        EVS,
        FastVID,
        PixelPrune,
        Pool2x2,
        FocusOnly,
        ScanOnly,
        NoRefine,
        FastV,
        SparseVLM,
        PyramidDrop,
        Dart,
    )
}

__all__ = ["REGISTRY", "NestedPlan", "Plan", "Pruner", "RankPlan", "TablePlan", "describe", "for_pictures", "make"]


def make(name: str, **parameters: Any) -> Pruner:
    """The method of that name. Raises InvalidInput for a name, a parameter or a value that does not exist."""
    if name not in REGISTRY:
        raise InvalidInput(f"there is no method {name!r}; choose one of {', '.join(REGISTRY)}.")
    known = [f.name for f in dataclasses.fields(REGISTRY[name])]
    for parameter in parameters:
        if parameter not in known:
            have = f"its parameters are {', '.join(known)}" if known else "it has none"
            raise InvalidInput(f"{name} has no parameter {parameter!r}; {have}.")
    return REGISTRY[name](**parameters)


def for_pictures() -> list[str]:
    """The methods that prune before the language model and need no more than one picture, in display order."""
    return [name for name, cls in REGISTRY.items() if cls.stage == "before" and not cls.across_frames]


def describe() -> list[dict[str, Any]]:
    """Every method with its parameters, as plain JSON values, in display order."""
    return [cls.describe() for cls in REGISTRY.values()]
