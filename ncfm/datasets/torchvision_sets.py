"""Data sets that torchvision can read: from a folder that it filled, or downloaded by it from the official server."""

from __future__ import annotations

import http.client
import socket
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ncfm.core.errors import DataError
from ncfm.core.store import storage_errors
from ncfm.datasets.catalogue import DatasetFacts
from ncfm.datasets.sources import Loaded, Source, one_line

SILENCE_SECONDS = 10.0  # of the official server, before it counts as out of reach
MNIST_BORDER = 2  # pixels on each side: 28 x 28 becomes 32 x 32


@dataclass(frozen=True)
class _Family:
    """How torchvision's classes of one kind name things; each function takes the class, ``images`` a loaded split.

    Attributes:
        split: the constructor's argument for ``train`` or ``test``.
        folder: where its files lie, relative to its root.
        files: their names and MD5s as torchvision knows them.
        download: what the card says of a download; its first value is the address.
        images: the images, uint8 (N, C, H, W).
        labels: the attribute that holds the labels.
    """

    split: Callable[[str], dict[str, Any]]
    folder: Callable[[Any], str]
    files: Callable[[Any], dict[str, str]]
    download: Callable[[Any], dict[str, Any]]
    images: Callable[[Any], Tensor]
    labels: str = "targets"


def _padded(images: Tensor) -> Tensor:
    """Add a black border to images (N, 28, 28): the result is (N, 1, 32, 32).

    28 cannot be halved three times. The field enlarges it by two pixels on each side, though after normalising, with
    zeros (the first convolution of the ConvNet in the released program of Dataset Condensation, Zhao et al. 2021);
    here the border is background, the value that every outer pixel of almost all images has.
    """
    return pad(images.unsqueeze(1), (MNIST_BORDER,) * 4)


def _svhn_files(kind: Any) -> dict[str, str]:
    return {name: md5 for _, name, md5 in (kind.split_list[split] for split in ("train", "test"))}


_CIFAR = _Family(
    split=lambda split: {"train": split == "train"},
    folder=lambda kind: str(kind.base_folder),
    files=lambda kind: dict((*kind.train_list, *kind.test_list)),
    download=lambda kind: {"url": kind.url, "archive": kind.filename, "md5": kind.tgz_md5},
    images=lambda data: torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous(),
)
_MNIST = _Family(
    split=lambda split: {"train": split == "train"},
    folder=lambda kind: f"{kind.__name__}/raw",
    files=lambda kind: dict(kind.resources),
    download=lambda kind: {"url": kind.mirrors[0], "md5": dict(kind.resources)},
    images=lambda data: _padded(data.data),
)
_SVHN = _Family(
    split=lambda split: {"split": split},
    folder=lambda kind: "",
    files=_svhn_files,
    download=lambda kind: {"url": kind.split_list["train"][0].rsplit("/", 1)[0], "md5": _svhn_files(kind)},
    images=lambda data: torch.from_numpy(data.data).contiguous(),
    labels="labels",
)
_KINDS: dict[str, tuple[str, _Family]] = {  # by data set: torchvision's class, and how it names things
    "cifar10": ("CIFAR10", _CIFAR),
    "cifar100": ("CIFAR100", _CIFAR),
    "mnist": ("MNIST", _MNIST),
    "fashion-mnist": ("FashionMNIST", _MNIST),
    "svhn": ("SVHN", _SVHN),
}


def folder(facts: DatasetFacts, root: Path) -> Loaded:
    """Read the folder that torchvision filled. It checks MD5s, except those of MNIST's files once they are unpacked."""
    kind, family = _kind(facts)
    place = root / family.folder(kind)
    if not place.is_dir():
        raise DataError(f"{place}: no such folder; put torchvision's files there or choose another prepare.source")
    return Loaded(_read(facts, root), {"folder": family.folder(kind), "md5": family.files(kind)})


def official(facts: DatasetFacts, root: Path) -> Loaded:
    """Let torchvision download the data set from its official server into ``root``, or reuse what it has put there."""
    kind, family = _kind(facts)
    origin = family.download(kind)
    try:
        with storage_errors(root), _network_silence(SILENCE_SECONDS):
            root.mkdir(parents=True, exist_ok=True)
            for split in ("train", "test"):
                kind(root, **family.split(split), download=True)
    except (*_UNREADABLE, http.client.HTTPException, tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{origin['url']}: download failed ({one_line(error)})") from error
    return Loaded(_read(facts, root), origin)


# The reader of MNIST's files asserts; it has no error of its own.
_UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, AssertionError)


def _kind(facts: DatasetFacts) -> tuple[Any, _Family]:
    from ncfm.core.torchvision_shim import torchvision

    name, family = _KINDS[facts.name]
    return getattr(torchvision.datasets, name), family


def _read(facts: DatasetFacts, root: Path) -> dict[str, tuple[Tensor, Tensor]]:
    kind, family = _kind(facts)
    splits = {}
    for split in ("train", "test"):
        try:
            data = kind(root, **family.split(split))
            splits[split] = (family.images(data), torch.as_tensor(getattr(data, family.labels), dtype=torch.int64))
        except _UNREADABLE as error:
            raise DataError(
                f"{root / family.folder(kind)}: files missing or corrupted (torchvision checks their MD5); "
                f"delete them: {', '.join(family.files(kind))}"
            ) from error
    return splits


@contextmanager
def _network_silence(seconds: float) -> Iterator[None]:
    """Bound every wait for the network inside; torchvision sets no bound of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


SOURCES: dict[str, Source] = {"folder": folder, "torchvision": official}
