"""The one list of architectures: name -> smallest resolution and builder. Adding one is adding a line and a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ncfm.errors import ParamsError, one_of

if TYPE_CHECKING:
    import torch

    from ncfm.models.base import Network


@dataclass(frozen=True)
class Architecture:
    """What the params need to know of an architecture without importing torch."""

    blocks: int
    smallest_resolution: int


ARCHITECTURES: dict[str, Architecture] = {f"convnet-{depth}": Architecture(depth, 2**depth) for depth in (3, 4, 5)}


def smallest_resolution(arch: str) -> int:
    """Return the resolution whose multiples ``arch`` can take."""
    return ARCHITECTURES[arch].smallest_resolution


def build(
    arch: str,
    *,
    channels: int,
    resolution: int,
    classes: int,
    width: int,
    norm: str,
    generator: torch.Generator,
) -> Network:
    """Build a freshly initialised network.

    Args:
        arch: a name in :data:`ARCHITECTURES`.
        channels, resolution: shape of the images, (channels, resolution, resolution).
        classes: number of outputs.
        width: channels per block.
        norm: ``instance``, ``batch`` or ``none``.
        generator: the only source of the initial weights.

    Raises:
        ParamsError: for an unknown name, or a resolution that it cannot take.
    """
    from ncfm.models.convnet import build_convnet

    if arch not in ARCHITECTURES:
        raise ParamsError(one_of("architecture", arch, ARCHITECTURES))
    least = smallest_resolution(arch)
    if resolution < least or resolution % least:
        raise ParamsError(f"{arch} cannot take images of resolution {resolution} (allowed: multiples of {least})")
    return build_convnet(
        depth=ARCHITECTURES[arch].blocks,
        channels=channels,
        resolution=resolution,
        classes=classes,
        width=width,
        norm=norm,
        generator=generator,
    )
