"""From our values and a reported one to a verdict: bootstrap intervals, margins, and the judgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

DRAWS = 10_000
BOOTSTRAP_SEED = 0
NETWORKS_REPORTED = 10  # networks behind a deviation that the paper prints
Line = dict[str, Any]


def held(
    entry: Mapping[str, str],
    ours: Sequence[Sequence[float]],
    reasons: Sequence[str],
    params: Sequence[str],
    single: str = "one network",
) -> Line:
    """Return mean, interval, difference and verdict of our values against a reported row.

    Args:
        entry: the row of reported.csv.
        ours: values by distillation seed, then by network.
        reasons: why no verdict is possible; empty where one is.
        params: the params that differ from the full protocol.
        single: what a single value is, in words.
    """
    n, mean, reported = sum(map(len, ours)), mean_of(ours), number_of(entry["value"])
    bounds = interval(ours) if n > 1 else None
    reasons = [*reasons, *([] if bounds else [f"{single} gives no interval"])]
    verdict = "protocol differs"
    if bounds and reported is not None and not reasons and not params:
        verdict = judge(*bounds, reported, margin(entry))
    return {
        "ours": mean,
        "n_seeds": len(ours),
        "n": n,
        "difference": None if reported is None else mean - reported,
        "interval_low": bounds[0] if bounds else None,
        "interval_high": bounds[1] if bounds else None,
        "verdict": verdict,
        "reason": "; ".join(reasons),
        "params_that_differ": "; ".join(params),
    }


def number_of(text: str) -> float | None:
    """Return the number that a text is, or None."""
    try:
        return float(text)
    except ValueError:
        return None


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
    """Return the 95% interval of the mean by a two-level bootstrap.

    Args:
        values: accuracies by distillation seed, then by network; every seed has at least one.
        draws: number of resamples. The generator is seeded, so equal values give equal intervals.
    """
    low, high = np.percentile(bootstrap(values, draws=draws), [2.5, 97.5])
    return float(low), float(high)


def margin(entry: Mapping[str, str]) -> float:
    """Return how far a reported value may be off: half its last digit, or twice that where read off a figure,
    and 1.96 std / sqrt(10) where a deviation is printed.
    """
    decimals = len(entry["value"].partition(".")[2])
    rounding = 0.5 * 10.0**-decimals * (2 if "digitised" in entry["source"] else 1)
    std = number_of(entry["std"])
    return rounding + (1.96 * std / NETWORKS_REPORTED**0.5 if std is not None else 0.0)


def judge(low: float, high: float, value: float, margin: float) -> str:
    """Return ``reproduced``, ``above`` or ``below`` for our 95% interval against a reported value and its margin."""
    if low > value + margin:
        return "above"
    return "below" if high < value - margin else "reproduced"
