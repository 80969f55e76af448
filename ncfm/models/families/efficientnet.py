"""EfficientNet-B0 (Tan and Le, arXiv 1905.11946) with strides for small images, made of torchvision's layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.models.registry import Architecture, Shape, counted

if TYPE_CHECKING:
    from ncfm.models.base import Network

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


def network(shape: Shape) -> Network:
    """Return EfficientNet-B0 without dropout and stochastic depth.

    The paper's network halves its images five times. Here the first of these strides are left out of images below 64
    pixels, so many that the last map is 2 x 2: all but the stem's stay at 32 pixels.
    """
    from torch import nn

    from ncfm.core.torchvision_shim import torchvision
    from ncfm.models.base import Network
    from ncfm.models.layers import FULL_WIDTH

    left_out = 0
    while shape.resolution // 2 ** (5 - left_out) < 2:
        left_out += 1
    strides = [2, *(stage[2] for stage in STAGES)]
    for position in [p for p, stride in enumerate(strides) if stride == 2][:left_out]:
        strides[position] = 1
    stages = [
        torchvision.models.efficientnet.MBConvConfig(
            expansion, kernel, stride, taken, made, layers, width_mult=shape.width / FULL_WIDTH
        )
        for (expansion, kernel, _, taken, made, layers), stride in zip(STAGES, strides[1:], strict=True)
    ]
    built = torchvision.models.EfficientNet(stages, dropout=0.0, stochastic_depth_prob=0.0)
    stem = built.features[0][0]
    built.features[0][0] = nn.Conv2d(shape.channels, stem.out_channels, 3, strides[0], padding=1, bias=False)
    return Network(built.features, built.classifier[1].in_features, shape.classes, pooled=True)


WORK = counted(1769472, 62163712, 559356, 1280, 4007548)
ENTRIES = (Architecture("efficientnet-b0", network, norms=("batch",), smallest=16, multiple=16, work=WORK, order=6),)
