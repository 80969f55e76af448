"""Evaluate a distilled set: train fresh networks on it, test them on real images, keep last and best of every repeat.

`best` takes the highest of several looks at the test set, as the released program reports; it selects on the test set.
`last` is the accuracy after the last epoch, and what this project's own claims rest on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncfm.core import checkpoint
from ncfm.core.params import EvaluateParams
from ncfm.core.progress import Progress
from ncfm.core.seeding import generator
from ncfm.core.store import write_json
from ncfm.datasets.split import Split
from ncfm.method.distilled import DistilledSet, load_with_test
from ncfm.method.training import Forward, accuracy, forwards, new_network, train
from ncfm.models.base import Network
from ncfm.run.compute import device, side_by_side
from ncfm.run.record import Record

FORMAT = 1


def evaluate(
    params: EvaluateParams, data: Path, distilled: Path, names: Mapping[str, Any], out: Path, record: Record
) -> None:
    """Train ``params.networks`` fresh networks on a distilled set and write their test accuracies.

    A finished network is kept in a checkpoint, so that a killed run continues with the next one.

    Args:
        params: the protocol.
        data: folder of the prepared data set; only its test split is read.
        distilled: the set.
        names: dataset, ipc, method, seed, arch, and the protocol where it is not the released one.
        out: the JSON file.
        record: takes the curves and the summary.

    Raises:
        DataError: where the set and the data set do not belong together.
    """
    where = device()
    test, images = load_with_test(distilled, data, where)
    resume, key = out.with_name(f"{out.stem}.checkpoint.safetensors"), record.content["key"]
    _, values = checkpoint.load(resume, key) or ({}, {"networks": []})
    done: dict[int, dict[str, Any]] = {network["network"]: network for network in values["networks"]}
    for network in done.values():
        _log(record, params, network)
    forward_of = forwards(params, where, lambda: new_network(params.arch, params, test, generator("overwritten")))
    start = len(done) * params.epochs
    with Progress(params.networks * params.epochs, "evaluate", start=start, unit="epoch") as progress:

        def train_one(repeat: int, check: Callable[[], None]) -> dict[str, Any]:
            return _train_one(params, test, images, repeat, forward_of, check, progress)

        def finished(repeat: int, network: dict[str, Any]) -> None:
            done[repeat] = network
            checkpoint.save(resume, key, {}, {"networks": list(done.values())})
            _log(record, params, network)

        side_by_side(params.networks, frozenset(done), train_one, finished, where)
    networks = [done[repeat] for repeat in range(params.networks)]
    last = [network["last"] for network in networks]
    best = [network["best"] for network in networks]
    content = {
        "format": FORMAT,
        "names": dict(names),
        "training_images": len(images),
        "params": params.model_dump(mode="json"),
        "networks": networks,
        "last": summary(last),
        "best": summary(best),
    }
    write_json(out, content)
    record.finish([out], {"last": sum(last) / len(last), "best": sum(best) / len(best)})
    resume.unlink(missing_ok=True)


def _log(record: Record, params: EvaluateParams, network: dict[str, Any]) -> None:
    for epoch, tested, loss in network["curve"]:
        values = {"network": network["network"], "epoch": epoch, "test_accuracy": tested, "loss": loss}
        record.log(network["network"] * params.epochs + epoch, values)


def _train_one(
    params: EvaluateParams,
    test: Split,
    images: DistilledSet,
    repeat: int,
    forward_of: Callable[[Network], Forward],
    check: Callable[[], None],
    progress: Progress,
) -> dict[str, Any]:
    """Train and test one fresh network: its last and best accuracy and its curve."""
    names = (*images.names.values(), "evaluate", params.arch, repeat)
    network = new_network(params.arch, params, test, generator(*names, "weights"))
    looks = look_epochs(params.epochs, params.looks)
    curve: list[tuple[int, float, float]] = []

    def after_epoch(epoch: int, loss: float) -> None:
        if epoch in looks:
            curve.append((epoch, accuracy(network, test), loss))
        progress.step(network=repeat, loss=loss, **({"accuracy": curve[-1][1]} if curve else {}))

    def normalised(index: Tensor) -> Tensor:
        return images.images[index]

    train(network, normalised, images.targets, params, names, after_epoch, forward_of(network), check)
    best = max(curve, key=lambda look: look[1])
    return {"network": repeat, "last": curve[-1][1], "best": best[1], "best_epoch": best[0], "curve": curve}


def look_epochs(epochs: int, looks: int) -> set[int]:
    """Return the epochs after which the test set is looked at: evenly spaced, the last one always among them."""
    return {max(1, round(epochs * look / looks)) for look in range(1, looks + 1)}


def summary(values: list[float]) -> dict[str, float | None]:
    """Return mean, standard deviation (n - 1 in the denominator; None for one value) and n."""
    data = torch.tensor(values, dtype=torch.float64)
    deviation = round(float(data.std()), 6) if len(values) > 1 else None
    return {"mean": round(float(data.mean()), 6), "std": deviation, "n": len(values)}
