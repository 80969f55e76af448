"""The stage `pretrain`: train the extractor pool, keeping each network's start and end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import Tensor

from ncfm.core.params import PretrainParams
from ncfm.core.progress import Progress
from ncfm.core.seeding import generator
from ncfm.core.store import save_tensors
from ncfm.datasets.split import Split, load_split
from ncfm.method.training import Forward, accuracy, forwards, new_network, train
from ncfm.models.base import Network
from ncfm.run.compute import Check, chosen_device
from ncfm.run.record import Record
from ncfm.stages.repeats import Rows, train_networks

History = list[dict[str, float]]  # of one network, a row per epoch


def pretrain(params: PretrainParams, data: Path, out: Path, record: Record) -> None:
    """Train the pool on the full training set (docs/method.md, section 3) and write it.

    Nothing is selected: every network is kept as it is after its last epoch, and its test accuracy is only noted.
    The history, a row per epoch, is written beside ``out`` as `.history.csv`.
    """
    device = chosen_device()
    splits = load_split(data, "train", device), load_split(data, "test", device)
    forward_of = forwards(params, device, lambda: new_network(params.arch, params, splits[0], generator("overwritten")))

    def rows_of(member: int, history: History) -> Rows:
        return [(member * params.epochs + int(row["epoch"]), row) for row in history]

    train_one = partial(_train_one, params, *splits, forward_of)
    histories, tensors = train_networks(params.pool, params.epochs, train_one, rows_of, out, record, device)
    facts = {name: getattr(splits[0], name) for name in ("dataset", "channels", "resolution", "classes")}
    facts |= {name: getattr(params, name) for name in ("arch", "width", "norm", "pool")}
    history_file = out.with_name(f"{out.stem}.history.csv")
    record.save_history(history_file)
    save_tensors(out, dict(sorted(tensors.items())), facts)
    accuracies = [history[-1]["test_accuracy"] for history in histories]
    record.finish([out, history_file], {"test_accuracy": sum(accuracies) / len(accuracies)})


def _train_one(
    params: PretrainParams,
    train_split: Split,
    test_split: Split,
    forward_of: Callable[[Network], Forward],
    member: int,
    check: Check,
    progress: Progress,
) -> tuple[History, dict[str, Tensor]]:
    """Train one network; return its history and its weights at the start and at the end."""
    names = (train_split.dataset, "pretrain", params.arch, member)
    network = new_network(params.arch, params, train_split, generator(*names, "weights"))
    initial = _weights(network, f"{member}.initial")
    history: History = []

    def normalised(index: Tensor) -> Tensor:
        return train_split.normalisation(train_split.pixels(index))

    def after_epoch(epoch: int, loss: float) -> None:
        history.append({"network": member, "epoch": epoch, "loss": loss})
        if epoch == params.epochs:
            history[-1]["test_accuracy"] = accuracy(network, test_split)
        progress.step(network=member, loss=loss)

    train(network, normalised, train_split.labels, params, names, after_epoch, forward_of(network), check)
    return history, initial | _weights(network, f"{member}.trained")


def _weights(network: Network, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value.detach().clone() for name, value in network.state_dict().items()}
