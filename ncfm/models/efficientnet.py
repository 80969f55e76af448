"""EfficientNet-B0 (Tan and Le, arXiv 1905.11946) with strides for small images, made of torchvision's layers."""

from __future__ import annotations

from torch import Tensor, nn

from ncfm.core.torchvision_shim import torchvision
from ncfm.models.base import FULL_WIDTH, Network

# Table 1 of the paper: expansion, kernel, stride, channels taken and made, layers.
STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)


class EfficientNetB0(Network):
    """EfficientNet-B0 without dropout and stochastic depth.

    The paper's network halves its images five times. Here the first of these strides are left out of images below 64
    pixels, so many that the last map is 2 x 2: all but the stem's stay at 32 pixels.
    """

    def __init__(self, *, channels: int, resolution: int, classes: int, width: int, norm: str) -> None:
        super().__init__()
        left_out = 0
        while resolution // 2 ** (5 - left_out) < 2:
            left_out += 1
        strides = [2, *(stage[2] for stage in STAGES)]
        for position in [p for p, stride in enumerate(strides) if stride == 2][:left_out]:
            strides[position] = 1
        stages = [
            torchvision.models.efficientnet.MBConvConfig(
                expansion, kernel, stride, taken, made, layers, width_mult=width / FULL_WIDTH
            )
            for (expansion, kernel, _, taken, made, layers), stride in zip(STAGES, strides[1:], strict=True)
        ]
        made = torchvision.models.EfficientNet(stages, dropout=0.0, stochastic_depth_prob=0.0)
        stem = made.features[0][0]
        made.features[0][0] = nn.Conv2d(channels, stem.out_channels, 3, strides[0], padding=1, bias=False)
        self.blocks = made.features
        self.feature_dimension = made.classifier[1].in_features
        self.head = nn.Linear(self.feature_dimension, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the mean of the last map: (N, D)."""
        return self.blocks(images).mean((2, 3))
