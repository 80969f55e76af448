"""The frequency arguments of the characteristic function: Gaussian, or learned by the sampling network psi.

Shapes: F frequencies, D feature dimension, K components of the scale mixture.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ncfm.method.discrepancies.ncfd import PER_COMPONENT
from ncfm.models.base import build_module

Variant = Literal["gaussian", "mixture", "released"]


class SamplingNetwork(nn.Module):
    """psi: maps noise (K, D) to the scales (K, D), in (-1, 1), of a scale mixture of normals (paper section 4.2)."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for activation in (nn.LeakyReLU(0.2), nn.LeakyReLU(0.2), nn.Tanh()):  # bounded, or the maximiser runs away
            layers += [nn.Linear(dimension, dimension), nn.BatchNorm1d(dimension), activation]
        self.layers = nn.Sequential(*layers)

    def forward(self, noise_KD: Tensor) -> Tensor:
        """Return the scales (K, D)."""
        return self.layers(noise_KD)


def build_sampling_network(dimension: int, generator: torch.Generator) -> SamplingNetwork:
    """Build psi for features of ``dimension``, initialised from ``generator``, in training mode."""
    return build_module(lambda: SamplingNetwork(dimension), generator).train()


def draw_frequencies(
    variant: Variant, count: int, dimension: int, generator: torch.Generator, psi: SamplingNetwork | None = None
) -> Tensor:
    """Draw the frequencies (F, D) of one step, F = ``count`` at least 1, on the generator's device.

    ``gaussian``: t ~ N(0, I). ``mixture``: t = sigma_psi(eps) * z with z ~ N(0, I), as the paper writes it (section
    4.2). ``released``: t = sigma_psi(eps) without z, so that only F / 16 frequencies are distinct, as the authors'
    program computes it. The last two are differentiable for ``psi``, and raise ValueError without it.
    """

    def normal(rows: int) -> Tensor:
        return torch.randn(rows, dimension, generator=generator, device=generator.device)

    if variant == "gaussian":
        return normal(count)
    if psi is None:
        raise ValueError(f"frequencies: {variant} needs the sampling network psi")
    # At least two components: batch-norm has no variance over one row.
    components = max(2, count // PER_COMPONENT)
    repeats = -(-count // components)
    scales_FD = psi(normal(components)).repeat_interleave(repeats, dim=0)[:count]
    return scales_FD if variant == "released" else scales_FD * normal(count)
