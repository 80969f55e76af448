"""ViT-Tiny (Touvron et al., arXiv 2012.12877; Dosovitskiy et al., arXiv 2010.11929), made of torchvision's layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.models.registry import Architecture, Shape, counted

if TYPE_CHECKING:
    from ncfm.models.base import Network

HEADS = 3


def network(shape: Shape) -> Network:
    """Return a vision transformer of 12 layers, 3 heads and 192 channels on 8 x 8 patches; features: the class token.

    A patch has 4 pixels a side at resolution 32, 8 at 64, and the paper's 16 from 128 on, where there are then more.
    """
    from torch import nn

    from ncfm.core.torchvision_shim import torchvision
    from ncfm.models.base import Network
    from ncfm.models.layers import scaled

    patch = min(16, shape.resolution // 8)
    hidden = HEADS * scaled(64, shape.width)
    blocks = torchvision.models.VisionTransformer(shape.resolution, patch, 12, HEADS, hidden, 4 * hidden)
    blocks.conv_proj = nn.Conv2d(shape.channels, hidden, patch, patch)
    blocks.heads = nn.Identity()
    return Network(blocks, hidden, shape.classes)


WORK = counted(1179648, 690094080, 1347840, 192, 5360832)
ENTRIES = (Architecture("vit-tiny", network, norms=("layer",), smallest=16, multiple=16, work=WORK, order=7),)
