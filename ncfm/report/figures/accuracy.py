"""The figure of accuracies: a bar for every row of the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ncfm.core.layout import RELEASED
from ncfm.report.collect import Collected, ResultRow, grouped
from ncfm.report.figures.panels import COLOURS, LEGEND, drawing

ABREAST = 3  # panels side by side
HIGH = 60  # percent
DOT: Any = {"marker": "o", "color": "black", "linestyle": ""}
BEST: Any = {"marker": "D", "markerfacecolor": "white", "markeredgecolor": "black", "linestyle": ""}


def write_accuracies(collected: Collected, stem: Path) -> bool:
    """Write ``stem``.png and .svg: a panel per test network, protocol and IPC, a bar per method.

    The IPCs of a network stand side by side; where there is but one each, networks do. The whole training set, which
    has no IPC, is the last bar of each. A bar is the mean last accuracy with its deviation; every network and the mean
    best stand on it. Where every network is above :data:`HIGH`, the axis begins below the lowest, which its label says.
    Returns True: rows that were not run are shown, too.
    """
    start = _start(collected.rows)
    with drawing(stem, "x") as figure:
        groups = grouped(collected.rows, lambda row: (row.dataset, row.arch, row.protocol))
        lines: list[list[tuple[str, list[ResultRow]]]] = []
        for (dataset, arch, protocol), group in groups.items():
            by_ipc = grouped(group, lambda row: row.ipc)
            whole = [ipc for ipc, rows in by_ipc.items() if all(row.whole for row in rows)]
            if len(by_ipc) > len(whole):
                last = [row for ipc in whole for row in by_ipc.pop(ipc)]
                by_ipc = {ipc: [*rows, *last] for ipc, rows in by_ipc.items()}
            how = f"tested with {arch}" if protocol == RELEASED else f"{arch}, protocol {protocol}"
            lines.append([(f"{dataset}, IPC {ipc}, {how}", by_ipc[ipc]) for ipc in sorted(by_ipc)])
        if len(lines) >= ABREAST and all(len(line) == 1 for line in lines):
            lines = [[line[0] for line in lines[at : at + ABREAST]] for at in range(0, len(lines), ABREAST)]
        bars = [max(len(rows) for _, rows in line) for line in lines] or [1]
        columns = max(map(len, lines), default=1)
        figure.set_size_inches(min(2.6 + 3.7 * columns, 14.0), sum(0.27 * count + 0.85 for count in bars) + 0.5)
        heights = {"height_ratios": [count + 2 for count in bars]}
        axes = figure.subplots(len(bars), columns, squeeze=False, sharex=True, gridspec_kw=heights)
        for row, count, line in zip(axes, bars, lines, strict=False):
            for axis, (head, rows) in zip(row, line, strict=False):
                _accuracy_panel(axis, rows, count, start)
                axis.set_title(head, loc="left", fontsize=10)
            for axis in row[len(line) :]:
                axis.set_axis_off()
        for column in range(columns):
            lowest = max((row for row, line in enumerate(lines) if len(line) > column), default=0)
            beginning = f" (from {start})" if start else ""
            axes[lowest, column].set_xlabel(f"test accuracy (%), last epoch ± std{beginning}")
            axes[lowest, column].tick_params(labelbottom=True)
        handles = [
            Line2D([], [], markersize=3, alpha=0.4, label="one network (last)", **DOT),
            Line2D([], [], markersize=5, label="mean best (test-selected)", **BEST),
        ]
        figure.legend(handles=handles, ncols=2, **LEGEND)
    return True


def _start(rows: Sequence[ResultRow]) -> int:
    """Return where the axis of accuracies begins: 0, or the ten below all where all are high."""
    lowest = min((min(map(min, row.accuracies("last"))) for row in rows if row.evaluations), default=0.0)
    return int((lowest - 2) // 10 * 10) if lowest > HIGH else 0


def _accuracy_panel(axis: Axes, rows: Sequence[ResultRow], bars: int, start: int) -> None:
    """Draw a bar from ``start`` for each row; ``bars`` is how many there is room for, as in the panels beside it."""
    for place, row in enumerate(rows):
        if not row.evaluations:
            axis.text(start + 1, place, "not run", va="center", fontsize=8, color="#666666")
            continue
        last, best = (np.concatenate(row.accuracies(name)) for name in ("last", "best"))
        deviation = last.std(ddof=1) if len(last) > 1 else 0.0
        bar: Any = {"left": start, "color": COLOURS[0], "alpha": 0.6, "ecolor": "black", "capsize": 2}
        axis.barh(place, last.mean() - start, 0.8, xerr=deviation, **bar)
        spread = np.linspace(-0.25, 0.25, len(last)) if len(last) > 1 else np.zeros(1)
        axis.scatter(last, place + spread, s=8, color="black", alpha=0.35, linewidths=0, zorder=3)
        axis.plot(best.mean(), place, markersize=5, zorder=5, **BEST)
        axis.text(start + (100 - start) / 100, place, f"{last.mean():.1f}", va="center", fontsize=8, zorder=5)
    axis.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(bars - 0.4, -0.6)
