"""The stage `pretrain`: train the extractor pool, keeping each network's start and end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ncfm.core import checkpoint
from ncfm.core.params import PretrainParams
from ncfm.core.progress import Progress
from ncfm.core.seeding import generator
from ncfm.core.store import save_tensors
from ncfm.datasets.split import Split, load_split
from ncfm.method.training import Forward, accuracy, forwards, new_network, train
from ncfm.models.base import Network
from ncfm.run.compute import device, side_by_side
from ncfm.run.record import Record

Member = tuple[list[dict[str, float]], dict[str, Tensor]]  # history and weights of one trained network


def pretrain(params: PretrainParams, data: Path, out: Path, record: Record) -> None:
    """Train the pool on the full training set (method.md section 3) and write it.

    Nothing is selected: every network is kept as it is after its last epoch, and its test accuracy is only noted.
    A finished network is kept in a checkpoint beside ``out``, so that a killed run continues with the next one.

    Args:
        params: architecture, pool size, training.
        data: folder of the prepared data set.
        out: the pool's file; `.history.csv` is written beside it.
        record: takes the history (one row per epoch) and the accuracies.
    """
    where = device()
    train_split, test_split = load_split(data, "train", where), load_split(data, "test", where)
    resume, key = out.with_name(f"{out.stem}.checkpoint.safetensors"), record.content["key"]
    tensors, values = checkpoint.load(resume, key) or ({}, {"rows": {}})
    rows: dict[int, list[dict[str, float]]] = {int(member): history for member, history in values["rows"].items()}

    def log(member: int) -> None:
        for row in rows[member]:
            record.log(member * params.epochs + int(row["epoch"]), row)

    for member in rows:
        log(member)
    forward_of = forwards(
        params, where, lambda: new_network(params.arch, params, train_split, generator("overwritten"))
    )
    with Progress(params.pool * params.epochs, "pretrain", start=len(rows) * params.epochs, unit="epoch") as progress:

        def train_one(member: int, check: Callable[[], None]) -> Member:
            return _train_one(params, train_split, test_split, member, forward_of, check, progress)

        def finished(member: int, result: Member) -> None:
            history, made = result
            rows[member] = history
            tensors.update(made)
            checkpoint.save(resume, key, tensors, {"rows": rows})
            log(member)

        side_by_side(params.pool, frozenset(rows), train_one, finished, where)
    facts = {
        "dataset": train_split.dataset,
        "channels": train_split.channels,
        "resolution": train_split.resolution,
        "classes": train_split.classes,
        "arch": params.arch,
        "width": params.width,
        "norm": params.norm,
        "pool": params.pool,
    }
    accuracies = [rows[member][-1]["test_accuracy"] for member in range(params.pool)]
    history = out.with_name(f"{out.stem}.history.csv")
    record.save_history(history)
    save_tensors(out, dict(sorted(tensors.items())), facts)
    record.finish([out, history], {"test_accuracy": sum(accuracies) / len(accuracies)})
    resume.unlink(missing_ok=True)


def _train_one(
    params: PretrainParams,
    train_split: Split,
    test_split: Split,
    member: int,
    forward_of: Callable[[Network], Forward],
    check: Callable[[], None],
    progress: Progress,
) -> Member:
    """Train one network; return its history, a row per epoch, and its weights at the start and at the end."""
    names = (train_split.dataset, "pretrain", params.arch, member)
    network = new_network(params.arch, params, train_split, generator(*names, "weights"))
    tensors = _weights(network, f"{member}.initial")
    rows: list[dict[str, float]] = []

    def normalised(index: Tensor) -> Tensor:
        return train_split.normalisation(train_split.pixels(index))

    def after_epoch(epoch: int, loss: float) -> None:
        rows.append({"network": member, "epoch": epoch, "loss": loss})
        if epoch == params.epochs:
            rows[-1]["test_accuracy"] = accuracy(network, test_split)
        progress.step(network=member, loss=loss)

    train(network, normalised, train_split.labels, params, names, after_epoch, forward_of(network), check)
    return rows, tensors | _weights(network, f"{member}.trained")


def _weights(network: Network, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value.detach().clone() for name, value in network.state_dict().items()}
