"""Campaigns: read `params/<campaign>.yaml` over `params/base.yaml`, check them, and list what there is to run.

Stages read a cell's params from a small JSON file: an engine that compares files re-runs cells whose values changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ncfm.campaign.expand import Expansion, Skipped
from ncfm.campaign.layers import Layers, check_declared
from ncfm.campaign.reading import read_yaml
from ncfm.core import layout
from ncfm.core.errors import ParamsError
from ncfm.core.params import ReportParams, StageParams
from ncfm.core.store import is_text, json_text, storage_errors, write_text
from ncfm.core.values import LONGEST_NAME
from ncfm.datasets.catalogue import facts_of
from ncfm.stages import cells, table
from ncfm.stages.cells import Cell, SetCell
from ncfm.stages.table import MAKERS, STAGES, TESTERS

RESERVED = ("base", "campaign", "dvc", *layout.APART)  # names in params/ or results/ that are no campaigns
PARAMS = Path("params")


@dataclass(frozen=True)
class Campaign:
    """A checked campaign: its cells in the order of the pipeline, with the params of each, and those that cannot be."""

    name: str
    title: str
    cells: tuple[Cell, ...]
    params: dict[Cell, StageParams]
    labels: dict[str, str]
    skipped: tuple[Skipped, ...] = ()
    artefacts: dict[str, tuple[Cell, ...]] = field(default_factory=dict)  # its tables and figures, and what each needs
    artefacts_skipped: dict[str, tuple[Skipped, ...]] = field(default_factory=dict)
    too_large: tuple[str, ...] = ()  # networks that cannot fit into this machine's memory, a line each

    @cached_property
    def sets(self) -> dict[tuple[str, int, str, int], SetCell]:
        """The cells that make sets, by the names of the set."""
        return {cell.set_names: cell for cell in self.cells_of(*MAKERS) if isinstance(cell, SetCell)}

    def cells_of(self, *stages: str) -> list[Cell]:
        """Return the cells of the given stages."""
        return [cell for cell in self.cells if cell.stage in stages]

    def part(self, artefact: str | None) -> tuple[Cell, ...]:
        """Return the cells of an artefact; of the whole campaign where none is named."""
        return self.artefacts[artefact] if artefact else self.cells


NAME = f"[A-Za-z0-9][A-Za-z0-9_-]{{0,{LONGEST_NAME - 1}}}"


def available(folder: Path = PARAMS) -> list[str]:
    """Return the names of the campaigns in ``folder``."""
    return sorted(path.stem for path in folder.glob("[!.]*.yaml") if path.stem not in RESERVED)


def having(artefact: str, folder: Path = PARAMS) -> list[str]:
    """Return the names of the campaigns in ``folder`` that have an artefact of this name."""
    found = []
    for name in available(folder):
        with contextlib.suppress(ParamsError, AttributeError, TypeError):  # a file with a fault has none
            found += [name] if artefact in read_yaml(folder / f"{name}.yaml").get("artefacts", ()) else []
    return found


def load(name: str, folder: Path = PARAMS) -> Campaign:
    """Read, check and resolve `folder/<name>.yaml`. Raises :class:`ParamsError`: file, key, value, what is allowed."""
    check_declared("campaign", [name], available(folder), str(folder))
    if not re.fullmatch(NAME, name):  # it becomes a folder, and a part of commands and of DVC's names of stages
        raise ParamsError(
            f"{folder / name}.yaml: the file's name may hold letters, digits, '-' and '_' only, {LONGEST_NAME} at most"
        )
    layers = Layers(folder / "base.yaml", folder / f"{name}.yaml")
    _check(layers)
    file, found = layers.campaign, Expansion(layers)
    report = layers.merged(ReportParams)[0]
    compared = [method for pair in report.comparisons for method in pair]
    check_declared("method of this campaign", compared, file.methods, f"{layers.path}: report.comparisons")
    reports: list[Cell] = [*map(cells.Artefact, file.artefacts), cells.Report()]
    params = {**found.params, **dict.fromkeys(reports, report)}
    everything = tuple(cell for stage in STAGES for cell in params if cell.stage == stage)
    return Campaign(
        name,
        file.title or name,
        everything,
        params,
        _labels(layers),
        found.all_skipped(),
        {name: tuple(cell for cell in everything if cell in found.members[name]) for name in file.artefacts},
        {name: tuple(found.skipped[name].values()) for name in file.artefacts},
        tuple(found.too_large),
    )


def _labels(layers: Layers) -> dict[str, str]:
    """Return what tables call each method; raise where two are called the same."""
    labels: dict[str, str] = {}
    for method in layers.campaign.methods:
        label = layers.field("label", [method]) or method
        for other in (name for name, known in labels.items() if known == label):
            raise ParamsError(f"{layers.path}: methods.{method}.label: is {label!r}, which {other} is called too")
        labels[method] = label
    return labels


def _check(layers: Layers) -> None:
    """Check what does not depend on the data sets: names, protocols, and the methods of all tests."""
    layers.check_names()
    file, path = layers.campaign, layers.path
    for key in ("datasets", "methods", *(() if file.artefacts else ("architectures",))):
        if not getattr(file, key):
            raise ParamsError(f"{path}: {key}: is missing or empty, but a campaign needs at least one")
    named = {name for one in layers.files.values() for name, entry in one.protocols.items() if entry.evaluate}
    protocols = sorted({layout.RELEASED, *named})
    check_declared("protocol", file.protocols, protocols, f"{path}: protocols")
    for place, one in layers.files.items():
        for name, dataset in ((name, dataset) for name, entry in one.protocols.items() for dataset in entry.sets):
            facts_of(dataset, f"{place}: protocols.{name}.sets")
    for key, section in file.tests.items():
        check_declared("protocol", [section.protocol], protocols, f"{path}: {key}.protocol")
        check_declared("method of this campaign", section.methods, file.methods, f"{path}: {key}.methods")
        for method in section.also:
            if method not in file.methods:
                raise ParamsError(f"{path}: {key}: needs the method {method!r} in methods, to compare with")
    layers.check_methods()


def report_contents(campaign: Campaign, artefact: str | None = None) -> dict[str, Any]:
    """Return what the report of a campaign, or of an artefact of it, needs to know: title, labels, and every cell."""
    chosen = campaign.part(artefact)
    skipped = campaign.artefacts_skipped[artefact] if artefact else campaign.skipped
    return {
        "campaign": campaign.name,
        **({"artefact": artefact} if artefact else {}),
        "title": campaign.title,
        "labels": campaign.labels,
        "cells": {stage: [c.names for c in chosen if c.stage == stage] for stage in (*MAKERS, *TESTERS)},
        "skipped": [{"stage": one.stage, **one.names, "reason": one.reason} for one in skipped],
    }


def inputs(campaign: Campaign, cell: Cell) -> list[str]:
    """Return the files that a cell reads; of a report the main output of each cell, which stands for the others."""
    files = [*table.inputs(campaign.name, cell), *campaign.params[cell].files]
    if isinstance(cell, cells.Report | cells.Artefact):
        chosen = campaign.part(getattr(cell, "artefact", None))
        files += [str(table.output(campaign.name, one)) for one in chosen if one.stage in (*MAKERS, *TESTERS)]
    return files


def _params_texts(campaign: Campaign) -> dict[Path, str]:
    texts: dict[Path, str] = {}
    for cell, params in campaign.params.items():
        path = Path(table.params_file(campaign.name, cell))
        if path not in texts:  # seeds share one
            report = isinstance(cell, cells.Report | cells.Artefact)
            contents = report_contents(campaign, getattr(cell, "artefact", None)) if report else {}
            texts[path] = json_text(params.model_dump(mode="json") | contents)
    return texts


def stale_params(campaign: Campaign) -> dict[Path, str]:
    """Return the params files that are missing or say something else than the campaign: path and wanted text."""
    return {path: text for path, text in _params_texts(campaign).items() if not is_text(path, text)}


def digest(texts: Mapping[str, str]) -> str:
    """Return a short name for these files and their texts."""
    return hashlib.sha256(json_text(dict(texts)).encode()).hexdigest()[:16]


def write_changed(texts: Mapping[Path, str]) -> None:
    """Write each file that says something else than its text; remove those whose text is empty."""
    for path, text in texts.items():
        if not text:
            with storage_errors(path):
                path.unlink(missing_ok=True)
        elif not is_text(path, text):
            write_text(path, text)


def write_params(campaign: Campaign) -> None:
    """Write `results/<campaign>/params/`, leaving unchanged files alone and removing those of cells that are gone.

    Raises :class:`ParamsError` where a network cannot fit into this machine's memory.
    """
    if campaign.too_large:
        raise ParamsError(campaign.too_large[0])
    there = Path(layout.campaign_folder(campaign.name), "params").rglob("*.json")
    write_changed({**dict.fromkeys(there, ""), **_params_texts(campaign)})
