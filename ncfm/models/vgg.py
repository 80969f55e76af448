"""VGG-11 (Simonyan and Zisserman, arXiv 1409.1556, configuration A) with the one linear head of DC's networks."""

from __future__ import annotations

from torch import Tensor, nn

from ncfm.models.base import Network, normalisation, scaled

BLOCKS = ((64,), (128,), (256, 256), (512, 512), (512, 512))  # a 2 x 2 maximum follows each


class VGG11(Network):
    """Eight 3 x 3 convolutions, each with normalisation and ReLU, in five blocks, and a linear head on the last map.

    Images whose resolution no five halvings divide (16) skip the first block's: their maps are then those of images
    twice as large, where instance normalisation still has several values to normalise.
    """

    def __init__(self, *, channels: int, resolution: int, classes: int, width: int, norm: str) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        halvings = 5 if resolution % 32 == 0 else 4
        for position, convolutions in enumerate(BLOCKS):
            for published in convolutions:
                made = scaled(published, width)
                blocks.append(nn.Conv2d(channels, made, 3, padding=1))
                blocks += [*normalisation(norm, made), nn.ReLU()]
                channels = made
            if position >= len(BLOCKS) - halvings:
                blocks.append(nn.MaxPool2d(2))
        self.blocks = nn.Sequential(*blocks)
        self.feature_dimension = channels * (resolution // 2**halvings) ** 2
        self.head = nn.Linear(self.feature_dimension, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the flattened last map: (N, D)."""
        return self.blocks(images).flatten(1)
