"""The extractor pool: pretrain it, keep each network's start and end, and blend the two at a step of distillation."""

from __future__ import annotations

from pathlib import Path

import torch

from ncfm import checkpoint
from ncfm.artifacts import load_tensors, save_tensors
from ncfm.datasets.split import Split, load_split
from ncfm.errors import DataError
from ncfm.models.base import Network
from ncfm.models.registry import build
from ncfm.params import PretrainParams
from ncfm.progress import Progress
from ncfm.records import Record
from ncfm.seeding import generator
from ncfm.training import accuracy, device, train

ENDS = ("initial", "trained")


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
    tensors, values = checkpoint.load(resume, key) or ({}, {"rows": []})
    rows: list[tuple[int, dict[str, float]]] = [(step, row) for step, row in values["rows"]]
    for step, row in rows:
        record.log(step, row)
    with Progress(params.pool * params.epochs, "pretrain", start=len(rows), unit="epoch") as progress:
        done = len(rows) // params.epochs
        for member in range(done, params.pool):
            names = (train_split.dataset, "pretrain", params.arch, member)
            network = new_network(params, train_split, generator(*names, "weights"), where)
            tensors |= {f"{member}.initial.{name}": v.detach().clone() for name, v in network.state_dict().items()}

            def after_epoch(epoch: int, loss: float, member: int = member, network: Network = network) -> None:
                row: dict[str, float] = {"network": member, "epoch": epoch, "loss": loss}
                if epoch == params.epochs:
                    row["test_accuracy"] = accuracy(network, test_split)
                rows.append((member * params.epochs + epoch, row))
                record.log(*rows[-1])
                progress.step(network=member, loss=loss)

            train(
                network,
                lambda index: train_split.normalisation(train_split.pixels(index)),
                train_split.labels,
                params,
                names,
                after_epoch,
            )
            tensors |= {f"{member}.trained.{name}": v.detach().clone() for name, v in network.state_dict().items()}
            checkpoint.save(resume, key, tensors, {"rows": rows})
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
    accuracies = [row["test_accuracy"] for _, row in rows if "test_accuracy" in row]
    history = out.with_name(f"{out.stem}.history.csv")
    record.save_history(history)
    save_tensors(out, tensors, facts)
    record.finish([out, history], {"test_accuracy": sum(accuracies) / len(accuracies)})
    resume.unlink(missing_ok=True)


def new_network(params: PretrainParams, split: Split, weights: torch.Generator, where: torch.device) -> Network:
    """Build a fresh network for the images of ``split`` on the device ``where``."""
    return build(
        params.arch,
        channels=split.channels,
        resolution=split.resolution,
        classes=split.classes,
        width=params.width,
        norm=params.norm,
        generator=weights,
    ).to(where)


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
        shape = {name: facts[name] for name in ("channels", "resolution", "classes", "width", "norm")}
        # Two networks of one shape: the blended extractor, and the trained member that calibration asks.
        self.blended = build(facts["arch"], **shape, generator=generator("overwritten")).to(where).eval()
        self.trained = build(facts["arch"], **shape, generator=generator("overwritten")).to(where).eval()
        self.blended.requires_grad_(False)
        self.trained.requires_grad_(False)
        self._weights = [
            {end: {name: tensors[f"{m}.{end}.{name}"] for name in self.blended.state_dict()} for end in ENDS}
            for m in range(self.members)
        ]

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
