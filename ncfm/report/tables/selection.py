"""What selecting on the test set is worth: the best of several looks at it against the last, on our own curves."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ncfm.report.collect import Evaluation, ResultRow
from ncfm.report.tables.results import document, readable
from ncfm.report.verdicts.intervals import mean_of

# The released program looks about 20 times, the authors' settings of 2026 up to 200 times.
LOOKS = (1, 2, 5, 20, 100, 200)
COLUMNS = (
    *("dataset", "ipc", "method", "label", "arch", "protocol", "n_seeds", "looks", "last", "gap"),
    *(f"best_of_{looks}" for looks in LOOKS),
)
NOTE = (
    "Gap: the best look at the test set minus the last epoch, in points. Best of N: what the best of N evenly spaced "
    "looks, the last epoch among them, would have been, minus the last epoch; a dash where fewer were taken. Each "
    "network takes its own best, as the released program does (about 20 looks; the authors' settings of 2026: up to "
    "200). Means over the networks, then over the seeds."
)


def best_of(looks: Sequence[float], count: int) -> float | None:
    """Return the best of ``count`` evenly spaced looks that end with the last one; None where there are fewer."""
    if count > len(looks):
        return None
    return max(looks[round(step * len(looks) / count) - 1] for step in range(1, count + 1))


def selection_table(rows: Sequence[ResultRow]) -> pd.DataFrame:
    """Return one line for each row that was looked at more than once, accuracies in points, as :data:`COLUMNS` says."""
    lines = []
    for row in (one for one in rows if one.evaluations):
        looks = min(len(network) for one in row.evaluations for network in one.looks)
        if looks == 1:  # whose best is its last
            continue
        names = [getattr(row, name) for name in COLUMNS[:6]]
        last, best = (mean_of(row.accuracies(name)) for name in ("last", "best"))
        gains = [_gain(row.evaluations, count) for count in LOOKS]
        lines.append([*names, len(row.evaluations), looks, last, best - last, *gains])
    table = pd.DataFrame(lines, columns=list(COLUMNS))
    return table.astype({name: float for name in COLUMNS if name.startswith("best_of")})


def _gain(evaluations: Sequence[Evaluation], count: int) -> float | None:
    """Return what the best of ``count`` looks is above the last, or None where a network has fewer."""
    seeds = []
    for one in evaluations:
        best = [best_of(network, count) for network in one.looks]
        if None in best:
            return None
        seeds.append([found - last for found, last in zip(best, one.last, strict=True) if found is not None])
    return mean_of(seeds)


def selection_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text for people."""
    gains = {f"best_of_{looks}": f"best of {looks}" for looks in LOOKS}
    decimals = {"last": 1, "gap": 2, **dict.fromkeys(gains, 2)}
    names = ("dataset", "ipc", "label", "arch", "protocol", "n_seeds", "looks", *decimals)
    heads = {"arch": "test network", "n_seeds": "seeds", "looks": "looks taken", **gains}
    return readable(table, names, decimals, **heads)


def selection_markdown(table: pd.DataFrame, title: str) -> str:
    """Return the table as Markdown."""
    return document(f"Selecting on the test set: {title}", NOTE, selection_texts(table))
