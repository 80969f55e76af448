"""AlexNet as the field evaluates with: five convolutions for small images (DC, arXiv 2006.05929)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.models.registry import NORMS, Architecture, Counted, Shape

if TYPE_CHECKING:
    from ncfm.models.base import Network

# Channels, kernel, and whether a 2 x 2 maximum follows.
LAYERS = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))


def network(shape: Shape) -> Network:
    """Return five convolutions with ReLU, three of them followed by a 2 x 2 maximum, and a head on the whole last map.

    The published network has no normalisation; where one is asked for it stands between convolution and ReLU.
    """
    from torch import nn

    from ncfm.models.base import Network
    from ncfm.models.layers import normalisation, scaled

    blocks: list[nn.Module] = []
    channels = shape.channels
    for published, kernel, pooled in LAYERS:
        made = scaled(published, shape.width)
        blocks += [nn.Conv2d(channels, made, kernel, padding=kernel // 2), *normalisation(shape.norm, made), nn.ReLU()]
        if pooled:
            blocks.append(nn.MaxPool2d(2))
        channels = made
    return Network(nn.Sequential(*blocks), channels * (shape.resolution // 8) ** 2, shape.classes)


WORK = Counted(19660800, 470286336, 221184, 3072, 1841472, flattened=True)
ENTRIES = (Architecture("alexnet", network, norms=("none", *NORMS[:-1]), smallest=8, multiple=8, work=WORK, order=2),)
