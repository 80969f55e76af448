"""DD-Ranking's scores from a campaign's own evaluations: how much a set owes to its labels and augmentations.

Formulas of DD-Ranking 0.2 (github.com/NUS-HPC-AI-Lab/DD-Ranking), accuracies as fractions: its program puts
percentages into them, which pins the score to its floor. Here "hard" is the protocol `dm` on the images with their
classes as labels, "own" is the protocol `released` on the set as it is, and "random" are real images, labelled and
trained alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ncfm.core.layout import RELEASED
from ncfm.report.collect import ResultRow, grouped
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


def normalised(value: Any) -> Any:
    """Return (e^value - e^-1) / (e - e^-1) of a number or a column: 0 at -1, 1 at 1, 1 / (e + 1) = 0.269 at 0."""
    return (np.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))


NOTE = (
    "Scores of DD-Ranking in [0, 1], from mean accuracies of the last epoch (in percent). LRS: label-robust; ARS: "
    f"augmentation-robust; a set no better than random images has ARS {normalised(0):.3f}. docs/evaluation.md."
)


def label_robust_score(full_hard: Any, set_hard: Any, set_own: Any, random_own: Any, weight: float = WEIGHT) -> Any:
    """Return LRS in [0, 1] from accuracies in [0, 1], numbers or columns.

    ``weight`` of the gain over random images under the method's own protocol, less ``1 - weight`` of the loss against
    the whole data under hard labels.
    """
    return normalised(weight * (set_own - random_own) - (1 - weight) * (full_hard - set_hard))


def augmentation_robust_score(
    set_augmented: Any, random_augmented: Any, set_plain: Any, random_plain: Any, weight: float = WEIGHT
) -> Any:
    """Return ARS in [0, 1] from accuracies in [0, 1]: the gain over random images, with augmentation and without."""
    return normalised(weight * (set_augmented - random_augmented) + (1 - weight) * (set_plain - random_plain))


def ranking_table(rows: Sequence[ResultRow]) -> pd.DataFrame:
    """Return the scores of every method but `random`, its curations, and `whole`, with the columns :data:`COLUMNS`.

    Accuracies are means of the last epoch over all seeds and networks. Where a needed row has no evaluation, its score
    is left out and ``missing`` names the row.
    """
    lines = []
    for (dataset, ipc, arch), same in grouped(rows, lambda row: (row.dataset, row.ipc, row.arch)).items():
        known = {(row.method, row.protocol): row for row in reversed(same) if row.evaluations}
        wholes = [row for row in rows if (row.dataset, row.arch, row.method) == (dataset, arch, "whole")]
        known |= {(row.method, row.protocol): row for row in reversed(wholes) if row.evaluations}
        methods = {row.method: row for row in same}
        for method, row in methods.items():
            if method not in ("random", "whole") and _source(row) != "random":
                line = {"dataset": dataset, "ipc": ipc, "method": method, "label": row.label, "arch": arch}
                lines.append(line | _accuracies(row, methods.values(), known))
    table = pd.DataFrame(lines, columns=list(COLUMNS)).astype(dict.fromkeys(ACCURACIES, float))
    table["lrs"] = label_robust_score(*(table[name] for name in FOR_LABELS))
    table["ars"] = augmentation_robust_score(*(table[name] for name in FOR_AUGMENTATION))
    return table


def scored(rows: Sequence[ResultRow]) -> pd.DataFrame:
    """Return :func:`ranking_table`, empty where no method has a score."""
    table = ranking_table(rows)
    return table if table[["lrs", "ars"]].notna().any(axis=None) else table.iloc[:0]


def _source(row: ResultRow) -> str | None:
    """Return the method whose sets were curated, or None."""
    return getattr(row.sets[0].cell, "source", None)


def _accuracies(
    row: ResultRow, methods: Iterable[ResultRow], known: Mapping[tuple[str, str], ResultRow]
) -> dict[str, Any]:
    """Return the accuracies that a row's scores need, in [0, 1], and the rows that are missing.

    ``hard`` is the method with the same images and their classes as labels, ``random`` that of random images labelled
    as the row's are; where there can be none, they say in words what it would be.
    """
    params, source, hard, random = row.sets[0].params, _source(row), row.method, "random"
    if source is not None:
        if params["labels"] != "hard":
            hard = "the same images with hard labels" if params["finetune"] else source
        alike = [one.method for one in methods if _source(one) == "random" and one.sets[0].params == params]
        random = alike[0] if alike else "random images curated alike"
    needed = [("whole", HARD), (hard, HARD), (row.method, RELEASED), (random, RELEASED)]
    needed += [(method, protocol) for protocol in (HARD, PLAIN) for method in (row.method, random)]
    found = {
        name: float(np.mean(np.concatenate(known[place].accuracies("last")))) / 100
        for name, place in zip(ACCURACIES, needed, strict=True)
        if place in known
    }
    missing = dict.fromkeys(f"{method} ({protocol})" for method, protocol in needed if (method, protocol) not in known)
    return {**found, "missing": ", ".join(missing)}


def ranking_markdown(table: pd.DataFrame, title: str) -> str:
    """Return the scores as Markdown; where one is missing, the rows that it would need."""
    scores = table.assign(**{name: 100 * table[name] for name in ACCURACIES})
    decimals = dict.fromkeys(ACCURACIES, 1) | {"lrs": 3, "ars": 3}
    heads = {"arch": "test network", **ACCURACIES, "lrs": "LRS", "ars": "ARS"}
    texts = readable(scores, ("dataset", "ipc", "label", "arch", *decimals, "missing"), decimals, **heads)
    return document(f"DD-Ranking scores: {title}", NOTE, texts)
