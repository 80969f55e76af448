"""Evaluate a distilled set: train fresh networks on it, test them on real images, keep last and best of every repeat.

`best`, which the released program reports, is the highest of several looks at the test set: it selects on that set.
`last` is the accuracy after the last epoch, and what this project's own claims rest on.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ncfm.core.params import EvaluateParams
from ncfm.core.progress import Progress
from ncfm.core.seeding import generator
from ncfm.method.distilled import load_with_test
from ncfm.method.training import accuracy, forwards, new_network, train
from ncfm.run.compute import Check, chosen_device
from ncfm.run.record import Record
from ncfm.stages.repeats import Rows, Tensors, train_networks, write_tests

NetworkResult = dict[str, Any]  # one network as it stands in the JSON file


def evaluate(params: EvaluateParams, data: Path, distilled: Path, out: Path, record: Record) -> None:
    """Train ``params.networks`` fresh networks on a set, and write their accuracies; only test images are read."""
    device = chosen_device()
    test, images = load_with_test(distilled, data, device)
    forward_of = forwards(params, device, lambda: new_network(params.arch, params, test, generator("overwritten")))
    looks = look_epochs(params.epochs, params.looks)

    def train_one(repeat: int, check: Check, progress: Progress) -> tuple[NetworkResult, Tensors]:
        drawn = (*images.names.values(), "evaluate", params.arch, repeat)
        network = new_network(params.arch, params, test, generator(*drawn, "weights"))
        curve: list[tuple[int, float, float]] = []

        def after_epoch(epoch: int, loss: float) -> None:
            if epoch in looks:
                curve.append((epoch, accuracy(network, test), loss))
            progress.step(network=repeat, loss=loss, **({"accuracy": curve[-1][1]} if curve else {}))

        forward = forward_of(network)
        train(network, images.images.__getitem__, images.targets, params, drawn, after_epoch, forward, check)
        best_epoch, best, _ = max(curve, key=lambda look: look[1])
        return {"network": repeat, "last": curve[-1][1], "best": best, "best_epoch": best_epoch, "curve": curve}, {}

    def rows_of(repeat: int, network: NetworkResult) -> Rows:
        for epoch, tested, loss in network["curve"]:
            row = {"network": repeat, "epoch": epoch, "test_accuracy": tested, "loss": loss}
            yield repeat * params.epochs + epoch, row

    networks, _ = train_networks(params.networks, params.epochs, train_one, rows_of, out, record, device)
    found = {which: [network[which] for network in networks] for which in ("last", "best")}
    summaries = {which: summary(values) for which, values in found.items()}
    content = {"training_images": len(images), "networks": networks, **summaries}
    write_tests(out, content, {which: sum(one) / len(one) for which, one in found.items()}, record)


def look_epochs(epochs: int, looks: int) -> set[int]:
    """Return the epochs after which the test set is looked at: evenly spaced, the last one always among them."""
    looks = min(looks, epochs)
    return {round(epochs * look / looks) for look in range(1, looks + 1)}


def summary(values: list[float]) -> dict[str, float | None]:
    """Return mean, standard deviation (n - 1 in the denominator; None for one value) and n."""
    deviation = round(stdev(values), 6) if len(values) > 1 else None
    return {"mean": round(fmean(values), 6), "std": deviation, "n": len(values)}
