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
    architecture, size = ARCHITECTURES.find(arch, where), facts.resolution
    if not architecture.takes(size):
        allowed = f"allowed: {architecture.resolutions}"
        raise ImpossibleError(f"{where}: {arch} cannot take {facts.name}, whose resolution is {size} ({allowed})")


def with_own_norm(params: NetworkStage, places: dict[str, str]) -> NetworkStage:
    """Return ``params`` with ``norm: default`` replaced by the architecture's own, so that results say what it was."""
    try:
        return params.model_copy(update={"norm": norm_of(params.arch, params.norm, params.width, places["norm"])})
    except ParamsError as error:
        raise ImpossibleError(str(error)) from error


def check_set(values: DistillParams | SelectParams, facts: DatasetFacts, ipc: int, places: dict[str, str]) -> None:
    """Raise where a set cannot be made: a factor that does not fit, or no file to start from."""
    where, factor = f"{places['factor']}: is {values.factor}", values.factor
    size, most, tiles = facts.resolution, facts.smallest_class, ipc * factor**2
    if size % factor:
        fits = [f for f in range(1, size + 1) if size % f == 0]
        raise ImpossibleError(f"{where}, but must divide the resolution {size} of {facts.name} (allowed: {fits})")
    if (isinstance(values, SelectParams) or values.initialisation == "mix") and tiles > most:
        raise ImpossibleError(
            f"{where}, which at IPC {ipc} takes {tiles} real images per class, but the smallest class of {facts.name} "
            f"has {most} (allowed: IPC times factor squared up to {most})"
        )
    if isinstance(values, DistillParams) and values.initialisation == "load" and not values.load:
        raise ParamsError(f"{places['load']}: is missing, but initialisation: load needs the file to start from")
