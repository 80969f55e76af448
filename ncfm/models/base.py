"""What every architecture offers: `features(x)`, which the discrepancies compare, and `forward(x)`, the logits."""

from __future__ import annotations

from torch import Tensor, nn


class Network(nn.Module):
    """A body that makes features of images, and a linear ``head`` that makes logits of features.

    ``blocks`` go from images (N, c, h, w) to maps (N, channels, h, w), or to features of ``dimension`` D themselves.
    The features are each map's mean where ``pooled``, else the maps flattened.
    """

    def __init__(self, blocks: nn.Module, dimension: int, classes: int, pooled: bool = False) -> None:
        super().__init__()
        self.blocks, self.feature_dimension, self.pooled = blocks, dimension, pooled
        self.head = nn.Linear(dimension, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the features before the linear head: (N, D)."""
        maps = self.blocks(images)
        return maps.mean((2, 3)) if self.pooled else maps.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes)."""
        return self.head(self.features(images))
