"""Campaigns: read `params/<campaign>.yaml` over `params/base.yaml`, check them, and list what there is to run.

A campaign says differences only. For one cell the values are laid over each other in this order, later ones winning:
base: stage, data set, data set at this IPC, method; then the campaign: stage, data set, data set at this IPC, method;
then, for an evaluation, its protocol in the base and in the campaign.
The result is one small JSON file per cell under `results/<campaign>/params/`, and those files are what the stages read:
so an engine that compares files re-runs exactly the cells whose values changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ncfm.campaign.cells import MAKERS, find_cells
from ncfm.campaign.checks import check_names
from ncfm.campaign.file import CampaignFile, read_yaml
from ncfm.campaign.layers import Layers
from ncfm.core import layout
from ncfm.core.errors import ParamsError, one_of
from ncfm.core.layout import WHOLE, Cell
from ncfm.core.params import STAGES, ReportParams, StageParams, parse
from ncfm.core.store import storage_errors, write_json_if_changed, write_text

ACTIVE = "campaign.yaml"  # the active campaign and its cells, which dvc.yaml reads
ARTEFACTS = "dvc.yaml"  # a DVC stage for each of its artefacts; only there where it has any
RESERVED = ("base", "campaign", "dvc")  # names in params/ that are not campaigns


@dataclass(frozen=True)
class Campaign:
    """A checked campaign: its cells, in the order of the pipeline, and the params of each.

    ``artefacts`` are the tables and figures that it names, each with the cells it needs; most campaigns name none.
    """

    name: str
    title: str
    cells: tuple[Cell, ...]
    params: dict[Cell, StageParams]
    labels: dict[str, str]
    artefacts: dict[str, tuple[Cell, ...]] = field(default_factory=dict)

    def of(self, *stages: str) -> list[Cell]:
        """Return the cells of the given stages."""
        return [cell for cell in self.cells if cell.stage in stages]


def available(folder: str | Path = "params") -> list[str]:
    """Return the names of the campaigns in ``folder``."""
    return sorted(path.stem for path in Path(folder).glob("*.yaml") if path.stem not in RESERVED)


def active(folder: str | Path = "params") -> str:
    """Return the name of the active campaign. Raises :class:`ParamsError` where ``ncfm use`` has never run."""
    values = read_yaml(Path(folder) / ACTIVE)
    if not isinstance(values, dict) or not isinstance(values.get("campaign"), str):
        raise ParamsError(f"{Path(folder) / ACTIVE}: campaign: is missing; run `ncfm use NAME` to write it")
    return values["campaign"]


def load(name: str, folder: str | Path = "params") -> Campaign:
    """Read, check and resolve a campaign.

    Args:
        name: a campaign's name, as in ``params/<name>.yaml``.
        folder: where the params files are.

    Raises:
        ParamsError: one line naming the file, the key, the value and what is allowed.
    """
    if name not in available(folder):
        raise ParamsError(one_of("campaign", name, available(folder), str(folder)))
    base, path = str(Path(folder) / "base.yaml"), str(Path(folder) / f"{name}.yaml")
    files = {file: parse(CampaignFile, read_yaml(Path(file)), file) for file in (base, path)}
    check_names(files)
    own = files[path]
    for key in ("datasets", "methods", *(() if own.artefacts else ("architectures",))):
        if not getattr(own, key):
            raise ParamsError(f"{path}: {key}: is missing or empty, but a campaign needs at least one")
    layers = Layers(files, path, own)
    protocols = {layout.RELEASED} | {
        p for file in files.values() for p, entry in file.protocols.items() if entry.evaluate
    }
    asked = [("protocols", protocol) for protocol in own.protocols]
    tests = [(key, entry) for key in ("continual", "search") if (entry := getattr(own, key))]
    asked += [(f"{key}.protocol", entry.protocol) for key, entry in tests]
    for key, protocol in asked:
        if protocol not in protocols:
            raise ParamsError(one_of("protocol", protocol, sorted(protocols), f"{path}: {key}"))
    for key, entry in tests:
        for method in entry.methods:
            if method not in own.methods:
                raise ParamsError(one_of("method of this campaign", method, own.methods, f"{path}: {key}.methods"))
    if own.search and WHOLE not in own.methods:
        raise ParamsError(f"{path}: search: needs the method {WHOLE!r} in methods, to compare with")
    layers.check_methods()
    found = find_cells(layers)
    params, report = found.params, layers.merged(ReportParams)[0]
    params[Cell("report")] = report
    params |= {Cell("report", artefact=name): report for name in own.artefacts}
    order = list(STAGES)
    cells = tuple(sorted(params, key=lambda cell: order.index(cell.stage)))  # stable: keeps the file's order
    artefacts = {name: tuple(cell for cell in cells if cell in found.members[name]) for name in own.artefacts}
    labels = {method: layers.told("label", [method]) or method for method in own.methods}
    return Campaign(name, own.title or name, cells, params, labels, artefacts)


def write_params(campaign: Campaign) -> None:
    """Write `results/<campaign>/params/`, leaving unchanged files alone and removing those of cells that are gone."""
    wanted: dict[Path, Any] = {}
    for cell, params in campaign.params.items():
        values = params.model_dump(mode="json")
        if cell.stage == "report":
            values |= report_contents(campaign, cell.artefact)
        wanted[Path(layout.params_file(campaign.name, cell))] = values
    for path, values in wanted.items():
        write_json_if_changed(path, values)
    root = Path(layout.campaign_folder(campaign.name)) / "params"
    for path in root.rglob("*.json"):
        if path not in wanted:
            with storage_errors(path):
                path.unlink()


def report_contents(campaign: Campaign, artefact: str | None = None) -> dict[str, Any]:
    """Return what the report of a campaign, or of one artefact of it, needs to know: title, labels, and every cell.

    Cells are never found by globbing.
    """
    cells = campaign.artefacts[artefact] if artefact else campaign.cells
    return {
        "campaign": campaign.name,
        **({"artefact": artefact} if artefact else {}),
        "title": campaign.title,
        "labels": campaign.labels,
        "evaluations": [cell.names for cell in cells if cell.stage == "evaluate"],
        "continual": [cell.names for cell in cells if cell.stage == "continual"],
        "search": [cell.names for cell in cells if cell.stage == "search"],
        "sets": [{"stage": cell.stage, **cell.names} for cell in cells if cell.stage in MAKERS],
    }


def artefact_files(campaign: Campaign, artefact: str) -> list[str]:
    """Return the files that an artefact's report reads: its evaluations, and its sets' records and loss curves."""
    files: list[PurePosixPath] = []
    for cell in campaign.artefacts[artefact]:
        if cell.stage in layout.TESTS:
            files.append(layout.evaluation_file(campaign.name, cell))
        elif cell.stage in MAKERS:
            folder = layout.set_folder(campaign.name, cell)
            files.append(folder / "distilled.record.json")
            files += [folder / "history.csv"] if cell.stage == "distill" else []
    return [str(path) for path in files]


def active_text(campaign: Campaign) -> str:
    """Return the text of `params/campaign.yaml`: the active campaign and its cells, for dvc.yaml."""
    groups = [group for group in (*STAGES, "select-with-extractors") if group != "report"]
    cells: dict[str, dict[str, Any]] = {group: {} for group in groups}
    for cell in campaign.cells:
        if cell.stage != "report":
            cells[cell.group][cell.key] = _item(cell)
    head = "# Written by `ncfm use NAME`; dvc.yaml runs these cells. Edit params/<campaign>.yaml, then run it again.\n"
    return head + yaml.safe_dump({"campaign": campaign.name, "cells": cells}, sort_keys=False, width=120)


def _item(cell: Cell) -> dict[str, str | int]:
    """Return what dvc.yaml needs to know of a cell: its names and, of an evaluation, what its files are called."""
    if cell.stage not in layout.TESTS:
        return cell.names
    return {**cell.names, "protocol": cell.protocol or layout.RELEASED, "file": layout.evaluation_name(cell)}


def artefacts_text(campaign: Campaign) -> str:
    """Return the text of `params/dvc.yaml`: a stage per artefact, which dvc.yaml cannot have.

    A stage there cannot have a list of inputs that params/campaign.yaml names. Empty where there are no artefacts.
    """
    stages: dict[str, dict[str, Any]] = {}
    results = layout.campaign_folder(campaign.name)
    for cell in campaign.of("report"):
        if cell.artefact:
            params = str(layout.params_file(campaign.name, cell))
            stages[cell.artefact] = {
                "wdir": "..",
                "cmd": f"ncfm report --params {params} --results {results}",
                "deps": [params, *artefact_files(campaign, cell.artefact)],
                "outs": [
                    *(f"{results}/tables/{cell.artefact}.{end}" for end in ("csv", "md", "tex", "record.json")),
                    *(f"{results}/figures/{cell.artefact}.{end}" for end in ("png", "svg")),
                ],
            }
    head = "# Written by `ncfm use NAME`: `dvc repro params/dvc.yaml:ARTEFACT` makes one artefact of the campaign.\n"
    return head + yaml.safe_dump({"stages": stages}, sort_keys=False, width=120) if stages else ""


def use(campaign: Campaign, folder: str | Path = "params") -> None:
    """Make a campaign the active one: write the cells' params, `params/campaign.yaml` and, of artefacts,
    `params/dvc.yaml`, each only where changed.
    """
    write_params(campaign)  # first: where they can't be written, the active campaign stays the old one
    for path, text in _active_files(campaign, folder).items():
        if _text(path) == text:
            continue
        if text:
            write_text(path, text)
        else:
            with storage_errors(path):
                path.unlink()


def check_active(campaign: Campaign, folder: str | Path = "params") -> None:
    """Raise :class:`ParamsError` where `params/campaign.yaml` lists other cells than the campaign's own file does."""
    if not _is_active(campaign, folder):
        raise ParamsError(
            f"{Path(folder) / ACTIVE}: lists other cells than {Path(folder) / campaign.name}.yaml; "
            f"run `ncfm use {campaign.name}`"
        )


def _is_active(campaign: Campaign, folder: str | Path) -> bool:
    return all(_text(path) == text for path, text in _active_files(campaign, folder).items())


def _active_files(campaign: Campaign, folder: str | Path) -> dict[Path, str]:
    return {Path(folder) / ACTIVE: active_text(campaign), Path(folder) / ARTEFACTS: artefacts_text(campaign)}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
