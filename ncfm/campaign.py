"""Campaigns: read `params/<campaign>.yaml` over `params/base.yaml`, check them, and list what there is to run.

A campaign says differences only. For one cell the values are laid over each other in this order, later ones winning:
base: stage, data set, data set at this IPC, method; then the campaign: stage, data set, data set at this IPC, method.
The result is one small JSON file per cell under `results/<campaign>/params/`, and those files are what the stages read:
so an engine that compares files re-runs exactly the cells whose values changed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from ncfm import layout
from ncfm.artifacts import write_json_if_changed, write_text
from ncfm.datasets.catalogue import facts_of
from ncfm.errors import ParamsError, one_of
from ncfm.layout import Cell
from ncfm.models.registry import ARCHITECTURES, smallest_resolution
from ncfm.params import (
    AUGMENTATIONS,
    RULES,
    STAGES,
    DistillParams,
    EvaluateParams,
    PretrainParams,
    SelectParams,
    StageParams,
    parse,
)

ACTIVE = "campaign.yaml"  # the active campaign and its cells, which dvc.yaml reads
RESERVED = ("base", "campaign")  # names in params/ that are not campaigns
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")

Values = dict[str, Any]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Overrides(_Section):
    """Values of stages that one data set, IPC or method changes."""

    prepare: Values = {}
    pretrain: Values = {}
    distill: Values = {}
    select: Values = {}
    evaluate: Values = {}


class DatasetEntry(_Overrides):
    """A data set of a campaign: the IPCs to run, and what differs for it."""

    ipcs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    by_ipc: dict[Annotated[int, Field(ge=1)], _Overrides] = {}


class MethodEntry(_Overrides):
    """A method of a campaign: its stage, its seeds, and what differs for it. `like` starts from another method."""

    like: str | None = None
    stage: Literal["distill", "select"] | None = None
    label: str | None = Field(None, description="name in the tables")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] | None = None


class CampaignFile(_Overrides):
    """The whole of one params file."""

    title: str = ""
    report: Values = {}
    architectures: tuple[str, ...] = ()
    datasets: dict[str, DatasetEntry] = {}
    methods: dict[str, MethodEntry] = {}


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
    values = _read_yaml(Path(folder) / ACTIVE)
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
    base_path, path = Path(folder) / "base.yaml", Path(folder) / f"{name}.yaml"
    base = parse(CampaignFile, _read_yaml(base_path), str(base_path))
    own = parse(CampaignFile, _read_yaml(path), str(path))
    return _Resolver(name, str(base_path), base, str(path), own).resolve()


class _Resolver:
    """Lays a campaign over the base and checks every cell against the catalogue."""

    def __init__(self, name: str, base_path: str, base: CampaignFile, path: str, own: CampaignFile) -> None:
        self.name, self.path, self.own = name, path, own
        self.layers = ((base_path, base), (path, own))
        self.base_methods = base.methods

    def resolve(self) -> Campaign:
        own = self.own
        for key, filled in (("datasets", own.datasets), ("methods", own.methods), ("architectures", own.architectures)):
            if not filled:
                raise ParamsError(f"{self.path}: {key}: is empty, but a campaign needs at least one")
        params: dict[Cell, StageParams] = {}
        for arch in own.architectures:
            if arch not in ARCHITECTURES:
                raise ParamsError(one_of("architecture", arch, ARCHITECTURES, f"{self.path}: architectures"))
        for dataset in own.datasets:
            self._add_dataset(dataset, params)
        params[Cell("report")] = self._stage("report")
        order = list(STAGES)
        cells = tuple(sorted(params, key=lambda cell: order.index(cell.stage)))  # stable: keeps the file's order
        labels = {m: next((e.label for e in self._chain(m)[::-1] if e.label), m) for m in own.methods}
        return Campaign(self.name, own.title or self.name, cells, params, labels)

    def _add_dataset(self, dataset: str, params: dict[Cell, StageParams]) -> None:
        where = f"{self.path}: datasets"
        facts, entry = facts_of(dataset, where), self.own.datasets[dataset]
        if not entry.ipcs:
            raise ParamsError(f"{where}.{dataset}.ipcs: is empty, but a campaign needs at least one IPC")
        params[Cell("prepare", dataset)] = self._stage("prepare", dataset, extra={"dataset": dataset})
        source = params[Cell("prepare", dataset)].source  # type: ignore[attr-defined]
        if source not in ("auto", *facts.sources):
            allowed = ("auto", *facts.sources)
            raise ParamsError(one_of("source", source, allowed, f"{self.path}: prepare.source for {dataset}"))
        pretrain = self._stage("pretrain", dataset)
        assert isinstance(pretrain, PretrainParams)
        self._check_network(pretrain, facts.resolution, f"pretrain for {dataset}")
        extractor = pretrain.arch
        distilled = False
        for ipc in entry.ipcs:
            if ipc > facts.smallest_class:
                raise ParamsError(
                    f"{where}.{dataset}.ipcs: is {ipc}, but the smallest class of {dataset} has "
                    f"{facts.smallest_class} images (allowed: 1 to {facts.smallest_class})"
                )
            for method in self.own.methods:
                stage = self._method_stage(method)
                values = self._stage(stage, dataset, ipc, method)
                assert isinstance(values, DistillParams | SelectParams)
                self._check_factor(values, dataset, facts.resolution, facts.smallest_class, ipc, method)
                pool = extractor if stage == "distill" else None
                distilled |= pool is not None
                for seed in self._seeds(method):
                    params[Cell(stage, dataset, ipc, method, seed, extractor=pool)] = values
                    for arch in self.own.architectures:
                        evaluate = self._stage("evaluate", dataset, ipc, method, {"arch": arch})
                        assert isinstance(evaluate, EvaluateParams)
                        self._check_network(evaluate, facts.resolution, f"evaluate for {dataset}")
                        params[Cell("evaluate", dataset, ipc, method, seed, arch)] = evaluate
        if distilled:
            params[Cell("pretrain", dataset, arch=extractor)] = pretrain

    def _chain(self, method: str) -> list[MethodEntry]:
        """Return a method's entries from the most basic to the campaign's own, following `like`."""
        chain: list[MethodEntry] = []
        current: str | None = method
        while current is not None:
            where = f"{self.path}: methods"
            entries = [e for _, layer in reversed(self.layers) if (e := layer.methods.get(current)) is not None]
            known = list(dict.fromkeys([*self.base_methods, *(m for m, e in self.own.methods.items() if e.like)]))
            if not entries or not any(entry.stage or entry.like for entry in entries):
                raise ParamsError(one_of("method", current, known, where))
            if any(entry is seen for entry in entries for seen in chain):
                raise ParamsError(f"{where}.{method}.like: leads back to {current!r}, but must end at a base method")
            chain += entries
            current = next((entry.like for entry in entries if entry.like), None)
        return chain[::-1]

    def _method_stage(self, method: str) -> str:
        return next(str(entry.stage) for entry in reversed(self._chain(method)) if entry.stage)

    def _seeds(self, method: str) -> tuple[int, ...]:
        seeds = next((entry.seeds for entry in reversed(self._chain(method)) if entry.seeds is not None), (0,))
        if not seeds or len(set(seeds)) != len(seeds):
            raise ParamsError(f"{self.path}: methods.{method}.seeds: is {list(seeds)}, but must be different seeds")
        return seeds

    def _stage(
        self,
        stage: str,
        dataset: str | None = None,
        ipc: int | None = None,
        method: str | None = None,
        extra: Values | None = None,
    ) -> StageParams:
        """Lay the values of one stage over each other and check them; errors name the layer that brought the value."""
        merged: Values = {}
        origin: dict[str, str] = {}
        chain = self._chain(method) if method else []
        for path, layer in self.layers:
            entry = layer.datasets.get(dataset) if dataset else None
            named: list[tuple[str, _Overrides]] = [(path, layer)]
            if entry is not None:
                named.append((f"{path}: datasets.{dataset}", entry))
                if ipc is not None and ipc in entry.by_ipc:
                    named.append((f"{path}: datasets.{dataset}.by_ipc.{ipc}", entry.by_ipc[ipc]))
            own_entries = [e for e in chain if any(e is m for m in layer.methods.values())]
            named += [(f"{path}: methods.{method}", e) for e in own_entries]
            for where, overrides in named:
                values = getattr(overrides, stage)
                place = f"{where}.{stage}" if ": " in where else f"{where}: {stage}"
                unknown = [key for key in values if key not in STAGES[stage].model_fields]
                if unknown:
                    raise ParamsError(one_of("key", unknown[0], STAGES[stage].model_fields, place))
                merged |= values
                origin |= dict.fromkeys(values, place)
        merged |= extra or {}
        for key in merged:  # one key at a time first, so that the message names the file the value stands in
            if key in origin:
                parse(STAGES[stage], {**(extra or {}), key: merged[key]}, origin[key])
        return parse(STAGES[stage], merged, f"{self.path}: {stage}")

    def _check_network(self, network: PretrainParams | EvaluateParams, resolution: int, what: str) -> None:
        where = f"{self.path}: {what}"
        if network.arch not in ARCHITECTURES:
            raise ParamsError(one_of("architecture", network.arch, ARCHITECTURES, where))
        least = smallest_resolution(network.arch)
        if resolution < least or resolution % least:
            raise ParamsError(
                f"{where}: {network.arch} cannot take images of resolution {resolution} (allowed: multiples of {least})"
            )
        check_strategy(network.augmentation, f"{where}: augmentation")

    def _check_factor(
        self, values: DistillParams | SelectParams, dataset: str, resolution: int, smallest: int, ipc: int, method: str
    ) -> None:
        where, factor = f"{self.path}: methods.{method}: factor", values.factor
        if resolution % factor:
            fits = [f for f in range(1, resolution + 1) if resolution % f == 0]
            raise ParamsError(
                f"{where}: is {factor}, but must divide the resolution {resolution} of {dataset} (allowed: {fits})"
            )
        real_tiles = isinstance(values, SelectParams) or values.initialisation == "mix"
        if real_tiles and ipc * factor**2 > smallest:
            raise ParamsError(
                f"{where}: is {factor}: {ipc * factor**2} real tiles per class, but the smallest class of {dataset} "
                f"has {smallest} images (allowed: IPC times factor squared up to {smallest})"
            )
        if isinstance(values, DistillParams):
            check_strategy(values.augmentation, f"{self.path}: methods.{method}: augmentation")
            if values.initialisation == "load" and not values.load:
                raise ParamsError(f"{self.path}: methods.{method}: load: is missing (initialisation: load needs it)")
        else:
            if values.rule not in RULES:
                raise ParamsError(one_of("rule", values.rule, RULES, f"{self.path}: methods.{method}"))


def check_strategy(strategy: str, where: str) -> None:
    """Raise :class:`ParamsError` unless every part of an augmentation strategy is known, e.g. ``color_crop``."""
    for part in strategy.split("_") if strategy else []:
        if part not in AUGMENTATIONS:
            raise ParamsError(one_of("augmentation", part, AUGMENTATIONS, where))


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
            path.unlink()


def report_contents(campaign: Campaign) -> Values:
    """Return what the report needs to know of a campaign: title, labels, and every cell (never found by globbing)."""
    return {
        "campaign": campaign.name,
        "title": campaign.title,
        "labels": campaign.labels,
        "evaluations": [cell.names for cell in campaign.of("evaluate")],
        "sets": [cell.names for cell in campaign.of("distill", "select")],
    }


def active_text(campaign: Campaign) -> str:
    """Return the text of `params/campaign.yaml`: the active campaign and its cells, for dvc.yaml."""
    cells = {stage: {cell.key: cell.names for cell in campaign.of(stage)} for stage in STAGES if stage != "report"}
    head = "# Written by `ncfm use NAME`; dvc.yaml runs these cells. Edit params/<campaign>.yaml, then run it again.\n"
    return head + yaml.safe_dump({"campaign": campaign.name, "cells": cells}, sort_keys=False, width=120)


def use(campaign: Campaign, folder: str | Path = "params") -> None:
    """Make a campaign the active one: write `params/campaign.yaml` and the cells' params, each only where changed."""
    target = Path(folder) / ACTIVE
    if not target.is_file() or target.read_text(encoding="utf-8") != active_text(campaign):
        write_text(target, active_text(campaign))
    write_params(campaign)


def check_active(campaign: Campaign, folder: str | Path = "params") -> None:
    """Raise :class:`ParamsError` where `params/campaign.yaml` lists other cells than the campaign's own file does."""
    target = Path(folder) / ACTIVE
    if not target.is_file() or target.read_text(encoding="utf-8") != active_text(campaign):
        raise ParamsError(
            f"{target}: lists other cells than {Path(folder) / campaign.name}.yaml; run `ncfm use {campaign.name}`"
        )


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: no such file; run `ncfm use NAME` or restore it from git") from error
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ParamsError(f"{path}: not valid YAML ({reason})") from error
