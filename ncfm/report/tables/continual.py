"""The table of continual learning: final and mean accuracies."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ncfm.core import layout
from ncfm.report.collect import AccuracyTable, Values, collect_accuracies
from ncfm.report.files import ResultsFolder
from ncfm.report.tables.results import deviation, document, latex_table, readable

COLUMNS = (
    *("dataset", "ipc", "method", "label", "arch", "protocol", "steps", "final", "final_std", "mean", "mean_std", "n"),
    "missing",
)
NOTE = (
    "Accuracy in percent on the test images of the classes seen so far, networks trained from scratch at each step on "
    "the sets of these classes. Final: after the last step; mean: over the steps. Mean ± sample standard deviation "
    "over n = seeds x orders of the classes."
)


def collect_courses(contents: Values, results: ResultsFolder) -> list[AccuracyTable]:
    """Read the results of continual learning that ``contents`` lists: of each seed a row per order of the classes."""

    def read(content: Values) -> tuple[tuple[int, ...], list[list[float]]]:
        accuracies = [[float(value) for value in network["accuracies"]] for network in content["networks"]]
        return tuple(int(count) for count in content["classes"]), accuracies

    return collect_accuracies(contents, results, "continual", ("continual learning", "classes"), read)


def continual_table(courses: Sequence[AccuracyTable]) -> pd.DataFrame:
    """Return one line per data set, IPC, method, architecture and number of steps, with the columns :data:`COLUMNS`."""
    lines = []
    for course in courses:
        line = {"protocol": layout.RELEASED, **course.names, "label": course.label}
        line |= {"missing": ", ".join(course.missing), "n": len(course.accuracies)}
        if len(course.accuracies):
            for name, values in (("final", course.accuracies[:, -1]), ("mean", course.accuracies.mean(1))):
                line |= {name: float(values.mean()), f"{name}_std": deviation(values)}
        lines.append(line)
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _texts(table: pd.DataFrame) -> pd.DataFrame:
    names = ("dataset", "ipc", "label", "arch", "protocol", "steps", "final", "mean", "n", "missing")
    return readable(table, names, {"final": 1, "mean": 1}, arch="network")


def continual_markdown(table: pd.DataFrame, title: str) -> str:
    """Return the table as Markdown."""
    return document(f"Continual learning: {title}", NOTE, _texts(table))


def continual_latex(table: pd.DataFrame, title: str) -> str:
    """Return the table as LaTeX; the document needs ``booktabs``."""
    return latex_table(_texts(table), f"Continual learning: {title}. {NOTE}")
