"""Whether values that are each fine fit each other, and the data set; messages name the place of the value at fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ncfm.core.errors import ImpossibleError, ParamsError
from ncfm.core.params import CurateParams, DistillParams, EvaluateParams, NetworkParams, PretrainParams, SelectParams
from ncfm.datasets.catalogue import DatasetFacts
from ncfm.method.coresets import Rule
from ncfm.models.registry import ARCHITECTURES, norm_of

NetworkStage = TypeVar("NetworkStage", PretrainParams, EvaluateParams)


def check_training(params: NetworkParams, stage: str, places: Mapping[str, str]) -> None:
    """Raise where looks or milestones that a file names are more than the epochs; the defaults may be."""
    looks = getattr(params, "looks", 0) if stage == "evaluate" else 0
    for key, count in {"looks": looks, "milestones": len(params.milestones)}.items():
        if key in params.model_fields_set and count > params.epochs:
            text = f"at most one {key.removesuffix('s')} an epoch (epochs: {params.epochs})"
            raise ParamsError(f"{places[key]}: has {count}, but must have {text}")


def check_architecture(arch: str, facts: DatasetFacts, place: str) -> None:
    """Raise where there is no such architecture, or it cannot take the data set; ``place`` is file and key."""
    architecture, size = ARCHITECTURES.find(arch, place), facts.resolution
    if not architecture.takes(size):
        allowed = f"allowed: {architecture.resolutions}"
        raise ImpossibleError(f"{place}: {arch} cannot take {facts.name}, whose resolution is {size} ({allowed})")


def fitted(params: NetworkStage, facts: DatasetFacts, places: Mapping[str, str]) -> NetworkStage:
    """Return ``params``, whose network can take the data set, with its own norm for `default`: results say which."""
    check_architecture(params.arch, facts, places["arch"])
    try:
        return params.model_copy(update={"norm": norm_of(params.arch, params.norm, params.width, places["norm"])})
    except ParamsError as error:
        raise ImpossibleError(str(error)) from error


def check_set(values: DistillParams | SelectParams, facts: DatasetFacts, ipc: int, places: Mapping[str, str]) -> None:
    """Raise where a set cannot be made as its params say: each value is fine alone, but not with the others."""
    factor, size, most = values.factor, facts.resolution, facts.smallest_class
    start, tiles = f"{places['factor']}: is {factor}", ipc * factor**2
    if size % factor:
        fits = [divisor for divisor in range(1, size + 1) if size % divisor == 0]
        raise ImpossibleError(f"{start}, but must divide the resolution {size} of {facts.name} (allowed: {fits})")
    if (isinstance(values, SelectParams) or values.initialisation == "mix") and tiles > most:
        raise ImpossibleError(
            f"{start}, which at IPC {ipc} takes {tiles} real images per class, but the smallest class of {facts.name} "
            f"has {most} (allowed: IPC times factor squared up to {most})"
        )
    if not isinstance(values, DistillParams):
        return
    if values.snapshots and values.snapshots[-1] > values.iterations:
        reached = f"allowed: 1 to {values.iterations}, its iterations"
        raise ParamsError(f"{places['snapshots']}: names {values.snapshots[-1]}, which is never reached ({reached})")
    if values.initialisation == "load" and not values.load:
        raise ParamsError(f"{places['load']}: is missing, but initialisation: load needs the file to start from")
    if values.load and values.initialisation != "load":
        other = f"initialisation is {values.initialisation} (allowed: with initialisation: load)"
        raise ParamsError(f"{places['load']}: is {values.load}, but {other}")
    if values.processes > 1:
        place = f"{places['processes']}: is {values.processes}"
        if values.update != "joint":
            raise ParamsError(f"{place}, but update is {values.update} (allowed: with update: joint)")
        if values.processes > facts.classes:
            raise ParamsError(f"{place}, but {facts.name} has {facts.classes} classes (allowed: 1 to {facts.classes})")


def check_teachers(values: CurateParams, pool: PretrainParams, places: Mapping[str, str]) -> None:
    """Raise where a curation asks more networks than the pool has."""
    if values.teachers > pool.pool:
        text = f"is {values.teachers}, but the pool has {pool.pool} (allowed: 0 to {pool.pool})"
        raise ParamsError(f"{places['teachers']}: {text}")


def check_events(rule: Rule, pool: PretrainParams, method: str, places: Mapping[str, str]) -> None:
    """Raise where a coreset's rule reads forgetting events that the pool does not count."""
    if rule.reads_events and not pool.count_forgetting:
        start = f"{places['count_forgetting']}: is false, but the method {method} reads what it counts"
        raise ParamsError(f"{start} (allowed: pretrain: {{count_forgetting: true}})")
