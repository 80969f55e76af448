"""The figure of architecture searches: accuracy on each set over accuracy on the whole training set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ncfm.report.collect import AccuracyTable, grouped
from ncfm.report.figures.panels import drawing, line_styles, panel_grid
from ncfm.report.tables.search import comparable, compared


def write_searches(searches: Sequence[AccuracyTable], stem: Path) -> bool:
    """Write ``stem``.png and .svg: a panel per data set and IPC, a point per network and method (mean over seeds).

    Returns whether the campaign has any with its whole training set; else nothing is written.
    """
    pairs = [(search, whole) for search, whole in compared(searches) if comparable(search, whole)]
    if not pairs:
        return False
    panels = grouped(pairs, lambda pair: (pair[0].names["dataset"], pair[0].names["ipc"]))
    styles = line_styles(search.names["method"] for search, _ in pairs)
    with drawing(stem) as figure:
        axes = panel_grid(figure, len(panels), 3.6, 0.4)
        for axis, ((dataset, ipc), group) in zip(axes, panels.items(), strict=False):
            for search, whole in group:
                style: Any = {"color": styles[search.names["method"]][1], "label": search.label}
                axis.scatter(whole.accuracies.mean(0), search.accuracies.mean(0), s=20, **style)
            axis.set_title(f"{dataset}, IPC {ipc}, {len(group[0][0].columns)} networks", loc="left", fontsize=11)
            what = "accuracy, trained on the {} (%)"
            axis.set(xlabel=what.format("whole training set"), ylabel=what.format("set"))
            axis.legend(frameon=False, fontsize=9)
    return True
