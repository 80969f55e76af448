"""Plain networks, one convolution after the other: ConvNet-D, the field's standard network, AlexNet and VGG-11.

AlexNet is the one that the field evaluates with, five convolutions for small images (DC, arXiv 2006.05929). VGG-11 is
configuration A of Simonyan and Zisserman, arXiv 1409.1556, with the one linear head of DC's networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ncfm.models.registry import NORMS, Architecture, NetworkWork, Shape, counted

if TYPE_CHECKING:
    from torch import nn

    from ncfm.models.base import Network

# Channels, kernel, and whether the resolution is halved behind it.
Layers = Sequence[tuple[int, int, bool]]
ALEXNET = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))
VGG_BLOCKS = ((64,), (128,), (256, 256), (512, 512), (512, 512))  # a 2 x 2 maximum follows each


def plain(shape: Shape, layers: Layers, pool: Callable[[], nn.Module]) -> Network:
    """Return convolutions, each with normalisation and ReLU, some followed by a pool, and a head on the last map."""
    from torch import nn

    from ncfm.models.base import Network
    from ncfm.models.layers import normalisation

    blocks: list[nn.Module] = []
    channels, resolution = shape.channels, shape.resolution
    for made, kernel, halved in layers:
        blocks += [nn.Conv2d(channels, made, kernel, padding=kernel // 2), *normalisation(shape.norm, made), nn.ReLU()]
        if halved:
            blocks.append(pool())
            resolution //= 2
        channels = made
    return Network(nn.Sequential(*blocks), channels * resolution**2, shape.classes)


def convnet(depth: int, shape: Shape) -> Network:
    """Return D blocks of convolution, normalisation, ReLU and 2 x 2 average pooling (docs/method.md, section 1).

    ConvNet-3 is for 32 x 32 images, ConvNet-4 for 64, ConvNet-5 for 128: with width 128 the features have
    128 * 4 * 4 = 2048 entries in all three cases.
    """
    from ncfm.models.layers import HalvingPool

    return plain(shape, [(shape.width, 3, True)] * depth, HalvingPool)


def convnet_work(depth: int, shape: Shape) -> NetworkWork:
    """Return the work of one image: block b convolves 3 x 3 at resolution r / 2^b, 2 * 9 * c_in * c_out * (r / 2^b)^2
    FLOP.
    """
    convolutions, activations, parameters = [], 0, 0
    channels, resolution, width = shape.channels, shape.resolution, shape.width
    for _ in range(depth):
        convolutions.append(2 * 9 * channels * width * resolution**2)
        activations += width * resolution**2
        parameters += 9 * channels * width + width + (0 if shape.norm == "none" else 2 * width)
        channels, resolution = width, resolution // 2
    features = width * resolution**2
    parameters += (features + 1) * shape.classes
    head = 2 * features * shape.classes
    return NetworkWork(convolutions[0], sum(convolutions[1:]), head, activations, features, parameters)


def alexnet(shape: Shape) -> Network:
    """Return AlexNet, three of its convolutions followed by a 2 x 2 maximum. The published one has no normalisation."""
    from torch import nn

    from ncfm.models.layers import scaled

    layers = [(scaled(channels, shape.width), kernel, halved) for channels, kernel, halved in ALEXNET]
    return plain(shape, layers, partial(nn.MaxPool2d, 2))


def vgg_11(shape: Shape) -> Network:
    """Return VGG-11, eight 3 x 3 convolutions in five blocks.

    Images whose resolution no five halvings divide (16) skip the first block's: their maps are then those of images
    twice as large, where instance normalisation still has several values to normalise.
    """
    from torch import nn

    from ncfm.models.layers import scaled

    layers = []
    for position, block in enumerate(VGG_BLOCKS):
        *before, last = (scaled(channels, shape.width) for channels in block)
        layers += [(channels, 3, False) for channels in before]
        layers.append((last, 3, position > 0 or shape.resolution % 32 == 0))
    return plain(shape, layers, partial(nn.MaxPool2d, 2))


ALEXNET_WORK = counted(19660800, 470286336, 221184, 3072, 1841472, flattened=True)
VGG_WORK = counted(3538944, 301989888, 151552, 512, 9225984, flattened=True)
CONVNETS = tuple(
    Architecture(
        f"convnet-{d}", partial(convnet, d), smallest=2**d, multiple=2**d, work=partial(convnet_work, d), order=1
    )
    for d in (3, 4, 5)
)
ENTRIES = (
    *CONVNETS,
    Architecture("alexnet", alexnet, smallest=8, multiple=8, norms=("none", *NORMS[:-1]), work=ALEXNET_WORK, order=2),
    Architecture("vgg-11", vgg_11, smallest=16, multiple=16, work=VGG_WORK, order=3),
)
