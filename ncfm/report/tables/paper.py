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


def pivot(table: pd.DataFrame, artefact: str) -> pd.DataFrame:
    """Return an artefact's lines as the paper lays them out: a row per method, columns per data set, IPC and network.

    After ``row`` each column of the paper is three: ``... reported``, ``... ours``, ``... verdict``, as text, empty
    where the paper has no cell.
    """
    lines = table[table["artefact"] == artefact]
    by_dataset = lines[lines["arch"] != ""].groupby("dataset")["arch"]
    quantities, networks = lines["metric"].nunique() > 1, bool((by_dataset.nunique() > 1).any())
    rows: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for line in lines.to_dict("records"):
        place = f"{line['dataset']} IPC {line['ipc']}" if line["ipc"] else str(line["dataset"])
        column = f"{place} {line['arch']}" if networks else place
        columns[column] = None
        name = row_name(line) + (f", {QUANTITIES[line['metric']]}" if quantities else "")
        row, marks = rows.setdefault(name, {}), 1
        while f"{column} reported" in row:  # another source of the figure reports the same cell
            marks += 1
            row = rows.setdefault(f"{name} ({marks})", {})
        row |= {f"{column} reported": reported(line), f"{column} ours": _ours(line)}
        row[f"{column} verdict"] = line["verdict"]
    heads = [f"{column} {part}" for column in columns for part in PARTS]
    body = [{"row": name, **dict.fromkeys(heads, ""), **cells} for name, cells in rows.items()]
    return pd.DataFrame(body, columns=["row", *heads])


def _ours(line: Values) -> str:
    if pd.isna(line["ours"]):
        return ""
    decimals = 1 if line["metric"].startswith("accuracy") else 3
    bounds = ""
    if not pd.isna(line["interval_low"]):
        bounds = f" [{line['interval_low']:.{decimals}f}, {line['interval_high']:.{decimals}f}]"
    return f"{line['ours']:.{decimals}f}{bounds} {line['compared']}"


def side_by_side(wide: pd.DataFrame, break_: str) -> pd.DataFrame:
    """Return a pivot with one cell for each three: reported and, where there is a number, ours and the verdict."""
    cells: dict[str, list[str]] = {"row": list(wide["row"])}
    for column in _columns(wide):
        parts = wide[[f"{column} {part}" for part in PARTS]].to_numpy().tolist()
        cells[column] = [f"{value}{break_}{ours}: {verdict}" if ours else value for value, ours, verdict in parts]
    return pd.DataFrame(cells)


def _columns(wide: pd.DataFrame) -> list[str]:
    return [head.removesuffix(" reported") for head in wide.columns if head.endswith(" reported")]


def name_of(artefact: str) -> str:
    """Return an artefact's name for people, e.g. ``Table 1``."""
    return re.sub(r"(\d+)", r" \1", artefact).capitalize()


def paper_name(artefact: str, table: pd.DataFrame) -> str | None:
    """Return the name in reported.csv that a campaign's artefact stands for, e.g. ``fig3`` for ``figure3``.

    None where the paper has no such table or figure among its reported numbers.
    """
    name = artefact.replace("figure", "fig")
    return name if name in set(table["artefact"]) else None


def artefacts_csv(table: pd.DataFrame, names: Iterable[str] | None = None) -> str:
    """Return the cells of artefacts, by default all that the campaign touches, as CSV: a line per cell of the paper."""
    lines = []
    for artefact in touched_artefacts(table) if names is None else names:
        wide = pivot(table, artefact)
        for cells in wide.to_dict("records"):
            for column in _columns(wide):
                parts = {part: cells[f"{column} {part}"] for part in PARTS}
                if parts["reported"]:
                    lines.append({"artefact": artefact, "row": cells["row"], "column": column, **parts})
    return csv_text(pd.DataFrame(lines, columns=["artefact", "row", "column", *PARTS]))


def artefacts_markdown(table: pd.DataFrame, title: str, names: Iterable[str] | None = None) -> str:
    """Return artefacts, by default all that the campaign touches, as Markdown, each as the paper lays it out."""
    parts = [f"# The paper's tables and figures: {title}"]
    chosen = touched_artefacts(table) if names is None else list(names)
    parts += [NOTE] if chosen else ["This campaign touches none."]
    for name in chosen:
        parts += [f"## {name_of(name)}", markdown(side_by_side(pivot(table, name), "<br>"))]
    return "\n\n".join(parts) + "\n"


def artefacts_latex(table: pd.DataFrame, title: str, names: Iterable[str] | None = None) -> str:
    """Return artefacts, by default all that the campaign touches, as LaTeX; the document needs ``booktabs``."""
    chosen = touched_artefacts(table) if names is None else names
    tables = [
        latex_table(side_by_side(pivot(table, name), "; ours "), f"{name_of(name)}: {title}. {NOTE}") for name in chosen
    ]
    return "".join([f"% The paper's tables and figures: {title}\n", *tables])
