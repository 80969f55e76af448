"""The paper's own tables and figures: its rows and columns, reported numbers and ours side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from ncfm.report.tables.results import Values, csv_text, latex_table, markdown
from ncfm.report.verdicts.text import QUANTITIES, is_answered, reported, row_name

PARTS = ("reported", "ours", "verdict")
NOTE = "Reported, and where this campaign has a number, ours with its 95% interval and the verdict."


def touched_artefacts(table: pd.DataFrame) -> list[str]:
    """Return the tables and figures that the campaign answers or would answer, in the paper's order, text last."""
    answered = set(table[is_answered(table) & (table["compared"] != "ratio")]["artefact"])
    return [name for name in sorted(dict.fromkeys(table["artefact"]), key="text".__eq__) if name in answered]


def cells_of(table: pd.DataFrame, artefact: str) -> pd.DataFrame:
    """Return an artefact's cells, row by row as the paper lays them out: a row per method, columns by data set and IPC.

    The columns ``row``, ``column``, ``reported``, ``ours`` and ``verdict`` are text; where networks differ within a
    data set, the column of a cell names its network. A cell that another source reports, too, is in a row of its own.
    """
    lines = table[table["artefact"] == artefact]
    by_dataset = lines[lines["arch"] != ""].groupby("dataset")["arch"]
    quantities, networks = lines["metric"].nunique() > 1, bool((by_dataset.nunique() > 1).any())
    body = []
    for line in lines.to_dict("records"):
        place = f"{line['dataset']} IPC {line['ipc']}" if line["ipc"] else str(line["dataset"])
        column = f"{place} {line['arch']}" if networks else place
        name = row_name(line) + (f", {QUANTITIES[line['metric']]}" if quantities else "")
        body.append((name, column, reported(line), _ours(line), line["verdict"]))
    cells = pd.DataFrame(body, columns=["row", "column", *PARTS])
    again = cells.groupby(["row", "column"]).cumcount()
    cells["row"] = cells["row"].where(again == 0, cells["row"] + " (" + (again + 1).astype(str) + ")")
    for name in ("row", "column"):
        cells[name] = pd.Categorical(cells[name], cells[name].unique())  # which sorts by first appearance
    return cells.sort_values(["row", "column"])


def _ours(line: Values) -> str:
    if pd.isna(line["ours"]):
        return ""
    decimals = 1 if line["metric"].startswith("accuracy") else 3
    bounds = ""
    if not pd.isna(line["interval_low"]):
        bounds = f" [{line['interval_low']:.{decimals}f}, {line['interval_high']:.{decimals}f}]"
    return f"{line['ours']:.{decimals}f}{bounds} {line['compared']}"


def side_by_side(cells: pd.DataFrame, break_: str) -> pd.DataFrame:
    """Return an artefact as the paper lays it out, in each cell reported and, where there is a number, ours."""
    ours = break_ + cells["ours"] + ": " + cells["verdict"]
    texts = cells.assign(text=cells["reported"] + ours.where(cells["ours"] != "", ""))
    wide = texts.pivot(index="row", columns="column", values="text").fillna("")
    wide.columns = wide.columns.astype(str)
    return wide.reset_index()


def name_of(artefact: str) -> str:
    """Return an artefact's name for people, e.g. ``Table 1``."""
    return re.sub(r"(\d+)", r" \1", artefact).capitalize()


def paper_name(artefact: str, table: pd.DataFrame) -> str | None:
    """Return the name in reported.csv that a campaign's artefact stands for, e.g. ``fig3`` for ``figure3``.

    None where the paper has no such table or figure among its reported numbers.
    """
    name = artefact.replace("figure", "fig")
    return name if name in set(table["artefact"]) else None


def artefacts_csv(table: pd.DataFrame, names: Iterable[str]) -> str:
    """Return the cells of artefacts as CSV: a line per cell of the paper."""
    empty = pd.DataFrame(columns=["artefact", "row", "column", *PARTS])
    return csv_text(pd.concat([empty, *(cells_of(table, name).assign(artefact=name) for name in names)]))


def artefacts_markdown(table: pd.DataFrame, title: str, names: Iterable[str]) -> str:
    """Return artefacts as Markdown, each as the paper lays it out."""
    parts = [f"# The paper's tables and figures: {title}", NOTE]
    for name in names:
        parts += [f"## {name_of(name)}", markdown(side_by_side(cells_of(table, name), "<br>"))]
    return "\n\n".join(parts) + "\n"


def artefacts_latex(table: pd.DataFrame, title: str, names: Iterable[str]) -> str:
    """Return artefacts as LaTeX; the document needs ``booktabs``."""
    texts = {name: side_by_side(cells_of(table, name), "; ours ") for name in names}
    tables = [latex_table(text, f"{name_of(name)}: {title}. {NOTE}") for name, text in texts.items()]
    return "".join([f"% The paper's tables and figures: {title}\n", *tables])
