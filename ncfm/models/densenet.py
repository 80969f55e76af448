"""DenseNet-121 (Huang et al., arXiv 1608.06993) with a stem for small images, made of torchvision's layers."""

from __future__ import annotations

from torch import Tensor, nn

from ncfm.core.torchvision_shim import torchvision
from ncfm.models.base import Network, scaled


class DenseNet121(Network):
    """DenseNet-BC with blocks of 6, 12, 24 and 16 layers and growth 32, as the field's CIFAR networks have it.

    The stem is one 3 x 3 convolution: its normalisation, ReLU, stride and pooling are for images of 224 pixels, and
    each dense layer starts with a normalisation and a ReLU of its own.
    """

    def __init__(self, *, channels: int, resolution: int, classes: int, width: int, norm: str) -> None:
        super().__init__()
        first = scaled(64, width)
        made = torchvision.models.DenseNet(growth_rate=scaled(32, width), num_init_features=first)
        dense = [layer for name, layer in made.features.named_children() if name not in ("norm0", "relu0", "pool0")]
        dense[0] = nn.Conv2d(channels, first, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*dense, nn.ReLU())
        self.feature_dimension = made.classifier.in_features
        self.head = nn.Linear(self.feature_dimension, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the mean of the last map: (N, D)."""
        return self.blocks(images).mean((2, 3))
