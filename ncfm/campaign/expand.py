"""Which cells a campaign has: the whole cross of what it declares or, where it names artefacts, the union of theirs.

A cell that cannot be (an IPC above what a class has, a network that the images are too small for) is skipped with its
reason, so that one data set may have cells that another has not. Where no test of any set is left, the first reason
stops the campaign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from ncfm.campaign.checks import check_architecture, check_set, with_own_norm
from ncfm.campaign.file import ArtefactEntry
from ncfm.campaign.layers import Layers
from ncfm.campaign.sections import SetTests
from ncfm.core.errors import ImpossibleError, ParamsError, one_of
from ncfm.core.layout import RELEASED
from ncfm.core.params import DistillParams, EvaluateParams, PrepareParams, PretrainParams, SelectParams, StageParams
from ncfm.datasets.catalogue import DatasetFacts, facts_of
from ncfm.method.coresets import RULES
from ncfm.stages import cells
from ncfm.stages.cells import Cell
from ncfm.stages.table import STAGES, TESTERS


@dataclass(frozen=True)
class Skipped:
    """A cell that cannot be: its stage, its names but for the seed, and why."""

    stage: str
    names: Mapping[str, str | int]
    reason: str


@dataclass(frozen=True)
class Cross:
    """A cross of cells: IPCs by data set, methods and test networks, as an artefact or the whole campaign names them.

    ``place`` is file and key, for messages. ``made`` are the methods whose sets are made: those tested, and what they
    curate; ``evaluated`` those whose sets are evaluated. Without ``architectures`` each data set has its extractors'.
    ``tests`` are other tests of sets, by the stage that runs them.
    """

    place: str
    ipcs: Mapping[str, tuple[int, ...]]
    made: frozenset[str]
    evaluated: frozenset[str]
    architectures: tuple[str, ...]
    protocols: tuple[str, ...]
    tests: Mapping[str, SetTests]


def crosses_of(layers: Layers) -> dict[str, Cross]:
    """Return the campaign's artefacts by name or, where it names none, the whole cross under the empty name."""
    file = layers.campaign
    if not file.artefacts:
        ipcs, methods = {name: entry.ipcs for name, entry in file.datasets.items()}, frozenset(file.methods)
        protocols = tuple(file.protocols) or (RELEASED,)
        return {"": Cross(f"{layers.path}: ", ipcs, methods, methods, file.architectures, protocols, file.tests)}
    return {name: _cross(layers, entry, f"{layers.path}: artefacts.{name}") for name, entry in file.artefacts.items()}


def _cross(layers: Layers, entry: ArtefactEntry, place: str) -> Cross:
    """Return the cross of an artefact, which selects from what the campaign declares."""
    file = layers.campaign
    check_declared("data set of this campaign", entry.datasets, file.datasets, f"{place}.datasets")
    for dataset, wanted in entry.datasets.items():
        what = f"IPC of {dataset} in this campaign"
        check_declared(what, wanted, file.datasets[dataset].ipcs, f"{place}.datasets.{dataset}")
    protocols = tuple(file.protocols) or (RELEASED,)
    for key, allowed in (("method", file.methods), ("architecture", file.architectures), ("protocol", protocols)):
        check_declared(f"{key} of this campaign", getattr(entry, f"{key}s"), allowed, f"{place}.{key}s")
    tests = {stage: _section(layers, entry, stage, place) for stage in entry.tests}
    sources = {source for method in entry.methods if (source := layers.source(method))}
    also = {method for section in tests.values() for method in section.also}
    made, evaluated = frozenset({*entry.methods, *sources, *also}), frozenset(() if tests else entry.methods)
    named = entry.protocols or (RELEASED,)
    return Cross(f"{place}.", entry.datasets, made, evaluated, entry.architectures, named, tests)


def _section(layers: Layers, entry: ArtefactEntry, stage: str, place: str) -> SetTests:
    """Return the campaign's section about a test of sets, on the methods of an artefact."""
    section = layers.campaign.tests.get(stage)
    if section is None:
        raise ParamsError(f"{place}.{stage}: is true, but the campaign has no section {stage}: to select from")
    check_declared(f"method of {stage}", entry.methods, (*section.methods, *section.also), f"{place}.methods")
    if entry.protocols:
        raise ParamsError(f"{place}.protocols: is never read (allowed: in an artefact without {stage}: true)")
    return section.model_copy(update={"methods": entry.methods})


def check_declared(what: str, values: Iterable[object], allowed: Iterable[object], place: str) -> None:
    """Raise :class:`ParamsError` where one of ``values`` is not allowed at ``place``, which is file and key."""
    known = list(allowed)
    for value in values:
        if value not in known:
            raise ParamsError(one_of(what, value, known, place))


class Expansion:
    """The cells of a campaign, each once and checked, in the order of its file; faults are :class:`ParamsError`.

    ``params`` has the params of each cell but the reports, ``members`` the cells of each cross, ``skipped`` those that
    cannot be.
    """

    def __init__(self, layers: Layers) -> None:
        self.layers, self.crosses = layers, crosses_of(layers)
        self.params: dict[Cell, StageParams] = {}
        self.members: dict[str, set[Cell]] = {name: set() for name in self.crosses}
        self.skipped: dict[tuple[object, ...], Skipped] = {}
        for dataset in layers.campaign.datasets:
            self._add_dataset(dataset)
        if self.skipped and not any(cell.stage in TESTERS for cell in self.params):
            raise ParamsError(next(iter(self.skipped.values())).reason)

    def skipped_of(self, cross: str) -> tuple[Skipped, ...]:
        """Return what is skipped in a cross."""
        made, ipcs = self.crosses[cross].made, self.crosses[cross].ipcs
        return tuple(
            one
            for one in self.skipped.values()
            if one.names["method"] in made and one.names["ipc"] in ipcs.get(str(one.names["dataset"]), ())
        )

    def _add(self, cell: Cell, params: StageParams, names: Iterable[str]) -> None:
        """Add a cell of the crosses ``names``."""
        for name in names:
            self.params[cell] = params
            self.members[name].add(cell)

    @contextmanager
    def _possible(self, stage: str, **names: str | int) -> Iterator[None]:
        """Skip what is not possible, with its reason."""
        try:
            yield
        except ImpossibleError as error:
            self.skipped[(stage, *names.values())] = Skipped(stage, names, str(error))

    def _add_dataset(self, dataset: str) -> None:
        """Add every cell of one data set, each checked against the facts about it."""
        place, file = f"{self.layers.path}: datasets", self.layers.campaign
        facts, ipcs = facts_of(dataset, place), file.datasets[dataset].ipcs
        if not ipcs:
            raise ParamsError(f"{place}.{dataset}.ipcs: is missing, but a campaign needs at least one IPC")
        prepare, places = self.layers.merged(PrepareParams, dataset, names={"dataset": dataset})
        check_declared(f"source of {dataset}", [prepare.source], ("auto", *facts.sources), places["source"])
        pool = self.layers.merged(PretrainParams, dataset)
        for ipc, method in product(ipcs, file.methods):
            among = {name: cross for name, cross in self.crosses.items() if ipc in cross.ipcs.get(dataset, ())}
            chosen = [name for name, cross in among.items() if method in cross.made]
            if not chosen:
                continue
            # Of the whole training set there is one set, the same at every IPC: its IPC is what it holds.
            size = facts.smallest_class if self._takes_all(dataset, ipc, method) else ipc
            with self._possible(self.layers.stage(method), dataset=dataset, ipc=size, method=method):
                if size > (most := facts.smallest_class):
                    raise ImpossibleError(
                        f"{place}.{dataset}.ipcs: is {size}, but the smallest class of {dataset} has {most} images "
                        f"(allowed: 1 to {most})"
                    )
                self._add_method(facts, size, method, pool, chosen)
                self._add(cells.Prepare(dataset), prepare, chosen)

    def _takes_all(self, dataset: str, ipc: int, method: str) -> bool:
        if STAGES[self.layers.stage(method)].params is not SelectParams:
            return False
        return RULES[self.layers.merged(SelectParams, dataset, ipc, method)[0].rule].whole

    def _add_method(
        self, facts: DatasetFacts, ipc: int, method: str, pool: tuple[PretrainParams, dict[str, str]], chosen: list[str]
    ) -> None:
        """Add the sets of a method at one IPC that the crosses ``chosen`` have, and what is tested on them."""
        layers, dataset = self.layers, facts.name
        stage, source = STAGES[layers.stage(method)], layers.source(method)
        values, places = layers.merged(stage.params, dataset, ipc, method)
        made = values
        if source:  # what is curated is checked where it is made
            made, places = layers.merged(STAGES[layers.stage(source)].params, dataset, ipc, source)
        if isinstance(made, DistillParams | SelectParams):
            check_set(made, facts, ipc, places)
        names: dict[str, Any] = {"dataset": dataset, "ipc": ipc, "method": method}
        read: dict[str, Any] = {"source": source} if source else {}
        if not isinstance(values, SelectParams) or RULES[values.rule].reads_extractors:
            check_architecture(pool[0].arch, facts, pool[1]["arch"])
            pretrain = with_own_norm(*pool)
            read["extractor"] = pretrain.arch
            self._add(cells.Pretrain(dataset, pretrain.arch), pretrain, chosen)
        for seed in layers.seeds(method):
            self._add(stage.cell(**{**names, **read, "seed": seed}), values, chosen)
        for name in chosen:
            for test, extra, params in self._tests(facts, ipc, method, self.crosses[name], pool[0].arch):
                with self._possible(test, **names, **extra):
                    found = params()
                    for seed in layers.seeds(method):
                        self._add(STAGES[test].cell(**{**names, **extra, "seed": seed}), found, [name])

    def _tests(
        self, facts: DatasetFacts, ipc: int, method: str, cross: Cross, network: str
    ) -> Iterator[tuple[str, dict[str, Any], Callable[[], StageParams]]]:
        """Yield, for each test of a method's sets in a cross, its stage, its names, and what gives its params."""
        architectures = cross.architectures or (network,)
        merged = partial(self.layers.merged, EvaluateParams, facts.name, ipc, method)

        def evaluation(protocol: str, arch: str | None) -> EvaluateParams:
            if arch is None:
                return merged(protocol)[0]
            check_architecture(arch, facts, f"{cross.place}architectures")
            return with_own_norm(*merged(protocol, {"arch": arch}))

        if method in cross.evaluated:
            for arch, protocol in product(architectures, cross.protocols):
                yield "evaluate", {"arch": arch, **_named(protocol)}, partial(evaluation, protocol, arch)
        for stage, section in cross.tests.items():
            if method in (*section.methods, *section.also):
                place = f"{self.layers.path}: {stage}"
                of_protocol = partial(evaluation, section.protocol)
                for extra, params in section.variants(stage, architectures, facts, of_protocol, place):
                    yield stage, {**extra, **_named(section.protocol)}, params


def _named(protocol: str) -> dict[str, str]:
    """Return a protocol's name as cells have it: the default has none."""
    return {} if protocol == RELEASED else {"protocol": protocol}
