"""The rule `random`: images of each class drawn uniformly, without replacement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.method.coresets import Request, Rule

if TYPE_CHECKING:
    from torch import Tensor


def choose(request: Request) -> list[Tensor]:
    """Return ``wanted`` different images of each class."""
    import torch

    return [
        rows[torch.randperm(len(rows), generator=request.draws)[: request.wanted]] for rows in request.split.by_class
    ]


ENTRIES = (Rule("random", choose, order=1),)
