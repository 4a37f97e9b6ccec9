"""How far a picture lies from those that a model learnt from: a distance of its visual tokens, with a measured limit.

Statistics and limit lie beside the weights, in one file that names the weights it was measured with (`FILE`,
`python -m fsr bench familiar`); with others nothing is claimed.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsr.tokens import unit_rows
from fsr.vlm.weights import weight_files

FILE = "familiar.npz"  # its name must not be one of weights
NEIGHBOUR = 5  # the k of `nearest`
BANK = 400  # scenes that it remembers
SHRINKAGE = 0.1  # of a covariance, towards a multiple of the identity


@dataclass(frozen=True)
class Rate:
    """A share that was measured, with its 95 % interval, and on how many pictures."""

    share: float
    low: float
    high: float
    of: int


@dataclass(frozen=True)
class Closeness:
    """Of one picture or clip. far: the distance is above the limit, so that an answer about it means nothing."""

    measure: str
    distance: float
    limit: float
    false_alarms: Rate
    detected: Rate

    @property
    def far(self) -> bool:
        return self.distance > self.limit

    def sentence(self, title: str, what: str = "picture") -> str:
        """That its answers mean nothing, where it is far. title: of the model. what: picture or clip."""
        how = f"distance {self.distance:.3g}, limit {self.limit:.3g}"
        return f"This {what} is unlike all that {title} has learnt from ({how}): its answer means nothing."

    def to_json(self) -> dict[str, Any]:
        """Plain values: as the fields, distance and limit with 4 digits."""
        rounded = {name: float(f"{getattr(self, name):.4g}") for name in ("distance", "limit")}
        return asdict(self) | rounded | {"far": self.far}


@dataclass(frozen=True, eq=False)
class Familiar:
    """What a model knows. measure: of `MEASURES`; statistics: what its `fit` made. record: all that was measured."""

    measure: str
    statistics: Mapping[str, Tensor]
    limit: float
    false_alarms: Rate
    detected: Rate
    record: Mapping[str, Any]

    def closeness(self, embeddings: Tensor) -> Closeness:
        """embeddings: (N, D), all visual tokens of a picture or clip, as the language model reads them."""
        distance = MEASURES[self.measure].distance(embeddings.float().cpu(), self.statistics)
        return Closeness(self.measure, distance, self.limit, self.false_alarms, self.detected)

    def write(self, folder: Path) -> Path:
        """Beside the weights that it was measured with."""
        told = {"measure": self.measure, "limit": self.limit, "weights": fingerprint(folder)}
        told |= {"false_alarms": asdict(self.false_alarms), "detected": asdict(self.detected)}
        text = json.dumps(told | {"record": dict(self.record)})
        path = folder / FILE
        stored = {name: value.half().numpy() for name, value in self.statistics.items()}
        np.savez(path, allow_pickle=False, told=np.array(text), **stored)
        return path

    @staticmethod
    def read(folder: Path) -> Familiar | None:
        """None where there is no such file, where it belongs to other weights, or where it cannot be read: then nothing
        is claimed."""
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            with np.load(path) as file:  # no pickled objects
                told = json.loads(str(file["told"]))
                statistics = {name: torch.from_numpy(file[name]).float() for name in file.files if name != "told"}
            if told["weights"] != fingerprint(folder) or told["measure"] not in MEASURES:
                return None
            wrong, right = (Rate(**told[name]) for name in ("false_alarms", "detected"))
            return Familiar(told["measure"], statistics, float(told["limit"]), wrong, right, told["record"])
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError, TypeError):
            return None


def fingerprint(folder: Path) -> str:
    """Of the weights in a folder: SHA-256 of their files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(weight_files(folder)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


# -- measures


@dataclass(frozen=True)
class Measure:
    """fit: (N, D) of every scene -> statistics. distance: of one picture from them; larger is further."""

    words: str
    fit: Callable[[Sequence[Tensor]], dict[str, Tensor]]
    distance: Callable[[Tensor, Mapping[str, Tensor]], float]


def _gaussian(rows: Tensor) -> dict[str, Tensor]:
    """mean (D,) and whitening (D, D) of (M, D): its rows have the precision matrix as their Gram matrix."""
    rows = rows.double()
    mean = rows.mean(0)
    covariance = torch.cov(rows.T)
    even = torch.eye(len(covariance), dtype=torch.double) * covariance.diagonal().mean()
    lower = torch.linalg.cholesky((1 - SHRINKAGE) * covariance + SHRINKAGE * even)
    whitening = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=torch.double), upper=False)
    return {"mean": mean.float(), "whitening": whitening.float()}


def _mahalanobis(rows: Tensor, gaussian: Mapping[str, Tensor]) -> Tensor:
    distances: Tensor = ((rows - gaussian["mean"]) @ gaussian["whitening"].T).norm(dim=1)
    return distances


def _middle(embeddings: Tensor) -> Tensor:
    """(D,): the median of every dimension over all tokens; most tokens of a scene are ground."""
    return embeddings.float().median(dim=0).values


def _fit_tokens(scenes: Sequence[Tensor]) -> dict[str, Tensor]:
    return _gaussian(torch.cat([scene[:: max(1, len(scene) // 64)].float() for scene in scenes]))


def _fit_pooled(scenes: Sequence[Tensor]) -> dict[str, Tensor]:
    return _gaussian(torch.stack([_middle(scene) for scene in scenes]))


def _fit_nearest(scenes: Sequence[Tensor]) -> dict[str, Tensor]:
    step = max(1, math.ceil(len(scenes) / BANK))
    return {"bank": unit_rows(torch.stack([_middle(scene) for scene in scenes[::step]]))}


def _nearest(embeddings: Tensor, known: Mapping[str, Tensor]) -> float:
    cosines = known["bank"] @ unit_rows(_middle(embeddings)[None])[0]
    return float(1 - cosines.topk(min(NEIGHBOUR, len(cosines))).values[-1])


MEASURES = {
    "tokens": Measure(
        "median over the visual tokens of the Mahalanobis distance to the tokens of scenes (Lee et al. 2018, eq. 2, "
        "one class)",
        _fit_tokens,
        lambda x, known: float(_mahalanobis(x.float(), known).median()),
    ),
    "pooled": Measure(
        "Mahalanobis distance of the median token to those of scenes (Lee et al. 2018, eq. 2, one class)",
        _fit_pooled,
        lambda x, known: float(_mahalanobis(_middle(x)[None], known)[0]),
    ),
    "nearest": Measure(
        f"1 - cosine of the median token to that of the {NEIGHBOUR}th nearest scene (Sun et al. 2022)",
        _fit_nearest,
        _nearest,
    ),
}
