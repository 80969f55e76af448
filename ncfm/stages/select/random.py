"""The rule `random`: images of each class drawn uniformly, without replacement."""

from __future__ import annotations

import torch
from torch import Tensor

from ncfm.stages.select.request import Request


def choose(request: Request) -> list[Tensor]:
    """Return ``wanted`` different images of each class."""
    return [
        rows[torch.randperm(len(rows), generator=request.draws)[: request.wanted]] for rows in request.split.by_class
    ]
