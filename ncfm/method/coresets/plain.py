"""The rules that ask no network: `random`, and `all`, the ceiling that sets are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.method.coresets import Request, Rule

if TYPE_CHECKING:
    from torch import Tensor


def random(request: Request) -> list[Tensor]:
    """Return ``wanted`` images of each class, drawn uniformly and without replacement."""
    import torch

    by_class, draws = request.split.by_class, request.draws
    return [rows[torch.randperm(len(rows), generator=draws)[: request.wanted]] for rows in by_class]


def every(request: Request) -> list[Tensor]:
    """Return all images of each class; classes may differ in size."""
    return list(request.split.by_class)


ENTRIES = (Rule("random", random, order=1), Rule("all", every, whole=True, order=5))
