"""The resolved params behind the results: a column for each method, and apart those in which methods differ."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ncfm.campaign.explain import shown
from ncfm.report.collect import Collected, ResultRow, grouped

NOTE = "Resolved values of each method, as its stages read them; an empty place: the method does not read the key."


def settings_tables(collected: Collected) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Return for each data set and IPC its name, the params in which methods differ, and all of them.

    Rows are keys, ``stage.key``, columns the methods' names; all values are texts.
    """
    found = []
    for (dataset, ipc), rows in grouped(collected.rows, lambda row: (row.dataset, row.ipc)).items():
        columns = {row.label: values_of(row) for row in rows}
        table = pd.DataFrame(columns).fillna("").rename_axis("key").reset_index()
        differing = table[[len(set(filter(None, line))) > 1 for line in table.drop(columns="key").to_numpy().tolist()]]
        found.append((f"{dataset}, IPC {ipc}", differing, table))
    return found


def values_of(row: ResultRow) -> dict[str, str]:
    """Return the params of a row's first set, of the extractors and the set that it was made from, and of its test."""
    stages: dict[str, Mapping[str, object]] = {}
    for made in row.sets[:1]:
        for one in filter(None, (made.source, made)):
            stages |= {"pretrain": one.pool} if one.pool else {}
            stages[one.cell.stage] = one.params
    if row.evaluations:
        stages["evaluate"] = row.evaluations[0].params
    return {
        f"{stage}.{key}": shown(tuple(value) if isinstance(value, list) else value)
        for stage, params in stages.items()
        for key, value in params.items()
    }
