"""Discrepancies between real and synthetic features: NCFD, MMD and feature MSE, one value per class.

Shapes: C classes, B images of one class, D feature dimension, F frequencies. Every function takes features (C, B, D)
and (C, M, D) and returns (C,); the number of images may differ between the sides, the classes may not.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CLAMP = 1e-12  # lower bound of the phase term before the square root (method.md section 1)
ComplexParts = tuple[Tensor, Tensor]  # real and imaginary part
TINY = 1e-24  # keeps the square roots of exact zeros differentiable; in float32 it changes no other value


def normalise(features_BD: Tensor) -> Tensor:
    """Scale each row (one image's features) to length 1 (method.md section 1). Any leading shape."""
    return torch.nn.functional.normalize(features_BD, dim=-1)


def characteristic_function(features_CBD: Tensor, frequencies_FD: Tensor) -> tuple[Tensor, Tensor]:
    """Return the empirical characteristic function (paper eq. 4): mean over images of exp(j <t, f(x)>).

    Returns:
        Real and imaginary part, each (C, F), in [-1, 1].
    """
    angles_CBF = features_CBD @ frequencies_FD.T
    return angles_CBF.cos().mean(-2), angles_CBF.sin().mean(-2)


def amplitude_and_phase(real_CF: ComplexParts, synthetic_CF: ComplexParts) -> tuple[Tensor, Tensor]:
    """Return the two terms of the paper's eq. 6 at each frequency, unweighted.

    Args:
        real_CF, synthetic_CF: characteristic functions, as :func:`characteristic_function` returns them.

    Returns:
        Amplitude (|Px| - |Py|)^2 and phase 2 |Px| |Py| (1 - cos(ax - ay)), each (C, F); their sum is |Px - Py|^2.
    """
    (re_x, im_x), (re_y, im_y) = real_CF, synthetic_CF
    size_x = (re_x.square() + im_x.square()).clamp_min(TINY).sqrt()
    size_y = (re_y.square() + im_y.square()).clamp_min(TINY).sqrt()
    amplitude_CF = (size_x - size_y).square()
    phase_CF = 2 * (size_x * size_y - re_x * re_y - im_x * im_y)
    return amplitude_CF, phase_CF


def ncfd(
    real_CBD: Tensor, synthetic_CMD: Tensor, frequencies_FD: Tensor, alpha: float = 0.5, recompute: bool = False
) -> Tensor:
    """Return the neural characteristic function discrepancy (paper eq. 5 to 8): mean over frequencies of sqrt(Chf(t)).

    Args:
        real_CBD: features of real images, rows of length 1.
        synthetic_CMD: features of synthetic images, rows of length 1.
        frequencies_FD: the frequency arguments t.
        alpha: weight of amplitude in [0, 1]; phase has 1 - alpha.
        recompute: compute the angles <t, f(x)> again in the backward pass instead of keeping them.

    Returns:
        (C,), zero for equal sets up to rounding, at most sqrt(4 max(alpha, 1 - alpha)).
    """
    transform = characteristic_function
    if recompute:
        transform = partial(checkpoint, characteristic_function, use_reentrant=False, preserve_rng_state=False)
    amplitude_CF, phase_CF = amplitude_and_phase(
        transform(real_CBD, frequencies_FD), transform(synthetic_CMD, frequencies_FD)
    )
    chf_CF = alpha * amplitude_CF + (1 - alpha) * phase_CF.clamp_min(CLAMP)
    return chf_CF.clamp_min(TINY).sqrt().mean(-1)


def mmd(real_CBD: Tensor, synthetic_CMD: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy with the linear kernel, as DM (Zhao and Bilen, 2023, eq. 5) uses it:
    the squared distance of the mean features. (C,), at least 0.
    """
    return (real_CBD.mean(-2) - synthetic_CMD.mean(-2)).square().sum(-1)


def mse(real_CBD: Tensor, synthetic_CMD: Tensor) -> Tensor:
    """Return the mean squared distance between the features of every real and every synthetic image.

    It equals :func:`mmd` plus the variances within the two sides, so its minimum collapses the synthetic side to the
    mean: the weakness that the paper's section 3.1 ascribes to point-wise matching. (C,), at least 0.
    """

    def spread(features: Tensor) -> Tensor:
        return (features - features.mean(-2, keepdim=True)).square().sum(-1).mean(-1)

    return mmd(real_CBD, synthetic_CMD) + spread(real_CBD) + spread(synthetic_CMD)
