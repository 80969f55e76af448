"""Discrepancies of means and variances: MMD with the linear kernel, as DM uses it, and feature MSE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.method.discrepancies import Discrepancy, real_mean

if TYPE_CHECKING:
    from torch import Tensor


def mmd(real_CBD: Tensor, synthetic_CMD: Tensor, weights_CB: Tensor | None = None, *_: object) -> Tensor:
    """Return the squared distance of the mean features (DM, Zhao and Bilen 2023, eq. 5): (C,), at least 0."""
    return (real_mean(real_CBD, weights_CB) - synthetic_CMD.mean(-2)).square().sum(-1)


def mse(real_CBD: Tensor, synthetic_CMD: Tensor, weights_CB: Tensor | None = None, *_: object) -> Tensor:
    """Return the mean squared distance between the features of every real and every synthetic image.

    It equals :func:`mmd` plus the variances within the two sides, so its minimum collapses the synthetic side to the
    mean: the weakness that the paper's section 3.1 ascribes to point-wise matching. (C,), at least 0.
    """

    def spread(features: Tensor, weights: Tensor | None = None) -> Tensor:
        distances = (features - real_mean(features, weights)[..., None, :]).square().sum(-1, keepdim=True)
        return real_mean(distances, weights).squeeze(-1)

    return mmd(real_CBD, synthetic_CMD, weights_CB) + spread(real_CBD, weights_CB) + spread(synthetic_CMD)


ENTRIES = (Discrepancy("mmd", mmd, order=2), Discrepancy("mse", mse, order=3))
