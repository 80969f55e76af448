"""Check results against their records: which files are not what a stage wrote, and which stages read another input."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from math import isclose
from pathlib import Path, PurePosixPath

from ncfm.core.errors import DataError
from ncfm.core.layout import ELSEWHERE, MLFLOW, SET_FILE, record_file
from ncfm.core.store import read_json, sha256
from ncfm.run.presentation import Content, beside, key_of_run, read_record, records_below

TESTS = "evaluations/*/ipc*/*/seed*/*.json"  # the files that the stages of the table write when they test a set
NAMED_LATER = "import"  # the stage that learns from what it reads how its cell is named, after its key was made
ROUNDED = 1e-6  # a mean in the JSON file of a test has six decimals


def verify(folder: Path) -> Iterator[str]:
    """Yield a line for each file below ``folder`` that is not as its record says; then raise, or yield the count.

    Raises :class:`DataError` where there was such a file, or no record at all.
    """
    records = {path: whole_record(path) for path in records_below(folder)}
    if not records:
        raise DataError(f"{folder}: holds no record of a stage")
    faults = 0
    for fault in faults_below(folder, records):
        faults += 1
        yield fault
    if faults:
        raise DataError(f"{folder}: {faults} files are not as the {len(records)} records say")
    yield f"{folder}: every file is as its record says ({len(records)} records)"


def whole_record(path: Path) -> Content | None:
    """Return the record at ``path``; None where it is torn or no whole one."""
    try:
        record = read_record(path)
    except DataError:
        return None
    return record if isinstance(record.get("output"), str) and "outputs" in record else None


def faults_below(folder: Path, records: Mapping[Path, Content | None]) -> Iterator[str]:
    """Yield a line for each record, each file of a record and each file without one that is not as it should be."""
    hash_of, whole = cache(sha256), [(path, record) for path, record in records.items() if record]
    written = {beside(path, record, name) for path, record in whole for name in record["outputs"]}
    for path in records:
        yield from faults_of(path, hash_of)
    for path, record in whole:
        yield from missing_inputs(path, record, written)
    for file in without_record(folder):
        yield f"{file}: has no record of a stage that wrote it"


def faults_of(path: Path, hash_of: Callable[[Path], str]) -> Iterator[str]:
    """Yield a line for each file that is not as the record at ``path`` says, and for a record that was changed."""
    if (record := whole_record(path)) is None:
        yield f"{path}: is not a whole record"
        return
    stage = record["stage"]
    if not holds(record):
        yield f"{path}: was changed: its key is not that of its stage, campaign, names, params and inputs"
    for name, known in record["outputs"].items():
        if not (file := beside(path, record, name)).is_file():
            yield f"{file}: is missing; {stage} wrote it"
        elif hash_of(file) != known:
            yield f"{file}: is not what {stage} wrote"
        elif file.match(TESTS):
            yield from (
                f"{path}: was changed: its {metric} is not that of {file}" for metric in other_means(record, file)
            )
    for name, known in record["inputs"].items():
        if (file := beside(path, record, name)).is_file() and hash_of(file) != known:
            yield f"{beside(path, record, record['output'])}: {stage} read another {name} than the one that is there"


def holds(record: Content) -> bool:
    """Say whether a record's key is the one of its content."""
    try:
        return record["stage"] == NAMED_LATER or key_of_run(record) == record["key"]
    except (ValueError, RecursionError):  # a number that is none, or lists too deep, which no stage writes
        return False


def other_means(record: Content, file: Path) -> Iterator[str]:
    """Yield the names of the record's metrics of which the JSON file of a test has another mean."""
    content = read_json(file)
    parts = {name: one for name, one in content.items() if isinstance(one, dict)} if isinstance(content, dict) else {}
    means = {name: one["mean"] for name, one in parts.items() if isinstance(one.get("mean"), float)}
    for name in sorted(means.keys() & record["metrics"].keys()):
        value = record["metrics"][name]
        if not (isinstance(value, int | float) and isclose(value, means[name], abs_tol=ROUNDED)):
            yield name


def missing_inputs(path: Path, record: Content, written: Collection[Path]) -> Iterator[str]:
    """Yield a line for each file that the stage of the record at ``path`` read and that is gone.

    One among ``written`` is left out: what the record of the stage that wrote it says of it is enough.
    """
    for name in record["inputs"]:
        here = {beside(path, record, name), Path(name)}  # where only the results were moved, other files stay
        if here.isdisjoint(written) and not any(map(Path.is_file, here)):
            yield f"{beside(path, record, record['output'])}: {record['stage']} read {name}, which is missing"


def without_record(folder: Path) -> Iterator[Path]:
    """Yield the sets and results of tests below a folder that have no record beside them, in their order."""
    for file in sorted(path for path in folder.rglob("[!.]*.*") if any(map(path.absolute().match, (SET_FILE, TESTS)))):
        elsewhere = not {*ELSEWHERE, MLFLOW}.isdisjoint(file.relative_to(folder).parts)
        if not (elsewhere or file.name.endswith(".record.json") or Path(record_file(PurePosixPath(file))).is_file()):
            yield file
