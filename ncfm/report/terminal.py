"""A campaign's accuracies as a table that fits into the terminal, from `tables/results.csv`. No torch, no pandas."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Mapping
from pathlib import Path

from ncfm.core.errors import DataError, notices, one_line
from ncfm.core.store import read_json, sha256
from ncfm.datasets.catalogue import counted
from ncfm.stages.table import STAGES

NAMES = {"dataset": "data set", "ipc": "IPC", "label": "method", "arch": "network", "protocol": "protocol"}
HEADS = ("accuracy", "95%", "sets")
LEAST = 12  # characters of a method's name that are left in any case
GAP = "  "


def results_text(folder: Path, width: int) -> str:
    """Return the accuracies of the campaign whose results lie in ``folder``, in lines of at most ``width`` characters.

    What is the same in all rows stands above the table; long names of methods are cut, in terminals too narrow for that
    the lines too. Raises :class:`DataError` where the campaign has no table yet, or what is there is none.
    """
    path = folder / "tables/results.csv"
    if not path.is_file():
        raise DataError(f"{path}: is not there yet; `snakemake --cores all --config campaign={folder.name}` makes it")
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        if not rows or any(None in row.values() for row in rows):
            raise ValueError("a row is cut off")
        text = _text(path, rows, folder.name, width)
    except (ValueError, KeyError, AttributeError, csv.Error) as error:  # AttributeError: of a value that is missing
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise DataError(f"{path}: not the table of a report ({reason}); move it away and run the report") from error
    if not (count := _changed(folder, path)):
        return text
    again = f"`snakemake --cores all --config campaign={folder.name}` makes the table anew"
    return text + notices(f"{counted(count, 'file')} behind these numbers changed since the report; {again}")


def _changed(folder: Path, table: Path) -> int:
    """Return how many results are not what the report read, its table with them; 0 without the report's record."""
    try:
        record = read_json(folder / STAGES["report"].outputs[-1])
        known = {Path(name): digest for name, digest in record["inputs"].items() if name.endswith(".json")}
        known[table] = record["outputs"][str(table)]
    except (DataError, KeyError, TypeError, AttributeError):
        return 0
    return sum(not path.is_file() or sha256(path) != digest for path, digest in known.items())


def _text(path: Path, rows: list[dict[str, str]], campaign: str, width: int) -> str:
    """Return the text for the rows of the table at ``path``."""
    tested = [row for row in rows if row["last"]]
    same = [name for name in NAMES if name != "label" and len({row[name] for row in tested}) == 1]
    names = [name for name in NAMES if name not in same]
    grid = [[NAMES[name] for name in names] + list(HEADS)]
    grid += [[row[name] for name in names] + _numbers(row) for row in tested]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    method = names.index("label")
    widths[method] = max(LEAST, widths[method] - max(0, sum(widths) + len(GAP) * (len(widths) - 1) - width))
    everywhere = [_named(name, tested[0][name]) for name in same if tested]
    caption = f"{', '.join([campaign, *everywhere])}: accuracy in percent after the last epoch, t interval over sets"
    lines = textwrap.wrap(caption, width)
    for row in grid:
        texts = [text if len(text) <= size else f"{text[: size - 1]}…" for text, size in zip(row, widths, strict=True)]
        lines.append(GAP.join(f"{text:<{size}}" for text, size in zip(texts, widths, strict=True)).rstrip())
    if missing := len(rows) - len(tested):
        lines.append(f"{missing} more not run: {path.with_suffix('.md')} says why")
    return "".join(f"{line[:width]}\n" for line in lines)


def _named(name: str, value: str) -> str:
    return f"IPC {value}" if name == "ipc" else f"protocol {value}" if name == "protocol" else value


def _numbers(row: Mapping[str, str]) -> list[str]:
    interval = f"{float(row['last_low']):.1f} to {float(row['last_high']):.1f}" if row["last_low"] else "one set"
    return [f"{float(row['last']):.1f}", interval, row["n_seeds"].partition(".")[0]]
