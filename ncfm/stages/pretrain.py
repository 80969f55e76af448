"""The stage `pretrain`: train the extractor pool, keeping each network's start and end."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ncfm.core.layout import SPLIT_FILES
from ncfm.core.params import PretrainParams
from ncfm.core.progress import Progress
from ncfm.core.seeding import generator
from ncfm.core.store import save_tensors
from ncfm.datasets.split import load_split
from ncfm.method.coresets.forgetting import ForgettingEvents
from ncfm.method.pool import FORGOTTEN
from ncfm.method.shipped import find_extractors
from ncfm.method.training import accuracy, forwards, new_network, train
from ncfm.models.base import Network
from ncfm.run.compute import Check, chosen_device
from ncfm.run.record import Record
from ncfm.stages.repeats import Rows, Tensors, train_networks

History = list[dict[str, float]]  # of one network, a row per epoch


def pretrain(params: PretrainParams, data: Path, out: Path, record: Record) -> None:
    """Train the pool on the full training set (docs/method.md, section 3) and write it.

    Nothing is selected: every network is kept as it is after its last epoch, and its test accuracy is only noted.
    Networks that ship with the repository are taken from there, those of the same params and images. The history, a row
    per epoch, is written beside ``out`` as `.history.csv`.
    """
    device = chosen_device()
    split, test = load_split(data, "train", device), load_split(data, "test", device)
    forward_of = forwards(params, device, lambda: new_network(params.arch, params, split, generator("overwritten")))

    def normalised(index: Tensor) -> Tensor:
        return split.normalisation(split.pixels(index))

    def first(member: int) -> Network:
        weights = generator(split.dataset, "pretrain", params.arch, member, "weights")
        return new_network(params.arch, params, split, weights)

    def train_one(member: int, check: Check, progress: Progress) -> tuple[History, Tensors]:
        names = (split.dataset, "pretrain", params.arch, member)
        network = first(member)
        initial = _weights(network, f"{member}.initial")
        history: History = []
        events = ForgettingEvents(split.labels) if params.count_forgetting else None

        def after_epoch(epoch: int, loss: float) -> None:
            history.append({"network": member, "epoch": epoch, "loss": loss})
            if epoch == params.epochs:
                _round(network, params.kept)
                history[-1]["test_accuracy"] = accuracy(network, test)
            progress.step(network=member, loss=loss)

        judge = events.judge if events else None
        train(network, normalised, split.labels, params, names, after_epoch, forward_of(network), check, judge)
        counts = {f"{member}{FORGOTTEN}": events.counts} if events else {}
        return history, initial | _weights(network, f"{member}.trained") | counts

    def rows_of(member: int, history: History) -> Rows:
        return [(member * params.epochs + int(row["epoch"]), row) for row in history]

    ready: dict[int, tuple[History, Tensors]] = {}
    if found := find_extractors(params, split.dataset):
        for member, weights in found.trained(data / SPLIT_FILES["train"]).items():
            trained = {f"{member}.trained.{name}": value for name, value in weights.items()}
            ready[member] = found.history(member), _weights(first(member), f"{member}.initial") | trained
    if found and ready:
        record.content["shipped"] = {"file": found.file.name, "members": list(ready), "made": found.note["made"]}
    histories, tensors = train_networks(
        params.pool, params.epochs, train_one, rows_of, out, record, device, ready=ready
    )
    facts = {name: getattr(split, name) for name in ("dataset", "channels", "resolution", "classes")}
    facts |= {name: getattr(params, name) for name in ("arch", "width", "norm", "pool")}
    history_file = out.with_name(f"{out.stem}.history.csv")
    record.save_history(history_file)
    save_tensors(out, dict(sorted(tensors.items())), facts)
    accuracies = [history[-1]["test_accuracy"] for history in histories]
    record.finish([out, history_file], {"test_accuracy": sum(accuracies) / len(accuracies)})


def _round(network: Network, kept: str) -> None:
    """Round the weights of a network in place to what a number of the kind ``kept`` can hold."""
    kind = getattr(torch, kept)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.to(kind))


def _weights(network: Network, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value.detach().clone() for name, value in network.state_dict().items()}
