"""Intervals over distillation seeds, which are the unit of replication: networks are averaged inside a seed first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95


def seed_means(values: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the mean of each seed's values, (S,)."""
    return np.array([np.mean(one) for one in values])


def mean_of(values: Sequence[Sequence[float]]) -> float:
    """Return the mean of the seeds' means."""
    return float(seed_means(values).mean())


def quantile(seeds: int, level: float = LEVEL) -> float:
    """Return the two-sided quantile of t on ``seeds`` - 1 degrees of freedom."""
    return float(student.ppf(0.5 + level / 2, seeds - 1))


def half_width(seeds: int, spread: float, new_set: bool = False, level: float = LEVEL) -> float:
    """Return half the width of a t interval over at least two seeds whose means deviate by ``spread``.

    It is t s sqrt(1 / S) for the mean over all seeds, and t s sqrt(1 + 1 / S) for the mean of one more set.
    """
    return quantile(seeds, level) * spread * float(np.sqrt(1 / seeds + new_set))


def interval(means: Any, new_set: bool = False, level: float = LEVEL) -> tuple[float, float] | None:
    """Return the t interval of the seeds' means (S,), or of the mean of one more set; None for a single seed."""
    if len(means) < 2:
        return None
    half = half_width(len(means), float(np.std(means, ddof=1)), new_set, level)
    return float(np.mean(means)) - half, float(np.mean(means)) + half
