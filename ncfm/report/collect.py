"""Read what the report shows: every cell that the params list, its evaluation, its set and their records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ncfm.core import layout
from ncfm.core.errors import DataError, ParamsError
from ncfm.core.layout import Cell
from ncfm.core.store import read_json, read_metadata

Values = dict[str, Any]


@dataclass(frozen=True)
class StoredSet:
    """A set, however made. ``params`` are those it was made with; ``metadata`` is None where it is missing.

    ``source`` is the set that a curated one was made from, None for others.
    """

    cell: Cell
    folder: Path
    params: Values
    pool: Values | None
    metadata: Values | None
    record: Values | None
    source: StoredSet | None = None


@dataclass(frozen=True)
class Evaluation:
    """One evaluation file: the accuracies (percent) of the networks trained on one set."""

    seed: int
    last: tuple[float, ...]
    best: tuple[float, ...]
    training_images: int
    params: Values
    record: Values | None


@dataclass(frozen=True)
class Row:
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

    @property
    def reason(self) -> str:
        """Say which evaluations are not there; empty where all are."""
        if not self.missing:
            return ""
        more = f" (and {len(self.missing) - 1} more)" if len(self.missing) > 1 else ""
        return f"not run: {self.missing[0]} is missing{more}"

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
    """All that the report shows, in the order of the campaign."""

    title: str
    rows: tuple[Row, ...]
    sets: tuple[StoredSet, ...]
    labels: Mapping[str, str]


def collect(contents: Values, results: Path) -> Collected:
    """Read the results that ``contents`` lists.

    Args:
        contents: what there is to show: ``report_contents`` in ncfm/campaign/campaign.py.
        results: the campaign's folder.

    Raises:
        DataError: where a file is torn or is not what its place says. A missing evaluation is no error.
    """
    files = _Files(contents["campaign"], results)
    sets = _with_sources([files.stored_set(names) for names in contents["sets"]])
    rows = []
    for group in seeds_together(contents, results, "evaluate"):
        dataset, ipc, method = (group.names[name] for name in ("dataset", "ipc", "method"))
        rows.append(
            Row(
                dataset,
                ipc,
                method,
                group.label,
                group.names["arch"],
                tuple(files.evaluation(path, names) for path, names in group.files.items()),
                group.missing,
                tuple(s for s in sets if (s.cell.dataset, s.cell.ipc, s.cell.method) == (dataset, ipc, method)),
                group.names.get("protocol", layout.RELEASED),
                files.split(dataset),
            )
        )
    return Collected(contents["title"], tuple(rows), sets, contents["labels"])


def _with_sources(sets: Sequence[StoredSet]) -> tuple[StoredSet, ...]:
    """Return the sets, the curated ones with the sets that they were made from."""
    by_name = {(s.cell.dataset, s.cell.ipc, s.cell.method, s.cell.seed): s for s in sets}
    return tuple(
        replace(s, source=by_name.get((s.cell.dataset, s.cell.ipc, s.cell.of, s.cell.seed))) if s.cell.of else s
        for s in sets
    )


def read_contents(path: Path) -> Values:
    """Read the report's params file. Raises :class:`ParamsError` where it lists no campaign, :class:`DataError`."""
    contents = read_json(path)
    for key in ("campaign", "title", "labels", "evaluations", "sets"):
        if not isinstance(contents, dict) or key not in contents:
            raise ParamsError(f"{path}: {key}: is missing; run `ncfm params NAME` to write the file anew")
    return contents


def evaluation_files(contents: Values, results: Path) -> list[str | Path]:
    """Return the evaluation files that are there, of those that ``contents`` lists."""
    files = _Files(contents["campaign"], results)
    cells = [Cell(stage, **names) for stage in layout.TESTS for names in _listed(contents, stage)]
    paths = [files.place(layout.evaluation_file(files.campaign, cell)) for cell in cells]
    return [path for path in paths if path.is_file()]


def _listed(contents: Values, stage: str) -> list[Values]:
    return contents["evaluations"] if stage == "evaluate" else contents.get(stage, [])


@dataclass(frozen=True)
class Seeds:
    """A test with all its seeds: the files that are there with the names of each, and the files that are missing.

    ``names`` are those of the first seed.
    """

    names: Values
    label: str
    files: Mapping[Path, Values]
    missing: tuple[str, ...]


def seeds_together(contents: Values, results: Path, stage: str) -> list[Seeds]:
    """Return the tests that ``contents`` lists for one of the stages that test sets, seeds together."""
    files = _Files(contents["campaign"], results)
    groups: dict[tuple[Any, ...], list[Values]] = {}
    for names in _listed(contents, stage):
        groups.setdefault(tuple(value for key, value in names.items() if key != "seed"), []).append(names)
    found = []
    for group in groups.values():
        places = {files.place(layout.evaluation_file(files.campaign, Cell(stage, **names))): names for names in group}
        there = {path: names for path, names in places.items() if path.is_file()}
        label = contents["labels"].get(group[0]["method"], group[0]["method"])
        found.append(Seeds(group[0], label, there, tuple(path.as_posix() for path in places if path not in there)))
    return found


@contextmanager
def opened(path: Path, names: Values, what: str, holds: str = "results") -> Iterator[Values]:
    """Give the content of a test's file, which must be of the ``names`` of its place.

    A fault in it, found here or by the reader, is one line that names the file and ``what`` it should be.
    """
    content = read_json(path)
    try:
        if content["names"] != names:
            raise DataError(f"{path}: holds the {holds} of {content['names']}, but its place is for {names}")
        yield content
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: not {what} ({reason}); delete it and run its stage again") from error


class _Files:
    """Finds a campaign's files by ncfm/core/layout.py below any folder, and checks what it reads."""

    def __init__(self, campaign: str, results: Path) -> None:
        self.campaign, self.results = campaign, results

    def place(self, path: PurePosixPath) -> Path:
        return self.results / path.relative_to(layout.campaign_folder(self.campaign))

    def record(self, output: PurePosixPath) -> Values | None:
        path = self.place(layout.record_file(output))
        return read_json(path) if path.is_file() else None

    def split(self, dataset: str) -> str:
        """Return what the data set's card says of its division; empty without a card or division."""
        path = self.place(layout.dataset_folder(self.campaign, dataset) / "card.json")
        return str(read_json(path)["source"].get("split", "")) if path.is_file() else ""

    def params(self, cell: Cell, record: Values | None) -> Values:
        """Return the params of a stage: from its params file or, in a folder without these, from its record."""
        path = self.place(layout.params_file(self.campaign, cell))
        return record["params"] if record is not None and not path.is_file() else read_json(path)

    def stored_set(self, names: Values) -> StoredSet:
        # Params files named no stage while every set with extractors was a distilled one.
        cell = Cell(**{"stage": "distill" if "extractor" in names else "select", **names})
        folder = layout.set_folder(self.campaign, cell)
        path = self.place(folder / "distilled.safetensors")
        record = self.record(folder / "distilled.safetensors")
        pool = None
        if cell.extractor is not None:
            output = layout.extractor_file(self.campaign, str(cell.dataset), cell.extractor)
            pool = self.params(Cell("pretrain", cell.dataset, arch=cell.extractor), self.record(output))
        metadata = read_metadata(path) if path.is_file() else None
        return StoredSet(cell, self.place(folder), self.params(cell, record), pool, metadata, record)

    def evaluation(self, path: Path, names: Values) -> Evaluation:
        with opened(path, names, "an evaluation", "evaluation") as content:
            networks = content["networks"]
            if not networks:
                raise ValueError("no networks")
            return Evaluation(
                int(names["seed"]),
                tuple(float(network["last"]) for network in networks),
                tuple(float(network["best"]) for network in networks),
                int(content["training_images"]),
                dict(content["params"]),
                self.record(layout.evaluation_file(self.campaign, Cell("evaluate", **names))),
            )
