"""Confidence intervals of a mean by resampling questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def interval(values: Sequence[float] | np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values`, one a question, resampled with replacement."""
    sample = np.asarray(values)
    drawn = np.random.default_rng(seed).integers(len(sample), size=(RESAMPLES, len(sample)))
    low, high = np.percentile(sample[drawn].mean(1), [2.5, 97.5])
    return float(low), float(high)
