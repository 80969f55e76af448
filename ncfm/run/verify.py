"""Check results against their records: which files are not what a stage wrote, and which stages read another input."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ncfm.core.errors import DataError
from ncfm.core.store import read_json, sha256

APART = ("published", "shipped")  # folders of `results` whose files are known by other notes


def verify(folder: Path) -> Iterator[str]:
    """Yield a line for each file below ``folder`` that is not as its record says; then raise, or yield the count.

    Raises :class:`DataError` where there was such a file, or no record at all.
    """
    records = [path for path in sorted(folder.rglob("*.record.json")) if not set(APART) & set(path.parts)]
    if not records:
        raise DataError(f"{folder}: holds no record of a stage")
    hash_of, faults = cache(sha256), 0
    for path in records:
        for fault in _faults(path, hash_of):
            faults += 1
            yield fault
    if faults:
        raise DataError(f"{folder}: {faults} files are not as the {len(records)} records say")
    yield f"{folder}: every file is as its record says ({len(records)} records)"


def _faults(path: Path, hash_of: Any) -> Iterator[str]:
    try:
        record = read_json(path)
        stage, output, written, read = (record[key] for key in ("stage", "output", "outputs", "inputs"))
    except (DataError, KeyError, TypeError):
        yield f"{path}: is not a whole record"
        return
    root = _root(path, Path(output))
    for name, known in written.items():
        if not (file := root / name).is_file():
            yield f"{file}: is missing; {stage} wrote it"
        elif hash_of(file) != known:
            yield f"{file}: is not what {stage} wrote"
    for name, known in read.items():
        if (file := root / name).is_file() and hash_of(file) != known:
            yield f"{root / output}: {stage} read another {name} than the one that is there"


def _root(path: Path, output: Path) -> Path:
    """Return the folder from which the record at ``path`` names its files: results may have moved as a whole."""
    depth = len(output.parent.parts)
    return path.parents[depth] if path.parent.parts[-depth:] == output.parent.parts else Path()
