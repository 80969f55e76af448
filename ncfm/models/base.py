"""What architectures are made of: `Network`, which each of them is, the layers that several have, and first weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)
EMBEDDING_DEVIATION = 0.02  # of tokens and position embeddings: BERT's, and the vision transformers' after it
FULL_WIDTH = 128  # the width at which every architecture has its published size


class Network(nn.Module):
    """A body that makes features of images, and a linear ``head`` that makes logits of features.

    ``blocks`` go from images (N, c, h, w) to maps (N, channels, h, w), or to features of ``dimension`` D themselves.
    The features, which the discrepancies compare, are each map's mean where ``pooled``, else the maps flattened.
    """

    def __init__(self, blocks: nn.Module, dimension: int, classes: int, pooled: bool = False) -> None:
        super().__init__()
        self.blocks, self.feature_dimension, self.pooled = blocks, dimension, pooled
        self.head = nn.Linear(dimension, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the features before the linear head: (N, D)."""
        maps = self.blocks(images)
        return maps.mean((2, 3)) if self.pooled else maps.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes)."""
        return self.head(self.features(images))


def scaled(channels: int, width: int) -> int:
    """Return ``channels``, a published number, times ``width`` / 128: the nearest multiple of 4, at least 4."""
    return max(4, round(channels * width / FULL_WIDTH / 4) * 4)


def normalisation(norm: str, channels: int) -> list[nn.Module]:
    """Return the normalisation of maps: one layer with a learned scale and shift per channel, or none.

    Instance, group and layer normalisation are one operation: an image's channels in as many, in 4, or in 1 group
    (Wu and He, arXiv 1803.08494). Field's names: instancenorm, groupnorm, layernorm.
    """
    if norm == "none":
        return []
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.GroupNorm({"instance": channels, "group": 4, "layer": 1}[norm], channels)]


class HalvingPool(nn.Module):
    """2 x 2 average pooling with stride 2.

    As two sums of neighbours a ConvNet's step is 1.7 times faster on CPUs than with AvgPool2d (benchmarks/README.md).
    """

    def forward(self, images: Tensor) -> Tensor:
        """Halve the resolution, which must be even."""
        upper, lower = images.unflatten(-2, (-1, 2)).unbind(-2)
        left, right = (upper + lower).unflatten(-1, (-1, 2)).unbind(-1)
        return (left + right) * 0.25


def convolution(taken: int, made: int, kernel: int, norm: str, stride: int = 1) -> list[nn.Module]:
    """Return a convolution and its normalisation; only without one does the convolution need a bias."""
    layer = nn.Conv2d(taken, made, kernel, stride, kernel // 2, bias=norm == "none")
    return [layer, *normalisation(norm, made)]


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al., arXiv 1512.03385, figure 2).

    Where it shall ``halve`` the resolution, the first convolution's stride does so or, if ``pooled``, average pooling
    behind that convolution.
    """

    def __init__(self, taken: int, made: int, halve: bool, pooled: bool, norm: str) -> None:
        super().__init__()
        stride = 2 if halve and not pooled else 1
        pool = [HalvingPool()] if halve and pooled else []
        first, second = convolution(taken, made, 3, norm, stride), convolution(made, made, 3, norm)
        self.block = nn.Sequential(*first, nn.ReLU(), *pool, *second)
        self.shortcut = nn.Sequential()
        if halve or taken != made:
            projection, *rest = convolution(taken, made, 1, norm, stride)
            self.shortcut = nn.Sequential(projection, *pool, *rest)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the block's maps (N, made, h, w)."""
        return (self.block(maps) + self.shortcut(maps)).relu()


@torch.no_grad()
def build_module(construct: Callable[[], Module], generator: torch.Generator) -> Module:
    """Construct a module without drawing from the global generator, then initialise it from ``generator``.

    The distribution is torch's own default: uniform with bound 1 / sqrt(fan-in) for weights and biases of linear and
    convolution layers, Glorot's uniform and zeros for attention's joint projection, ones and zeros for normalisation
    layers; but biases of attention's output, zeros in torch, are drawn as those of linear layers. Parameters that a
    module holds outside of such layers are tokens and embeddings: normal with deviation 0.02.
    Raises TypeError for a layer whose buffers none of these rules fills.
    """
    with torch.device("meta"):
        module = construct()
    module = module.to_empty(device="cpu")
    for layer in module.modules():
        own = list(layer.parameters(recurse=False))
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for value in own:
                value.uniform_(-bound, bound, generator=generator)
        elif isinstance(layer, nn.MultiheadAttention):
            nn.init.xavier_uniform_(layer.in_proj_weight, generator=generator)
            nn.init.zeros_(layer.in_proj_bias)
        elif isinstance(layer, nn.GroupNorm | nn.LayerNorm | nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_parameters()
        elif any(True for _ in layer.buffers(recurse=False)):
            raise TypeError(f"no rule fills the buffers of {type(layer).__name__}")
        else:
            for value in own:
                value.normal_(0, EMBEDDING_DEVIATION, generator=generator)
    return module
