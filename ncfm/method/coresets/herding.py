"""The rule `herding` (Welling 2009; iCaRL, Rebuffi et al. 2017, algorithm 4): keep the mean feature of each class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ncfm.method.coresets import Request, Rule

if TYPE_CHECKING:
    from torch import Tensor


def choose(request: Request) -> list[Tensor]:
    """Return ``wanted`` images of each class; nothing is drawn: seeds differ by the network that gives the features."""
    return [rows[herd(features_ND, request.wanted)] for rows, features_ND in request.class_features()]


def herd(features_ND: Tensor, wanted: int) -> Tensor:
    """Choose rows one by one, each the unused one that brings the mean of the chosen closest to the mean of all.

    With k rows chosen it is argmin ||(k + 1) mu - sum of the chosen - x||, of equally good rows the first. (DeepCore
    takes the farthest instead: a defect that is not followed here.) Returns row numbers (wanted,) in this order.
    """
    import torch

    mean_D = features_ND.mean(0)
    rest_D = torch.zeros_like(mean_D)  # k mu - sum of the chosen
    unused_N = torch.ones(len(features_ND), dtype=torch.bool, device=features_ND.device)
    chosen = []
    for _ in range(wanted):
        rest_D = rest_D + mean_D
        distance_N = (features_ND - rest_D).norm(dim=1)
        best = distance_N.where(unused_N, math.inf).argmin()
        unused_N[best] = False
        rest_D = rest_D - features_ND[best]
        chosen.append(best)
    return torch.stack(chosen)


ENTRIES = (Rule("herding", choose, reads_extractors=True, order=2),)
