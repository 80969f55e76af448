"""Simulate the rules of docs/verdicts.md: how often an interval covers, and how often a verdict is wrong.

`python benchmarks/coverage.py` prints a Markdown table (20,000 simulated campaigns a row, about two minutes; seeded).
Sets deviate by one point around the method's accuracy, networks by one point around their set's: equal variances.
"""

from __future__ import annotations

import sys

import numpy as np

from ncfm.report.verdicts.intervals import half_width
from ncfm.report.verdicts.pairs import MARGIN, compare
from ncfm.report.verdicts.rules import Target, Verdict, judge

DRAWS, BOOTSTRAPS = 20_000, 1_000
SHAPES = ((2, 2), (3, 2), (3, 10), (5, 10), (10, 10))  # seeds, networks
PAIRS = (3, 6, 10)
HEADS = ("t, the mean", "t, one more set", "two-level bootstrap (before)", "called above or below", "reproduced")


def campaigns(seeds: int, networks: int, draws: int, between: float = 1.0, seed: int = 0) -> np.ndarray:
    """Return simulated accuracies (draws, seeds, networks) around a true accuracy of zero."""
    generator = np.random.default_rng(seed)
    sets = between * generator.standard_normal((draws, seeds, 1))
    return sets + generator.standard_normal((draws, seeds, networks))


def t_coverage(seeds: int, networks: int, draws: int = DRAWS, new_set: bool = False) -> float:
    """Return how often the 95% t interval over seeds covers the true accuracy, or a new set's mean."""
    means = campaigns(seeds, networks, draws).mean(2)
    target = campaigns(1, networks, draws, seed=1).mean((1, 2)) if new_set else 0.0
    factor = half_width(seeds, 1.0, new_set)
    return float(np.mean(np.abs(means.mean(1) - target) <= factor * means.std(1, ddof=1)))


def bootstrap_coverage(seeds: int, networks: int, draws: int = DRAWS // 10) -> float:
    """Return the coverage of the rule that this project had before: a two-level percentile bootstrap."""
    generator, covered = np.random.default_rng(2), 0
    for values in campaigns(seeds, networks, draws):
        sets = generator.integers(seeds, size=(BOOTSTRAPS, seeds, 1))
        drawn = values[sets, generator.integers(networks, size=(BOOTSTRAPS, seeds, networks))].mean((1, 2))
        low, high = np.percentile(drawn, [2.5, 97.5])
        covered += low <= 0 <= high
    return covered / draws


def wrong_verdicts(seeds: int, networks: int, draws: int = DRAWS // 10) -> tuple[float, float]:
    """Return how often a number that is one more set of the same method is called above or below, and reproduced."""
    numbers = campaigns(1, 10, draws, between=0.5, seed=1).mean((1, 2))
    means = campaigns(seeds, networks, draws, between=0.5).mean(2)
    found = [judge(one, Target(number, 0.05, True)) for one, number in zip(means, numbers, strict=True)]
    return float(np.mean([v in (Verdict.ABOVE, Verdict.BELOW) for v in found])), found.count(Verdict.REPRODUCED) / draws


def pair_errors(pairs: int, true: float, draws: int = DRAWS // 10) -> tuple[float, float]:
    """Return how often paired differences of mean ``true`` (deviation 0.7) are called different, and equal."""
    values = true + 0.7 * np.random.default_rng(3).standard_normal((draws, pairs))
    found = [compare(one).verdict for one in values]
    return sum("better" in v or "worse" in v for v in found) / draws, sum("equal" in v for v in found) / draws


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Print all tables."""
    print(_row("seeds x networks", *HEADS), _row(*["---"] * 6), sep="\n")
    for shape in SHAPES:
        wrong, reproduced = wrong_verdicts(*shape)
        shares = [t_coverage(*shape), t_coverage(*shape, new_set=True), bootstrap_coverage(*shape), wrong, reproduced]
        print(_row(f"{shape[0]} x {shape[1]}", *(f"{share:.1%}" for share in shares)))
    print("", _row("pairs", "true difference", "called better or worse", "called equal"), _row(*["---"] * 4), sep="\n")
    for pairs in PAIRS:
        for true in (0.0, MARGIN, 2.0):
            print(_row(str(pairs), f"{true:g}", *(f"{share:.1%}" for share in pair_errors(pairs, true))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
