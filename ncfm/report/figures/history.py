"""The figure of losses over the iterations of every distillation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from ncfm.report.collect import Collected, grouped
from ncfm.report.figures.panels import LEGEND, drawing, line_styles, panel_grid

POINTS = 500  # of one curve


def write_histories(collected: Collected, stem: Path) -> bool:
    """Write ``stem``.png and .svg: the loss over the iterations, a panel per data set and IPC, a colour per method.

    Returns whether there is any; else nothing is written.
    """
    sets = [stored for stored in collected.sets if not stored.history.empty]
    if not sets:
        return False
    panels = grouped(sets, lambda stored: (stored.cell.dataset, stored.cell.ipc))
    styles = line_styles(stored.cell.method for stored in sets)
    with drawing(stem) as figure:
        axes = panel_grid(figure, len(panels), 3.6, 0.0)
        for axis, ((dataset, ipc), group) in zip(axes, panels.items(), strict=False):
            for stored in group:
                draw_loss(axis, stored.history, *styles[stored.cell.method])
            axis.set_title(f"{dataset}, IPC {ipc}", loc="left", fontsize=11)
            axis.set(xlabel="iteration", ylabel="loss (mean over classes)", yscale="log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("")
        handles = [
            Line2D([], [], color=colour, linestyle=dashes, label=collected.labels.get(method, method))
            for method, (dashes, colour) in styles.items()
        ]
        note = "one line per seed (running mean); discrepancies differ in scale"
        figure.legend(handles=handles, ncols=4, title=note, title_fontsize=9, **LEGEND)
    return True


def draw_loss(axis: Axes, history: pd.DataFrame, dashes: Any, colour: str) -> None:
    """Draw a loss curve: every value faintly, and their running mean."""
    window, stride = max(1, len(history) // 25), max(1, len(history) // POINTS)
    smooth = history["loss"].rolling(window, center=True, min_periods=1).mean()
    axis.plot(history["step"][::stride], history["loss"][::stride], color=colour, alpha=0.18, linewidth=0.8)
    axis.plot(history["step"][::stride], smooth[::stride], color=colour, linestyle=dashes, linewidth=1.6)
