"""The one list of architectures: what each can take, and where it is built. Adding one is adding a line and a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from ncfm.core.errors import ParamsError, one_of

if TYPE_CHECKING:
    import torch

    from ncfm.models.base import Network


@dataclass(frozen=True)
class Architecture:
    """What the params need to know of an architecture without importing torch.

    Attributes:
        module, name: the file in `ncfm/models/` and the class in it.
        norms: the normalisations that it can take, its own first.
        smallest, multiple: it takes resolutions from ``smallest`` on that are multiples of ``multiple``.
        options: arguments of the class beside those of :func:`build`.
    """

    module: str
    name: str
    norms: tuple[str, ...]
    smallest: int
    multiple: int
    options: Mapping[str, int] = field(default_factory=dict)

    def takes(self, resolution: int) -> bool:
        """Return whether it can take images of this resolution."""
        return resolution >= self.smallest and resolution % self.multiple == 0

    @property
    def resolutions(self) -> str:
        """The resolutions that it can take, in words."""
        start = f" from {self.smallest}" if self.smallest > self.multiple else ""
        return f"multiples of {self.multiple}{start}"


NORMS = ("instance", "batch", "group", "layer", "none")
ARCHITECTURES: dict[str, Architecture] = {
    **{f"convnet-{d}": Architecture("convnet", "ConvNet", NORMS, 2**d, 2**d, {"depth": d}) for d in (3, 4, 5)},
    "alexnet": Architecture("alexnet", "AlexNet", ("none", *NORMS[:-1]), 8, 8),
    "vgg-11": Architecture("vgg", "VGG11", NORMS, 16, 16),
    # From 16 on: instance normalisation of the last maps needs more than one value.
    "resnet-18": Architecture("resnet", "ResNet18", NORMS, 16, 8),
    "resnet-ap-10": Architecture("resnet", "ResNetAP10", NORMS, 16, 16),
    "densenet-121": Architecture("densenet", "DenseNet121", ("batch",), 16, 8),
    "efficientnet-b0": Architecture("efficientnet", "EfficientNetB0", ("batch",), 16, 16),
    "vit-tiny": Architecture("vit", "ViTTiny", ("layer",), 16, 16),
}


def norm_of(arch: str, norm: str, width: int, where: str = "norm") -> str:
    """Return the normalisation that ``norm`` stands for: the architecture's own where it is ``default``.

    Args:
        arch: a name in :data:`ARCHITECTURES`.
        norm: ``default`` or a normalisation.
        width: of the network.
        where: file and key, put before the message.

    Raises:
        ParamsError: where the architecture cannot take it, or not at this width.
    """
    norms = ARCHITECTURES[arch].norms
    if norm == "default":
        return norms[0]
    if norm not in norms:
        raise ParamsError(f"{where}: is {norm!r}, which {arch} cannot take (allowed: {', '.join(('default', *norms))})")
    if norm == "group" and width % 4:
        raise ParamsError(f"{where}: is 'group', 4 groups of channels, but width is {width} (allowed: multiples of 4)")
    return norm


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
        width: of a ConvNet the channels per block; of the others 128 is the published size, and all their channels
            scale with it.
        norm: ``default`` or one of the architecture's normalisations.
        generator: the only source of the initial weights.

    Raises:
        ParamsError: for an unknown name, or a resolution or normalisation that it cannot take.
    """
    from ncfm.models.initialisation import build_module

    if arch not in ARCHITECTURES:
        raise ParamsError(one_of("architecture", arch, ARCHITECTURES))
    facts = ARCHITECTURES[arch]
    if not facts.takes(resolution):
        raise ParamsError(f"{arch} cannot take images of resolution {resolution} (allowed: {facts.resolutions})")
    # By name, so that only an architecture in use imports its libraries.
    network = getattr(import_module(f"ncfm.models.{facts.module}"), facts.name)
    shape = {"channels": channels, "resolution": resolution, "classes": classes, "width": width}
    return build_module(lambda: network(**shape, norm=norm_of(arch, norm, width), **facts.options), generator)
