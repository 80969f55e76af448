"""VGG-11 (Simonyan and Zisserman, arXiv 1409.1556, configuration A) with the one linear head of DC's networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.models.registry import Architecture, Counted, Shape

if TYPE_CHECKING:
    from ncfm.models.base import Network

BLOCKS = ((64,), (128,), (256, 256), (512, 512), (512, 512))  # a 2 x 2 maximum follows each


def network(shape: Shape) -> Network:
    """Return eight 3 x 3 convolutions, each with normalisation and ReLU, in five blocks, and a head on the last map.

    Images whose resolution no five halvings divide (16) skip the first block's: their maps are then those of images
    twice as large, where instance normalisation still has several values to normalise.
    """
    from torch import nn

    from ncfm.models.base import Network
    from ncfm.models.layers import normalisation, scaled

    blocks: list[nn.Module] = []
    channels, halvings = shape.channels, 5 if shape.resolution % 32 == 0 else 4
    for position, convolutions in enumerate(BLOCKS):
        for published in convolutions:
            made = scaled(published, shape.width)
            blocks += [nn.Conv2d(channels, made, 3, padding=1), *normalisation(shape.norm, made), nn.ReLU()]
            channels = made
        if position >= len(BLOCKS) - halvings:
            blocks.append(nn.MaxPool2d(2))
    return Network(nn.Sequential(*blocks), channels * (shape.resolution // 2**halvings) ** 2, shape.classes)


WORK = Counted(3538944, 301989888, 151552, 512, 9225984, flattened=True)
ENTRIES = (Architecture("vgg-11", network, smallest=16, multiple=16, work=WORK, order=3),)
