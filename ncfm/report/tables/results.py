"""The tables as CSV, Markdown and LaTeX, and the flat numbers that `dvc metrics show` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ncfm.core.layout import RELEASED
from ncfm.datasets.catalogue import facts_of
from ncfm.report.collect import Collected, ResultRow, Values, hardware_text

NOTE = (
    "Accuracy in percent. Last: test accuracy after the last epoch; the project's own claims rest on it. "
    "Best: the highest test accuracy over the looks at the test set, so it selects on the test set. "
    "Both are mean ± sample standard deviation (ddof = 1) over all n = seeds x networks; "
    "between seeds: deviation of the means of the seeds (last). Seconds are means over the seeds; "
    "an evaluation trains all networks of one seed. Protocols and curation: docs/evaluation.md."
)
COLUMNS = (
    *("dataset", "ipc", "method", "label", "curation", "arch", "protocol"),
    *("last", "last_std", "best", "best_std", "n", "n_seeds"),
    *("last_between_seeds", "best_between_seeds", "training_images_per_class", "distill_seconds", "evaluate_seconds"),
    *("hardware", "torch", "commit", "note"),
)
HEADS = {
    "dataset": "data set",
    "ipc": "IPC",
    "label": "method",
    "curation": "curation",
    "arch": "test network",
    "protocol": "protocol",
    "last": "last",
    "best": "best (test-selected)",
    "n": "n",
    "last_between_seeds": "between seeds",
    "training_images_per_class": "training images per class",
    "distill_seconds": "make set (s)",
    "evaluate_seconds": "evaluate (s)",
    "place": "run on",
}
ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def results_table(collected: Collected) -> pd.DataFrame:
    """Return one line per data set, IPC, method, architecture and protocol, with the columns :data:`COLUMNS`.

    Cells that cannot be come last, each with its reason as the note.
    """
    lines = [_line(row) for row in collected.rows] + [_skipped(names, collected.labels) for names in collected.skipped]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _skipped(names: Values, labels: Mapping[str, str]) -> Values:
    known = {name: names.get(name) for name in ("dataset", "ipc", "method", "arch")}
    line = {**known, "label": labels.get(str(names.get("method")), names.get("method"))}
    return {**line, "protocol": names.get("protocol") or RELEASED, "note": f"skipped: {names['reason']}"}


def _line(row: ResultRow) -> Values:
    line: Values = {"dataset": row.dataset, "ipc": row.ipc, "method": row.method, "label": row.label, "arch": row.arch}
    line |= {"curation": row.curation, "protocol": row.protocol, "note": row.reason}
    if not row.evaluations:
        return line
    for name in ("last", "best"):
        by_seed = [np.asarray(values) for values in row.accuracies(name)]
        everything = np.concatenate(by_seed)
        line[name], line[f"{name}_std"] = float(everything.mean()), deviation(everything)
        line[f"{name}_between_seeds"] = deviation(np.array([values.mean() for values in by_seed]))
    line["n"] = sum(len(evaluation.last) for evaluation in row.evaluations)
    line["n_seeds"] = len(row.evaluations)
    line["training_images_per_class"] = row.evaluations[0].training_images / facts_of(row.dataset).classes
    evaluated = [evaluation.record for evaluation in row.evaluations]
    made = [stored.record for stored in row.sets]
    line["evaluate_seconds"], line["distill_seconds"] = _seconds(evaluated), _seconds(made)
    records = [record for record in [*made, *evaluated] if record is not None]
    for name, text in (("hardware", hardware_text), ("torch", _torch_text), ("commit", commit_text)):
        line[name] = " / ".join(dict.fromkeys(text(record) for record in records))
    return line


def deviation(values: np.ndarray) -> float | None:
    """Return the sample standard deviation (ddof = 1), or None of fewer than two values."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _seconds(records: Sequence[Values | None]) -> float | None:
    seconds = [record["seconds"] for record in records if record is not None]
    return float(np.mean(seconds)) if seconds else None


def _torch_text(record: Values) -> str:
    return str(record["versions"]["torch"])


def commit_text(record: Values) -> str:
    """Return the short commit of a record, with ``+`` where the code differed from it."""
    return f"{record['commit'][:7]}{'+' if record['dirty'] else ''}" if record["commit"] else "unknown"


def metrics(table: pd.DataFrame) -> Values:
    """Return the accuracies by data set, IPC, method and ``arch`` or ``arch.protocol``, for `dvc metrics show`."""
    tree: Values = {}
    for line in table.to_dict("records"):
        if pd.isna(line["last"]):
            continue
        names = ("last", "last_std", "best", "best_std", "n")
        leaf = {name: round(float(line[name]), 4) for name in names if not pd.isna(line[name])}
        leaf["n"] = int(leaf["n"])
        methods = tree.setdefault(line["dataset"], {}).setdefault(f"ipc{line['ipc']}", {})
        name = line["arch"] if line["protocol"] == RELEASED else f"{line['arch']}.{line['protocol']}"
        methods.setdefault(line["method"], {})[name] = leaf
    return tree


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV: numbers with four decimals, empty where there is none."""
    return table.to_csv(index=False, float_format="%.4f", lineterminator="\n")


def results_markdown(table: pd.DataFrame, title: str) -> str:
    """Return the results as Markdown for people: rounded, with the places of computation listed below."""
    display, below = rounded(table)
    lines = [f"# Results: {title}", "", NOTE, "", markdown(display), ""]
    lines += [rf"- **{mark}**: {text}" if mark != "*" else rf"- \* {text}" for mark, text in below]
    return "\n".join(lines).rstrip() + "\n"


def results_latex(table: pd.DataFrame, title: str) -> str:
    """Return the results as a LaTeX table; the document needs ``\\usepackage{booktabs}``."""
    display, below = rounded(table)
    columns = "".join("r" if name in ("IPC", "n") or "(s)" in name else "l" for name in display.columns)
    remarks = " ".join(f"{mark}: {text}." for mark, text in below)
    return latex_table(display, f"Results: {title}. {NOTE}", columns, "small", remarks)


def latex_table(texts: pd.DataFrame, caption: str, columns: str = "", size: str = "tiny", below: str = "") -> str:
    """Return a table of texts as LaTeX; the document needs ``booktabs``.

    Args:
        texts: the table.
        caption: above it.
        columns: a letter for each, ``l`` or ``r``; by default all to the left.
        size: of the letters: small enough for many columns.
        below: remarks.
    """
    rows = [" & ".join(latex_escape(str(cell)) for cell in line) + r" \\" for line in texts.to_numpy().tolist()]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\centering\{size}",
            rf"\caption{{{latex_escape(caption)}}}",
            rf"\begin{{tabular}}{{{columns or 'l' * len(texts.columns)}}}",
            r"\toprule",
            " & ".join(latex_escape(str(name)) for name in texts.columns) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            *([rf"\par\footnotesize {latex_escape(below)}"] if below else []),
            r"\end{table}",
            "",
        ]
    )


def rounded(table: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Return the table as short text under :data:`HEADS`, and what to say below it.

    That is where each row was computed, under a letter, and under ``*`` which seeds of a row are not there.
    """
    places: dict[str, str] = {}
    notes: list[str] = []
    lines = []
    for line in table.to_dict("records"):
        names = ("dataset", "ipc", "label", "curation", "arch", "protocol")
        texts = {name: "" if pd.isna(line[name]) else str(line[name]) for name in names}
        if pd.isna(line["last"]):
            texts |= {"last": line["note"]}
        else:
            place = f"{line['hardware']}; torch {line['torch']}; commit {line['commit']}" if line["hardware"] else ""
            letter = places.setdefault(place, _letter(len(places))) if place else ""
            if line["note"]:
                place = f"{line['dataset']}, IPC {line['ipc']}, {line['label']}, {line['arch']}, {line['protocol']}"
                notes.append(f"{place}: {line['note']}")
            texts |= {
                "last": plus_minus(line["last"], line["last_std"]) + (" *" if line["note"] else ""),
                "best": plus_minus(line["best"], line["best_std"]),
                "n": _counts(line),
                "last_between_seeds": number(line["last_between_seeds"], 1),
                "training_images_per_class": number(line["training_images_per_class"], 0),
                "distill_seconds": number(line["distill_seconds"], 1),
                "evaluate_seconds": number(line["evaluate_seconds"], 1),
                "place": letter,
            }
        lines.append({head: texts.get(name) or "-" for name, head in HEADS.items()})
    below = [(letter, place) for place, letter in places.items()] + [("*", note) for note in notes]
    return pd.DataFrame(lines, columns=list(HEADS.values())), below


def _letter(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else f"a{index - 25}"


def _counts(line: Values) -> str:
    if pd.isna(line["n"]):
        return "-"
    seeds = int(line["n_seeds"])
    return f"{int(line['n'])} ({seeds} seed{'s' if seeds > 1 else ''})"


def number(value: Any, decimals: int) -> str:
    """Return a number with fixed decimals, or a dash where there is none."""
    return "-" if value is None or pd.isna(value) else f"{value:.{decimals}f}"


def plus_minus(mean: Any, std: Any, decimals: int = 1) -> str:
    """Return ``mean ± deviation`` with fixed decimals, or the mean alone where there is no deviation."""
    return number(mean, decimals) + ("" if std is None or pd.isna(std) else f" ± {std:.{decimals}f}")


def markdown(table: pd.DataFrame) -> str:
    """Return a table of texts as a Markdown table with padded columns."""
    body = [[str(cell).replace("|", r"\|") for cell in line] for line in table.to_numpy().tolist()]
    grid = [list(map(str, table.columns)), *body]
    widths = [max(len(line[index]) for line in grid) for index in range(len(grid[0]))]
    grid.insert(1, ["-" * width for width in widths])
    cells = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in grid]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def latex_escape(text: str) -> str:
    """Return ``text`` with every character that LaTeX treats specially written out."""
    return "".join(ESCAPES.get(character, character) for character in text)
