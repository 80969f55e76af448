"""Two methods against each other by paired seeds, which share their initial images and batches: docs/verdicts.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ncfm.report.collect import ResultRow
from ncfm.report.verdicts.intervals import interval

MARGIN = 1.0  # points of accuracy within which two methods count as equal
SUGGESTING_PAIRS = 3  # with fewer nothing is said: two equal differences would be an interval of no width
LEAST_PAIRS = 6  # with fewer the smallest p of a sign-flip test, 2 / 2^pairs, is above 0.05
MOST_PAIRS = 16  # up to which all flips are counted


@dataclass(frozen=True)
class Paired:
    """What the paired differences of two methods, the first minus the second, in points, say.

    ``interval`` is the 95% t interval of their mean, None for one pair; ``p`` is that of the sign-flip test, two-sided,
    and ``least_p`` the smallest that so many pairs can reach. ``verdict`` is about the first method.
    """

    differences: tuple[float, ...]
    interval: tuple[float, float] | None
    p: float
    least_p: float
    verdict: str

    @property
    def mean(self) -> float:
        """The mean difference."""
        return float(np.mean(self.differences))


def paired(first: ResultRow, second: ResultRow, accuracy: str) -> dict[int, float]:
    """Return the difference of two rows' mean accuracies for each seed that both have, in the order of the seeds."""
    means = [{one.seed: float(np.mean(getattr(one, accuracy))) for one in row.evaluations} for row in (first, second)]
    return {seed: means[0][seed] - means[1][seed] for seed in sorted(means[0].keys() & means[1].keys())}


def compare(differences: Sequence[float]) -> Paired:
    """Judge paired differences, at least one.

    ``better`` or ``worse`` where the 95% interval excludes zero, ``equal within ±1 point`` where the 90% interval lies
    within the margin (two one-sided tests at 5%), else ``not told apart``. Three to five pairs only suggest.
    """
    bounds, narrow = interval(differences), interval(differences, level=0.9)
    verdict = "not told apart"
    if bounds and narrow and len(differences) >= SUGGESTING_PAIRS:
        if not bounds[0] <= 0 <= bounds[1]:
            verdict = "better" if bounds[0] > 0 else "worse"
        elif max(map(abs, narrow)) < MARGIN:
            verdict = f"equal within ±{MARGIN:g} point"
        if verdict != "not told apart" and len(differences) < LEAST_PAIRS:
            verdict = f"suggests {verdict}"
    return Paired(tuple(differences), bounds, sign_flip(differences), 2.0 ** (1 - len(differences)), verdict)


def sign_flip(differences: Sequence[float], draws: int = 100_000) -> float:
    """Return the two-sided p of the mean difference when each sign is as likely as the other.

    All flips are counted up to :data:`MOST_PAIRS` pairs; beyond, ``draws`` of them by a generator of fixed seed.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) <= MOST_PAIRS:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(values))))
    else:
        signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(draws, len(values)))
        signs[0] = 1
    return float(np.mean(np.abs(signs @ values) >= abs(values.sum()) - 1e-9))
