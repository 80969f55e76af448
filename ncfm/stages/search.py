"""Architecture search on distilled sets: every network of a grid is trained on one set and tested on real images.

Whether the set puts the networks in the order that the whole training set does is for the report to say (the experiment
of DC's paper, Zhao et al. 2021, section 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ncfm.core.params import SearchParams
from ncfm.core.progress import Progress
from ncfm.core.seeding import generator
from ncfm.datasets.split import Split
from ncfm.method.distilled import DistilledSet, load_with_test
from ncfm.method.training import accuracy, new_network, train
from ncfm.run.compute import Check, accelerated, chosen_device
from ncfm.run.record import Record
from ncfm.stages.repeats import Tensors, train_networks, write_tests


def search(
    params: SearchParams, data: Path, distilled: Path, names: Mapping[str, Any], out: Path, record: Record
) -> None:
    """Train each network of the grid ``params.networks`` times and write the accuracies after the last epoch.

    Of the data set only the test split is read.
    """
    device = chosen_device()
    test, images = load_with_test(distilled, data, device)
    accuracies, _ = train_networks(
        len(params.candidates) * params.networks,
        params.epochs,
        partial(_train_one, params, test, images),
        lambda index, tested: [(index + 1, {"accuracy": tested})],
        out,
        record,
        device,
    )
    number = params.networks
    networks = [
        {"arch": arch, "width": width, "norm": norm, "accuracies": accuracies[place * number : (place + 1) * number]}
        for place, (arch, width, norm) in enumerate(params.candidates)
    ]
    content = {"training_images": len(images), "networks": networks}
    write_tests(out, names, params, content, {"mean": sum(accuracies) / len(accuracies)}, record)


def _train_one(
    params: SearchParams, test: Split, images: DistilledSet, index: int, check: Check, progress: Progress
) -> tuple[float, Tensors]:
    """Train one fresh network: the grid's networks one after the other, each ``params.networks`` times; return its
    accuracy in percent.
    """
    candidate, repeat = divmod(index, params.networks)
    arch, width, norm = params.candidates[candidate]
    names = (*images.names.values(), "search", arch, width, norm, repeat)
    # Never compiled: each network would need a compilation of its own, and most are small.
    training = params.model_copy(update={"width": width, "norm": norm, "compile": False})
    network = new_network(arch, training, test, generator(*names, "weights"))
    forward = accelerated(network, training, test.labels.device)

    def after_epoch(epoch: int, loss: float) -> None:
        progress.step(width=width, repeat=repeat, loss=loss)

    train(network, images.images.__getitem__, images.targets, params, names, after_epoch, forward, check)
    return accuracy(network, test), {}
