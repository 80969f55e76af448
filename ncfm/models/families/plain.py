"""Plain networks, one convolution after the other: ConvNet-D, the field's standard network, AlexNet and VGG-11.

AlexNet is the one that the field evaluates with, five convolutions for small images (DC, arXiv 2006.05929). VGG-11 is
configuration A of Simonyan and Zisserman, arXiv 1409.1556, with the one linear head of DC's networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from ncfm.models.registry import NORMS, Architecture, NetworkWork, Shape, counted

if TYPE_CHECKING:
    from torch import nn

    from ncfm.models.base import Network

# Channels, kernel, and whether the resolution is halved behind it.
Layers = Sequence[tuple[int, int, bool]]
ALEXNET = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))
VGG_11 = ((64, 3, True), (128, 3, True), (256, 3, False), (256, 3, True), *2 * ((512, 3, False), (512, 3, True)))


def plain(shape: Shape, layers: Layers, pool: nn.Module) -> Network:
    """Return convolutions, each with normalisation and ReLU, some followed by a pool, and a head on the last map."""
    from torch import nn

    from ncfm.models.base import Network, normalisation

    blocks: list[nn.Module] = []
    channels, resolution = shape.channels, shape.resolution
    for made, kernel, halved in layers:
        blocks += [nn.Conv2d(channels, made, kernel, padding=kernel // 2), *normalisation(shape.norm, made), nn.ReLU()]
        if halved:
            blocks.append(pool)
            resolution //= 2
        channels = made
    return Network(nn.Sequential(*blocks), channels * resolution**2, shape.classes)


def convnet(depth: int, shape: Shape) -> Network:
    """Return D blocks of convolution, normalisation, ReLU and 2 x 2 average pooling (docs/method.md, section 1).

    ConvNet-3 is for 32 x 32 images, ConvNet-4 for 64, ConvNet-5 for 128: at width 128 all have 2048 features.
    """
    from ncfm.models.base import HalvingPool

    return plain(shape, [(shape.width, 3, True)] * depth, HalvingPool())


def convnet_work(depth: int, shape: Shape) -> NetworkWork:
    """Return the work of one image; block b convolves at resolution r / 2^b: 18 * c_in * c_out * (r / 2^b)^2 FLOP."""
    width, taken = shape.width, [shape.channels, *[shape.width] * (depth - 1)]
    areas = [(shape.resolution // 2**block) ** 2 for block in range(depth)]
    first, *others = (2 * 9 * channels * width * area for channels, area in zip(taken, areas, strict=True))
    features = width * (shape.resolution // 2**depth) ** 2
    body = 9 * sum(taken) * width + depth * width * (1 if shape.norm == "none" else 3)  # a bias; a scale and a shift
    head = (features + 1) * shape.classes
    return NetworkWork(first, sum(others), 2 * features * shape.classes, width * sum(areas), features, body + head)


def published(layers: Layers, shape: Shape) -> Network:
    """Return the network of these layers, whose channels are those at width 128; it halves by a 2 x 2 maximum."""
    from torch import nn

    from ncfm.models.base import scaled

    layers = [(scaled(channels, shape.width), kernel, halved) for channels, kernel, halved in layers]
    return plain(shape, layers, nn.MaxPool2d(2))


def vgg_11(shape: Shape) -> Network:
    """Return VGG-11, eight 3 x 3 convolutions in five blocks.

    Images whose resolution no five halvings divide (16) skip the first block's: their maps are then those of images
    twice as large, where instance normalisation still has several values to normalise.
    """
    return published(((64, 3, shape.resolution % 32 == 0), *VGG_11[1:]), shape)


ALEXNET_WORK = partial(counted, 19660800, 470286336, 221184, 3072, 1841472, flattened=True)
ALEXNET_NORMS = ("none", *NORMS[:-1])  # the published one has no normalisation
VGG_WORK = partial(counted, 3538944, 301989888, 151552, 512, 9225984, flattened=True)
ENTRIES = (
    *(
        Architecture(f"convnet-{d}", partial(convnet, d), 2**d, 2**d, work=partial(convnet_work, d), order=1)
        for d in (3, 4, 5)
    ),
    Architecture("alexnet", partial(published, ALEXNET), 8, 8, ALEXNET_NORMS, ALEXNET_WORK, order=2),
    Architecture("vgg-11", vgg_11, smallest=16, multiple=16, work=VGG_WORK, order=3),
)
