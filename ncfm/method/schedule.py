"""The learning rate of a distillation's images: a tensor on the device, so that no rule has to read a loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ncfm.core.params import DistillParams

BETTER = 1 - 1e-4  # times the best loss so far: what the plateau rule takes for a better one, as torch's rule does


class Schedule:
    """The rule ``params.schedule``: ``rate`` (), and ``plateau`` (2,), the best loss and how many have come since."""

    def __init__(self, params: DistillParams, device: torch.device) -> None:
        self.params = params
        self.rate = torch.full((), params.learning_rate, device=device)
        self.plateau = torch.tensor([math.inf, 0.0]).to(device)

    def before(self, iteration: int) -> None:
        """Set the rate of an iteration, counted from 0, by the cosine; another rule leaves it as it is."""
        if self.params.schedule == "cosine":
            share = iteration / self.params.iterations
            self.rate.fill_(self.params.learning_rate * 0.5 * (1 + math.cos(math.pi * share)))

    def after(self, loss: Tensor) -> None:
        """By the plateau rule, lower the rate after more than ``plateau_patience`` losses that were no better."""
        if self.params.schedule == "plateau":
            best, bad = self.plateau
            better = loss < best * BETTER
            bad = torch.where(better, 0.0, bad + 1)
            lower = bad > self.params.plateau_patience
            self.rate.mul_(torch.where(lower, self.params.plateau_factor, 1.0))
            self.plateau.copy_(torch.stack([torch.where(better, loss, best), torch.where(lower, 0.0, bad)]))
