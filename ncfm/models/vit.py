"""ViT-Tiny (Touvron et al., arXiv 2012.12877; Dosovitskiy et al., arXiv 2010.11929), made of torchvision's layers."""

from __future__ import annotations

from torch import Tensor, nn

from ncfm.core.torchvision_shim import torchvision
from ncfm.models.base import Network, scaled

HEADS = 3


class ViTTiny(Network):
    """A vision transformer of 12 layers, 3 heads and 192 channels on 8 x 8 patches; the features are the class token's.

    A patch has 4 pixels a side at resolution 32, 8 at 64, and the paper's 16 from 128 on, where there are then more.
    """

    def __init__(self, *, channels: int, resolution: int, classes: int, width: int, norm: str) -> None:
        super().__init__()
        patch = min(16, resolution // 8)
        hidden = HEADS * scaled(64, width)
        self.blocks = torchvision.models.VisionTransformer(resolution, patch, 12, HEADS, hidden, 4 * hidden)
        self.blocks.conv_proj = nn.Conv2d(channels, hidden, patch, patch)
        self.blocks.heads = nn.Identity()
        self.feature_dimension = hidden
        self.head = nn.Linear(hidden, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the class token after the last layer: (N, D)."""
        return self.blocks(images)
