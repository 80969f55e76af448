"""ResNet-18 with a stem for small images, and ResNet-AP-10, which halves by average pooling instead of strides."""

from __future__ import annotations

from torch import Tensor, nn

from ncfm.models.base import Network, normalisation, scaled
from ncfm.models.convnet import HalvingPool


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al., arXiv 1512.03385, figure 2)."""

    def __init__(self, taken: int, made: int, halve: bool, pooled: bool, norm: str) -> None:
        """Build the block.

        Args:
            taken, made: channels of its input and of its output.
            halve: whether the resolution is halved.
            pooled: by average pooling behind the convolution, where ``halve``; else by the convolution's stride.
            norm: a normalisation.
        """
        super().__init__()
        stride = 2 if halve and not pooled else 1
        pool = [HalvingPool()] if halve and pooled else []
        self.block = nn.Sequential(
            *convolution(taken, made, 3, norm, stride),
            nn.ReLU(),
            *pool,
            *convolution(made, made, 3, norm),
        )
        self.shortcut = nn.Sequential()
        if halve or taken != made:
            first, *rest = convolution(taken, made, 1, norm, stride)
            self.shortcut = nn.Sequential(first, *pool, *rest)
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """Return the block's maps (N, made, h, w)."""
        return self.relu(self.block(maps) + self.shortcut(maps))


def convolution(taken: int, made: int, kernel: int, norm: str, stride: int = 1) -> list[nn.Module]:
    """Return a convolution and its normalisation; only without one does the convolution need a bias."""
    layer = nn.Conv2d(taken, made, kernel, stride, kernel // 2, bias=norm == "none")
    return [layer, *normalisation(norm, made)]


class ResNet(Network):
    """A 3 x 3 stem, four groups of basic blocks, the last three halving the resolution; the last map's mean."""

    def __init__(
        self, *, channels: int, classes: int, norm: str, groups: list[int], blocks: int, pooled: bool, halve_stem: bool
    ) -> None:
        """Build the network.

        Args:
            channels, classes, norm: as in :func:`ncfm.models.registry.build`.
            groups: channels of the four groups; the stem has those of the first.
            blocks: blocks per group.
            pooled: whether average pooling halves the resolution, not strides.
            halve_stem: whether the resolution is halved behind the stem as well.
        """
        super().__init__()
        layers: list[nn.Module] = [*convolution(channels, groups[0], 3, norm), nn.ReLU()]
        if halve_stem:
            layers.append(HalvingPool())
        taken = groups[0]
        for position, made in enumerate(groups):
            for block in range(blocks):
                layers.append(BasicBlock(taken, made, position > 0 and block == 0, pooled, norm))
                taken = made
        self.blocks = nn.Sequential(*layers)
        self.feature_dimension = taken
        self.head = nn.Linear(taken, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the mean of the last map: (N, D)."""
        return self.blocks(images).mean((2, 3))


class ResNet18(ResNet):
    """ResNet-18 for small images: a 3 x 3 stem without stride or pooling, two blocks per group (DC's, MTT's)."""

    def __init__(self, *, channels: int, resolution: int, classes: int, width: int, norm: str) -> None:
        groups = [scaled(published, width) for published in (64, 128, 256, 512)]
        super().__init__(
            channels=channels, classes=classes, norm=norm, groups=groups, blocks=2, pooled=False, halve_stem=False
        )


class ResNetAP10(ResNet):
    """ResNet-AP-10 (IDC, arXiv 2205.14959): one block per group, average pooling where ResNet has strides.

    As in IDC, images up to 32 pixels get half the channels, and images above 64 a stem that halves them.
    """

    def __init__(self, *, channels: int, resolution: int, classes: int, width: int, norm: str) -> None:
        first = 32 if resolution <= 32 else 64
        groups = [scaled(first * 2**position, width) for position in range(4)]
        super().__init__(
            channels=channels,
            classes=classes,
            norm=norm,
            groups=groups,
            blocks=1,
            pooled=True,
            halve_stem=resolution > 64,
        )
