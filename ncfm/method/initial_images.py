"""The images that a distillation starts from: noise, real ones, tiles of real ones, or a finished set."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ncfm.core.errors import DataError, ParamsError
from ncfm.core.params import DistillParams
from ncfm.datasets.split import Split
from ncfm.method.distilled import load
from ncfm.method.multiformation import tile


def initial_images(params: DistillParams, split: Split, ipc: int, draws: torch.Generator) -> Tensor:
    """Return the synthetic images to start from: (C, K, c, h, w), pixels in [0, 1] (docs/method.md, section 4).

    Raises :class:`ParamsError` where a class has too few real images, :class:`DataError` where a set does not fit.
    """
    shape = (split.classes, ipc, split.channels, split.resolution, split.resolution)
    if params.initialisation == "noise":
        return (0.5 + 0.25 * torch.randn(shape, generator=draws)).clamp_(0, 1)
    if params.initialisation == "load":
        start = load(params.load)
        if start.stored.numel() != math.prod(shape) or start.stored.shape[1:] != shape[2:]:
            raise DataError(f"{params.load}: holds images {tuple(start.stored.shape)}, but {shape} are wanted")
        if (start.dataset, start.factor) != (split.dataset, params.factor):
            wanted = f"{split.dataset} with factor {params.factor}"
            raise DataError(f"{params.load}: holds {start.dataset} with factor {start.factor}, but {wanted} is wanted")
        return start.stored.reshape(shape)
    factor = params.factor if params.initialisation == "mix" else 1
    needed = ipc * factor**2
    smallest = min(map(len, split.by_class))
    if not 1 <= needed <= smallest:
        raise ParamsError(
            f"--ipc: is {ipc}, which takes {needed} real images per class to start from, but the smallest class of "
            f"{split.dataset} has {smallest} (allowed: 1 to {smallest} real images)"
        )
    images = []
    for rows in split.by_class:
        order = torch.randperm(len(rows), generator=draws) if params.real_batches == "random" else torch.arange(needed)
        images.append(tile(split.pixels(rows[order[:needed].to(rows.device)]), factor, params.shrink))
    return torch.stack(images)
