"""NCFD, the paper's discrepancy: characteristic functions compared at frequencies, learned by psi or Gaussian."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ncfm.core.params import DistillParams
from ncfm.method.discrepancies import Discrepancy, real_mean

if TYPE_CHECKING:
    from torch import Tensor

    ComplexParts = tuple[Tensor, Tensor]  # real and imaginary part

CLAMP = 1e-12  # lower bound of the phase term before the square root (docs/method.md, section 1)
TINY = 1e-24  # keeps the square roots of exact zeros differentiable; in float32 it changes no other value
PER_COMPONENT = 16  # frequencies per component of the mixture (docs/method.md, section 2)


def characteristic_function(
    features_CBD: Tensor, frequencies_FD: Tensor, weights_CB: Tensor | None = None
) -> ComplexParts:
    """Return the empirical characteristic function (paper eq. 4): mean over images of exp(j <t, f(x)>).

    Real and imaginary part are each (C, F), in [-1, 1].
    """
    angles_CBF = features_CBD @ frequencies_FD.T
    return real_mean(angles_CBF.cos(), weights_CB), real_mean(angles_CBF.sin(), weights_CB)


def amplitude_and_phase(real_CF: ComplexParts, synthetic_CF: ComplexParts) -> tuple[Tensor, Tensor]:
    """Return the two terms of the paper's eq. 6 at each frequency, unweighted, from two characteristic functions.

    Amplitude (|Px| - |Py|)^2 and phase 2 |Px| |Py| (1 - cos(ax - ay)) are each (C, F); their sum is |Px - Py|^2.
    """
    (re_x, im_x), (re_y, im_y) = real_CF, synthetic_CF
    size_x = (re_x.square() + im_x.square()).clamp_min(TINY).sqrt()
    size_y = (re_y.square() + im_y.square()).clamp_min(TINY).sqrt()
    return (size_x - size_y).square(), 2 * (size_x * size_y - re_x * re_y - im_x * im_y)


def ncfd(
    real_CBD: Tensor,
    synthetic_CMD: Tensor,
    frequencies_FD: Tensor,
    alpha: float = 0.5,
    recompute: bool = False,
    weights_CB: Tensor | None = None,
    root: bool = True,
) -> Tensor:
    """Return the neural characteristic function discrepancy (paper eq. 5 to 8): mean over frequencies of sqrt(Chf(t)).

    Features have length 1; ``alpha`` in [0, 1] is the weight of amplitude, and phase has 1 - alpha. ``recompute``
    computes the angles <t, f(x)> again in the backward pass instead of keeping them. The result (C,) is zero for equal
    sets up to rounding, at most sqrt(4 max(alpha, 1 - alpha)). Without ``root`` it is the mean of Chf(t) itself.
    """
    from torch.utils.checkpoint import checkpoint

    transform = characteristic_function
    if recompute:
        transform = partial(checkpoint, characteristic_function, use_reentrant=False, preserve_rng_state=False)
    real_CF = transform(real_CBD, frequencies_FD, weights_CB)
    synthetic_CF = transform(synthetic_CMD, frequencies_FD)
    amplitude_CF, phase_CF = amplitude_and_phase(real_CF, synthetic_CF)
    chf_CF = alpha * amplitude_CF + (1 - alpha) * phase_CF.clamp_min(CLAMP)
    return (chf_CF.clamp_min(TINY).sqrt() if root else chf_CF).mean(-1)


def flop(params: DistillParams, classes: int, real: int, synthetic: int, dimension: int) -> float:
    """Return the FLOP of one iteration: features times frequencies, D * F * 2 an image, and the passes of psi.

    The products go back to the features and, where psi ascends, to the frequencies; ``recompute`` computes them again
    where a gradient comes back. Psi is three D x D layers on F / 16 rows, once for each step of the images.
    """
    learned, again = params.frequencies == "mixture", int(params.recompute)
    products = real * (2 + again if learned else 1) + synthetic * (3 + again if learned else 2 + again)
    total = classes * products * 2 * dimension * params.num_frequencies
    if params.frequencies != "gaussian":
        rows = max(2, params.num_frequencies // PER_COMPONENT)
        turns = 1 if params.update == "joint" else classes
        # Back to every layer's weights, and to the inputs of all layers but the first.
        total += turns * 2 * rows * dimension**2 * (3 + (5 if learned else 0))
    return total


def _measure(
    real_CBD: Tensor, synthetic_CMD: Tensor, weights_CB: Tensor | None, frequencies_FD: Tensor, params: DistillParams
) -> Tensor:
    return ncfd(real_CBD, synthetic_CMD, frequencies_FD, params.alpha, params.recompute, weights_CB, params.root)


READS = ("alpha", "root", "frequencies", "num_frequencies", "frequency_scale", "sampler_learning_rate")
ENTRIES = (Discrepancy("ncfd", _measure, flop, uses_frequencies=True, reads=READS, order=1),)
