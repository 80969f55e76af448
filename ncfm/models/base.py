"""What every architecture offers: `features(x)`, which the discrepancies compare, and `forward(x)`, the logits."""

from __future__ import annotations

import abc

from torch import Tensor, nn

FULL_WIDTH = 128  # the width at which every architecture has its published size


class Network(nn.Module, abc.ABC):
    """Base of all architectures.

    Attributes:
        feature_dimension: D, the length of one image's features.
        head: the linear layer from the features to the logits.
    """

    feature_dimension: int
    head: nn.Linear

    @abc.abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return the features before the linear head, flattened: (N, D)."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes)."""
        return self.head(self.features(images))


def scaled(channels: int, width: int) -> int:
    """Return ``channels``, a published number, times ``width`` / 128: the nearest multiple of 4, at least 4."""
    return max(4, round(channels * width / FULL_WIDTH / 4) * 4)


def normalisation(norm: str, channels: int) -> list[nn.Module]:
    """Return the normalisation of maps with ``channels`` channels: one layer with a learned scale and shift per
    channel, or none.

    Instance, group and layer normalisation are one operation: an image's channels in as many, in 4, or in 1 group
    (Wu and He, arXiv 1803.08494). Field's names: instancenorm, groupnorm, layernorm.
    """
    if norm == "none":
        return []
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    groups = {"instance": channels, "group": 4, "layer": 1}[norm]
    return [nn.GroupNorm(groups, channels)]
