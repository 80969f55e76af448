"""ResNet-18 with a stem for small images, and ResNet-AP-10, which halves by average pooling instead of strides."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ncfm.models.registry import Architecture, Shape, counted

if TYPE_CHECKING:
    from ncfm.models.base import Network


def resnet(shape: Shape, first: int, blocks: int, pooled: bool, halve_stem: bool) -> Network:
    """Return a 3 x 3 stem and four groups of basic blocks, the last three halving the resolution by pooling or strides.

    The stem and the first group have ``first`` published channels, each further group twice as many.
    """
    from torch import nn

    from ncfm.models.base import BasicBlock, HalvingPool, Network, convolution, scaled

    groups = [scaled(first * 2**position, shape.width) for position in range(4)]
    layers: list[nn.Module] = [*convolution(shape.channels, groups[0], 3, shape.norm), nn.ReLU()]
    if halve_stem:
        layers.append(HalvingPool())
    taken = groups[0]
    for position, made in enumerate(groups):
        for block in range(blocks):
            layers.append(BasicBlock(taken, made, position > 0 and block == 0, pooled, shape.norm))
            taken = made
    return Network(nn.Sequential(*layers), taken, shape.classes, pooled=True)


def resnet_ap_10(shape: Shape) -> Network:
    """Return ResNet-AP-10 (IDC, arXiv 2205.14959): one block per group, average pooling where ResNet has strides.

    As in IDC, images up to 32 pixels get half the channels, and images above 64 a stem that halves them.
    """
    first = 32 if shape.resolution <= 32 else 64
    return resnet(shape, first, blocks=1, pooled=True, halve_stem=shape.resolution > 64)


# A 3 x 3 stem without stride or pooling, two blocks per group (DC's, MTT's).
resnet_18 = partial(resnet, first=64, blocks=2, pooled=False, halve_stem=False)
WORK_18 = partial(counted, 3538944, 1107296256, 614400, 512, 11168832)
WORK_AP_10 = partial(counted, 1769472, 220200960, 356352, 256, 1226400)
ENTRIES = (  # from 16 on: instance normalisation of the last maps needs more than one value
    Architecture("resnet-18", resnet_18, smallest=16, multiple=8, work=WORK_18, order=4),
    Architecture("resnet-ap-10", resnet_ap_10, smallest=16, multiple=16, work=WORK_AP_10, order=4),
)
