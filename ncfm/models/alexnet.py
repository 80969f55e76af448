"""AlexNet as the field evaluates with: five convolutions for small images (DC, arXiv 2006.05929)."""

from __future__ import annotations

from torch import Tensor, nn

from ncfm.models.base import Network, normalisation, scaled

# Channels, kernel, and whether a 2 x 2 maximum follows.
LAYERS = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))


class AlexNet(Network):
    """Five convolutions with ReLU, three of them followed by a 2 x 2 maximum, and a linear head on the whole last map.

    The published network has no normalisation; where one is asked for it stands between convolution and ReLU.
    """

    def __init__(self, *, channels: int, resolution: int, classes: int, width: int, norm: str) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for published, kernel, pooled in LAYERS:
            made = scaled(published, width)
            blocks.append(nn.Conv2d(channels, made, kernel, padding=kernel // 2))
            blocks += [*normalisation(norm, made), nn.ReLU()]
            if pooled:
                blocks.append(nn.MaxPool2d(2))
            channels = made
        self.blocks = nn.Sequential(*blocks)
        self.feature_dimension = channels * (resolution // 8) ** 2
        self.head = nn.Linear(self.feature_dimension, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the flattened last map: (N, D)."""
        return self.blocks(images).flatten(1)
