"""MMD: the maximum mean discrepancy with the linear kernel, as Distribution Matching uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.method.discrepancies import Discrepancy

if TYPE_CHECKING:
    from torch import Tensor


def mmd(real_CBD: Tensor, synthetic_CMD: Tensor, *_: object) -> Tensor:
    """Return the squared distance of the mean features (DM, Zhao and Bilen 2023, eq. 5): (C,), at least 0."""
    return (real_CBD.mean(-2) - synthetic_CMD.mean(-2)).square().sum(-1)


ENTRIES = (Discrepancy("mmd", mmd, order=2),)
