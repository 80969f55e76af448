"""Frequencies (F, D) of the characteristic function of D features: Gaussian, or learned by the sampling network psi."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ncfm.method.discrepancies.ncfd import PER_COMPONENT
from ncfm.models.base import build_module


def build_sampling_network(dimension: int, generator: torch.Generator) -> nn.Sequential:
    """Build psi: from noise (K, D) to the scales (K, D), in (-1, 1), of a mixture of normals (paper section 4.2)."""

    def construct() -> nn.Sequential:
        layers: list[nn.Module] = []
        for activation in (nn.LeakyReLU(0.2), nn.LeakyReLU(0.2), nn.Tanh()):  # bounded, or the maximiser runs away
            layers += [nn.Linear(dimension, dimension), nn.BatchNorm1d(dimension), activation]
        return nn.Sequential(*layers)

    return build_module(construct, generator)


def draw_frequencies(
    variant: str,
    count: int,
    dimension: int,
    generator: torch.Generator,
    psi: nn.Module | None = None,
    scale: float = 1.0,
) -> Tensor:
    """Draw the frequencies (F, D) of one step, F = ``count`` at least 1, times ``scale``, on the generator's device.

    ``gaussian``: t ~ N(0, I). ``mixture``: t = sigma_psi(eps) * z with z ~ N(0, I), as the paper writes it (section
    4.2). ``released``: t = sigma_psi(eps) without z, so that only F / 16 frequencies are distinct, as the authors'
    program computes it. The last two are differentiable for ``psi``, and raise ValueError without it.
    """

    def normal(rows: int) -> Tensor:
        return torch.randn(rows, dimension, generator=generator, device=generator.device)

    if variant == "gaussian":
        return scale * normal(count)
    if psi is None:
        raise ValueError(f"frequencies: {variant} needs the sampling network psi")
    components = max(2, count // PER_COMPONENT)  # batch-norm has no variance over one row
    scales_FD = scale * psi(normal(components)).repeat_interleave(math.ceil(count / components), dim=0)[:count]
    return scales_FD if variant == "released" else scales_FD * normal(count)
