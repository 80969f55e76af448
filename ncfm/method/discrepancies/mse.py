"""Feature MSE: every real image against every synthetic one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.method.discrepancies import Discrepancy
from ncfm.method.discrepancies.mmd import mmd

if TYPE_CHECKING:
    from torch import Tensor


def mse(real_CBD: Tensor, synthetic_CMD: Tensor, *_: object) -> Tensor:
    """Return the mean squared distance between the features of every real and every synthetic image.

    It equals :func:`~ncfm.method.discrepancies.mmd.mmd` plus the variances within the two sides, so its minimum
    collapses the synthetic side to the mean: the weakness that the paper's section 3.1 ascribes to point-wise matching.
    (C,), at least 0.
    """

    def spread(features: Tensor) -> Tensor:
        return (features - features.mean(-2, keepdim=True)).square().sum(-1).mean(-1)

    return mmd(real_CBD, synthetic_CMD) + spread(real_CBD) + spread(synthetic_CMD)


ENTRIES = (Discrepancy("mse", mse, order=3),)
