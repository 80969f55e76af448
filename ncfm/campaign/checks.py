"""What a campaign's values must fit: the facts about the data set, and each other. Faults are :class:`ParamsError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ncfm.campaign.file import CampaignFile, SearchEntry, Section
from ncfm.core.errors import ParamsError
from ncfm.core.params import DistillParams, EvaluateParams, PretrainParams, SelectParams
from ncfm.core.registry import Registry
from ncfm.datasets.catalogue import DatasetFacts
from ncfm.method.coresets import RULES
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.models.registry import ARCHITECTURES, norm_of

# Values that name an entry of a registry, by stage and key. Networks and data sets are checked with what they take.
NAMES: tuple[tuple[str, str, Registry[Any]], ...] = (
    ("distill", "discrepancy", DISCREPANCIES),
    ("select", "rule", RULES),
)
NetworkStage = TypeVar("NetworkStage", PretrainParams, EvaluateParams)


def check_names(files: Mapping[str, CampaignFile]) -> None:
    """Raise where a section of a file, used or not, names a discrepancy or a rule that there is not."""
    for path, file in files.items():
        sections: dict[str, Section] = {"": file}
        for dataset, entry in file.datasets.items():
            sections[f"datasets.{dataset}."] = entry
            sections |= {f"datasets.{dataset}.by_ipc.{ipc}.": section for ipc, section in entry.by_ipc.items()}
        sections |= {f"methods.{method}.": section for method, section in file.methods.items()}
        for prefix, section in sections.items():
            for stage, key, registry in NAMES:
                if (name := section.told(stage).get(key)) is not None:
                    registry.find(name, f"{path}: {prefix}{stage}.{key}")


def check_architecture(arch: str, facts: DatasetFacts, where: str) -> None:
    """Raise where there is no such architecture, or it cannot take the data set; ``where`` is file and key."""
    architecture = ARCHITECTURES.find(arch, where)
    if not architecture.takes(facts.resolution):
        raise ParamsError(
            f"{where}: {arch} cannot take {facts.name}, whose resolution is {facts.resolution} "
            f"(allowed: {architecture.resolutions})"
        )


def with_own_norm(params: NetworkStage, places: dict[str, str]) -> NetworkStage:
    """Return ``params`` with ``norm: default`` replaced by the architecture's own, so that results say what it was."""
    return params.model_copy(update={"norm": norm_of(params.arch, params.norm, params.width, places["norm"])})


def check_set(values: DistillParams | SelectParams, facts: DatasetFacts, ipc: int, places: dict[str, str]) -> None:
    """Raise where a set cannot be made: a factor that does not fit, or no file to start from."""
    where, factor, tiles = places["factor"], values.factor, ipc * values.factor**2
    if facts.resolution % factor:
        fits = [f for f in range(1, facts.resolution + 1) if facts.resolution % f == 0]
        raise ParamsError(
            f"{where}: is {factor}, but must divide the resolution {facts.resolution} of {facts.name} (allowed: {fits})"
        )
    if (isinstance(values, SelectParams) or values.initialisation == "mix") and tiles > facts.smallest_class:
        raise ParamsError(
            f"{where}: is {factor}, which at IPC {ipc} takes {tiles} real images per class, but the smallest class of "
            f"{facts.name} has {facts.smallest_class} (allowed: IPC times factor squared up to {facts.smallest_class})"
        )
    if isinstance(values, DistillParams) and values.initialisation == "load" and not values.load:
        raise ParamsError(f"{places['load']}: is missing, but initialisation: load needs the file to start from")


def grid(entry: SearchEntry, facts: DatasetFacts, where: str) -> dict[str, tuple[int, ...] | tuple[str, ...]]:
    """Return depths, widths and normalisations of a search, each network of which can take the data set.

    ``where`` is the file and the key of the search.
    """
    norms: dict[str, None] = {}
    for arch in (f"convnet-{depth}" for depth in entry.depths):
        check_architecture(arch, facts, f"{where}.depths")
        norms |= dict.fromkeys(norm_of(arch, n, width, f"{where}.norms") for n in entry.norms for width in entry.widths)
    return {"depths": entry.depths, "widths": entry.widths, "norms": tuple(norms)}
