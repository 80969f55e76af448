"""The energy distance (Szekely and Rizzo, J. Stat. Plan. Inference 143, 2013): distances between and within sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.core.params import DistillParams
from ncfm.method.discrepancies import Discrepancy, real_mean

if TYPE_CHECKING:
    from torch import Tensor


def energy(real_CBD: Tensor, synthetic_CMD: Tensor, weights_CB: Tensor | None = None, *_: object) -> Tensor:
    """Return 2 E|x - y| - E|x - x'| - E|y - y'| over all pairs of features, those of an image with itself included.

    It is zero only for equal distributions: the same as comparing characteristic functions at all frequencies t, with
    the weight 1 / |t|^(D + 1) (their section 2). Where two features are equal their distance has the gradient zero.
    (C,), at least 0 up to rounding.
    """
    import torch

    def distances(one: Tensor, other: Tensor) -> Tensor:
        # By differences: the faster way through products loses the small distances to rounding.
        return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")

    def mean_from_real(other: Tensor) -> Tensor:  # the distance of each of the other images from the real ones, (C, X)
        return real_mean(distances(real_CBD, other), weights_CB)

    within_real = real_mean(mean_from_real(real_CBD)[..., None], weights_CB).squeeze(-1)
    within_synthetic = distances(synthetic_CMD, synthetic_CMD).mean((-2, -1))
    return 2 * mean_from_real(synthetic_CMD).mean(-1) - within_real - within_synthetic


def flop(params: DistillParams, classes: int, real: int, synthetic: int, dimension: int) -> float:
    """Return the FLOP of one iteration: subtract, square and add for each pair, and as much back to the synthetic."""
    return classes * 3 * dimension * (real**2 + 2 * synthetic * real + 2 * synthetic**2)


ENTRIES = (Discrepancy("energy", energy, flop, order=4),)
