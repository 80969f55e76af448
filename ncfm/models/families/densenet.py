"""DenseNet-121 (Huang et al., arXiv 1608.06993) with a stem for small images, made of torchvision's layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.models.registry import Architecture, Shape, counted

if TYPE_CHECKING:
    from ncfm.models.base import Network


def network(shape: Shape) -> Network:
    """Return DenseNet-BC with blocks of 6, 12, 24 and 16 layers and growth 32, as the field's CIFAR networks have it.

    The stem is one 3 x 3 convolution: its normalisation, ReLU, stride and pooling are for images of 224 pixels, and
    each dense layer starts with a normalisation and a ReLU of its own.
    """
    from torch import nn

    from ncfm.core.torchvision_shim import torchvision
    from ncfm.models.base import Network
    from ncfm.models.layers import scaled

    first = scaled(64, shape.width)
    made = torchvision.models.DenseNet(growth_rate=scaled(32, shape.width), num_init_features=first)
    dense = [layer for name, layer in made.features.named_children() if name not in ("norm0", "relu0", "pool0")]
    dense[0] = nn.Conv2d(shape.channels, first, 3, padding=1, bias=False)
    return Network(nn.Sequential(*dense, nn.ReLU()), made.classifier.in_features, shape.classes, pooled=True)


WORK = counted(3538944, 1773142016, 2056192, 1024, 6946048)
ENTRIES = (Architecture("densenet-121", network, norms=("batch",), smallest=16, multiple=8, work=WORK, order=5),)
