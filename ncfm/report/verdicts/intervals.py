"""From our values to a 95% interval of their mean, and from that and a reported value to a verdict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DRAWS = 10_000
BOOTSTRAP_SEED = 0


def mean_of(values: Sequence[Sequence[float]]) -> float:
    """Return the mean over all sets and networks."""
    return float(np.mean(np.concatenate([np.asarray(one) for one in values])))


def bootstrap(values: Sequence[Sequence[float]], seed: int = BOOTSTRAP_SEED, draws: int = DRAWS) -> np.ndarray:
    """Return resampled means, (draws,), by a two-level bootstrap: sets drawn anew, then networks within each."""
    generator = np.random.default_rng(seed)
    seeds = len(values)
    total = np.zeros(draws)
    for _ in range(seeds):
        means = np.stack([generator.choice(np.asarray(v), size=(draws, len(v))).mean(axis=1) for v in values])
        total += means[generator.integers(seeds, size=draws), np.arange(draws)]
    return total / seeds


def interval(values: Sequence[Sequence[float]], draws: int = DRAWS) -> tuple[float, float]:
    """Return the 95% interval of the mean of values by seed, then by network; equal values give equal intervals."""
    return middle(bootstrap(values, draws=draws))


def middle(drawn: np.ndarray) -> tuple[float, float]:
    """Return the 2.5th and the 97.5th percentile of resampled values."""
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def judge(low: float, high: float, value: float, margin: float) -> str:
    """Return ``reproduced``, ``above`` or ``below`` for our 95% interval against a reported value and its margin."""
    if low > value + margin:
        return "above"
    return "below" if high < value - margin else "reproduced"
