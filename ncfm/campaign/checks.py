"""What a campaign's values must fit: the facts about the data set, and each other. Faults are :class:`ParamsError`."""

from __future__ import annotations

from typing import TypeVar

from ncfm.core.errors import ImpossibleError, ParamsError
from ncfm.core.params import DistillParams, EvaluateParams, PretrainParams, SelectParams
from ncfm.datasets.catalogue import DatasetFacts
from ncfm.models.registry import ARCHITECTURES, norm_of

NetworkStage = TypeVar("NetworkStage", PretrainParams, EvaluateParams)


def check_architecture(arch: str, facts: DatasetFacts, where: str) -> None:
    """Raise where there is no such architecture, or it cannot take the data set; ``where`` is file and key."""
    architecture = ARCHITECTURES.find(arch, where)
    if not architecture.takes(facts.resolution):
        raise ImpossibleError(
            f"{where}: {arch} cannot take {facts.name}, whose resolution is {facts.resolution} "
            f"(allowed: {architecture.resolutions})"
        )


def with_own_norm(params: NetworkStage, places: dict[str, str]) -> NetworkStage:
    """Return ``params`` with ``norm: default`` replaced by the architecture's own, so that results say what it was."""
    try:
        return params.model_copy(update={"norm": norm_of(params.arch, params.norm, params.width, places["norm"])})
    except ParamsError as error:
        raise ImpossibleError(str(error)) from error


def check_set(values: DistillParams | SelectParams, facts: DatasetFacts, ipc: int, places: dict[str, str]) -> None:
    """Raise where a set cannot be made: a factor that does not fit, or no file to start from."""
    where, factor, tiles = places["factor"], values.factor, ipc * values.factor**2
    if facts.resolution % factor:
        fits = [f for f in range(1, facts.resolution + 1) if facts.resolution % f == 0]
        raise ImpossibleError(
            f"{where}: is {factor}, but must divide the resolution {facts.resolution} of {facts.name} (allowed: {fits})"
        )
    if (isinstance(values, SelectParams) or values.initialisation == "mix") and tiles > facts.smallest_class:
        raise ImpossibleError(
            f"{where}: is {factor}, which at IPC {ipc} takes {tiles} real images per class, but the smallest class of "
            f"{facts.name} has {facts.smallest_class} (allowed: IPC times factor squared up to {facts.smallest_class})"
        )
    if isinstance(values, DistillParams) and values.initialisation == "load" and not values.load:
        raise ParamsError(f"{places['load']}: is missing, but initialisation: load needs the file to start from")
