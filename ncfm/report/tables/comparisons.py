"""Methods against each other by paired seeds: the pairs that a campaign's `report.comparisons` names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from ncfm.report.collect import ResultRow
from ncfm.report.tables.results import document, latex_table, readable
from ncfm.report.verdicts.pairs import LEAST_PAIRS, MARGIN, SUGGESTING_PAIRS, compare, paired

COLUMNS = (
    *("dataset", "ipc", "arch", "protocol", "method", "other", "pairs", "difference", "low", "high"),
    *("p", "least_p", "verdict"),
)
NOTE = (
    "Accuracy after the last epoch of the first method minus the second's, in points, for every seed that both have: "
    "seeds share initial images and batches. Interval: 95%, t over the pairs. p: sign-flip test, two-sided, and the "
    f"smallest that so many pairs can reach. Equal: the 90% interval lies within ±{MARGIN:g} point (two one-sided "
    f"tests). Fewer than {LEAST_PAIRS} pairs only suggest, fewer than {SUGGESTING_PAIRS} say nothing. "
    "Rules: docs/verdicts.md."
)


def comparisons_table(rows: Sequence[ResultRow], pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Return one line for each pair of methods and each place where both were evaluated: columns :data:`COLUMNS`."""
    by_name = {(row.dataset, row.ipc, row.arch, row.protocol, row.method): row for row in rows}
    places = dict.fromkeys((row.dataset, row.ipc, row.arch, row.protocol) for row in rows)
    lines = []
    for first, second in pairs:
        for place in places:
            row, other = by_name.get((*place, first)), by_name.get((*place, second))
            if not row or not other or not (differences := list(paired(row, other, "last").values())):
                continue
            found = compare(differences)
            bounds = found.interval or (None, None)
            line = [*place, row.label, other.label, len(differences), found.mean, *bounds]
            lines.append([*line, found.p, found.least_p, found.verdict])
    return pd.DataFrame(lines, columns=list(COLUMNS))


def comparisons_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the comparisons as text for people."""
    names = ("dataset", "ipc", "arch", "protocol", "method", "other", "pairs", "difference", "interval", "p", "verdict")
    interval = [
        "one pair" if pd.isna(low) else f"{low:+.1f} to {high:+.1f}"
        for low, high in zip(table["low"], table["high"], strict=True)
    ]
    p = [f"{p:.2g} (at least {least:.2g})" for p, least in zip(table["p"], table["least_p"], strict=True)]
    texts = table.assign(interval=interval, p=p)
    heads = {"arch": "test network", "other": "against", "interval": "95% interval"}
    return readable(texts, names, {"difference": 1}, **heads)


def comparisons_markdown(table: pd.DataFrame, title: str) -> str:
    """Return the comparisons as Markdown."""
    return document(f"Comparisons: {title}", NOTE, comparisons_texts(table))


def comparisons_latex(table: pd.DataFrame, title: str) -> str:
    """Return the comparisons as LaTeX; the document needs ``booktabs``."""
    return latex_table(comparisons_texts(table), f"Comparisons: {title}. {NOTE}")
