"""The table of anytime curves: accuracy of the snapshots of sets, and the time that their making took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ncfm.core import layout
from ncfm.report.collect import AccuracyTable, StoredSet, Values, collect_accuracies
from ncfm.report.files import ResultsFolder
from ncfm.report.tables.results import document, interval_text, latex_table, readable
from ncfm.report.verdicts.intervals import interval
from ncfm.stages.anytime import FINISHED

COLUMNS = (
    *("dataset", "ipc", "method", "label", "arch", "protocol", "iteration", "minutes"),
    *("accuracy", "accuracy_low", "accuracy_high", "n_seeds", "missing"),
)
NOTE = (
    "Accuracy in percent after the last epoch, networks trained on the set as it was after so many iterations of its "
    "distillation: mean over the seeds, each of which is the mean of its networks; 95%: t interval of that mean. "
    "Minutes: what the iterations up to there took, without the extractors, mean over the seeds: of the processor (all "
    "cores together), on a GPU those of the clock."
)


def collect_snapshots(contents: Values, results: ResultsFolder) -> list[AccuracyTable]:
    """Read the evaluations of snapshots that ``contents`` lists; a row of accuracies per set, a column per snapshot."""

    def read(content: Values) -> tuple[tuple[int, ...], list[list[float]]]:
        points = content["snapshots"]
        means = [float(np.mean([float(one) for one in point["accuracies"]])) for point in points]
        return tuple(int(point["iteration"]) for point in points), [means]

    return collect_accuracies(contents, results, "anytime", ("evaluations of snapshots", "snapshots"), read)


def anytime_table(tests: Sequence[AccuracyTable], sets: Iterable[StoredSet]) -> pd.DataFrame:
    """Return one line per data set, IPC, method, architecture, protocol and snapshot, with :data:`COLUMNS`."""
    made: dict[tuple[object, ...], list[StoredSet]] = {}
    for stored in sets:
        made.setdefault(stored.cell.set_names[:3], []).append(stored)
    lines = []
    for test in tests:
        group = made.get(tuple(test.names[name] for name in ("dataset", "ipc", "method")), [])
        head = {"protocol": layout.RELEASED, **test.names, "label": test.label, "missing": ", ".join(test.missing)}
        if not len(test.accuracies):
            lines.append(head)
        last = group[0].params.get("iterations") if group else None
        for column, at in enumerate(test.columns):
            if at == last:  # the line of the finished set says the same
                continue
            values, iteration = test.accuracies[:, column], last if at == FINISHED else at
            low, high = interval(values) or (None, None)
            line = {"iteration": iteration, "minutes": _minutes(group, iteration)}
            line |= {"accuracy": float(values.mean()), "accuracy_low": low, "accuracy_high": high}
            lines.append({**head, **line, "n_seeds": len(values)})
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype({"iteration": "Int64"})


def _minutes(group: Iterable[StoredSet], iteration: int | None) -> float | None:
    """Return the mean minutes that the making of sets took up to an iteration; None where no record says."""
    found = []
    for stored in group:
        record = stored.record or {}
        unit = "seconds" if record.get("hardware", {}).get("gpu") else "processor_seconds"
        found += [mark[unit] / 60 for mark in record.get("marks", ()) if mark["iteration"] == iteration]
    return float(np.mean(found)) if found else None


def _texts(table: pd.DataFrame) -> pd.DataFrame:
    ranges = zip(table["accuracy_low"], table["accuracy_high"], strict=True)
    shown = table.assign(interval=[interval_text(low, high, 1) for low, high in ranges])
    names = ("dataset", "ipc", "label", "arch", "protocol", "iteration", "minutes", "accuracy", "interval", "n_seeds")
    heads = {"arch": "test network", "interval": "95%", "n_seeds": "sets"}
    return readable(shown, (*names, "missing"), {"minutes": 3, "accuracy": 1, "iteration": 0}, **heads)


def anytime_markdown(table: pd.DataFrame, title: str) -> str:
    """Return the table as Markdown."""
    return document(f"Anytime curves: {title}", NOTE, _texts(table))


def anytime_latex(table: pd.DataFrame, title: str) -> str:
    """Return the table as LaTeX; the document needs ``booktabs``."""
    return latex_table(_texts(table), f"Anytime curves: {title}. {NOTE}")
