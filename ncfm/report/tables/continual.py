"""The table of continual learning: final and mean accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ncfm.core import layout
from ncfm.report.collect import opened, seeds_together
from ncfm.report.files import ResultsFolder
from ncfm.report.tables.results import deviation, document, readable
from ncfm.stages import table

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


def collect_courses(contents: dict[str, Any], results: ResultsFolder) -> list[Course]:
    """Read the results of continual learning that ``contents`` lists, seeds together; some may be missing."""
    courses = []
    for seeds in seeds_together(contents, results, "continual"):
        found: list[list[float]] = []
        classes: tuple[int, ...] = ()
        for cell in seeds.found:
            with opened(results, table.output(seeds.campaign, cell), cell, "continual learning") as content:
                found += [[float(value) for value in network["accuracies"]] for network in content["networks"]]
                classes = tuple(int(count) for count in content["classes"])
        courses.append(Course(seeds.names, seeds.label, classes, np.array(found), ", ".join(seeds.missing)))
    return courses


def continual_table(courses: Sequence[Course]) -> pd.DataFrame:
    """Return one line per data set, IPC, method, architecture and number of steps, with the columns :data:`COLUMNS`."""
    lines = []
    for course in courses:
        line = {"protocol": layout.RELEASED, **course.names, "label": course.label}
        line |= {"missing": course.missing, "n": len(course.accuracies)}
        if len(course.accuracies):
            for name, values in (("final", course.accuracies[:, -1]), ("mean", course.accuracies.mean(1))):
                line |= {name: float(values.mean()), f"{name}_std": deviation(values)}
        lines.append(line)
    return pd.DataFrame(lines, columns=list(COLUMNS))


def continual_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text for people."""
    names = ("dataset", "ipc", "label", "arch", "protocol", "steps", "final", "mean", "n", "missing")
    return readable(table, names, {"final": 1, "mean": 1}, arch="network")


def continual_markdown(table: pd.DataFrame, title: str) -> str:
    """Return the table as Markdown, or one line where the campaign has no continual learning."""
    nothing = "This campaign has no continual learning."
    return document(f"Continual learning: {title}", NOTE, continual_texts(table), nothing)
