"""Initial weights from an explicit generator, so that building a network never touches the global random state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)
EMBEDDING_DEVIATION = 0.02  # of tokens and position embeddings: BERT's, and the vision transformers' after it


@torch.no_grad()
def build_module(construct: Callable[[], Module], generator: torch.Generator) -> Module:
    """Construct a module without drawing from the global generator, then initialise it from ``generator``.

    The distribution is torch's own default: uniform with bound 1 / sqrt(fan-in) for weights and biases of linear and
    convolution layers, Glorot's uniform and zeros for attention's joint projection, ones and zeros for normalisation
    layers. Parameters that a module holds outside of such layers are tokens and embeddings: normal with deviation 0.02.
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
