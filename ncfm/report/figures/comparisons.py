"""A forest plot: the paired difference of two methods on each data set, with its interval."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ncfm.report.figures.panels import COLOURS, drawing
from ncfm.report.verdicts.pairs import MARGIN


def write_comparisons(table: pd.DataFrame, stem: Path) -> bool:
    """Write ``stem``.png and .svg from the comparisons, if there are any; return whether there are."""
    if table.empty:
        return False
    with drawing(stem, "x") as figure:
        figure.set_size_inches(8.0, 1.2 + 0.42 * max(len(table), 2))
        axis = figure.subplots()
        axis.axvspan(-MARGIN, MARGIN, color=COLOURS[6], alpha=0.15, linewidth=0, label=f"±{MARGIN:g} point")
        axis.axvline(0, color=COLOURS[6], linewidth=1)
        for place, line in enumerate(table.to_dict("records")):
            if pd.notna(line["low"]):
                axis.plot([line["low"], line["high"]], [place, place], color=COLOURS[0], linewidth=2)
            axis.plot(line["difference"], place, "o", color=COLOURS[0], markersize=6)
            axis.annotate(
                f"{line['verdict']} (pairs: {line['pairs']})",
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
            )
        names = [f"{one.method} - {one.other}\n{one.dataset}, IPC {one.ipc}, {one.arch}" for one in table.itertuples()]
        axis.set_yticks(range(len(table)), names, fontsize=8)
        axis.set_ylim(len(table) - 0.4, -0.6)
        axis.set_xlabel("difference of last accuracies (points), 95% interval over paired seeds", fontsize=9)
    return True
