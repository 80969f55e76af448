"""A campaign's file laid over the base: which methods there are, and which value wins for a cell."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from ncfm.campaign.file import CampaignFile, ProtocolEntry
from ncfm.campaign.reading import read_yaml
from ncfm.core.errors import ParamsError, one_of
from ncfm.core.params import StageModel, parse
from ncfm.core.registry import Registry
from ncfm.method.coresets import RULES
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.stages.table import MAKERS

# Values that name an entry of a registry, by stage and key. Networks and data sets are checked with what they take.
NAMES: dict[tuple[str, str], Registry[Any]] = {("distill", "discrepancy"): DISCREPANCIES, ("select", "rule"): RULES}


def check_declared(what: str, values: Iterable[object], allowed: Collection[object], place: str) -> None:
    """Raise :class:`ParamsError` where one of ``values`` is not allowed at ``place``, which is file and key."""
    for value in values:
        if value not in allowed:
            raise ParamsError(one_of(what, value, allowed, place))


class Layers:
    """A campaign laid over the base: ``files`` by path, the base first; ``path`` and ``campaign`` are the last file.

    ``known`` are the methods that there are, ``sections`` the parts of the files that say how stages run, by path and
    key. Raises :class:`ParamsError`, as all that it does.
    """

    def __init__(self, *paths: Path) -> None:
        self.files = {str(path): parse(CampaignFile, read_yaml(path), str(path)) for path in paths}
        self.path, self.campaign = list(self.files.items())[-1]
        files = self.files.values()
        self.known = sorted({name for file in files for name, one in file.methods.items() if one.stage or one.like})
        self.sections: dict[tuple[str, str], ProtocolEntry] = {}
        for path, file in self.files.items():
            self.sections[path, ""] = file
            for name, entry in file.datasets.items():
                self.sections[path, f"datasets.{name}."] = entry
                self.sections |= {(path, f"datasets.{name}.by_ipc.{ipc}."): one for ipc, one in entry.by_ipc.items()}
            self.sections |= {(path, f"methods.{name}."): method for name, method in file.methods.items()}

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

    def check_names(self) -> None:
        """Raise :class:`ParamsError` where a section, used or not, names a discrepancy or a rule that there is not."""
        for ((path, prefix), section), ((stage, key), registry) in product(self.sections.items(), NAMES.items()):
            if (name := section.values_for(stage).get(key)) is not None:
                registry.find(name, f"{path}: {prefix}{stage}.{key}")

    def check_methods(self) -> None:
        """Raise :class:`ParamsError` where a method has a section it never reads, or nothing to curate."""
        stages = {method: self.stage(method) for method in self.campaign.methods}
        for method, entry in self.campaign.methods.items():
            place, stage, source = f"{self.path}: methods.{method}", stages[method], self.source(method)
            for idle in MAKERS:
                if idle != stage and getattr(entry, idle):
                    raise ParamsError(f"{place}.{idle}: is never read (allowed: {stage}, the method's stage)")
            if stage == "curate":
                sources = [name for name, made in stages.items() if made != "curate"]
                check_declared("method of this campaign", [source], sources, f"{place}.of")
                allowed = self.seeds(str(source))
                if extra := set(self.seeds(method)) - set(allowed):
                    text = f"{source} has no set (allowed: {', '.join(map(str, allowed))})"
                    raise ParamsError(f"{place}.seeds: has {min(extra)}, of which {text}")
            elif source:
                raise ParamsError(f"{place}.of: is never read (allowed: in a method with stage: curate)")

    def ancestry(self, method: str) -> list[str]:
        """Return the methods that ``method`` is made from, following `like`: the most basic first, itself last."""
        names: list[str] = []
        name: str | None = method
        place = f"{self.path}: methods"
        while name:
            check_declared("method", [name], self.known, place)
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

    def given(
        self, stage: str, dataset: str = "", ipc: int = 0, method: str = "", protocol: str = ""
    ) -> dict[str, tuple[Any, str]]:
        """Return what the files say for one cell of a stage, by key: the value, and the place where it stands.

        Later values win: stage, data set, data set at this IPC, method, of the base and then of the campaign; at last
        the protocol of the base and of the campaign.
        """
        keys = ["", f"datasets.{dataset}.", f"datasets.{dataset}.by_ipc.{ipc}."]
        keys += [f"methods.{one}." for one in self.ancestry(method)] if method else []
        sections = [(path, key, self.sections.get((path, key))) for path, key in product(self.files, keys)]
        sections += [
            (path, f"protocols.{protocol}.", file.protocols.get(protocol)) for path, file in self.files.items()
        ]
        return {
            name: (value, f"{path}: {key}{stage}.{name}")
            for path, key, section in sections
            if section
            for name, value in section.values_for(stage).items()
        }

    def merged(
        self, model: type[StageModel], dataset: str = "", ipc: int = 0, method: str = "", protocol: str = ""
    ) -> tuple[StageModel, dict[str, str]]:
        """Return one cell's params, and for each key the place where its value stands, or could stand."""
        found = self.given(model.stage, dataset, ipc, method, protocol)
        values: dict[str, Any] = {"dataset": dataset} if "dataset" in model.model_fields else {}
        values |= {key: value for key, (value, _) in found.items()}
        places = {key: f"{self.path}: {model.stage}.{key}" for key in model.model_fields}
        return parse(model, values, self.path), places | {key: place for key, (_, place) in found.items()}
