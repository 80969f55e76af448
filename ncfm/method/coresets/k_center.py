"""The rule `k-center` (Sener and Savarese 2018, algorithm 1, per class): no image far from a chosen one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.method.coresets import Request, Rule

if TYPE_CHECKING:
    from torch import Tensor


def choose(request: Request) -> list[Tensor]:
    """Return ``wanted`` images of each class, the first drawn at random (as in DeepCore)."""
    import torch

    chosen = []
    for rows, features_ND in request.class_features():
        start = int(torch.randint(len(rows), (), generator=request.draws))
        chosen.append(rows[farthest_first(features_ND, request.wanted, start)])
    return chosen


def farthest_first(features_ND: Tensor, wanted: int, start: int) -> Tensor:
    """Choose rows one by one, ``start`` and then the one farthest from its nearest chosen row, of equals the first.

    The radius that covers all rows is at most twice the smallest that ``wanted`` rows can have (Gonzalez 1985).
    Returns row numbers (wanted,) in this order.
    """
    import torch

    chosen = [start]
    nearest_N = (features_ND - features_ND[start]).norm(dim=1)
    nearest_N[start] = -1  # never again, even where all rows are equal
    while len(chosen) < wanted:
        farthest = int(nearest_N.argmax())
        chosen.append(farthest)
        nearest_N = torch.minimum(nearest_N, (features_ND - features_ND[farthest]).norm(dim=1))
        nearest_N[farthest] = -1
    return torch.tensor(chosen, device=features_ND.device)


ENTRIES = (Rule("k-center", choose, reads_extractors=True, order=3),)
