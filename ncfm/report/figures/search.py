"""The figure of architecture searches: accuracy on each set over accuracy on the whole training set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from ncfm.report.collect import Tested
from ncfm.report.figures.panels import STYLE, colour, panel_grid, save
from ncfm.report.tables.search import comparable, compared


def write_searches(searches: Sequence[Tested], stem: Path) -> bool:
    """Write ``stem``.png and .svg: a panel per data set and IPC, a point per network and method (mean over seeds).

    Returns whether the campaign has any.
    """
    pairs = [(search, whole) for search, whole in compared(searches) if comparable(search, whole)]
    panels: dict[tuple[Any, ...], list[tuple[Tested, Tested]]] = {}
    for search, whole in pairs:
        panels.setdefault((search.names["dataset"], search.names["ipc"]), []).append((search, whole))
    methods = list(dict.fromkeys(search.names["method"] for search, _ in pairs))
    with matplotlib.rc_context(STYLE):
        figure, axes = panel_grid(len(panels), "no architecture search here", 3.6, 0.4)
        for axis, ((dataset, ipc), group) in zip(axes, panels.items(), strict=False):
            for search, whole in group:
                style: Any = {"color": colour(methods.index(search.names["method"])), "label": search.label}
                axis.scatter(whole.accuracies.mean(0), search.accuracies.mean(0), s=20, **style)
            axis.set_title(f"{dataset}, IPC {ipc}, {len(group[0][0].columns)} networks", loc="left", fontsize=11)
            what = "accuracy, trained on the {} (%)"
            axis.set(xlabel=what.format("whole training set"), ylabel=what.format("set"))
            axis.legend(frameon=False, fontsize=9)
        save(figure, stem)
    return bool(searches)
