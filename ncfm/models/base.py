"""What every architecture offers: `features(x)`, which the discrepancies compare, and `forward(x)`, the logits."""

from __future__ import annotations

import abc

from torch import Tensor, nn


class Network(nn.Module, abc.ABC):
    """Base of all architectures.

    Attributes:
        feature_dimension: D, the length of one image's features.
    """

    feature_dimension: int
    head: nn.Linear

    @abc.abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return the features before the linear head, flattened: (N, D)."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes)."""
        return self.head(self.features(images))
