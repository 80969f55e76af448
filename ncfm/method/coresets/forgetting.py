"""The rule `forgetting` (Toneva et al. 2019): the images that a network most often learns and then forgets again.

The training that is watched is that of the pool's networks, but from fresh weights, and without CutMix, which leaves no
image its own label. It depends on the seed but not on the IPC. It is not checkpointed: a killed run starts again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.core.params import NetworkParams
from ncfm.core.progress import Progress
from ncfm.core.seeding import generator
from ncfm.method.coresets import Request, Rule

if TYPE_CHECKING:
    from torch import Tensor


def choose(request: Request) -> list[Tensor]:
    """Return, for each class, the ``wanted`` images with the most forgetting events; ties are drawn."""
    import torch

    counts_N = forgetting_events(watched_training(request))
    chosen = []
    for rows in request.split.by_class:
        order = rows[torch.randperm(len(rows), generator=request.draws).to(rows.device)]
        chosen.append(order[counts_N[order].argsort(descending=True, stable=True)[: request.wanted]])
    return chosen


def forgetting_events(correct_EN: Tensor) -> Tensor:
    """Count, for each of N images, how often it was right in one epoch (row of bools) and wrong in the next.

    An image that is never learned counts 0, as in DeepCore; Toneva et al. count it as forgotten infinitely often.
    """
    return (correct_EN[:-1] & ~correct_EN[1:]).sum(0)


def watched_training(request: Request) -> Tensor:
    """Train one network on the whole split; return whether it had each image right when it saw it: (epochs, N), bool.

    As in Toneva et al. (algorithm 1) an image is judged as it comes in its batch, augmented and before its step.
    """
    import torch

    from ncfm.method.training import train

    split, pool = request.split, request.pool
    assert pool is not None
    params = NetworkParams.model_validate({"epochs": request.params.epochs, "cutmix_probability": 0})
    names = (split.dataset, "forgetting", request.seed)
    network = pool.fresh(generator(*names, "weights")).to(split.labels.device)
    correct_N = torch.zeros_like(split.labels, dtype=torch.bool)
    batches: list[Tensor] = []
    epochs: list[Tensor] = []

    def normalised(index: Tensor) -> Tensor:
        batches.append(index)
        return split.normalisation(split.pixels(index))

    def logits(images: Tensor) -> Tensor:
        found, batch = network(images), batches.pop()
        correct_N[batch] = found.detach().argmax(1) == split.labels[batch]
        return found

    def after_epoch(epoch: int, loss: float) -> None:
        epochs.append(correct_N.clone())
        progress.step(loss=loss)

    with Progress(params.epochs, "forgetting", unit="epoch") as progress:
        train(network, normalised, split.labels, params, names, after_epoch, logits)
    return torch.stack(epochs)


ENTRIES = (Rule("forgetting", choose, reads_extractors=True, trains=True, order=4),)
