"""The table of times: how long each row of the results took, on which machine, with which program."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ncfm.report.collect import Collected, ResultRow, Values
from ncfm.report.origins import commit_text, hardware_text
from ncfm.report.tables.results import document, readable

NOTE = (
    "Seconds are means over the seeds; an evaluation trains all networks of one seed. Times differ from run to run, so "
    "they stand apart from the accuracies, which do not."
)
NAMES = ("dataset", "ipc", "method", "label", "curation", "arch", "protocol")
COLUMNS = (*NAMES, "distill_seconds", "evaluate_seconds", "hardware", "torch", "commit")
HEADS = {
    "curation": "curation",
    "arch": "test network",
    "protocol": "protocol",
    "distill_seconds": "make set (s)",
    "evaluate_seconds": "evaluate (s)",
    "hardware": "run on",
    "torch": "torch",
    "commit": "commit",
}


def times_table(collected: Collected) -> pd.DataFrame:
    """Return one line for each row of the results that was computed, with the columns :data:`COLUMNS`."""
    return pd.DataFrame([_line(row) for row in collected.rows if row.evaluations], columns=list(COLUMNS))


def _line(row: ResultRow) -> Values:
    line: Values = {name: getattr(row, name) for name in NAMES}
    made = [stored.record for stored in row.sets if stored.record is not None]
    tested = [evaluation.record for evaluation in row.evaluations if evaluation.record is not None]
    for name, records in (("distill_seconds", made), ("evaluate_seconds", tested)):
        line[name] = float(np.mean([record["seconds"] for record in records])) if records else None
    texts = {"hardware": hardware_text, "torch": lambda record: record["versions"]["torch"], "commit": commit_text}
    for name, text in texts.items():
        line[name] = " / ".join(dict.fromkeys(text(record) for record in [*made, *tested]))
    return line


def times_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text for people."""
    decimals = {"distill_seconds": 1, "evaluate_seconds": 1}
    return readable(table, ("dataset", "ipc", "label", *HEADS), decimals, **HEADS)


def times_markdown(table: pd.DataFrame, title: str) -> str:
    """Return the times as Markdown."""
    return document(f"Times: {title}", NOTE, times_texts(table))
