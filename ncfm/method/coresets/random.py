"""The rule `random`: images of each class drawn uniformly, without replacement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.method.coresets import Request, Rule

if TYPE_CHECKING:
    from torch import Tensor


def choose(request: Request) -> list[Tensor]:
    """Return ``wanted`` different images of each class."""
    import torch

    by_class, draws = request.split.by_class, request.draws
    return [rows[torch.randperm(len(rows), generator=draws)[: request.wanted]] for rows in by_class]


ENTRIES = (Rule("random", choose, order=1),)
