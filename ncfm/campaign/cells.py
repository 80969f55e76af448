"""Which cells a campaign has: the whole cross of what it declares or, where it names artefacts, the union of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ncfm.campaign.checks import check_architecture, check_set, grid, with_own_norm
from ncfm.campaign.file import ArtefactEntry, CampaignFile, ContinualEntry, SearchEntry
from ncfm.campaign.layers import Layers
from ncfm.core import layout
from ncfm.core.errors import ParamsError, one_of
from ncfm.core.layout import WHOLE, Cell
from ncfm.core.params import (
    ContinualParams,
    CurateParams,
    DistillParams,
    EvaluateParams,
    PrepareParams,
    PretrainParams,
    SearchParams,
    SelectParams,
    StageParams,
)
from ncfm.datasets.catalogue import DatasetFacts, facts_of
from ncfm.method.coresets import RULES

MAKERS: dict[str, type[DistillParams | SelectParams | CurateParams]] = {  # the stages that make sets
    "distill": DistillParams,
    "select": SelectParams,
    "curate": CurateParams,
}


@dataclass(frozen=True)
class Selection:
    """A cross of cells.

    Attributes:
        where: file and key, for messages.
        ipcs: those of each data set.
        made: methods whose sets are made: ``tested``, those of ``continual``, and what they curate.
        tested: methods whose sets are evaluated.
        architectures: test networks; none: the data set's own, which its extractors have.
        protocols: how they are trained.
        continual, search: continual learning and architecture search, where the selection has any.
    """

    where: str
    ipcs: Mapping[str, tuple[int, ...]]
    made: frozenset[str]
    tested: frozenset[str]
    architectures: tuple[str, ...]
    protocols: tuple[str, ...]
    continual: ContinualEntry | None
    search: SearchEntry | None


def selections_of(layers: Layers) -> dict[str, Selection]:
    """Return the campaign's artefacts by name or, where it names none, the whole cross under the empty name.

    Raises:
        ParamsError: where an artefact selects what the campaign does not declare.
    """
    own = layers.own
    ipcs = {name: entry.ipcs for name, entry in own.datasets.items()}
    everything = tuple(own.methods)
    if not own.artefacts:
        where, protocols = f"{layers.path}: ", tuple(own.protocols) or (layout.RELEASED,)
        methods = frozenset(everything)
        return {"": Selection(where, ipcs, methods, methods, own.architectures, protocols, own.continual, own.search)}
    found: dict[str, Selection] = {}
    for name, entry in own.artefacts.items():
        where = f"{layers.path}: artefacts.{name}"
        _declared("data set of this campaign", entry.datasets, ipcs, f"{where}.datasets")
        for dataset, wanted in entry.datasets.items():
            _declared(f"IPC of {dataset} in this campaign", wanted, ipcs[dataset], f"{where}.datasets.{dataset}")
        _declared("method of this campaign", entry.methods, everything, f"{where}.methods")
        _declared("architecture of this campaign", entry.architectures, own.architectures, f"{where}.architectures")
        declared = own.protocols or (layout.RELEASED,)
        _declared("protocol of this campaign", entry.protocols, declared, f"{where}.protocols")
        sources = {source for method in entry.methods if (source := layers.told("of", layers.ancestry(method)))}
        tested = frozenset(() if entry.continual or entry.search else entry.methods)
        protocols = entry.protocols or (layout.RELEASED,)
        made = frozenset(sources | set(entry.methods))
        found[name] = Selection(
            f"{where}.",
            entry.datasets,
            made | ({WHOLE} if entry.search else set()),
            tested,
            entry.architectures,
            protocols,
            _learning(own, entry, where),
            _searching(own, entry, where),
        )
    return found


def _learning(own: CampaignFile, entry: ArtefactEntry, where: str) -> ContinualEntry | None:
    """Return the continual learning of an artefact: the campaign's, on the artefact's methods."""
    if not entry.continual:
        return None
    if own.continual is None:
        raise ParamsError(f"{where}.continual: is true, but the campaign has no section continual: to select from")
    _declared("method of continual", entry.methods, own.continual.methods, f"{where}.methods")
    if entry.protocols:
        raise ParamsError(f"{where}.protocols: is never read (allowed: in an artefact without continual: true)")
    return own.continual.model_copy(update={"methods": entry.methods})


def _searching(own: CampaignFile, entry: ArtefactEntry, where: str) -> SearchEntry | None:
    """Return the architecture search of an artefact: the campaign's, on the artefact's methods."""
    if not entry.search:
        return None
    if own.search is None:
        raise ParamsError(f"{where}.search: is true, but the campaign has no section search: to select from")
    _declared("method of search", entry.methods, (*own.search.methods, WHOLE), f"{where}.methods")
    return own.search.model_copy(update={"methods": entry.methods})


def _declared(what: str, values: Iterable[object], allowed: Iterable[object], where: str) -> None:
    known = list(allowed)
    for value in values:
        if value not in known:
            raise ParamsError(one_of(what, value, known, where))


def find_cells(layers: Layers) -> Cells:
    """Return every cell of a campaign but the reports, each once and checked, in the order of its file.

    Raises:
        ParamsError: one line naming the file, the key, the value and what is allowed.
    """
    cells = Cells(layers)
    for dataset in layers.own.datasets:
        cells.add_dataset(dataset)
    return cells


class Cells:
    """The cells found so far: ``params`` of each, and ``members``, the cells of each selection by its name."""

    def __init__(self, layers: Layers) -> None:
        self.layers, self.selections = layers, selections_of(layers)
        self.params: dict[Cell, StageParams] = {}
        self.members: dict[str, set[Cell]] = {name: set() for name in self.selections}

    def _add(self, cell: Cell, params: StageParams, names: Iterable[str]) -> None:
        """Add a cell of the selections ``names``."""
        for name in names:
            self.params[cell] = params
            self.members[name].add(cell)

    def add_dataset(self, dataset: str) -> None:
        """Add every cell of one data set, each checked against the facts about it."""
        own, where = self.layers.own, f"{self.layers.path}: datasets"
        facts, ipcs = facts_of(dataset, where), own.datasets[dataset].ipcs
        if not ipcs:
            raise ParamsError(f"{where}.{dataset}.ipcs: is missing, but a campaign needs at least one IPC")
        if max(ipcs) > facts.smallest_class:
            raise ParamsError(
                f"{where}.{dataset}.ipcs: is {max(ipcs)}, but the smallest class of {dataset} has "
                f"{facts.smallest_class} images (allowed: 1 to {facts.smallest_class})"
            )
        prepare, places = self.layers.merged(PrepareParams, dataset, names={"dataset": dataset})
        if prepare.source not in ("auto", *facts.sources):
            allowed = ("auto", *facts.sources)
            raise ParamsError(one_of(f"source of {dataset}", prepare.source, allowed, places["source"]))
        pretrain, places = self.layers.merged(PretrainParams, dataset)
        check_architecture(pretrain.arch, facts, places["arch"])
        pretrain = with_own_norm(pretrain, places)
        for selection in self.selections.values():
            for arch in selection.architectures if dataset in selection.ipcs else ():
                check_architecture(arch, facts, f"{selection.where}architectures")
        for ipc in ipcs:
            for method in own.methods:
                chosen = [n for n, s in self.selections.items() if ipc in s.ipcs.get(dataset, ()) and method in s.made]
                if chosen:
                    self._add(Cell("prepare", dataset), prepare, chosen)
                    self._add_method(facts, ipc, method, pretrain, chosen)

    def _add_method(
        self, facts: DatasetFacts, ipc: int, method: str, pretrain: PretrainParams, chosen: list[str]
    ) -> None:
        """Add the sets of a method at one IPC that the selections ``chosen`` have, and what is tested on them."""
        layers, dataset = self.layers, facts.name
        stage, source = layers.stage(method), layers.told("of", layers.ancestry(method))
        values, places = layers.merged(MAKERS[stage], dataset, ipc, method)
        if isinstance(values, SelectParams) and RULES[values.rule].whole:
            # One set per data set, the same at every IPC of the campaign: its IPC is what it holds.
            ipc = facts.smallest_class
            values, places = layers.merged(SelectParams, dataset, ipc, method)
        if isinstance(values, DistillParams | SelectParams):
            check_set(values, facts, ipc, places)
        extractor = None
        if not isinstance(values, SelectParams) or RULES[values.rule].reads_extractors:
            extractor = pretrain.arch
            self._add(Cell("pretrain", dataset, arch=extractor), pretrain, chosen)
        tests = self._tests(method, pretrain.arch, chosen)
        evaluations = {test: _evaluation(layers, dataset, ipc, method, *test) for test in tests}
        for seed in layers.seeds(method):
            self._add(Cell(stage, dataset, ipc, method, seed, extractor=extractor, of=source), values, chosen)
            for (arch, protocol), names in tests.items():
                cell = Cell("evaluate", dataset, ipc, method, seed, arch, protocol=_named(protocol))
                self._add(cell, evaluations[arch, protocol], names)
        for name in chosen:
            entry = self.selections[name].continual
            if entry and method in entry.methods:
                self._add_continual(facts, ipc, method, entry, pretrain.arch, name)
            search = self.selections[name].search
            if search and method in (*search.methods, WHOLE):
                self._add_search(facts, ipc, method, search, name)

    def _tests(self, method: str, own: str, chosen: list[str]) -> dict[tuple[str, str], list[str]]:
        """Return the test networks and protocols of a method, and the selections that ask for each."""
        tests: dict[tuple[str, str], list[str]] = {}
        for name in chosen:
            selection = self.selections[name]
            for arch in selection.architectures or (own,) if method in selection.tested else ():
                for protocol in selection.protocols:
                    tests.setdefault((arch, protocol), []).append(name)
        return tests

    def _add_continual(
        self, facts: DatasetFacts, ipc: int, method: str, entry: ContinualEntry, own: str, name: str
    ) -> None:
        """Add the cells of continual learning on one method's sets; they train as evaluations of the protocol do."""
        layers, dataset, classes = self.layers, facts.name, facts.classes
        for steps in entry.steps:
            if classes % steps:
                raise ParamsError(
                    f"{layers.path}: continual.steps: is {steps}, but must divide the {classes} classes of {dataset}"
                )
            for arch in self.selections[name].architectures or (own,):
                evaluation = _evaluation(layers, dataset, ipc, method, arch, entry.protocol)
                values = ContinualParams(**evaluation.model_dump(), steps=steps)
                for seed in layers.seeds(method):
                    protocol = _named(entry.protocol)
                    cell = Cell("continual", dataset, ipc, method, seed, arch, protocol=protocol, steps=steps)
                    self._add(cell, values, [name])

    def _add_search(self, facts: DatasetFacts, ipc: int, method: str, entry: SearchEntry, name: str) -> None:
        """Add the cells of a search on one method's sets; it trains as evaluations of the protocol do."""
        networks = grid(entry, facts, f"{self.layers.path}: search")
        evaluation = self.layers.merged(EvaluateParams, facts.name, ipc, method, entry.protocol)[0]
        # What a search does not read stays as it is, so that changing it re-runs nothing.
        training = evaluation.model_dump(exclude={"arch", "width", "norm", "looks"})
        for seed in self.layers.seeds(method):
            cell = Cell("search", facts.name, ipc, method, seed, protocol=_named(entry.protocol))
            self._add(cell, SearchParams.model_validate({**training, **networks}), [name])


def _evaluation(layers: Layers, dataset: str, ipc: int, method: str, arch: str, protocol: str) -> EvaluateParams:
    return with_own_norm(*layers.merged(EvaluateParams, dataset, ipc, method, protocol, {"arch": arch}))


def _named(protocol: str) -> str | None:
    """Return a protocol's name as cells have it: the default has none."""
    return None if protocol == layout.RELEASED else protocol
