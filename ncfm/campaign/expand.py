"""Which cells a campaign has: the whole cross of what it declares or, where it names artefacts, the union of theirs.

A cell that cannot be (an IPC above what a class has, a network that the images are too small for) is skipped with its
reason; others may still run. Where no test of any set is left, the first reason stops the campaign.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ncfm.campaign.checks import check_architecture, check_events, check_set, check_teachers, check_training, fitted
from ncfm.campaign.file import OWN_SECTIONS, ArtefactEntry, SearchTests, SetTests
from ncfm.campaign.layers import Layers, check_declared
from ncfm.core.errors import ImpossibleError, ParamsError
from ncfm.core.layout import RELEASED
from ncfm.core.params import (
    CurateParams,
    DistillParams,
    EvaluateParams,
    PrepareParams,
    PretrainParams,
    SelectParams,
    StageParams,
)
from ncfm.datasets.catalogue import DatasetFacts, facts_of
from ncfm.method.coresets import RULES
from ncfm.models.registry import Shape, norm_of, too_large
from ncfm.stages import cells
from ncfm.stages.cells import Cell
from ncfm.stages.table import STAGES, TESTERS, output


@dataclass(frozen=True)
class Skipped:
    """A cell that cannot be: its stage, its names but for the seed, and why."""

    stage: str
    names: Mapping[str, str | int]
    reason: str


@dataclass(frozen=True)
class Cross:
    """A cross of cells, as an artefact or the whole campaign names them."""

    place: str  # file and key, for messages
    ipcs: Mapping[str, tuple[int, ...]]  # by data set
    made: set[str]  # the methods whose sets are made: those tested, and what they curate
    architectures: tuple[str, ...]  # of the tests; where there are none, each data set has its extractors'
    protocols: tuple[str, ...]  # of `evaluate`, which has no section
    tests: Mapping[str, SetTests]  # by stage

    def variants(self, method: str, network: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the stage of each test of a method's sets, and the names of its cell beyond the set's."""
        for stage, section in self.tests.items():
            if method in (*section.methods, *section.also):
                groups = getattr(section, "steps", (None,))
                architectures = (None,) if isinstance(section, SearchTests) else self.architectures or (network,)
                protocols = self.protocols if stage == "evaluate" else (section.protocol,)
                for steps, arch, protocol in product(groups, architectures, protocols):
                    names = {"arch": arch, "protocol": None if protocol == RELEASED else protocol, "steps": steps}
                    yield stage, {name: value for name, value in names.items() if value is not None}


def crosses_of(layers: Layers) -> dict[str, Cross]:
    """Return the campaign's artefacts by name or, where it names none, the whole cross under the empty name."""
    file, path = layers.campaign, layers.path
    if file.artefacts:
        return {name: _cross(layers, entry, f"{path}: artefacts.{name}") for name, entry in file.artefacts.items()}
    ipcs, protocols = {name: entry.ipcs for name, entry in file.datasets.items()}, tuple(file.protocols) or (RELEASED,)
    tests = {"evaluate": SetTests(methods=tuple(file.methods)), **file.tests}
    return {"": Cross(f"{path}: ", ipcs, set(file.methods), file.architectures, protocols, tests)}


def _cross(layers: Layers, entry: ArtefactEntry, place: str) -> Cross:
    """Return the cross of an artefact, which selects from what the campaign declares."""
    file, methods = layers.campaign, entry.methods
    check_declared("data set of this campaign", entry.datasets, file.datasets, f"{place}.datasets")
    for dataset, wanted in entry.datasets.items():
        what = f"IPC of {dataset} in this campaign"
        check_declared(what, wanted, file.datasets[dataset].ipcs, f"{place}.datasets.{dataset}")
    declared = {"method": file.methods, "architecture": file.architectures, "protocol": file.protocols or (RELEASED,)}
    for key, allowed in declared.items():
        check_declared(f"{key} of this campaign", getattr(entry, f"{key}s"), allowed, f"{place}.{key}s")
    tests: dict[str, SetTests] = {}
    for stage in (one for one in OWN_SECTIONS if getattr(entry, one)):
        section = file.tests.get(stage)
        if section is None:
            raise ParamsError(f"{place}.{stage}: is true, but the campaign has no section {stage}: to select from")
        check_declared(f"method of {stage}", methods, (*section.methods, *section.also), f"{place}.methods")
        if entry.protocols:
            raise ParamsError(f"{place}.protocols: is never read (allowed: in an artefact without {stage}: true)")
        tests[stage] = section.model_copy(update={"methods": methods})
    sources = {source for method in methods if (source := layers.source(method))}
    made = sources.union(methods, *(section.also for section in tests.values()))
    tests = tests or {"evaluate": SetTests(methods=methods)}
    return Cross(f"{place}.", entry.datasets, made, entry.architectures, entry.protocols or (RELEASED,), tests)


class Expansion:
    """The cells of a campaign, each once and checked, in the order of its file; faults are :class:`ParamsError`."""

    def __init__(self, layers: Layers) -> None:
        self.layers, self.crosses = layers, crosses_of(layers)
        self.params: dict[Cell, StageParams] = {}  # of each cell but the reports
        self.members: dict[str, set[Cell]] = {name: set() for name in self.crosses}  # the cells of each cross
        self.too_large: dict[str, None] = {}  # networks that cannot fit into this machine's memory, a line each
        self.skipped: dict[str, dict[tuple[object, ...], Skipped]] = {name: {} for name in self.crosses}
        for dataset in layers.campaign.datasets:
            self._add_dataset(dataset)
        everything = self.all_skipped()
        if everything and not any(cell.stage in TESTERS for cell in self.params):
            raise ParamsError(everything[0].reason)

    def all_skipped(self) -> tuple[Skipped, ...]:
        """Return what is skipped in any cross, each once."""
        return tuple({key: one for found in self.skipped.values() for key, one in found.items()}.values())

    def _weigh(self, arch: str, width: int, norm: str, facts: DatasetFacts, place: str) -> None:
        """Note a network that cannot fit into this machine's memory: plans may name it, and other machines run it."""
        if fault := too_large(arch, Shape(facts.channels, facts.resolution, facts.classes, width, norm)):
            self.too_large[f"{place}: {fault}"] = None

    def _add(self, cell: Cell, params: StageParams, names: Iterable[str]) -> None:
        """Add a cell of the crosses ``names``."""
        for name in names:
            self.params[cell] = params
            self.members[name].add(cell)

    @contextmanager
    def _possible(self, crosses: Iterable[str], stage: str, **names: str | int) -> Iterator[None]:
        """Skip what is not possible, with its reason, in all of these crosses."""
        try:
            yield
        except ImpossibleError as error:
            for cross in crosses:
                self.skipped[cross][(stage, *names.values())] = Skipped(stage, names, str(error))

    def _add_dataset(self, dataset: str) -> None:
        """Add every cell of one data set, each checked against the facts about it."""
        layers, file, place = self.layers, self.layers.campaign, f"{self.layers.path}: datasets"
        facts, ipcs = facts_of(dataset, place), file.datasets[dataset].ipcs
        most = facts.smallest_class
        if not ipcs:
            raise ParamsError(f"{place}.{dataset}.ipcs: is missing, but a campaign needs at least one IPC")
        prepare, places = layers.merged(PrepareParams, dataset)
        check_declared(f"source of {dataset}", [prepare.source], ("auto", *facts.sources), places["source"])
        for ipc, method in product(ipcs, file.methods):
            crosses = [name for name, cross in self.crosses.items() if ipc in cross.ipcs.get(dataset, ())]
            chosen = [name for name in crosses if method in self.crosses[name].made]
            if not chosen:
                continue
            stage, size = layers.stage(method), ipc
            if stage == "select" and RULES[layers.merged(SelectParams, dataset, ipc, method)[0].rule].whole:
                size = most  # of the whole training set there is one set, the same at every IPC
            with self._possible(chosen, stage, dataset=dataset, ipc=size, method=method):
                if size > most:
                    text = f"is {size}, but the smallest class of {dataset} has {most} images (allowed: 1 to {most})"
                    raise ImpossibleError(f"{place}.{dataset}.ipcs: {text}")
                self._add_method(facts, size, method, chosen)
                self._add(cells.Prepare(dataset), prepare, chosen)

    def _add_method(self, facts: DatasetFacts, ipc: int, method: str, chosen: list[str]) -> None:
        """Add the sets of a method at one IPC that the crosses ``chosen`` have, and what is tested on them."""
        layers, seeds = self.layers, self.layers.seeds(method)
        stage, source = STAGES[layers.stage(method)], layers.source(method)
        names: dict[str, Any] = {"dataset": facts.name, "ipc": ipc, "method": method}
        values, places = layers.merged(stage.params, **names)
        made, read = values, {}
        if source:  # what is curated is checked where it is made
            made, places = layers.merged(STAGES[layers.stage(source)].params, facts.name, ipc, source)
            if isinstance(made, SelectParams) and RULES[made.rule].whole:
                place = f"{layers.path}: methods.{method}.of"
                raise ParamsError(f"{place}: is {source}, which is all training images, but curation takes a small set")
            read["source"] = source
        if isinstance(made, DistillParams | SelectParams):
            check_set(made, facts, ipc, places)
        if isinstance(values, CurateParams):
            check_teachers(
                values, layers.merged(PretrainParams, facts.name)[0], layers.merged(stage.params, **names)[1]
            )
        rule = RULES[values.rule] if isinstance(values, SelectParams) else None
        pool, pool_places = layers.merged(PretrainParams, facts.name)
        if rule is None or rule.reads_extractors:
            if rule:
                check_events(rule, pool, method, pool_places)
            read["extractor"] = pool.arch
            pool = fitted(pool, facts, pool_places)
            check_training(pool, "pretrain", pool_places)
            self._weigh(pool.arch, pool.width, pool.norm, facts, pool_places["width"])
            self._add(cells.Pretrain(facts.name, pool.arch), pool, chosen)
        for cell in (stage.cell(**{**names, **read, "seed": seed}) for seed in seeds):
            target = output(Path(layers.path).stem, cell)
            if values.files and os.path.realpath(target) in map(os.path.realpath, values.files):
                raise ParamsError(f"{places['load']}: is {target}, the set that {cell.key} makes (allowed: another's)")
            self._add(cell, values, chosen)
        for name in chosen:
            for test, own in self.crosses[name].variants(method, pool.arch):
                with self._possible([name], test, **names, **own):
                    params = self._test_params(test, {**names, **own}, facts, self.crosses[name])
                    for seed in seeds:
                        self._add(STAGES[test].cell(**{**names, **own, "seed": seed}), params, [name])

    def _test_params(self, test: str, names: dict[str, Any], facts: DatasetFacts, cross: Cross) -> StageParams:
        """Return the params of a test of a set: those of an evaluation, and its own."""
        section, place, protocol = cross.tests[test], f"{self.layers.path}: {test}", names.get("protocol", RELEASED)
        params, places = self.layers.merged(EvaluateParams, facts.name, names["ipc"], names["method"], protocol)
        if isinstance(section, SearchTests):
            # What a search does not read stays as it is, so that changing it re-runs nothing.
            training, grid = (
                params.model_dump(exclude={"arch", "width", "norm", "looks"}),
                grid_of(section, facts, place),
            )
            for depth, width in product(section.depths, section.widths):
                self._weigh(f"convnet-{depth}", width, "none", facts, f"{place}.widths")
            return STAGES[test].params.model_validate(training | grid)
        check_training(params, test, places)
        own = {key: name for key, name in names.items() if key in ("arch", "steps")}
        if (classes := facts.classes) % (steps := own.get("steps", 1)):
            raise ImpossibleError(f"{place}.steps: is {steps}, but must divide the {classes} classes of {facts.name}")
        places["arch"] = f"{cross.place}architectures"
        params = fitted(params.model_copy(update={"arch": own["arch"]}), facts, places)
        self._weigh(params.arch, params.width, params.norm, facts, places["width"])
        return STAGES[test].params.model_validate(params.model_dump() | own)


def grid_of(section: SearchTests, facts: DatasetFacts, place: str) -> dict[str, Any]:
    """Return the grid of a search; raise where a network of it cannot take the data set."""
    norms: dict[str, None] = {}
    for arch in (f"convnet-{depth}" for depth in section.depths):
        check_architecture(arch, facts, f"{place}.depths")
        for norm, width in product(section.norms, section.widths):
            norms[norm_of(arch, norm, width, f"{place}.norms")] = None
    return {"depths": section.depths, "widths": section.widths, "norms": tuple(norms)}
