"""ConvNet-D, the field's standard network: D blocks of convolution, normalisation, ReLU and 2 x 2 average pooling."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ncfm.models.registry import Architecture, NetworkWork, Shape

if TYPE_CHECKING:
    from ncfm.models.base import Network


def network(depth: int, shape: Shape) -> Network:
    """Return ConvNet-3 for 32 x 32 images, ConvNet-4 for 64, ConvNet-5 for 128 (docs/method.md section 1).

    With width 128 the features have 128 * 4 * 4 = 2048 entries in all three cases.
    """
    from torch import nn

    from ncfm.models.base import Network
    from ncfm.models.layers import HalvingPool, normalisation

    blocks: list[nn.Module] = []
    channels, width = shape.channels, shape.width
    for _ in range(depth):
        blocks += [
            nn.Conv2d(channels, width, 3, padding=1),
            *normalisation(shape.norm, width),
            nn.ReLU(),
            HalvingPool(),
        ]
        channels = width
    return Network(nn.Sequential(*blocks), width * (shape.resolution // 2**depth) ** 2, shape.classes)


def work(depth: int, shape: Shape) -> NetworkWork:
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


ENTRIES = tuple(
    Architecture(f"convnet-{d}", partial(network, d), smallest=2**d, multiple=2**d, work=partial(work, d), order=1)
    for d in (3, 4, 5)
)
