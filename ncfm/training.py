"""Train and test one network: the loop that the extractor pool and the evaluations share."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ncfm import augmentation
from ncfm.datasets.split import Split
from ncfm.errors import DivergenceError, ParamsError
from ncfm.models.base import Network
from ncfm.params import NetworkParams
from ncfm.seeding import generator

TEST_BATCH = 500


def train(
    network: Network,
    normalised: Callable[[Tensor], Tensor],
    labels: Tensor,
    params: NetworkParams,
    names: tuple[object, ...],
    after_epoch: Callable[[int, float], None],
) -> None:
    """Train ``network`` in place.

    Args:
        network: on the device of the data.
        normalised: gives the normalised images (B, C, H, W) at an index (B,).
        labels: (N,), int64.
        params: epochs, batch, optimiser, schedule, augmentation.
        names: names that every random draw derives from.
        after_epoch: called with the number of epochs done and their mean loss; the network is in evaluation mode.

    Raises:
        DivergenceError: where a loss is infinite or not a number, before the optimiser steps.
    """
    optimiser = build_optimiser(list(network.parameters()), params)
    for epoch in range(params.epochs):
        draws = generator(*names, "epoch", epoch)
        rate = learning_rate(params, epoch)
        for group in optimiser.param_groups:
            group["lr"] = rate
        network.train()
        total = torch.zeros((), device=labels.device)
        order = torch.randperm(len(labels), generator=draws).to(labels.device)
        for index in order.split(params.batch):
            loss = _batch_loss(network, normalised(index), labels[index], params, draws)
            if not torch.isfinite(loss):
                raise DivergenceError(
                    f"training {' '.join(map(str, names))}: the loss is {loss.item()} in epoch {epoch + 1}; "
                    f"lower learning_rate ({params.learning_rate})"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += loss.detach() * len(index)
        network.eval()
        after_epoch(epoch + 1, float(total) / len(labels))


def _batch_loss(
    network: Network, images: Tensor, labels: Tensor, params: NetworkParams, draws: torch.Generator
) -> Tensor:
    drawn = augmentation.draw(params.augmentation, len(images), images.shape[-1], draws)
    images = augmentation.apply(images, drawn)
    if float(torch.rand((), generator=draws)) >= params.cutmix_probability:
        return cross_entropy(network(images), labels)
    images, order, share = augmentation.cutmix(images, draws)
    logits = network(images)
    return share * cross_entropy(logits, labels) + (1 - share) * cross_entropy(logits, labels[order])


def build_optimiser(parameters: list[torch.nn.Parameter], params: NetworkParams) -> torch.optim.Optimizer:
    """Build SGD with momentum or AdamW, as the params say."""
    if params.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, params.learning_rate, momentum=params.momentum, weight_decay=params.weight_decay
        )
    return torch.optim.AdamW(parameters, params.learning_rate, weight_decay=params.weight_decay)


def learning_rate(params: NetworkParams, epoch: int) -> float:
    """Return the rate of an epoch, counted from 0: decayed once for each milestone (a share of the epochs) passed."""
    passed = sum(epoch >= int(milestone * params.epochs) for milestone in params.milestones)
    return params.learning_rate * params.decay**passed


@torch.no_grad()
def accuracy(network: Network, split: Split) -> float:
    """Return the top-1 accuracy on a split, in percent. The network must be in evaluation mode."""
    correct = 0
    for index in torch.arange(len(split.labels), device=split.labels.device).split(TEST_BATCH):
        logits = network(split.normalisation(split.pixels(index)))
        correct += int((logits.argmax(1) == split.labels[index]).sum())
    return 100 * correct / len(split.labels)


def device() -> torch.device:
    """Return the device that stages run on: a GPU where there is one, else the CPU; NCFM_DEVICE overrides.

    Raises:
        ParamsError: where NCFM_DEVICE is no device of this machine.
    """
    chosen = os.environ.get("NCFM_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ParamsError(f"NCFM_DEVICE: is {chosen!r}, which this machine cannot use (allowed: cpu, cuda)") from error
    return torch.device(chosen)
