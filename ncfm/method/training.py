"""Build, train and test one network: what the extractor pool and the evaluations share."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from ncfm.core.errors import DivergenceError
from ncfm.core.params import TEST_BATCH, DistillParams, NetworkParams
from ncfm.core.seeding import generator
from ncfm.datasets.split import Split
from ncfm.method import augmentation
from ncfm.models.base import Network
from ncfm.models.registry import build
from ncfm.run.compute import Check, accelerated

Forward = Callable[[Tensor], Tensor]


def new_network(arch: str, params: NetworkParams, split: Split, weights: Generator) -> Network:
    """Build a fresh network for the images and classes of ``split``, on its device."""
    shape = {"channels": split.channels, "resolution": split.resolution, "classes": split.classes}
    return build(arch, **shape, width=params.width, norm=params.norm, generator=weights).to(split.labels.device)


def train(
    network: Network,
    normalised: Callable[[Tensor], Tensor],
    labels: Tensor,
    params: NetworkParams,
    names: tuple[object, ...],
    after_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
    forward: Forward | None = None,
    check: Check = lambda: None,
    judge: Callable[[Tensor, Tensor], None] | None = None,
) -> None:
    """Train ``network`` in place, on the device of the data; every random draw derives from ``names``.

    ``normalised`` gives the normalised images (B, C, H, W) at an index (B,). ``labels`` are (N,), int64, or class
    probabilities (N, classes). ``after_epoch`` gets the number of epochs done and the mean loss of the last, with the
    network in evaluation mode. ``forward`` gives the logits: the network itself, or what :func:`forwards` made of it.
    ``check``, called before every batch, may raise to end the training. ``judge`` gets the index (B,) and the logits
    (B, classes) of each batch that CutMix does not mix, before its step.

    Values are read from the device once an epoch. From the first loss on that is infinite or not a number nothing moves
    any more; :class:`DivergenceError` at the end of its epoch.
    """
    forward = forward or network
    optimiser = build_optimiser(list(network.parameters()), params)
    failed = torch.zeros((), device=labels.device)
    stop_where(failed, optimiser)
    for epoch in range(params.epochs):
        draws = generator(*names, "epoch", epoch)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(params, epoch)
        network.train()
        total = torch.zeros((), device=labels.device)
        order = torch.randperm(len(labels), generator=draws).to(labels.device)
        for index in order.split(params.batch):
            check()
            loss, logits = _batch_loss(forward, normalised(index), labels[index], params, draws)
            if judge and logits is not None:
                judge(index, logits.detach())
            total += loss.detach() * len(index)
            failed.copy_(1 - total.isfinite().float())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        mean = float(total) / len(labels)
        if not math.isfinite(mean):
            where = f"training {' '.join(map(str, names))}: the loss is {mean} in epoch {epoch + 1}"
            raise DivergenceError(f"{where}; lower learning_rate ({params.learning_rate})")
        network.eval()
        after_epoch(epoch + 1, mean)


def forwards(params: NetworkParams, device: torch.device, made: Callable[[], Network]) -> Callable[[Network], Forward]:
    """Return a function that gives a network's training forward pass in the params' precision, compiled or not.

    One compilation, of a network that ``made`` gives, serves all of its kind, from any thread.
    """
    if not params.compile:
        return lambda network: accelerated(network, params, device)
    compiled = accelerated(partial(functional_call, made().train()), params, device)
    return lambda network: partial(compiled, network.state_dict(keep_vars=True))


def _batch_loss(
    forward: Forward, images: Tensor, labels: Tensor, params: NetworkParams, draws: Generator
) -> tuple[Tensor, Tensor | None]:
    """Return the loss of a batch, and its logits unless CutMix mixed it."""
    drawn = augmentation.draw(params.augmentation, len(images), images.shape[-1], draws)
    images = augmentation.apply(images, drawn.to(images.device))
    if float(torch.rand((), generator=draws)) >= params.cutmix_probability:
        logits = forward(images)
        return cross_entropy(logits, labels), logits
    images, order, share = augmentation.cutmix(images, draws)
    logits = forward(images)
    return share * cross_entropy(logits, labels) + (1 - share) * cross_entropy(logits, labels[order]), None


def build_optimiser(
    parameters: list[torch.nn.Parameter], params: NetworkParams | DistillParams
) -> torch.optim.Optimizer:
    """Build the optimiser that params name; its fused kernels, one for all parameters, save a quarter of a step."""
    rate, decay = params.learning_rate, params.weight_decay
    if params.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=params.momentum, weight_decay=decay, fused=True)
    adam = torch.optim.AdamW if params.optimizer == "adamw" else torch.optim.Adam
    return adam(parameters, rate, weight_decay=decay, fused=True)


def stop_where(failed: Tensor, *optimisers: torch.optim.Optimizer) -> None:
    """Let fused optimisers move nothing where ``failed`` (), on their device, is 1, as torch's GradScaler does."""
    for optimiser in optimisers:
        vars(optimiser).update(found_inf=failed, grad_scale=None)


def learning_rate(params: NetworkParams, epoch: int) -> float:
    """Return the rate of an epoch, counted from 0: decayed once for each milestone (a share of the epochs) passed."""
    passed = sum(epoch >= int(milestone * params.epochs) for milestone in params.milestones)
    return params.learning_rate * params.decay**passed


@torch.no_grad()
def accuracy(network: Network, split: Split) -> float:
    """Return the top-1 accuracy on a split, in percent. The network must be in evaluation mode."""
    correct = torch.zeros((), dtype=torch.int64, device=split.labels.device)
    for index in torch.arange(len(split.labels), device=split.labels.device).split(TEST_BATCH):
        logits = network(split.normalisation(split.pixels(index)))
        correct += (logits.argmax(1) == split.labels[index]).sum()
    return 100 * int(correct) / len(split.labels)
