"""The rules by which our seeds and a reported number come to a verdict: docs/verdicts.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ncfm.report.verdicts.intervals import half_width, interval

LEAST_SEEDS = 3
MOST_POINTS = 2.0  # half-width of the interval up to which a number inside counts as reproduced, in points of accuracy
MOST_SHARE = 0.1  # the same of seconds and memory, as a share of the reported value
MOST_SEEDS = 200  # up to which :func:`seeds_to_decide` looks


class Verdict(StrEnum):
    """What is said of a reported number."""

    REPRODUCED = "reproduced"
    ABOVE = "above"
    BELOW = "below"
    REACHED = "reached at a smaller budget"
    NOT_REACHED = "not reached at this budget"
    INCONCLUSIVE = "inconclusive"
    ARITHMETIC = "checked by arithmetic"
    WRONG_ARITHMETIC = "arithmetic differs"
    DIFFERS = "protocol differs"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Target:
    """What our seeds are held against: a reported ``number``, which may be off by ``margin``.

    ``one_set`` says that it is the accuracy of one distilled set; otherwise it is a mean over several. ``smaller`` says
    that our budget is smaller than the one behind it, and ``most`` is how wide half of an interval may be.
    """

    number: float
    margin: float
    one_set: bool
    smaller: bool = False
    most: float = MOST_POINTS

    @property
    def new_set(self) -> bool:
        """Whether the number is held against the interval of one more set, not of the mean."""
        return self.one_set and not self.smaller


def judge(means: Sequence[float] | np.ndarray, target: Target) -> Verdict:
    """Return the verdict of our seeds' means on a reported number."""
    bounds = interval(means, target.new_set)
    if bounds is None or len(means) < LEAST_SEEDS:
        return Verdict.INCONCLUSIVE
    low, high = bounds
    if target.number - target.margin > high:
        return Verdict.NOT_REACHED if target.smaller else Verdict.BELOW
    if target.number + target.margin < low:
        return Verdict.REACHED if target.smaller else Verdict.ABOVE
    if (high - low) / 2 > target.most:
        return Verdict.INCONCLUSIVE
    return Verdict.REACHED if target.smaller else Verdict.REPRODUCED


def seeds_to_decide(means: Sequence[float] | np.ndarray, target: Target) -> int | None:
    """Return how many seeds would decide if mean and deviation stayed as they are; None where no number would."""
    spread, distance = float(np.std(means, ddof=1)), abs(float(np.mean(means)) - target.number) - target.margin
    for seeds in range(max(LEAST_SEEDS, len(means)), MOST_SEEDS + 1):
        half = half_width(seeds, spread, target.new_set)
        if half <= target.most or half < distance:
            return seeds
    return None


def seeds_text(means: Sequence[float] | np.ndarray, target: Target) -> str:
    """Say what an inconclusive line needs."""
    if len(means) < 2:
        return f"one set says nothing of another; at least {LEAST_SEEDS} seeds are needed"
    needed, spread = seeds_to_decide(means, target), f"the sets deviate by {np.std(means, ddof=1):.2g}"
    if needed is None:
        return f"no number of seeds would decide: {spread}"
    more = needed - len(means)
    return f"about {more} more seed{'s' if more > 1 else ''} would decide: {spread}"
