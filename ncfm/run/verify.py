"""Check results against their records: which files are not what a stage wrote, and which stages read another input."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ncfm.core.errors import DataError
from ncfm.core.store import read_json, sha256
from ncfm.run.presentation import beside, records_below


def verify(folder: Path) -> Iterator[str]:
    """Yield a line for each file below ``folder`` that is not as its record says; then raise, or yield the count.

    Raises :class:`DataError` where there was such a file, or no record at all.
    """
    records = records_below(folder)
    if not records:
        raise DataError(f"{folder}: holds no record of a stage")
    hash_of, faults = cache(sha256), 0
    for path in records:
        for fault in faults_of(path, hash_of):
            faults += 1
            yield fault
    if faults:
        raise DataError(f"{folder}: {faults} files are not as the {len(records)} records say")
    yield f"{folder}: every file is as its record says ({len(records)} records)"


def faults_of(path: Path, hash_of: Any) -> Iterator[str]:
    """Yield a line for each file that is not as the record at ``path`` says."""
    try:
        record = read_json(path)
        stage, output, written, read = (record[key] for key in ("stage", "output", "outputs", "inputs"))
    except (DataError, KeyError, TypeError):
        yield f"{path}: is not a whole record"
        return
    for name, known in written.items():
        if not (file := beside(path, record, name)).is_file():
            yield f"{file}: is missing; {stage} wrote it"
        elif hash_of(file) != known:
            yield f"{file}: is not what {stage} wrote"
    for name, known in read.items():
        if (file := beside(path, record, name)).is_file() and hash_of(file) != known:
            yield f"{beside(path, record, output)}: {stage} read another {name} than the one that is there"
