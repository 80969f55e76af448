"""Read what the report shows: every cell that its params list, its evaluation, its set and their records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from ncfm.core import layout
from ncfm.core.errors import DataError
from ncfm.report.files import ResultsFolder
from ncfm.stages import cells, table
from ncfm.stages.cells import SetCell
from ncfm.stages.table import DATA, MAKERS, SET_FOLDER, STAGES, TESTERS

Values = dict[str, Any]


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
    campaign = contents["campaign"]
    makers = [STAGES[stage].cell(**names) for stage in MAKERS for names in contents["cells"].get(stage, [])]
    sets = _with_sources([_stored_set(campaign, cell, results) for cell in makers if isinstance(cell, SetCell)])
    rows = []
    for group in seeds_together(contents, results, "evaluate"):
        cell = group.cells[0]
        assert isinstance(cell, cells.Evaluate)
        rows.append(
            ResultRow(
                cell.dataset,
                cell.ipc,
                cell.method,
                group.label,
                cell.arch,
                tuple(_evaluation(campaign, one, results) for one in group.found),
                group.missing,
                tuple(s for s in sets if s.cell.set_names[:3] == cell.set_names[:3]),
                cell.protocol or layout.RELEASED,
                _split(campaign, cell, results),
            )
        )
    return Collected(contents["title"], tuple(rows), sets, contents["labels"], tuple(contents.get("skipped", ())))


def _with_sources(sets: Sequence[StoredSet]) -> tuple[StoredSet, ...]:
    """Return the sets, the curated ones with the sets that they were made from."""
    by_name = {stored.cell.set_names: stored for stored in sets}
    return tuple(
        replace(stored, source=by_name.get((cell.dataset, cell.ipc, str(cell.source), cell.seed)))
        if isinstance(cell := stored.cell, cells.Curate)
        else stored
        for stored in sets
    )


def _stored_set(campaign: str, cell: SetCell, results: ResultsFolder) -> StoredSet:
    output = table.output(campaign, cell)
    record = results.read(layout.record_file(output))
    pool = None
    if extractor := cell.values.get("extractor"):
        pretraining = cells.Pretrain(cell.dataset, str(extractor))
        made = results.read(layout.record_file(table.output(campaign, pretraining)))
        pool = _params(results, table.params_file(campaign, pretraining), made)
    history = results.history(PurePosixPath(table.place(campaign, cell, f"{SET_FOLDER}/history.csv")))
    params = _params(results, table.params_file(campaign, cell), record)
    tensors = results.place(output)
    return StoredSet(cell, params, pool, record, history, tensors if tensors.is_file() else None)


def _params(results: ResultsFolder, path: PurePosixPath, record: Values | None) -> Values:
    """Return the params of a stage: from its params file or, in a folder without these, from its record."""
    found = results.read(path)
    if found is None and record is None:
        raise DataError(f"{results.place(path)}: no such file; run `ncfm params NAME` to write it")
    return dict(found if record is None or found is not None else record["params"])


def _split(campaign: str, cell: SetCell, results: ResultsFolder) -> str:
    """Return what the data set's card says of its division; empty without a card or division."""
    card = results.read(PurePosixPath(table.place(campaign, cell, f"{DATA}/card.json")))
    return str(card["source"].get("split", "")) if card else ""


def _evaluation(campaign: str, cell: SetCell, results: ResultsFolder) -> Evaluation:
    path = table.output(campaign, cell)
    with opened(results, path, cell, "an evaluation", "evaluation") as content:
        networks = content["networks"]
        if not networks:
            raise ValueError("no networks")
        return Evaluation(
            cell.seed,
            tuple(float(network["last"]) for network in networks),
            tuple(float(network["best"]) for network in networks),
            int(content["training_images"]),
            dict(content["params"]),
            results.read(layout.record_file(path)),
            tuple(tuple(float(accuracy) for _, accuracy, *_ in network["curve"]) for network in networks),
        )


def result_files(contents: Values, results: ResultsFolder) -> list[str | Path]:
    """Return the files with the results of tests that are there, of those that ``contents`` lists."""
    listed = [STAGES[stage].cell(**names) for stage in TESTERS for names in contents["cells"].get(stage, [])]
    return results.files(table.output(contents["campaign"], cell) for cell in listed)


@dataclass(frozen=True)
class Seeds:
    """A test with all its seeds: its cells, those whose result is there, and the files that are missing."""

    campaign: str
    label: str
    cells: tuple[SetCell, ...]
    found: tuple[SetCell, ...]
    missing: tuple[str, ...]

    @property
    def names(self) -> Values:
        """The names of the first seed."""
        return self.cells[0].names


def seeds_together(contents: Values, results: ResultsFolder, stage: str) -> list[Seeds]:
    """Return the tests that ``contents`` lists for one of the stages that test sets, seeds together."""
    campaign = contents["campaign"]
    groups: dict[tuple[Any, ...], list[SetCell]] = {}
    for names in contents["cells"].get(stage, []):
        cell = STAGES[stage].cell(**names)
        assert isinstance(cell, SetCell)
        groups.setdefault(tuple(value for key, value in names.items() if key != "seed"), []).append(cell)
    tests = []
    for group in groups.values():
        paths = {cell: table.output(campaign, cell) for cell in group}
        found = [cell for cell, path in paths.items() if results.has(path)]
        missing = tuple(str(path) for cell, path in paths.items() if cell not in found)
        label = contents["labels"].get(group[0].method, group[0].method)
        tests.append(Seeds(campaign, label, tuple(group), tuple(found), missing))
    return tests


@contextmanager
def opened(
    results: ResultsFolder, path: PurePosixPath, cell: SetCell, what: str, holds: str = "results"
) -> Iterator[Values]:
    """Give the content of a test's file, which must be of the names of its cell.

    A fault in it, found here or by the reader, is one line that names the file and ``what`` it should be.
    """
    content = results.read(path)
    place = results.place(path)
    try:
        if content["names"] != cell.names:
            raise DataError(f"{place}: holds the {holds} of {content['names']}, but its place is for {cell.names}")
        yield content
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{place}: not {what} ({reason}); delete it and run its stage again") from error


def hardware_text(record: Values) -> str:
    """Return the hardware of a record, e.g. ``NVIDIA H200`` or ``Intel Xeon, 2 threads``."""
    hardware = record["hardware"]
    return str(hardware["gpu"] or f"{hardware['cpu']}, {hardware['threads']} threads")


def commit_text(record: Values) -> str:
    """Return the short commit of a record, with ``+`` where the code differed from it."""
    return f"{record['commit'][:7]}{'+' if record['dirty'] else ''}" if record["commit"] else "unknown"
