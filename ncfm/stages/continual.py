"""Class-incremental learning on distilled sets, as DM's paper tests it (GDumb, Prabhu et al. 2020).

Classes arrive in groups. At each step a fresh network is trained on the sets of the classes seen so far alone, and
tested on their test images.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncfm.core.errors import ParamsError
from ncfm.core.params import ContinualParams
from ncfm.core.progress import Progress
from ncfm.core.seeding import generator
from ncfm.datasets.split import Split
from ncfm.method.distilled import DistilledSet, load_with_test
from ncfm.method.training import accuracy, new_network, train
from ncfm.run.compute import Check, accelerated, chosen_device
from ncfm.run.record import Record
from ncfm.stages.repeats import Rows, Tensors, train_networks, write_tests

Learned = dict[str, Any]  # one repeat as it stands in the JSON file


def continual(params: ContinualParams, data: Path, distilled: Path, out: Path, record: Record) -> None:
    """Learn the classes in ``params.steps`` groups, ``params.networks`` times, and write the accuracies of each step.

    Every repeat has its own order of the classes, drawn from the set's seed: methods with one seed have equal orders.
    Of the data set only the test split is read. Raises ParamsError where the classes do not divide into the steps.
    """
    device = chosen_device()
    test, images = load_with_test(distilled, data, device)
    if test.classes % params.steps:
        raise ParamsError(f"steps: is {params.steps}, but must divide the {test.classes} classes of {test.dataset}")
    classes = [test.classes * step // params.steps for step in range(1, params.steps + 1)]
    # Never compiled: every step has another network, each too short to pay for it.
    plain = params.model_copy(update={"compile": False})

    def learn(repeat: int, check: Check, progress: Progress) -> tuple[Learned, Tensors]:
        order = class_order(images.dataset, int(images.names["seed"]), repeat, test.classes)
        accuracies = []
        for step, count in enumerate(classes, start=1):
            seen = order[:count].to(device)
            tested, rows = only(test, seen), torch.isin(images.labels, seen).nonzero().squeeze(1)
            drawn = (*images.names.values(), "continual", params.arch, params.steps, repeat, step)
            network = new_network(params.arch, params, tested, generator(*drawn, "weights"))
            normalised, labels = images.images[rows].__getitem__, targets(images, rows, seen)
            forward = accelerated(network, plain, device)
            train(network, normalised, labels, params, drawn, forward=forward, check=check)
            accuracies.append(accuracy(network, tested))
            progress.step(network=repeat, accuracy=accuracies[-1])
        return {"network": repeat, "order": order.tolist(), "accuracies": accuracies}, {}

    def rows_of(repeat: int, network: Learned) -> Rows:
        for step, tested in enumerate(network["accuracies"], start=1):
            yield repeat * params.steps + step, {"network": repeat, "classes": classes[step - 1], "accuracy": tested}

    networks, _ = train_networks(params.networks, params.steps, learn, rows_of, out, record, device, unit="step")
    final = sum(network["accuracies"][-1] for network in networks) / len(networks)
    write_tests(out, {"classes": classes, "networks": networks}, {"final": final}, record)


def class_order(dataset: str, seed: int, repeat: int, classes: int) -> Tensor:
    """Return the order (classes,) in which a repeat sees the classes."""
    return torch.randperm(classes, generator=generator(dataset, "continual", seed, repeat, "classes"))


def only(split: Split, seen: Tensor) -> Split:
    """Return the images of the classes ``seen``, labelled by their places in it."""
    rows = torch.isin(split.labels, seen)
    names = tuple(split.label_names[label] for label in seen.tolist())
    labels = places(split.labels[rows], seen)
    return replace(split, images=split.images[rows], labels=labels, classes=len(seen), label_names=names)


def places(labels: Tensor, seen: Tensor) -> Tensor:
    """Return for each label its place in ``seen``, which holds them all."""
    return (labels[:, None] == seen).int().argmax(1)


def targets(images: DistilledSet, rows: Tensor, seen: Tensor) -> Tensor:
    """Return the labels of the images at ``rows`` among the classes ``seen``: soft ones are scaled to sum to one."""
    if images.soft_labels is None:
        return places(images.labels[rows], seen)
    shares = images.soft_labels[rows][:, seen]
    return shares / shares.sum(1, keepdim=True)
