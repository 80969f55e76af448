"""The extractor pool: pretrain it, keep each network's start and end, and blend the two at a step of distillation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ncfm import checkpoint
from ncfm.artifacts import load_tensors, save_tensors
from ncfm.compute import device, side_by_side
from ncfm.datasets.split import Split, load_split
from ncfm.errors import DataError, ParamsError
from ncfm.models.base import Network
from ncfm.models.registry import build
from ncfm.params import PretrainParams
from ncfm.progress import Progress
from ncfm.records import Record
from ncfm.seeding import generator
from ncfm.training import Forward, accuracy, forwards, new_network, train

ENDS = ("initial", "trained")
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


def load_pool(path: Path, data: Path, split: Split) -> Pool:
    """Read a pool onto the device of ``split``, which was read from ``data``. Raises :class:`DataError` where the pool
    was trained on another data set, is missing or torn.
    """
    pool = Pool(path, split.images.device)
    check_pool(pool, path, split, data)
    return pool


def check_pool(pool: Pool, path: Path, split: Split, data: Path) -> None:
    """Raise :class:`DataError` where the pool, read from ``path``, is not of the data set whose ``split`` is given."""
    if pool.facts["dataset"] != split.dataset:
        raise DataError(f"{path}: was trained on {pool.facts['dataset']}, but {data} holds {split.dataset}")
    for name in ("classes", "channels", "resolution"):  # a folder of images that was prepared anew has the same name
        if (wanted := getattr(split, name)) != pool.facts[name]:
            raise DataError(f"{path}: was trained on {name} {pool.facts[name]}, but {data} has {wanted}")


class Pool:
    """A pretrained pool, resident on the device; it blends a member's weights into one network in place.

    Args:
        path: the file that :func:`pretrain` wrote.
        where: the device.

    Raises:
        DataError: where the file is missing, torn, or not a pool.
    """

    def __init__(self, path: Path, where: torch.device) -> None:
        tensors, facts = load_tensors(path, where)
        if not facts.get("pool"):
            raise DataError(f"{path}: is not an extractor pool; run `ncfm pretrain` again")
        self.facts = facts
        self.members = int(facts["pool"])
        self._where = where
        # Two networks of one shape: the blended extractor, and the trained member that calibration asks.
        self.blended = self.fresh(generator("overwritten")).eval()
        self.trained = self.fresh(generator("overwritten")).eval()
        self.blended.requires_grad_(False)
        self.trained.requires_grad_(False)
        self._weights = [
            {end: {name: tensors[f"{m}.{end}.{name}"] for name in self.blended.state_dict()} for end in ENDS}
            for m in range(self.members)
        ]

    def fresh(self, weights: torch.Generator) -> Network:
        """Return a new network of the members' architecture, width and normalisation, with random weights."""
        shape = {name: self.facts[name] for name in ("channels", "resolution", "classes", "width", "norm")}
        return build(self.facts["arch"], **shape, generator=weights).to(self._where)

    def randomise(self, weights: torch.Generator) -> Network:
        """Give the blended extractor fresh random weights, as DM (Zhao and Bilen 2023, section 3.1) at each iteration.

        Raises:
            ParamsError: with batch-norm, which without training has no statistics to normalise with.
        """
        if self.facts["norm"] == "batch":
            raise ParamsError(
                "extractor: is 'random', but the pool's batch-norm needs trained statistics (allowed: pool)"
            )
        self.blended.load_state_dict(self.fresh(weights).state_dict())
        return self.blended

    def choose(self, draws: torch.Generator) -> tuple[Network, Network]:
        """Draw a member and beta ~ U(0, 1); return the blended extractor and the trained member (paper section 4.1).

        Both are views that the next call overwrites.
        """
        member = int(torch.randint(self.members, (), generator=draws))
        beta = float(torch.rand((), generator=draws))
        self.blend(member, beta)
        self.trained.load_state_dict(self._weights[member]["trained"])
        return self.blended, self.trained

    def blend(self, member: int, beta: float) -> Network:
        """Set the blended extractor to ``beta * initial + (1 - beta) * trained``, parameter by parameter.

        Buffers (the running statistics of batch-norm) are the trained member's.
        """
        weights = self._weights[member]
        self.blended.load_state_dict(weights["trained"])
        with torch.no_grad():
            for name, parameter in self.blended.named_parameters():
                # Written out, not lerp: 0 and 1 give exactly the two ends.
                parameter.copy_(beta * weights["initial"][name] + (1 - beta) * weights["trained"][name])
        return self.blended
