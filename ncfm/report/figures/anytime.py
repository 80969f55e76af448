"""The figure of anytime curves: accuracy of the snapshots of sets over minutes and over iterations of their making."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from ncfm.report.figures.panels import drawing, line_styles, panel_grid, shared_legend

OVER = {"minutes": "minutes of the processor (GPU: of the clock)", "iteration": "iterations"}


def write_anytime(table: pd.DataFrame, stem: Path) -> bool:
    """Write ``stem``.png and .svg: per data set, IPC, network and protocol two panels, a line per method.

    Whiskers are the 95% intervals over seeds. A set of one point without a time, such as a coreset, is a level line.
    Returns whether the campaign has any; else nothing is written.
    """
    known = table.dropna(subset=["accuracy"])
    if known.empty:
        return False
    panels = list(known.groupby(["dataset", "ipc", "arch", "protocol"], sort=False))
    styles = line_styles(known["method"])
    with drawing(stem) as figure:
        axes = panel_grid(figure, 2 * len(panels), 3.4, 0.4)
        for place, ((dataset, ipc, arch, protocol), group) in enumerate(panels):
            for axis, over in zip(axes[2 * place : 2 * place + 2], OVER, strict=True):
                for method, lines in group.groupby("method", sort=False):
                    dashes, colour = styles[method]
                    _draw(axis, lines.dropna(subset=[over]), lines, over, {"color": colour, "linestyle": dashes})
                axis.set_xscale("log")
                axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.xaxis.set_major_formatter("{x:g}")
                axis.xaxis.set_minor_formatter("")
                axis.set_title(f"{dataset}, IPC {ipc}, {arch}, {protocol}", loc="left", fontsize=11)
                axis.set(xlabel=OVER[over], ylabel="accuracy (%)")
        shared_legend(figure, axes)
    return True


def _draw(axis: Axes, points: pd.DataFrame, lines: pd.DataFrame, over: str, style: Any) -> None:
    """Draw a method's line over its minutes or iterations, or a level one where no point has any."""
    label, accuracy = lines["label"].iloc[0], lines["accuracy"]
    if points.empty:
        axis.axhline(accuracy.iloc[-1], label=label, color=style["color"], linestyle=":")
        return
    x, y = points[over].astype(float), points["accuracy"]
    ends = [(y - points["accuracy_low"]).fillna(0.0), (points["accuracy_high"] - y).fillna(0.0)]
    axis.errorbar(x, y, yerr=ends, label=label, marker="o", markersize=4, capsize=2, **style)
