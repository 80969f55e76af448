"""What continual learning showed: a table of final and mean accuracies, and a figure of accuracy over classes seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ncfm import layout
from ncfm.artifacts import read_json
from ncfm.errors import DataError
from ncfm.layout import Cell
from ncfm.report.figures import STYLE, colour, save
from ncfm.report.tables import deviation, markdown, plus_minus

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
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for names in contents.get("continual", []):
        groups.setdefault(tuple(value for key, value in names.items() if key != "seed"), []).append(names)
    return [_course(group, contents, results) for group in groups.values()]


def _course(group: Sequence[dict[str, Any]], contents: dict[str, Any], results: Path) -> Course:
    found: list[list[float]] = []
    classes: tuple[int, ...] = ()
    missing: list[str] = []
    for names in group:
        cell = Cell("continual", **names)
        place = layout.evaluation_file(contents["campaign"], cell)
        path = results / place.relative_to(layout.campaign_folder(contents["campaign"]))
        if not path.is_file():
            missing.append(path.as_posix())
            continue
        content = read_json(path)
        try:
            if content["names"] != names:
                raise DataError(f"{path}: holds the results of {content['names']}, but its place is for {names}")
            found += [[float(value) for value in network["accuracies"]] for network in content["networks"]]
            classes = tuple(int(count) for count in content["classes"])
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataError(f"{path}: not continual learning ({reason}); delete it and run its stage again") from error
    label = contents["labels"].get(group[0]["method"], group[0]["method"])
    return Course(group[0], label, classes, np.array(found), ", ".join(missing))


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
        columns = min(max(len(panels), 1), 2)
        rows = -(-max(len(panels), 1) // columns)
        figure = Figure(figsize=(4.6 * columns + 0.6, 3.4 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, ((dataset, ipc, arch, steps), group) in zip(axes, panels.items(), strict=False):
            for course in group:
                mean, spread = course.accuracies.mean(0), course.accuracies.std(0)
                line = {"color": colour(methods.index(course.names["method"])), "label": course.label}
                axis.errorbar(course.classes, mean, yerr=spread, marker="o", markersize=4, capsize=2, **line)
            axis.set_title(f"{dataset}, IPC {ipc}, {arch}, {steps} steps", loc="left", fontsize=11)
            axis.set_xlabel("classes seen")
            axis.set_ylabel("accuracy on them (%)")
            axis.legend(frameon=False, fontsize=9)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        if not panels:
            axes[0].text(0.5, 0.5, "no continual learning in this campaign", ha="center", transform=axes[0].transAxes)
        save(figure, stem)
