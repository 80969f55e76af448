"""The stage `prepare`: take a data set from one of its sources, verify it, write it as tensors with a card."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from ncfm.core.errors import DataError, ParamsError, one_of
from ncfm.core.layout import SPLIT_FILES
from ncfm.core.params import PrepareParams
from ncfm.core.store import save_tensors, storage_errors, write_json
from ncfm.datasets.catalogue import DatasetFacts, Loaded, check_sizes, facts_of
from ncfm.datasets.split import statistics
from ncfm.run.record import Record


def prepare(params: PrepareParams, out: Path, record: Record) -> None:
    """Write ``train.safetensors``, ``test.safetensors`` and, last, ``card.json`` into the folder ``out``.

    The tensors files hold nothing of the source, so they are the same bytes whichever source was used. Raises
    ParamsError for an unknown data set or source, and DataError where a source gives other data than is known.
    """
    facts = facts_of(params.dataset)
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    name, loaded = _load(facts, params.source, Path(params.root))
    write(facts, name, loaded, out, record)


def write(facts: DatasetFacts, source: str, loaded: Loaded, out: Path, record: Record) -> None:
    """Write what the source called ``source`` gave into the folder ``out`` and finish the record."""
    names = facts.label_names or loaded.label_names
    known = {"label_names": names, "mean": facts.mean, "std": facts.std}
    files: list[str | Path] = []
    for split, (images, labels) in loaded.splits.items():
        files.append(out / SPLIT_FILES[split])
        metadata = {"dataset": facts.name, "split": split, "classes": facts.classes, **known}
        save_tensors(files[-1], {"images": images, "labels": labels}, metadata)
    files.append(out / "card.json")
    train, _ = loaded.splits["train"]
    mean, deviation = statistics(train)
    counts = {split: labels.bincount(minlength=facts.classes).tolist() for split, (_, labels) in loaded.splits.items()}
    card = {
        "dataset": facts.name,
        "source": {"name": source, **loaded.origin},
        "label_names": names,
        "shape": list(train.shape[1:]),
        "images": {split: sum(count) for split, count in counts.items()},
        "images_per_class": {split: dict(zip(names, count, strict=True)) for split, count in counts.items()},
        "normalisation": {"mean": facts.mean, "std": facts.std},
        "measured": {"mean": mean, "std": deviation},
        "sha256": loaded.content(),
    }
    write_json(files[-1], card)
    record.finish(files, {f"{split}_images": len(labels) for split, (_, labels) in loaded.splits.items()})


def _load(facts: DatasetFacts, choice: str, root: Path) -> tuple[str, Loaded]:
    """Return the name of the source that gave the data, and the data; ``auto`` tries the sources in turn."""
    if choice not in ("auto", *facts.sources):
        raise ParamsError(one_of("source", choice, ("auto", *facts.sources), f"prepare for {facts.name}"))
    names = tuple(facts.sources) if choice == "auto" else (choice,)
    failures = []
    for name in names:
        try:
            loaded = facts.sources[name](facts, root)
            _verify(facts, name, loaded)
            return name, loaded
        except DataError as error:
            failures.append(error)
        except PermissionError as error:
            failures.append(DataError(f"{error.filename}: cannot be read (no permission)"))
        if len(names) > 1:
            print(f"prepare: source {name}: {failures[-1]}", file=sys.stderr, flush=True)
    if len(names) == 1:
        raise failures[0]
    said = "; ".join(f"({number}) {error}" for number, error in enumerate(failures, 1))
    raise DataError(f"{facts.name}: no source gave the data; put its files under {root}/ or connect; tried: {said}")


def _verify(facts: DatasetFacts, name: str, loaded: Loaded) -> None:
    """Compare shapes, labels, class sizes and the known content. Raises :class:`DataError` where they differ."""
    place = f"{facts.name}: source {name}"
    shape = (facts.channels, facts.resolution, facts.resolution)
    names = facts.label_names or loaded.label_names
    for split, (images, labels) in loaded.splits.items():
        if images.dtype != torch.uint8 or images.shape[1:] != shape or labels.shape != images.shape[:1]:
            raise DataError(
                f"{place}: gave {split} images {str(images.dtype).removeprefix('torch.')} {tuple(images.shape)} with "
                f"labels {tuple(labels.shape)}, but they must be uint8 (N, {', '.join(map(str, shape))}) and (N,)"
            )
        outside = labels[(labels < 0) | (labels >= facts.classes)]
        if len(outside):
            raise DataError(f"{place}: gave the {split} label {outside[0]}, but labels are 0 to {facts.classes - 1}")
        check_sizes(facts, split, labels.bincount(minlength=facts.classes).tolist(), names, place)
    found = loaded.content() if facts.content else {}
    for part, expected in facts.content.items():
        if found[part] != expected:
            raise DataError(
                f"{place} gave other {part} than the known ones "
                f"(content hash {found[part]}, expected {expected}); move its files away and run again"
            )
