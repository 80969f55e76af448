"""Initial weights from an explicit generator, so that building a network never touches the global random state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def build_module(construct: Callable[[], Module], generator: torch.Generator) -> Module:
    """Construct a module without drawing from the global generator, then initialise it from ``generator``.

    The distribution is torch's own default: uniform with bound 1 / sqrt(fan-in) for weights and biases of linear and
    convolution layers, ones and zeros for normalisation layers.
    """
    with torch.device("meta"):
        module = construct()
    module = module.to_empty(device="cpu")
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            with torch.no_grad():
                layer.weight.uniform_(-bound, bound, generator=generator)
                if layer.bias is not None:
                    layer.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(layer, nn.GroupNorm | nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_parameters()
    return module
