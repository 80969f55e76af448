"""The figure of continual learning: accuracy over the classes seen so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ncfm.report.collect import AccuracyTable, grouped
from ncfm.report.figures.panels import drawing, line_styles, panel_grid, shared_legend


def write_courses(courses: Sequence[AccuracyTable], stem: Path) -> bool:
    """Write ``stem``.png and .svg: a panel per data set, IPC, architecture and number of steps, a line per method.

    Returns whether the campaign has any; else nothing is written.
    """
    known = [course for course in courses if len(course.accuracies)]
    if not known:
        return False
    panels = grouped(known, lambda course: tuple(course.names[name] for name in ("dataset", "ipc", "arch", "steps")))
    styles = line_styles(course.names["method"] for course in known)
    with drawing(stem) as figure:
        axes = panel_grid(figure, len(panels), 3.4, 0.4, sharey=True)
        for axis, ((dataset, ipc, arch, steps), group) in zip(axes, panels.items(), strict=False):
            for course in group:
                mean, several = course.accuracies.mean(0), len(course.accuracies) > 1
                spread = course.accuracies.std(0, ddof=1) if several else None
                line: Any = {"color": styles[course.names["method"]][1], "label": course.label}
                axis.errorbar(course.columns, mean, yerr=spread, marker="o", markersize=4, capsize=2, **line)
            axis.set_title(f"{dataset}, IPC {ipc}, {arch}, {steps} steps", loc="left", fontsize=11)
            axis.set(xlabel="classes seen", ylabel="accuracy on them (%)")
            axis.tick_params(labelleft=True)
        shared_legend(figure, axes)
    return True
