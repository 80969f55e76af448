"""What continual learning showed: a table of final and mean accuracies, and a figure of accuracy over classes seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from ncfm.core import layout
from ncfm.report.collect import Seeds, opened, seeds_together
from ncfm.report.figures.figures import STYLE, colour, panel_grid, save
from ncfm.report.tables.results import deviation, markdown, plus_minus

COLUMNS = (
    *("dataset", "ipc", "method", "label", "arch", "protocol", "steps", "final", "final_std", "mean", "mean_std", "n"),
    "missing",
)
NOTE = (
    "Accuracy in percent on the test images of the classes seen so far, networks trained from scratch at each step on "
    "the sets of these classes. Final: after the last step; mean: over the steps. Mean ± sample standard deviation "
    "over n = seeds x orders of the classes."
)


@dataclass(frozen=True)
class Course:
    """A method learnt in steps: ``accuracies`` (n, steps) in percent, a row per seed and order; ``classes`` by step."""

    names: dict[str, Any]
    label: str
    classes: tuple[int, ...]
    accuracies: np.ndarray
    missing: str


def collect_courses(contents: dict[str, Any], results: Path) -> list[Course]:
    """Read the results of continual learning that ``contents`` lists, seeds together.

    Raises:
        DataError: where a file is torn or is not what its place says. A missing file is no error.
    """
    return [_course(seeds) for seeds in seeds_together(contents, results, "continual")]


def _course(seeds: Seeds) -> Course:
    found: list[list[float]] = []
    classes: tuple[int, ...] = ()
    for path, names in seeds.files.items():
        with opened(path, names, "continual learning") as content:
            found += [[float(value) for value in network["accuracies"]] for network in content["networks"]]
            classes = tuple(int(count) for count in content["classes"])
    return Course(seeds.names, seeds.label, classes, np.array(found), ", ".join(seeds.missing))


def continual_table(courses: Sequence[Course]) -> pd.DataFrame:
    """Return one line per data set, IPC, method, architecture and number of steps, with the columns :data:`COLUMNS`."""
    lines = []
    for course in courses:
        line: dict[str, Any] = {name: course.names.get(name) for name in ("dataset", "ipc", "method", "arch", "steps")}
        line |= {"label": course.label, "protocol": course.names.get("protocol", layout.RELEASED)}
        line |= {"missing": course.missing, "n": len(course.accuracies)}
        if len(course.accuracies):
            for name, values in (("final", course.accuracies[:, -1]), ("mean", course.accuracies.mean(1))):
                line |= {name: float(values.mean()), f"{name}_std": deviation(values)}
        lines.append(line)
    return pd.DataFrame(lines, columns=list(COLUMNS))


def shown_courses(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text for people."""
    shown = [
        {
            "data set": line["dataset"],
            "IPC": str(line["ipc"]),
            "method": line["label"],
            "network": line["arch"],
            "protocol": line["protocol"],
            "steps": str(line["steps"]),
            "final": plus_minus(line["final"], line["final_std"]),
            "mean": plus_minus(line["mean"], line["mean_std"]),
            "n": str(line["n"]),
            "missing": line["missing"] or "-",
        }
        for line in table.to_dict("records")
    ]
    return pd.DataFrame(shown)


def continual_markdown(table: pd.DataFrame, title: str) -> str:
    """Return the table as Markdown, or one line where the campaign has no continual learning."""
    body = markdown(shown_courses(table)) if len(table) else "This campaign has no continual learning."
    return "\n".join([f"# Continual learning: {title}", "", NOTE, "", body, ""])


def write_courses(courses: Sequence[Course], stem: Path) -> None:
    """Write ``stem``.png and .svg: a panel per data set, IPC, architecture and number of steps, a line per method."""
    shown = [course for course in courses if len(course.accuracies)]
    with matplotlib.rc_context(STYLE):
        panels: dict[tuple[Any, ...], list[Course]] = {}
        for course in shown:
            key = tuple(course.names[name] for name in ("dataset", "ipc", "arch", "steps"))
            panels.setdefault(key, []).append(course)
        methods = list(dict.fromkeys(course.names["method"] for course in shown))
        figure, axes = panel_grid(len(panels), "no continual learning in this campaign", 3.4, 0.4, sharey=True)
        for axis, ((dataset, ipc, arch, steps), group) in zip(axes, panels.items(), strict=False):
            for course in group:
                mean, spread = course.accuracies.mean(0), course.accuracies.std(0)
                line: Any = {"color": colour(methods.index(course.names["method"])), "label": course.label}
                axis.errorbar(course.classes, mean, yerr=spread, marker="o", markersize=4, capsize=2, **line)
            axis.set_title(f"{dataset}, IPC {ipc}, {arch}, {steps} steps", loc="left", fontsize=11)
            axis.set_xlabel("classes seen")
            axis.set_ylabel("accuracy on them (%)")
            axis.tick_params(labelleft=True)
        shown_lines = [axis.get_legend_handles_labels() for axis in axes]
        lines = {label: line for pair in shown_lines for line, label in zip(*pair, strict=True)}
        where: Any = {"loc": "outside lower center", "ncols": 4, "frameon": False, "fontsize": 9}
        figure.legend(list(lines.values()), list(lines), **where)
        save(figure, stem)
