"""The rules that ask for no events of training: `random`, `all` (the ceiling of sets), `herding` and `k-center`."""

from __future__ import annotations

import math
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


def herding(request: Request) -> list[Tensor]:
    """Return ``wanted`` images of each class (Welling 2009); only the features' network depends on the seed."""
    return [rows[herd(features_ND, request.wanted)] for rows, features_ND in request.class_features()]


def herd(features_ND: Tensor, wanted: int) -> Tensor:
    """Choose rows one by one, each the unused one that brings the mean of the chosen closest to the mean of all.

    With k rows chosen it is argmin ||(k + 1) mu - sum of the chosen - x||, of equally good rows the first (iCaRL,
    Rebuffi et al. 2017, algorithm 4). DeepCore takes the farthest instead: a defect that is not followed here.
    Returns row numbers (wanted,) in this order.
    """
    import torch

    rest_D = mean_D = features_ND.mean(0)  # (k + 1) mu - sum of the chosen
    unused_N = torch.ones(len(features_ND), dtype=torch.bool, device=features_ND.device)
    chosen = []
    for _ in range(wanted):
        best = (features_ND - rest_D).norm(dim=1).where(unused_N, math.inf).argmin()
        unused_N[best] = False
        rest_D = rest_D - features_ND[best] + mean_D
        chosen.append(best)
    return torch.stack(chosen)


def k_center(request: Request) -> list[Tensor]:
    """Return ``wanted`` images of each class, no image far from a chosen one; the first is drawn (as in DeepCore)."""
    import torch

    chosen = []
    for rows, features_ND in request.class_features():
        start = int(torch.randint(len(rows), (), generator=request.draws))
        chosen.append(rows[farthest_first(features_ND, request.wanted, start)])
    return chosen


def farthest_first(features_ND: Tensor, wanted: int, start: int) -> Tensor:
    """Choose rows one by one, ``start`` and then the one farthest from its nearest chosen row, of equals the first.

    (Sener and Savarese 2018, algorithm 1.) The radius that covers all rows is at most twice the smallest that
    ``wanted`` rows can have (Gonzalez 1985). Returns row numbers (wanted,) in this order.
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


ENTRIES = (
    Rule("random", random, order=1),
    Rule("herding", herding, reads_extractors=True, order=2),
    Rule("k-center", k_center, reads_extractors=True, order=3),
    Rule("all", every, whole=True, order=5),
)
