"""Campaigns: read `params/<campaign>.yaml` over `params/base.yaml`, check them, and list what there is to run.

A campaign says differences only. For one cell the values are laid over each other in this order, later ones winning:
base: stage, data set, data set at this IPC, method; then the campaign: stage, data set, data set at this IPC, method;
then, for an evaluation, its protocol in the base and in the campaign.
The result is one small JSON file per cell under `results/<campaign>/params/`, and those files are what the stages read:
so an engine that compares files re-runs exactly the cells whose values changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ncfm import layout
from ncfm.artifacts import storage_errors, write_json_if_changed, write_text
from ncfm.campaign_checks import check_architecture, check_set, grid, with_own_norm
from ncfm.campaign_file import CampaignFile, ContinualEntry, read_yaml
from ncfm.campaign_layers import Layers
from ncfm.datasets.catalogue import facts_of
from ncfm.errors import ParamsError, one_of
from ncfm.layout import Cell
from ncfm.params import (
    STAGES,
    ContinualParams,
    CurateParams,
    DistillParams,
    EvaluateParams,
    PrepareParams,
    PretrainParams,
    ReportParams,
    SearchParams,
    SelectParams,
    StageParams,
    parse,
)

ACTIVE = "campaign.yaml"  # the active campaign and its cells, which dvc.yaml reads
MAKERS: dict[str, type[DistillParams | SelectParams | CurateParams]] = {  # the stages that make sets
    "distill": DistillParams,
    "select": SelectParams,
    "curate": CurateParams,
}
WHOLE = "whole"  # the method of all training images, which a search compares with
RESERVED = ("base", "campaign")  # names in params/ that are not campaigns


@dataclass(frozen=True)
class Campaign:
    """A checked campaign: its cells, in the order of the pipeline, and the params of each."""

    name: str
    title: str
    cells: tuple[Cell, ...]
    params: dict[Cell, StageParams]
    labels: dict[str, str]

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
    own = files[path]
    for key in ("datasets", "methods", "architectures"):
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
    params: dict[Cell, StageParams] = {}
    for dataset in own.datasets:
        _add_cells(dataset, layers, params)
    params[Cell("report")] = layers.merged(ReportParams)[0]
    order = list(STAGES)
    cells = tuple(sorted(params, key=lambda cell: order.index(cell.stage)))  # stable: keeps the file's order
    labels = {method: layers.told("label", [method]) or method for method in own.methods}
    return Campaign(name, own.title or name, cells, params, labels)


def _add_cells(dataset: str, layers: Layers, params: dict[Cell, StageParams]) -> None:
    """Add every cell of one data set to ``params``, each checked against the facts about it."""
    own, where = layers.own, f"{layers.path}: datasets"
    facts, ipcs = facts_of(dataset, where), own.datasets[dataset].ipcs
    if not ipcs:
        raise ParamsError(f"{where}.{dataset}.ipcs: is missing, but a campaign needs at least one IPC")
    if max(ipcs) > facts.smallest_class:
        raise ParamsError(
            f"{where}.{dataset}.ipcs: is {max(ipcs)}, but the smallest class of {dataset} has {facts.smallest_class} "
            f"images (allowed: 1 to {facts.smallest_class})"
        )
    prepare, places = layers.merged(PrepareParams, dataset, names={"dataset": dataset})
    if prepare.source not in ("auto", *facts.sources):
        allowed = ("auto", *facts.sources)
        raise ParamsError(one_of(f"source of {dataset}", prepare.source, allowed, places["source"]))
    params[Cell("prepare", dataset)] = prepare
    pretrain, places = layers.merged(PretrainParams, dataset)
    check_architecture(pretrain.arch, facts, places["arch"])
    pretrain = with_own_norm(pretrain, places)
    for arch in own.architectures:
        check_architecture(arch, facts, f"{layers.path}: architectures")
    for ipc in ipcs:
        for method in own.methods:
            stage, source = layers.stage(method), layers.told("of", layers.ancestry(method))
            values, places = layers.merged(MAKERS[stage], dataset, ipc, method)
            stored = ipc
            if isinstance(values, SelectParams) and values.rule == "all":
                # One set per data set, the same at every IPC of the campaign: its IPC is what it holds.
                stored = facts.smallest_class
                values, places = layers.merged(SelectParams, dataset, stored, method)
            if isinstance(values, DistillParams | SelectParams):
                check_set(values, facts, stored, places)
            extractor = None
            if not isinstance(values, SelectParams) or values.reads_extractors:
                extractor = pretrain.arch
                params[Cell("pretrain", dataset, arch=extractor)] = pretrain
            evaluations = {
                (arch, protocol): _evaluation(layers, dataset, stored, method, protocol, arch)
                for arch in own.architectures
                for protocol in own.protocols or (layout.RELEASED,)
            }
            for seed in layers.seeds(method):
                params[Cell(stage, dataset, stored, method, seed, extractor=extractor, of=source)] = values
                for (arch, protocol), evaluation in evaluations.items():
                    cell = Cell("evaluate", dataset, stored, method, seed, arch, protocol=_named(protocol))
                    params[cell] = evaluation
            if own.continual and method in own.continual.methods:
                _add_continual(dataset, stored, method, own.continual, layers, params)
            _add_search(dataset, stored, method, layers, params)


def _evaluation(layers: Layers, dataset: str, ipc: int, method: str, protocol: str, arch: str) -> EvaluateParams:
    return with_own_norm(*layers.merged(EvaluateParams, dataset, ipc, method, protocol, {"arch": arch}))


def _named(protocol: str) -> str | None:
    """Return a protocol's name as cells have it: the default has none."""
    return None if protocol == layout.RELEASED else protocol


def _add_continual(
    dataset: str, ipc: int, method: str, entry: ContinualEntry, layers: Layers, params: dict[Cell, StageParams]
) -> None:
    """Add the cells of continual learning on one method's sets; they train as evaluations of the protocol do."""
    classes = facts_of(dataset, f"{layers.path}: datasets").classes
    protocol = _named(entry.protocol)
    for steps in entry.steps:
        if classes % steps:
            raise ParamsError(
                f"{layers.path}: continual.steps: is {steps}, but must divide the {classes} classes of {dataset}"
            )
        for arch in layers.own.architectures:
            evaluation = _evaluation(layers, dataset, ipc, method, entry.protocol, arch)
            values = ContinualParams(**evaluation.model_dump(), steps=steps)
            for seed in layers.seeds(method):
                params[Cell("continual", dataset, ipc, method, seed, arch, protocol=protocol, steps=steps)] = values


def _add_search(dataset: str, ipc: int, method: str, layers: Layers, params: dict[Cell, StageParams]) -> None:
    """Add the cells of a search on one method's sets, if there is one; it trains as evaluations of the protocol do."""
    entry, where = layers.own.search, f"{layers.path}: search"
    if not entry or method not in (*entry.methods, WHOLE):
        return
    networks = grid(entry, facts_of(dataset, where), where)
    evaluation = layers.merged(EvaluateParams, dataset, ipc, method, entry.protocol)[0]
    # What a search does not read stays as it is, so that changing it re-runs nothing.
    training = evaluation.model_dump(exclude={"arch", "width", "norm", "looks"})
    for seed in layers.seeds(method):
        cell = Cell("search", dataset, ipc, method, seed, protocol=_named(entry.protocol))
        params[cell] = SearchParams.model_validate({**training, **networks})


def write_params(campaign: Campaign) -> None:
    """Write `results/<campaign>/params/`, leaving unchanged files alone and removing those of cells that are gone."""
    wanted: dict[Path, Any] = {}
    for cell, params in campaign.params.items():
        values = params.model_dump(mode="json")
        if cell.stage == "report":
            values |= report_contents(campaign)
        wanted[Path(layout.params_file(campaign.name, cell))] = values
    for path, values in wanted.items():
        write_json_if_changed(path, values)
    root = Path(layout.campaign_folder(campaign.name)) / "params"
    for path in root.rglob("*.json"):
        if path not in wanted:
            with storage_errors(path):
                path.unlink()


def report_contents(campaign: Campaign) -> dict[str, Any]:
    """Return what the report needs to know of a campaign: title, labels, and every cell (never found by globbing)."""
    return {
        "campaign": campaign.name,
        "title": campaign.title,
        "labels": campaign.labels,
        "evaluations": [cell.names for cell in campaign.of("evaluate")],
        "continual": [cell.names for cell in campaign.of("continual")],
        "search": [cell.names for cell in campaign.of("search")],
        "sets": [{"stage": cell.stage, **cell.names} for cell in campaign.of(*MAKERS)],
    }


def active_text(campaign: Campaign) -> str:
    """Return the text of `params/campaign.yaml`: the active campaign and its cells, for dvc.yaml."""
    cells: dict[str, dict[str, Any]] = {group: {} for group in (*STAGES, "select-with-extractors") if group != "report"}
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


def use(campaign: Campaign, folder: str | Path = "params") -> None:
    """Make a campaign the active one: write the cells' params and `params/campaign.yaml`, each only where changed."""
    write_params(campaign)  # first: where they can't be written, the active campaign stays the old one
    if not _is_active(campaign, folder):
        write_text(Path(folder) / ACTIVE, active_text(campaign))


def check_active(campaign: Campaign, folder: str | Path = "params") -> None:
    """Raise :class:`ParamsError` where `params/campaign.yaml` lists other cells than the campaign's own file does."""
    if not _is_active(campaign, folder):
        raise ParamsError(
            f"{Path(folder) / ACTIVE}: lists other cells than {Path(folder) / campaign.name}.yaml; "
            f"run `ncfm use {campaign.name}`"
        )


def _is_active(campaign: Campaign, folder: str | Path) -> bool:
    target = Path(folder) / ACTIVE
    return target.is_file() and target.read_text(encoding="utf-8") == active_text(campaign)
