"""Read what the report shows: every cell that its params list, its evaluation, its set and their records."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ncfm.core import layout
from ncfm.core.errors import DataError
from ncfm.report.files import ResultsFolder
from ncfm.stages import cells, table
from ncfm.stages.cells import SetCell
from ncfm.stages.table import DATA, MAKERS, SET_FOLDER, STAGES, TESTERS

Values = dict[str, Any]
Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class StoredSet:
    """A set, however made; what is missing is None, a missing history empty.

    ``params`` are those of its making, ``pool`` those of the extractors that this read; ``history`` is its loss by
    step, ``tensors`` the file with its images, and ``source`` the set that a curated one was made from.
    """

    cell: SetCell
    params: Values
    pool: Values | None
    record: Values | None
    history: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False)
    tensors: Path | None = None
    source: StoredSet | None = None


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: the accuracies (percent) of the networks trained on one set.

    ``looks`` are, for each network, its accuracies at all looks at the test set, in their order.
    """

    seed: int
    last: tuple[float, ...]
    best: tuple[float, ...]
    training_images: int
    params: Values
    record: Values | None
    looks: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class ResultRow:
    """One line of the tables: a method on a data set at an IPC, tested with an architecture under a protocol.

    Its evaluations are those of all its seeds. ``split`` is what the data set's card says of its division into training
    and test images; empty where there is only one.
    """

    dataset: str
    ipc: int
    method: str
    label: str
    arch: str
    evaluations: tuple[Evaluation, ...]
    missing: tuple[str, ...]
    sets: tuple[StoredSet, ...]
    protocol: str = layout.RELEASED
    split: str = ""

    def accuracies(self, which: str) -> list[tuple[float, ...]]:
        """Return the accuracies by seed, then by network; ``which`` is ``last`` or ``best``."""
        return [getattr(evaluation, which) for evaluation in self.evaluations]

    @property
    def missing_text(self) -> str:
        """Say which evaluations are not there; empty where all are."""
        more = f" (and {len(self.missing) - 1} more)" if len(self.missing) > 1 else ""
        return f"{self.missing[0]} is missing{more}" if self.missing else ""

    @property
    def reason(self) -> str:
        """Say that and which evaluations were not run; empty where all were."""
        return f"not run: {self.missing_text}" if self.missing else ""

    @property
    def whole(self) -> bool:
        """Say whether its set is the whole training set, whose IPC is only what it holds."""
        return self.sets[0].params.get("rule") == "all"

    @property
    def curation(self) -> str:
        """Say how the sets were curated; empty where they were not."""
        params = next((stored.params for stored in self.sets if stored.cell.stage == "curate"), None)
        if params is None:
            return ""
        labels = {"hard": [], "soft": ["soft labels"], "released": ["soft labels (released)"]}[params["labels"]]
        return ", ".join([*labels, *([f"fine-tuned ({params['finetune']} steps)"] if params["finetune"] else [])])


@dataclass(frozen=True)
class Collected:
    """All that the report shows, in the order of the campaign; ``skipped`` are cells that cannot be, and why."""

    title: str
    rows: tuple[ResultRow, ...]
    sets: tuple[StoredSet, ...]
    labels: Mapping[str, str]
    skipped: tuple[Values, ...] = ()


def collect(contents: Values, results: ResultsFolder) -> Collected:
    """Read the results that ``contents``, of ``report_contents`` in ncfm/campaign/campaign.py, lists.

    A file that is torn or is not what its place says is a :class:`DataError`; a missing evaluation is none.
    """
    campaign, sets, rows = contents["campaign"], dict[tuple[Any, ...], StoredSet](), []
    for made in _listed(contents, *MAKERS):
        sets[made.set_names] = _stored_set(campaign, made, results, sets)
    for group in seeds_together(contents, results, "evaluate"):
        cell = group.cell
        assert isinstance(cell, cells.Evaluate)
        card = PurePosixPath(table.place(campaign, cell, f"{DATA}/card.json"))
        rows.append(
            ResultRow(
                cell.dataset,
                cell.ipc,
                cell.method,
                group.label,
                cell.arch,
                tuple(_evaluation(one, path, results) for one, path in group.found.items()),
                group.missing,
                tuple(stored for names, stored in sets.items() if names[:3] == cell.set_names[:3]),
                cell.protocol or layout.RELEASED,
                _split(results, card),
            )
        )
    skipped = tuple(contents.get("skipped", ()))
    return Collected(contents["title"], tuple(rows), tuple(sets.values()), contents["labels"], skipped)


def _split(results: ResultsFolder, path: PurePosixPath) -> str:
    """Return what a data set's card says of its division into training and test images; empty without a card."""
    card = results.read(path)
    with _faults_of(results.place(path), "the card of a data set"):
        return str(card["source"].get("split", "")) if card is not None else ""


def _listed(contents: Values, *stages: str) -> list[SetCell]:
    """Return the cells of some stages about sets that the params of a report list."""
    found = [STAGES[stage].cell(**names) for stage in stages for names in contents["cells"].get(stage, [])]
    return [cell for cell in found if isinstance(cell, SetCell)]


def _stored_set(
    campaign: str, cell: SetCell, results: ResultsFolder, others: Mapping[tuple[Any, ...], StoredSet]
) -> StoredSet:
    """Read a set; ``others`` are those read before it, among them the one that a curated set was made from."""

    def params_of(cell: cells.Cell) -> tuple[Values, Values | None]:
        """Return the params and the record of a stage: params of its params file or, without one, of its record."""
        path, record = table.params_file(campaign, cell), results.read(layout.record_file(table.output(campaign, cell)))
        found = results.read(path)
        if found is None and record is None:
            raise DataError(f"{results.place(path)}: no such file; run `ncfm params NAME` to write it")
        return dict(record["params"] if found is None else found), record

    extractor, tensors = cell.values.get("extractor"), results.place(table.output(campaign, cell))
    pool = params_of(cells.Pretrain(cell.dataset, str(extractor)))[0] if extractor else None
    history = results.history(PurePosixPath(table.place(campaign, cell, f"{SET_FOLDER}/history.csv")))
    source = others.get((cell.dataset, cell.ipc, getattr(cell, "source", None), cell.seed))
    params, record = params_of(cell)
    return StoredSet(cell, params, pool, record, history, tensors if tensors.is_file() else None, source)


def _evaluation(cell: SetCell, path: PurePosixPath, results: ResultsFolder) -> Evaluation:
    with opened(results, path, cell, "an evaluation", "evaluation") as content:
        networks = content["networks"]
        if not networks:
            raise ValueError("no networks")
        last, best = (tuple(float(network[name]) for network in networks) for name in ("last", "best"))
        record = results.read(layout.record_file(path))
        looks = tuple(tuple(float(accuracy) for _, accuracy, *_ in network["curve"]) for network in networks)
        images, params = int(content["training_images"]), dict(content["params"])
        return Evaluation(cell.seed, last, best, images, params, record, looks)


def result_files(contents: Values, results: ResultsFolder) -> list[str | Path]:
    """Return the files with the results of tests that are there, of those that ``contents`` lists."""
    return results.files(table.output(contents["campaign"], cell) for cell in _listed(contents, *TESTERS))


@dataclass(frozen=True)
class Seeds:
    """A test with all its seeds: its first cell, the files that are there by their cells, and those missing."""

    label: str
    cell: SetCell
    found: Mapping[SetCell, PurePosixPath]
    missing: tuple[str, ...]


def seeds_together(contents: Values, results: ResultsFolder, stage: str) -> list[Seeds]:
    """Return the tests that ``contents`` lists for one of the stages that test sets, seeds together."""
    tests = []
    for group in grouped(_listed(contents, stage), lambda cell: replace(cell, seed=0)).values():
        paths = {cell: table.output(contents["campaign"], cell) for cell in group}
        found = {cell: path for cell, path in paths.items() if results.has(path)}
        missing = tuple(str(path) for cell, path in paths.items() if cell not in found)
        tests.append(Seeds(contents["labels"].get(group[0].method, group[0].method), group[0], found, missing))
    return tests


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Return the items that have the same key together, in the order in which each key is first met."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


@contextmanager
def opened(
    results: ResultsFolder, path: PurePosixPath, cell: SetCell, what: str, holds: str = "results"
) -> Iterator[Values]:
    """Give the content of a test's file, which must be of the names of its cell.

    A fault in it, found here or by the reader, is one line that names the file and ``what`` it should be.
    """
    content, place = results.read(path), results.place(path)
    with _faults_of(place, what):
        if content["names"] != cell.names:
            raise DataError(f"{place}: holds the {holds} of {content['names']}, but its place is for {cell.names}")
        yield content


@contextmanager
def _faults_of(place: Path, what: str) -> Iterator[None]:
    """Make one line, which names the file and ``what`` it should be, of what is found to be wrong in its content."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{place}: not {what} ({reason}); move it away and run the stage that wrote it") from error


@dataclass(frozen=True)
class AccuracyTable:
    """A test of a method's sets that is no evaluation, all seeds together: ``accuracies`` (n, columns) in percent.

    ``columns`` are the steps of continual learning (numbers of classes), the snapshots, or the networks of a search.
    """

    names: Values
    label: str
    columns: tuple[Any, ...]
    accuracies: np.ndarray
    missing: tuple[str, ...]


def collect_accuracies(
    contents: Values,
    results: ResultsFolder,
    stage: str,
    what: tuple[str, str],
    read: Callable[[Values], tuple[tuple[Any, ...], list[list[float]]]],
) -> list[AccuracyTable]:
    """Read the tests of a stage that ``contents`` lists, seeds together; some may be missing.

    ``what`` says what a file should be and what its columns are; ``read`` makes columns and accuracies of its content.
    """
    tests = []
    for seeds in seeds_together(contents, results, stage):
        columns, found = (), list[list[float]]()
        for cell, path in seeds.found.items():
            with opened(results, path, cell, what[0]) as content:
                these, accuracies = read(content)
                if columns and these != columns:
                    raise ValueError(f"other {what[1]} than those of another seed")
                columns, found = these, found + accuracies
        tests.append(AccuracyTable(seeds.cell.names, seeds.label, columns, np.array(found), seeds.missing))
    return tests
