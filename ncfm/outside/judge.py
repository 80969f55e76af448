"""One set under every protocol of `params/base.yaml`, without a campaign: how a set that came from outside is judged.

Budgets are those of `params/paper.yaml`, with its exceptions by data set and IPC, so that the accuracies can be held
against reported ones. Run again, finished protocols are skipped and the one that was cut off continues.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ncfm.campaign.file import CampaignFile, read_yaml
from ncfm.campaign.layers import Layers
from ncfm.core.layout import RELEASED
from ncfm.core.params import Count, EvaluateParams, parse
from ncfm.core.store import read_json
from ncfm.datasets.catalogue import facts_of
from ncfm.outside.adhoc import BASE, NETWORKS, nearest_resolution, run_stage
from ncfm.stages.cells import Evaluate
from ncfm.stages.evaluate import evaluate

FULL = BASE.with_name("paper.yaml")


class Limits(BaseModel):
    """What the user can cut: a smaller number than the protocol's own."""

    model_config = ConfigDict(frozen=True)
    epochs: Count | None = Field(None, description="of each network's training, at most")
    networks: Count | None = Field(None, description="trained under each protocol, at most")


def protocols(dataset: str, ipc: int, limits: Limits) -> dict[str, EvaluateParams]:
    """Return by name how each protocol trains on a set of this data set and IPC, ``released`` first."""
    files = {str(path): parse(CampaignFile, read_yaml(path), str(path)) for path in (BASE, FULL)}
    layers = Layers(files, str(FULL), files[str(FULL)])
    arch = {"arch": NETWORKS[nearest_resolution(facts_of(dataset).resolution)]}
    found: dict[str, EvaluateParams] = {}
    for name in (RELEASED, *files[str(BASE)].protocols):
        params, _ = layers.merged(EvaluateParams, dataset, ipc, protocol=name, names=arch)
        cut = {key: min(value, getattr(params, key)) for key, value in limits.model_dump(exclude_none=True).items()}
        params = params.model_copy(update=cut)
        if name == RELEASED or params.model_copy(update={"looks": found[RELEASED].looks}) != found[RELEASED]:
            found[name] = params  # `last` is the same training: its number is a column of `released`
    return found


def evaluate_all(stored: Path, data: Path, names: Mapping[str, str | int], out: Path, limits: Limits) -> Iterator[str]:
    """Evaluate a set of this data set, IPC, method and seed under every protocol and yield one line for each.

    The results are ``<arch>.json`` (``released``) and ``<arch>.<protocol>.json`` in ``out``.
    """
    for name, params in protocols(str(names["dataset"]), int(names["ipc"]), limits).items():
        cell = Evaluate(**{**names, "arch": params.arch, "protocol": None if name == RELEASED else name})  # type: ignore
        path, own = out / f"{cell.file}.json", cell.names
        inputs: list[str | Path] = [stored, data / "test.safetensors"]
        run_stage(params, path, own, inputs, evaluate, params, data, stored, own, path)
        result = read_json(path)
        accuracy = ", ".join(f"{which} {result[which]['mean']:.1f} %" for which in ("last", "best"))
        yield f"{name}: {accuracy} ({params.networks} x {params.arch}, {params.epochs} epochs): {path}"
