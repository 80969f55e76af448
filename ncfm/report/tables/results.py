"""The tables as CSV, Markdown and LaTeX, and the flat numbers that `dvc metrics show` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ncfm.core.layout import RELEASED
from ncfm.datasets.catalogue import facts_of, some
from ncfm.report.collect import Collected, ResultRow, Values
from ncfm.report.verdicts.intervals import interval, mean_of, seed_means

NOTE = (
    "Accuracy in percent. Last: test accuracy after the last epoch; the project's own claims rest on it. "
    "Best: the highest test accuracy over the looks at the test set, so it selects on the test set. "
    "Both are means over the n = seeds x networks; 95%: t interval of the mean over the seeds, each of which is the "
    "mean of its networks. One set says nothing about another set of its method. Protocols and curation: "
    "docs/evaluation.md. Where and how long each row was computed stands in the table of times."
)
COLUMNS = (
    *("dataset", "ipc", "method", "label", "curation", "arch", "protocol"),
    *("last", "last_std", "last_low", "last_high", "best", "best_std", "best_low", "best_high", "n", "n_seeds"),
    *("training_images_per_class", "note"),
)
HEADS = {
    "dataset": "data set",
    "ipc": "IPC",
    "label": "method",
    "curation": "curation",
    "arch": "test network",
    "protocol": "protocol",
    "last": "last",
    "last_interval": "95%",
    "best": "best (test-selected)",
    "best_interval": "95% of best",
    "n": "n",
    "training_images_per_class": "training images per class",
}
SAME, MOST = ["dataset", "ipc", "arch", "protocol"], 4  # what the accuracies of one sentence share, and how many
ONE_SET = "one set"  # in place of an interval over seeds
DECIMALS = {"training_images_per_class": 0}
SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
ESCAPES = str.maketrans(SPECIAL | {character: f"\\{character}" for character in "&%$#_{}"})


def results_table(collected: Collected) -> pd.DataFrame:
    """Return one line per data set, IPC, method, architecture and protocol, with the columns :data:`COLUMNS`.

    Cells that cannot be come last, each with its reason as the note.
    """
    lines = [_line(row) for row in collected.rows]
    for names in collected.skipped:
        line = {name: names.get(name) for name in ("dataset", "ipc", "method", "arch")}
        line |= {"label": collected.labels.get(str(line["method"]), line["method"])}
        lines.append({**line, "protocol": names.get("protocol") or RELEASED, "note": f"skipped: {names['reason']}"})
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _line(row: ResultRow) -> Values:
    line: Values = {name: getattr(row, name) for name in ("dataset", "ipc", "method", "label", "arch", "curation")}
    line |= {"protocol": row.protocol, "note": row.reason}
    if not row.evaluations:
        return line
    for name in ("last", "best"):
        values = row.accuracies(name)
        low, high = interval(seed_means(values)) or (None, None)
        line |= {name: mean_of(values), f"{name}_std": deviation(np.concatenate(values))}
        line |= {f"{name}_low": low, f"{name}_high": high}
    line |= {"n": sum(len(evaluation.last) for evaluation in row.evaluations), "n_seeds": len(row.evaluations)}
    line["training_images_per_class"] = row.evaluations[0].training_images / facts_of(row.dataset).classes
    return line


def deviation(values: np.ndarray) -> float | None:
    """Return the sample standard deviation (ddof = 1), or None of fewer than two values."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def metrics(table: pd.DataFrame) -> Values:
    """Return the accuracies by data set, IPC, method and ``arch`` or ``arch.protocol``, for `dvc metrics show`."""
    tree: Values = {}
    for line in table.to_dict("records"):
        if pd.isna(line["last"]):
            continue
        leaf = {name: round(float(line[name]), 4) for name in ("last", "best")}
        methods = tree.setdefault(line["dataset"], {}).setdefault(f"ipc{line['ipc']}", {})
        name = line["arch"] if line["protocol"] == RELEASED else f"{line['arch']}.{line['protocol']}"
        methods.setdefault(line["method"], {})[name] = leaf
    return tree


def accuracies_text(table: pd.DataFrame) -> str:
    """Return the accuracies of the first methods on the first data set, IPC, network and protocol, in a sentence."""
    tested = table[table["last"].notna()]
    if tested.empty:
        return ""
    first = tested.iloc[0]
    alike = tested[(tested[SAME] == first[SAME]).all(axis=1)]
    texts = [f"{label} {number(last, 1)}" for label, last in zip(alike["label"], alike["last"], strict=True)]
    how = "" if first["protocol"] == RELEASED else f" by the protocol {first['protocol']}"
    where = f"on {first['dataset']} at IPC {first['ipc']}, tested by {first['arch']}{how}"
    return f"Accuracy after the last epoch, in percent, {where}: {some(texts, MOST)}."


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV: numbers with four decimals, empty where there is none."""
    return table.to_csv(index=False, float_format="%.4f", lineterminator="\n")


def results_markdown(table: pd.DataFrame, title: str) -> str:
    """Return the results as Markdown for people: rounded, with what was not run listed below."""
    display, below = rounded(table)
    lines = [f"- \\* {text}\n" for text in below]
    return "".join([document(f"Results: {title}", NOTE, display), *["\n"] * bool(lines), *lines])


def results_latex(table: pd.DataFrame, title: str) -> str:
    """Return the results as a LaTeX table; the document needs ``\\usepackage{booktabs}``."""
    display, below = rounded(table)
    columns = "".join("r" if name in ("IPC", "n") else "l" for name in display.columns)
    remarks = " ".join(f"*: {text}." for text in below)
    return latex_table(display, f"Results: {title}. {NOTE}", columns, "small", remarks)


def latex_table(texts: pd.DataFrame, caption: str, columns: str = "", size: str = "tiny", below: str = "") -> str:
    """Return a table of texts as LaTeX; the document needs ``booktabs``.

    ``columns`` has a letter for each, ``l`` or ``r``, by default all to the left; ``size`` is that of the letters.
    """
    lines = [list(texts.columns), *texts.to_numpy().tolist()]
    head, *rows = (" & ".join(latex_escape(str(cell)) for cell in line) + r" \\" for line in lines)
    parts = [r"\begin{table}", rf"\centering\{size}", rf"\caption{{{latex_escape(caption)}}}"]
    parts += [rf"\begin{{tabular}}{{{columns or 'l' * len(texts.columns)}}}", r"\toprule", head, r"\midrule", *rows]
    parts += [r"\bottomrule", r"\end{tabular}", *([rf"\par\footnotesize {latex_escape(below)}"] if below else [])]
    return "\n".join([*parts, r"\end{table}", ""])


def rounded(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the table as short text under :data:`HEADS`, and of rows marked ``*`` which seeds are not there."""
    notes, lines = [], []
    for line in table.to_dict("records"):
        texts = _texts(line, HEADS, DECIMALS)
        if pd.isna(line["last"]):
            texts["last"] = line["note"] or "-"
        else:
            texts["n"] = counts_text(line)
            for name in ("last", "best"):
                bounds = interval_text(line[f"{name}_low"], line[f"{name}_high"], 1)
                texts |= {name: number(line[name], 1), f"{name}_interval": bounds}
            if line["note"]:
                place = f"{line['dataset']}, IPC {line['ipc']}, {line['label']}, {line['arch']}, {line['protocol']}"
                notes.append(f"{place}: {line['note']}")
                texts["last"] += " *"
        lines.append(texts)
    return pd.DataFrame(lines, columns=list(HEADS)).rename(columns=HEADS), notes


def interval_text(low: float, high: float, decimals: int) -> str:
    """Return the ends of an interval over seeds, e.g. ``56.1 to 58.7``, or ``one set`` where there is none."""
    return ONE_SET if pd.isna(low) else f"{low:.{decimals}f} to {high:.{decimals}f}"


def counts_text(line: Values) -> str:
    """Return how many values a mean is of, and of how many seeds, e.g. ``10 (2 seeds)`` or ``2 (one set)``."""
    seeds = f"{line['n_seeds']:.0f} seeds" if line["n_seeds"] > 1 else ONE_SET
    return f"{line['n']:.0f} ({seeds})"


def readable(table: pd.DataFrame, names: Sequence[str], decimals: Mapping[str, int], **heads: str) -> pd.DataFrame:
    """Return columns of a table as text for people, a dash where there is nothing.

    Numbers have the ``decimals`` of their column, and ± the column ``..._std`` where there is one; ``heads`` are the
    heads of columns that are not called as they are everywhere.
    """
    lines = [_texts(line, names, decimals) for line in table.to_dict("records")]
    return pd.DataFrame(lines).rename(columns={name: HEADS[name] for name in ("dataset", "ipc", "label")} | heads)


def _texts(line: Values, names: Iterable[str], decimals: Mapping[str, int]) -> dict[str, str]:
    texts = {name: "-" if pd.isna(line.get(name)) else str(line[name]) or "-" for name in names}
    for name, many in decimals.items():
        spread = line.get(f"{name}_std")
        texts[name] = number(line[name], many) + ("" if pd.isna(spread) else f" ± {spread:.{many}f}")
    return texts


def number(value: Any, decimals: int) -> str:
    """Return a number with fixed decimals, or a dash where there is none."""
    return "-" if pd.isna(value) else f"{value:.{decimals}f}"


def markdown(table: pd.DataFrame) -> str:
    """Return a table of texts as a Markdown table with padded columns."""
    body = [[str(cell).replace("|", r"\|") for cell in line] for line in table.to_numpy().tolist()]
    grid = [list(map(str, table.columns)), *body]
    widths = [max(len(line[index]) for line in grid) for index in range(len(grid[0]))]
    grid.insert(1, ["-" * width for width in widths])
    cells = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in grid]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def document(title: str, note: str, table: pd.DataFrame) -> str:
    """Return Markdown with a heading, a note, and a table of texts, or that nothing has run."""
    return "\n".join([f"# {title}", "", note, "", markdown(table) if len(table) else "Nothing has run.", ""])


def latex_escape(text: str) -> str:
    """Return ``text`` with every character that LaTeX treats specially written out."""
    return text.translate(ESCAPES)
