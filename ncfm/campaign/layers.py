"""A campaign's file laid over the base: which methods there are, and which value wins for a cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ncfm.campaign.file import CampaignFile, Section
from ncfm.core.errors import ParamsError, one_of
from ncfm.core.params import StageModel, parse
from ncfm.core.registry import Registry
from ncfm.method.coresets import RULES
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.stages.table import MAKERS

# Values that name an entry of a registry, by stage and key. Networks and data sets are checked with what they take.
NAMES: dict[tuple[str, str], Registry[Any]] = {("distill", "discrepancy"): DISCREPANCIES, ("select", "rule"): RULES}


@dataclass(frozen=True)
class Layers:
    """A campaign laid over the base: ``files`` by path, the base first; ``path`` and ``campaign`` are the campaign."""

    files: dict[str, CampaignFile]
    path: str
    campaign: CampaignFile

    def stage(self, method: str) -> str:
        """Return the stage that makes the sets of ``method``."""
        return str(self.field("stage", self.ancestry(method)))

    def seeds(self, method: str) -> tuple[int, ...]:
        """Return the seeds of ``method``; where none are named, those of the method that it curates, else 0."""
        source = self.source(method)
        return self.field("seeds", self.ancestry(method)) or (self.seeds(source) if source else (0,))

    def source(self, method: str) -> str | None:
        """Return the method whose sets ``method`` curates, or None."""
        return self.field("of", self.ancestry(method))

    def check_methods(self) -> None:
        """Raise :class:`ParamsError` where a method has a section it never reads, or nothing to curate."""
        stages = {method: self.stage(method) for method in self.campaign.methods}
        for method, entry in self.campaign.methods.items():
            place = f"{self.path}: methods.{method}"
            for idle in MAKERS:
                if idle != stages[method] and getattr(entry, idle):
                    allowed = f"allowed: {stages[method]}, the method's stage"
                    raise ParamsError(f"{place}.{idle}: is never read ({allowed})")
            source = self.source(method)
            if stages[method] != "curate":
                if source:
                    raise ParamsError(f"{place}.of: is never read (allowed: in a method with stage: curate)")
                continue
            sources = [name for name, stage in stages.items() if stage != "curate"]
            if source is None or source not in sources:
                raise ParamsError(one_of("method of this campaign", source, sources, f"{place}.of"))
            if extra := set(self.seeds(method)) - set(self.seeds(source)):
                allowed = ", ".join(map(str, self.seeds(source)))
                raise ParamsError(f"{place}.seeds: has {min(extra)}, of which {source} has no set (allowed: {allowed})")

    def ancestry(self, method: str) -> list[str]:
        """Return the methods that ``method`` is made from, following `like`: the most basic first, itself last."""
        known = {name for file in self.files.values() for name, m in file.methods.items() if m.stage or m.like}
        names: list[str] = []
        name: str | None = method
        place = f"{self.path}: methods"
        while name:
            if name not in known:
                raise ParamsError(one_of("method", name, sorted(known), place))
            if name in names:
                raise ParamsError(f"{place}: leads back to {name!r}, but must end at a method with a stage")
            names.insert(0, name)
            place = f"{self.path}: methods.{name}.like"
            name = self.field("like", [name])
        return names

    def field(self, name: str, methods: Sequence[str]) -> Any:
        """Return the field of the last of ``methods`` that has it, the campaign before the base; else None."""
        entries = [file.methods[one] for one in methods for file in self.files.values() if one in file.methods]
        return next((value for entry in reversed(entries) if (value := getattr(entry, name)) is not None), None)

    def merged(
        self,
        model: type[StageModel],
        dataset: str = "",
        ipc: int = 0,
        method: str = "",
        protocol: str = "",
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[StageModel, dict[str, str]]:
        """Return one cell's params, and for each key the place where its value stands."""
        stage = model.stage
        values: dict[str, Any] = dict(names)
        places = {key: f"{self.path}: {stage}.{key}" for key in model.model_fields}
        methods = self.ancestry(method) if method else []
        for path, file in self.files.items():
            for prefix, section in _sections(file, [dataset], [ipc], methods):
                named = section.values_for(stage)
                values |= named
                places |= {key: f"{path}: {prefix}{stage}.{key}" for key in named}
        for file in self.files.values():
            if chosen := file.protocols.get(protocol):
                values |= chosen.values_for("evaluate")
        return parse(model, values, self.path), places


def _sections(
    file: CampaignFile, datasets: Iterable[str], ipcs: Iterable[int] | None, methods: Iterable[str]
) -> Iterator[tuple[str, Section]]:
    """Yield the sections of a file about these data sets, at these IPCs (None: at all), and methods, by their keys."""
    yield "", file
    for dataset in datasets:
        if entry := file.datasets.get(dataset):
            yield f"datasets.{dataset}.", entry
            for ipc in entry.by_ipc if ipcs is None else ipcs:
                if ipc in entry.by_ipc:
                    yield f"datasets.{dataset}.by_ipc.{ipc}.", entry.by_ipc[ipc]
    for method in methods:
        if method in file.methods:
            yield f"methods.{method}.", file.methods[method]


def check_names(files: Mapping[str, CampaignFile]) -> None:
    """Raise where a section of a file, used or not, names a discrepancy or a rule that there is not."""
    for path, file in files.items():
        for prefix, section in _sections(file, file.datasets, None, file.methods):
            for (stage, key), registry in NAMES.items():
                if (name := section.values_for(stage).get(key)) is not None:
                    registry.find(name, f"{path}: {prefix}{stage}.{key}")
