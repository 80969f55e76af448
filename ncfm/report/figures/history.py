"""The figure of losses over the iterations of every distillation."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from ncfm.report.collect import Collected
from ncfm.report.figures.panels import LEGEND, STYLE, colour, dashes, panel_grid, save

POINTS = 500  # of one curve


def write_histories(collected: Collected, stem: Path) -> bool:
    """Write ``stem``.png and .svg: the loss over the iterations, a panel per data set and IPC, a colour per method.

    Returns whether there is any.
    """
    histories = [(one, one.history) for one in collected.sets if not one.history.empty]
    with matplotlib.rc_context(STYLE):
        panels = list(dict.fromkeys((stored.cell.dataset, stored.cell.ipc) for stored, _ in histories))
        methods = list(dict.fromkeys(stored.cell.method for stored, _ in histories))
        figure, axes = panel_grid(len(panels), "no distillation in this campaign", 3.6, 0.0)
        for axis, panel in zip(axes, panels, strict=False):
            for stored, history in histories:
                if (stored.cell.dataset, stored.cell.ipc) == panel:
                    index = methods.index(stored.cell.method)
                    draw_loss(axis, history, colour(index), dashes(index))
            axis.set_title(f"{panel[0]}, IPC {panel[1]}", loc="left", fontsize=11)
            axis.set(xlabel="iteration", ylabel="loss (mean over classes)", yscale="log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("")
        handles = [
            Line2D([], [], color=colour(i), linestyle=dashes(i), label=collected.labels.get(method, method))
            for i, method in enumerate(methods)
        ]
        note = "one line per seed (running mean); discrepancies differ in scale"
        figure.legend(handles=handles, ncols=4, title=note, title_fontsize=9, **LEGEND)
        save(figure, stem)
    return bool(histories)


def draw_loss(axis: Axes, history: pd.DataFrame, colour: str, dashes: str = "-") -> None:
    """Draw a loss curve: every value faintly, and their running mean."""
    window, stride = max(1, len(history) // 25), max(1, len(history) // POINTS)
    smooth = history["loss"].rolling(window, center=True, min_periods=1).mean()
    axis.plot(history["step"][::stride], history["loss"][::stride], color=colour, alpha=0.18, linewidth=0.8)
    axis.plot(history["step"][::stride], smooth[::stride], color=colour, linestyle=dashes, linewidth=1.6)
