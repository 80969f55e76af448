"""Networks made of torchvision's layers, for small images: DenseNet-121, EfficientNet-B0 and ViT-Tiny.

Their papers: Huang et al., arXiv 1608.06993; Tan and Le, arXiv 1905.11946; Touvron et al., arXiv 2012.12877, after
Dosovitskiy et al., arXiv 2010.11929.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ncfm.models.registry import Architecture, Shape, counted

if TYPE_CHECKING:
    from ncfm.models.base import Network

# EfficientNet-B0, table 1 of its paper: expansion, kernel, stride, channels taken and made, layers.
STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)
HEADS = 3  # of ViT-Tiny


def densenet_121(shape: Shape) -> Network:
    """Return DenseNet-BC with blocks of 6, 12, 24 and 16 layers and growth 32, as the field's CIFAR networks have it.

    The stem is one 3 x 3 convolution: its normalisation, ReLU, stride and pooling are for images of 224 pixels, and
    each dense layer starts with a normalisation and a ReLU of its own.
    """
    from torch import nn

    from ncfm.core.torchvision_shim import torchvision
    from ncfm.models.base import Network, scaled

    first = scaled(64, shape.width)
    made = torchvision.models.DenseNet(growth_rate=scaled(32, shape.width), num_init_features=first)
    dense = [layer for name, layer in made.features.named_children() if name not in ("norm0", "relu0", "pool0")]
    dense[0] = nn.Conv2d(shape.channels, first, 3, padding=1, bias=False)
    return Network(nn.Sequential(*dense, nn.ReLU()), made.classifier.in_features, shape.classes, pooled=True)


def efficientnet_b0(shape: Shape) -> Network:
    """Return EfficientNet-B0 without dropout and stochastic depth.

    Of its five halvings images below 64 pixels skip the stem's, and below 32 also the next: the last map is 2 x 2.
    """
    from torch import nn

    from ncfm.core.torchvision_shim import torchvision
    from ncfm.models.base import FULL_WIDTH, Network

    wide = shape.width / FULL_WIDTH
    stages = [torchvision.models.efficientnet.MBConvConfig(*stage, width_mult=wide) for stage in STAGES]
    if shape.resolution < 32:
        stages[1].stride = 1
    built = torchvision.models.EfficientNet(stages, dropout=0.0, stochastic_depth_prob=0.0)
    channels, stride = built.features[0][0].out_channels, 1 if shape.resolution < 64 else 2
    built.features[0][0] = nn.Conv2d(shape.channels, channels, 3, stride, padding=1, bias=False)
    return Network(built.features, built.classifier[1].in_features, shape.classes, pooled=True)


def vit_tiny(shape: Shape) -> Network:
    """Return a vision transformer of 12 layers, 3 heads and 192 channels on 8 x 8 patches; features: the class token.

    A patch has 4 pixels a side at resolution 32, 8 at 64, and the paper's 16 from 128 on, where there are then more.
    """
    from torch import nn

    from ncfm.core.torchvision_shim import torchvision
    from ncfm.models.base import Network, scaled

    patch = min(16, shape.resolution // 8)
    hidden = HEADS * scaled(64, shape.width)
    blocks = torchvision.models.VisionTransformer(shape.resolution, patch, 12, HEADS, hidden, 4 * hidden)
    blocks.conv_proj = nn.Conv2d(shape.channels, hidden, patch, patch)
    blocks.heads = nn.Identity()
    return Network(blocks, hidden, shape.classes)


DENSENET_WORK = partial(counted, 3538944, 1773142016, 2056192, 1024, 6946048)
B0_WORK = partial(counted, 1769472, 62163712, 559356, 1280, 4007548)
VIT_WORK = partial(counted, 1179648, 690094080, 1347840, 192, 5360832)
ENTRIES = (
    Architecture("densenet-121", densenet_121, smallest=16, multiple=8, norms=("batch",), work=DENSENET_WORK, order=5),
    Architecture("efficientnet-b0", efficientnet_b0, smallest=16, multiple=16, norms=("batch",), work=B0_WORK, order=6),
    Architecture("vit-tiny", vit_tiny, smallest=16, multiple=16, norms=("layer",), work=VIT_WORK, order=7),
)
