"""Architectures: what each can take, what one image costs in it, and how it is built. The files are in `families/`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ncfm.core.errors import ParamsError
from ncfm.core.machine import main_memory
from ncfm.core.registry import Registry

if TYPE_CHECKING:
    import torch

    from ncfm.models.base import Network

NORMS = ("instance", "batch", "group", "layer", "none")


@dataclass(frozen=True)
class Shape:
    """What a network is built for: images (channels, resolution, resolution), and one of the architecture's norms."""

    channels: int
    resolution: int
    classes: int
    width: int  # channels per block of a ConvNet; the others have their published size at 128, and scale with it
    norm: str


@dataclass(frozen=True)
class NetworkWork:
    """One image's way through a network."""

    first: float  # FLOP of the first convolution, forward
    others: float  # FLOP of the other ones
    head: float  # FLOP of the linear head
    activations: float  # outputs of all convolutions, or of a transformer's linear layers
    features: int  # D, the length of one image's features
    parameters: int  # number of weights

    @property
    def body(self) -> float:
        """FLOP from an image to its features."""
        return self.first + self.others


def counted(
    first: float, others: float, activations: float, features: int, weights: int, shape: Shape, flattened: bool = False
) -> NetworkWork:
    """Return the work for a shape by scaling that of one image of 3 x 32 x 32 at width 128 (tests/test_plan.py).

    The numbers are :class:`NetworkWork`'s without the head, which is added for the number of classes; ``flattened``
    says that the features are the whole last map, which grows with the image. FLOP scale with (width / 128)^2 and
    (resolution / 32)^2, which is too much above 32 for networks that shrink larger images first.
    """
    wide, area = shape.width / 128, (shape.resolution / 32) ** 2
    length = round(features * wide * (area if flattened else 1))
    return NetworkWork(
        first=first * wide * area * shape.channels / 3,
        others=others * wide**2 * area,
        head=2 * length * shape.classes,
        activations=activations * wide * area,
        features=length,
        parameters=round(weights * wide**2) + (length + 1) * shape.classes,
    )


@dataclass(frozen=True)
class Architecture:
    """An architecture, as ``arch`` in params files names it."""

    name: str
    network: Callable[[Shape], Network]  # builds it; :func:`build` then initialises the weights
    smallest: int  # resolution that it takes
    multiple: int  # which divides all resolutions that it takes
    norms: tuple[str, ...] = NORMS  # the normalisations that it takes, its own first
    work: Callable[[Shape], NetworkWork] | None = None  # what one image costs, for `ncfm plan`; None: not known
    order: int = 100  # place in lists

    def takes(self, resolution: int) -> bool:
        """Return whether it can take images of this resolution."""
        return resolution >= self.smallest and resolution % self.multiple == 0

    @property
    def resolutions(self) -> str:
        """The resolutions that it can take, in words."""
        start = f" from {self.smallest}" if self.smallest > self.multiple else ""
        return f"multiples of {self.multiple}{start}"


ARCHITECTURES: Registry[Architecture] = Registry("architecture", "ncfm.models.families")


def norm_of(arch: str, norm: str, width: int, place: str = "norm") -> str:
    """Return the normalisation that ``norm`` stands for: the architecture's own where it is ``default``.

    Raises :class:`ParamsError`, which begins with ``place``, if the architecture cannot take it, or not at this width.
    """
    norms = ARCHITECTURES[arch].norms
    if norm == "default":
        return norms[0]
    if norm not in norms:
        raise ParamsError(f"{place}: is {norm!r}, which {arch} cannot take (allowed: {', '.join(('default', *norms))})")
    if norm == "group" and width % 4:
        raise ParamsError(f"{place}: is 'group', 4 groups of channels, but width is {width} (allowed: multiples of 4)")
    return norm


def too_large(arch: str, shape: Shape) -> str:
    """Return why no training of this network fits into the machine's memory; empty where it may, or no work is known.

    Training holds four numbers of 4 bytes to a weight: itself, its gradient, and two of the optimiser.
    """
    work = ARCHITECTURES[arch].work
    needed = 16 * work(shape).parameters if work else 0
    there = main_memory()
    if needed <= there:
        return ""
    memory = f"training {arch} takes {needed / 2**30:,.0f} GiB of memory, and this machine has {there / 2**30:,.0f}"
    most = int(shape.width * (there / needed) ** 0.5)  # weights grow with its square
    return f"is {shape.width}, but {memory} (allowed: up to about {most})"


def build(
    arch: str, *, channels: int, resolution: int, classes: int, width: int, norm: str, generator: torch.Generator
) -> Network:
    """Build a freshly initialised network for a :class:`Shape`, whose ``norm`` may also be ``default``.

    ``generator`` is the only source of the initial weights. Raises :class:`ParamsError` for an unknown name, or a
    resolution or normalisation that the architecture cannot take.
    """
    from ncfm.models.base import build_module

    architecture = ARCHITECTURES.find(arch)
    if not architecture.takes(resolution):
        raise ParamsError(f"{arch} cannot take images of resolution {resolution} (allowed: {architecture.resolutions})")
    shape = Shape(channels, resolution, classes, width, norm_of(arch, norm, width))
    if fault := too_large(arch, shape):
        raise ParamsError(f"width: {fault}")
    return build_module(lambda: architecture.network(shape), generator)
