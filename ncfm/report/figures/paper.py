"""Pictures of the paper's tables and figures: what it reports beside what this campaign measured, verdicts as colours.

A table becomes a panel of dots for each data set and IPC. Of Figures 3, 5 and 6 it is the curve that the paper draws,
over IPC, alpha or the number of frequencies; of Figure 7 the loss over the iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ncfm.report.collect import Collected
from ncfm.report.figures.history import draw_loss
from ncfm.report.figures.panels import COLOURS, LEGEND, drawing
from ncfm.report.tables.paper import name_of
from ncfm.report.tables.results import Values
from ncfm.report.verdicts.rules import Verdict
from ncfm.report.verdicts.text import QUANTITIES, is_answered, row_name

# The colour of ours by its verdict.
VERDICT_COLOURS = {
    Verdict.REPRODUCED: COLOURS[2],
    Verdict.ABOVE: COLOURS[0],
    Verdict.BELOW: COLOURS[1],
    Verdict.REACHED: COLOURS[5],
    Verdict.NOT_REACHED: COLOURS[4],
    Verdict.INCONCLUSIVE: COLOURS[3],
    Verdict.DIFFERS: COLOURS[6],
}
REPORTED: Any = {"marker": "D", "markersize": 5, "markerfacecolor": "white", "markeredgecolor": "black"}
POINTS: Any = {"textcoords": "offset points"}  # of notes beside a mark
OTHERS = "#AAAAAA"  # of reported curves by other methods
# What a figure's curve runs over: the column of the verdict table, and the name of the axis.
CURVES = {
    "fig3": ("ipc", "IPC"),
    "fig5": ("alpha", "alpha: weight of the amplitude"),
    "fig6": ("num_frequencies", "frequencies"),
}
LOSSES, STARTS = "fig7", 10  # iterations over which the start of our loss is averaged, since each draws other images
COLUMNS = 3


@dataclass(frozen=True)
class Panel:
    """One panel: its title, the height it wants as a number of lines of text, and what draws it."""

    title: str
    lines: int
    draw: Callable[[Axes], None]


def write_paper(verdicts: pd.DataFrame, collected: Collected, names: Sequence[str], stem: Path) -> bool:
    """Write ``stem``.png and .svg: the panels of the named tables and figures that hold a number of the campaign.

    Claims in running text have none. Returns whether there is any panel; else nothing is written.
    """
    panels = [panel for name in names for panel in panels_of(verdicts, collected, name)]
    if not panels:
        return False
    shown = verdicts[verdicts["artefact"].isin(names) & is_answered(verdicts)]
    with drawing(stem, "both") as figure:
        columns = min(len(panels), COLUMNS)
        rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
        heights = [0.9 + 0.25 * max([3, *(panel.lines for panel in row)]) for row in rows]
        figure.set_size_inches(max(4.4 * columns, 6.0), sum(heights) + 0.5)
        grid = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, row in zip(grid, rows, strict=True):
            for axis in axes[len(row) :]:
                axis.set_axis_off()
            for axis, panel in zip(axes, row, strict=False):
                panel.draw(axis)
                axis.set_title(panel.title, loc="left", fontsize=10)
                axis.tick_params(labelsize=8)
        figure.legend(handles=_legend(set(shown["verdict"])), ncols=5 if columns > 1 else 3, **LEGEND)
    return True


def _legend(found: Collection[str]) -> list[Line2D]:
    """Return the marks of the verdicts that the figure shows."""
    shown = {verdict: colour for verdict, colour in VERDICT_COLOURS.items() if verdict in found}
    ours: Any = {"marker": "o", "markersize": 5, "linestyle": ""}
    marks = [Line2D([], [], color=colour, label=f"ours: {verdict}", **ours) for verdict, colour in shown.items()]
    return [Line2D([], [], color="black", linestyle="", label="reported", **REPORTED), *marks]


def panels_of(verdicts: pd.DataFrame, collected: Collected, name: str) -> list[Panel]:
    """Return the panels of one table or figure: those with a number that is held against the campaign."""
    here = verdicts[verdicts["artefact"] == name]
    here = here.assign(answered=is_answered(here))
    here = here[here["value"].notna() & (here["metric"] != "ratio_percent")]
    by = ["metric", "dataset"] if name == "fig3" else ["metric", "dataset", "ipc"]
    panels = []
    for key, table in here.groupby(by, sort=False):
        if not table["answered"].any() or name == "text":
            continue
        metric, *place = map(str, key)
        title = f"{name_of(name)}: " + ", IPC ".join(place)
        lines, several = table.to_dict("records"), table.loc[table["arch"] != "", "arch"].nunique() > 1
        if name == LOSSES:
            panels.append(Panel(title, 8, partial(_losses, lines=lines, collected=collected)))
        elif name in CURVES:
            panels.append(Panel(title, 8, partial(_curve, lines=lines, name=name, quantity=QUANTITIES[metric])))
        else:
            answered = [line for line in lines if line["answered"]]
            draw = partial(_dots, lines=answered, several=several, quantity=QUANTITIES[metric])
            panels.append(Panel(title, len(answered), draw))
    return panels


def _mark(axis: Axes, line: Values, across: float, horizontal: bool) -> None:
    """Draw ours with its interval, in the colour of its verdict, ``across`` the axis of values."""
    if pd.isna(line["ours"]):
        return
    ends = (line["interval_low"], line["interval_high"])
    bars = None if pd.isna(ends[0]) else [[max(line["ours"] - ends[0], 0)], [max(ends[1] - line["ours"], 0)]]
    style: Any = {"fmt": "o", "markersize": 5, "capsize": 2, "color": VERDICT_COLOURS[line["verdict"]], "zorder": 4}
    if horizontal:
        axis.errorbar(line["ours"], across, xerr=bars, **style)
    else:
        axis.errorbar(across, line["ours"], yerr=bars, **style)


def _dots(axis: Axes, lines: Sequence[Values], several: bool, quantity: str) -> None:
    """Draw a table's cells of one data set and IPC: a line per row of the paper, its number and ours with its name."""
    for place, line in enumerate(lines):
        axis.plot(line["value"], place, linestyle="", zorder=3, **REPORTED)
        _mark(axis, line, place, horizontal=True)
        if not pd.isna(line["ours"]):
            below: Any = {"ha": "center", "va": "top", "fontsize": 6, "color": COLOURS[6]}
            axis.annotate(line["method"], (line["ours"], place), (0, -4), **POINTS, **below)
        else:
            axis.annotate("not run", (line["value"], place), (8, 0), va="center", fontsize=7, **POINTS)
    names = [f"{row_name(line)}, {line['arch']}" if several else row_name(line) for line in lines]
    axis.set_yticks(range(len(lines)), names)
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.margins(x=0.12)
    if quantity.startswith("seconds"):
        axis.set_xscale("log")
    axis.set_xlabel(quantity, fontsize=9)


def _curve(axis: Axes, lines: Sequence[Values], name: str, quantity: str) -> None:
    """Draw a figure's curves: NCFM's and, where the paper has them, other methods'; a row without a place is level."""
    column, head = CURVES[name]
    at = pd.to_numeric(pd.Series([line[column] for line in lines]), errors="coerce").dropna().to_dict()
    ticks = sorted(set(at.values()))
    for method in dict.fromkeys(line["reported_method"] for line in lines):
        chosen = [
            (ticks.index(at[i]), line) for i, line in enumerate(lines) if i in at and line["reported_method"] == method
        ]
        if chosen:
            places, values = [place for place, _ in chosen], [line["value"] for _, line in chosen]
            answered = any(line["answered"] for _, line in chosen)
            axis.plot(places, values, color="black" if answered else OTHERS, linewidth=1, zorder=3, **REPORTED)
            if not answered:
                axis.annotate(method, (places[-1], values[-1]), (-6, -12), fontsize=8, ha="right", **POINTS)
        for place, line in chosen:
            _mark(axis, line, place, horizontal=False)
    for line in (line for index, line in enumerate(lines) if index not in at):
        _level(axis, line["value"], f"{row_name(line)}, reported", "black", len(ticks))
        if not pd.isna(line["ours"]):
            _level(axis, line["ours"], f"{line['method']}, ours", VERDICT_COLOURS[line["verdict"]], len(ticks))
    axis.margins(y=0.1)
    axis.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks], rotation=45 if len(ticks) > 10 else 0)
    axis.set_xlabel(head, fontsize=9)
    axis.set_ylabel(quantity, fontsize=9)


def _level(axis: Axes, value: float, text: str, colour: str, places: int) -> None:
    axis.axhline(value, color=colour, linestyle="--", linewidth=1)
    axis.annotate(text, (places - 1, value), (0, -2), fontsize=7, ha="right", va="top", color=colour, **POINTS)


def _losses(axis: Axes, lines: Sequence[Values], collected: Collected) -> None:
    """Draw the loss of our sets over the iterations, a line per seed, and the points read from the paper's curve.

    Both relative to their start, since the paper's scale is not the one that its program logs.
    """
    steps, values = zip(*sorted((max(line["step"], 1), line["value"]) for line in lines), strict=True)
    relative = [one / values[0] for one in values]
    axis.plot(steps, relative, color="black", linewidth=1, linestyle=":", zorder=3, **REPORTED)
    places = {(line["dataset"], line["ipc"], line["method"]) for line in lines}
    for stored in collected.sets:
        cell, history = stored.cell, stored.history
        place = (cell.dataset, str(cell.ipc), collected.labels.get(cell.method, cell.method))
        if place in places and not history.empty:
            start = history["loss"].head(STARTS).mean()
            draw_loss(axis, history.assign(loss=history["loss"] / start), "-", VERDICT_COLOURS[Verdict.DIFFERS])
    axis.set_xscale("log")
    axis.set_xlabel("iteration", fontsize=9)
    axis.set_ylabel("loss, relative to its start", fontsize=9)
