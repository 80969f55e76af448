"""DD-Ranking's scores from a campaign's own evaluations: how much a set owes to its labels and augmentations.

Formulas of DD-Ranking 0.2 (github.com/NUS-HPC-AI-Lab/DD-Ranking), accuracies as fractions: its program puts
percentages into them, which pins the score to its floor. Here "hard" is the protocol `dm` on the images with their
classes as labels, "own" is the protocol `released` on the set as it is, and "random" are real images, labelled and
trained alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ncfm.core.layout import RELEASED
from ncfm.report.collect import ResultRow
from ncfm.report.tables.results import document, readable

WEIGHT = 0.5  # of both scores, as in DD-Ranking
HARD, PLAIN = "dm", "plain"
ACCURACIES = {
    "full_hard": "whole data, hard",
    "set_hard": "set, hard",
    "set_own": "set, own",
    "random_own": "random, own",
    "set_augmented": "set, dm",
    "random_augmented": "random, dm",
    "set_plain": "set, plain",
    "random_plain": "random, plain",
}
FOR_LABELS, FOR_AUGMENTATION = tuple(ACCURACIES)[:4], tuple(ACCURACIES)[4:]
COLUMNS = ("dataset", "ipc", "method", "label", "arch", *ACCURACIES, "lrs", "ars", "missing")


def normalised(value: float) -> float:
    """Return (e^value - e^-1) / (e - e^-1): 0 at -1, 1 at 1, and 1 / (e + 1) = 0.269 at 0."""
    return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))


def label_robust_score(
    full_hard: float, set_hard: float, set_own: float, random_own: float, weight: float = WEIGHT
) -> float:
    """Return LRS in [0, 1] from accuracies in [0, 1].

    ``weight`` of the gain over random images under the method's own protocol, less ``1 - weight`` of the loss against
    the whole data under hard labels.
    """
    return normalised(weight * (set_own - random_own) - (1 - weight) * (full_hard - set_hard))


def augmentation_robust_score(
    set_augmented: float, random_augmented: float, set_plain: float, random_plain: float, weight: float = WEIGHT
) -> float:
    """Return ARS in [0, 1] from accuracies in [0, 1]: the gain over random images, with augmentation and without."""
    return normalised(weight * (set_augmented - random_augmented) + (1 - weight) * (set_plain - random_plain))


def ranking_table(rows: Sequence[ResultRow]) -> pd.DataFrame:
    """Return the scores of every method but `random`, its curations, and `whole`, with the columns :data:`COLUMNS`.

    Accuracies are means of the last epoch over all seeds and networks. Where a needed row has no evaluation, its score
    is left out and ``missing`` names the row.
    """
    lines = []
    for dataset, ipc, arch in dict.fromkeys((row.dataset, row.ipc, row.arch) for row in rows):
        here = [row for row in rows if (row.dataset, row.arch) == (dataset, arch)]
        same = [row for row in here if row.ipc == ipc]
        methods = {row.method: row for row in same}
        for method, row in methods.items():
            if method not in ("random", "whole") and _source(row) != "random":
                lines.append(_line(row, _hard(row), _random(row, methods.values()), same, here))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _source(row: ResultRow) -> str | None:
    """Return the method whose sets were curated, or None."""
    return getattr(row.sets[0].cell, "source", None)


def _hard(row: ResultRow) -> str | None:
    """Return the method with the same images and their classes as labels, or None where there cannot be one."""
    params = row.sets[0].params
    if _source(row) is None or params["labels"] == "hard":
        return row.method
    return None if params["finetune"] else _source(row)


def _random(row: ResultRow, methods: Iterable[ResultRow]) -> str | None:
    """Return the method of random images labelled as ``row``'s are, or None where the campaign has none."""
    if _source(row) is None:
        return "random"
    alike = [r.method for r in methods if _source(r) == "random" and r.sets[0].params == row.sets[0].params]
    return alike[0] if alike else None


def _line(
    row: ResultRow, hard: str | None, random: str | None, same: Sequence[ResultRow], here: Sequence[ResultRow]
) -> dict[str, Any]:
    missing: list[str] = []

    def accuracy(rows: Sequence[ResultRow], method: str | None, protocol: str, what: str) -> float | None:
        for one in rows:
            if (one.method, one.protocol) == (method, protocol) and one.evaluations:
                return float(np.mean(np.concatenate(one.accuracies("last")))) / 100
        missing.append(f"{method or what} ({protocol})")
        return None

    as_random, as_hard = "random images curated alike", "the same images with hard labels"
    found = {
        "full_hard": accuracy(here, "whole", HARD, ""),
        "set_hard": accuracy(same, hard, HARD, as_hard),
        "set_own": accuracy(same, row.method, RELEASED, ""),
        "random_own": accuracy(same, random, RELEASED, as_random),
        "set_augmented": accuracy(same, row.method, HARD, ""),
        "random_augmented": accuracy(same, random, HARD, as_random),
        "set_plain": accuracy(same, row.method, PLAIN, ""),
        "random_plain": accuracy(same, random, PLAIN, as_random),
    }

    def score(function: Any, names: Sequence[str]) -> float | None:
        values = [found[name] for name in names]
        return None if None in values else function(*values)

    return {
        **{name: getattr(row, name) for name in ("dataset", "ipc", "method", "label", "arch")},
        **found,
        "lrs": score(label_robust_score, FOR_LABELS),
        "ars": score(augmentation_robust_score, FOR_AUGMENTATION),
        "missing": ", ".join(dict.fromkeys(missing)),
    }


def ranking_markdown(table: pd.DataFrame, title: str) -> str:
    """Return the scores as Markdown; where one is missing, the rows that it would need."""
    text = (
        "Scores of DD-Ranking in [0, 1], from mean accuracies of the last epoch (in percent). LRS: label-robust; ARS: "
        f"augmentation-robust; a set no better than random images has ARS {normalised(0):.3f}. docs/evaluation.md."
    )
    scores = table.assign(**{name: 100 * table[name].astype(float) for name in ACCURACIES})
    decimals = dict.fromkeys(ACCURACIES, 1) | {"lrs": 3, "ars": 3}
    heads = {"arch": "test network", **ACCURACIES, "lrs": "LRS", "ars": "ARS"}
    texts = readable(scores, ("dataset", "ipc", "label", "arch", *decimals, "missing"), decimals, **heads)
    return document(f"DD-Ranking scores: {title}", text, texts, "There is no method to rank.")
