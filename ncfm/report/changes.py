"""What changed since the report before: params and accuracies, kept in a small file beside the page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ncfm.core.errors import DataError
from ncfm.core.store import read_json, write_json
from ncfm.report.collect import Collected, ResultRow
from ncfm.report.tables.results import number
from ncfm.report.tables.settings import values_of
from ncfm.report.verdicts.intervals import mean_of

FILE = "report.before.json"  # no engine knows it, so that it outlives the report that wrote it
NOTE = "Params and last accuracies that differ from those of the report before this one, in this folder."
MOST = 3  # places to name where a value changed at many
State = dict[str, dict[str, str]]  # row of the results to its params and its accuracy, as texts


def changes(collected: Collected, folder: Path) -> pd.DataFrame:
    """Return what changed, as texts, and keep what is now for the next report; empty at the first one.

    The same report written again shows the same changes: only another state takes the place of the one before.
    """
    kept, now = _kept(folder / FILE), {_name(row): _state(row) for row in collected.rows}
    before = kept.get("before", {}) if kept.get("now") == now else kept.get("now", {})
    write_json(folder / FILE, {"before": before, "now": now})
    return pd.DataFrame(_lines(before, now), columns=["what", "where", "before", "now"])


def _kept(path: Path) -> dict[str, State]:
    try:
        content = read_json(path)
    except DataError:  # there is none, or it is torn: the next report compares with this one
        return {}
    return content if isinstance(content, dict) else {}


def _name(row: ResultRow) -> str:
    return f"{row.dataset}, IPC {row.ipc}, {row.label}, {row.arch}, {row.protocol}"


def _state(row: ResultRow) -> dict[str, str]:
    accuracy = {"accuracy": number(mean_of(row.accuracies("last")), 1)} if row.evaluations else {}
    return {**values_of(row), **accuracy}


def _lines(before: State, now: State) -> Iterable[list[str]]:
    """Yield values that changed in rows that both have: params first, those that changed alike on one line."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for place in now.keys() & before.keys():
        for key in {**before[place], **now[place]}:
            values = before[place].get(key, "-"), now[place].get(key, "-")
            if values[0] != values[1]:
                alike.setdefault((key, *values), []).append(place)
    for (key, old, new), places in sorted(alike.items(), key=lambda item: (item[0][0] == "accuracy", item[0])):
        rest = f" (and {len(places) - MOST} more)" if len(places) > MOST else ""
        where = sorted(places)
        for shown in where if key == "accuracy" else ["; ".join(where[:MOST]) + rest]:
            yield [key, shown, old, new]
