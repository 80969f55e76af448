"""Data sets that torchvision can read: from a folder that it filled, or downloaded by it from the official server."""

from __future__ import annotations

import http.client
import socket
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncfm.core.errors import DataError, one_line
from ncfm.core.store import storage_errors
from ncfm.datasets.catalogue import DatasetFacts, Loaded, Source

if TYPE_CHECKING:
    from torch import Tensor

SILENCE_SECONDS = 10.0  # of the official server, before it counts as out of reach; torchvision waits for ever
# What torchvision's classes raise on files that are missing or damaged: the reader of MNIST's files asserts.
_UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, AssertionError)


@dataclass(frozen=True)
class Family:
    """How torchvision's classes of one kind name things; each function takes the class, ``images`` a loaded split."""

    files: Callable[[Any], dict[str, str]]  # the names and MD5s of its files as torchvision knows them
    download: Callable[[Any], dict[str, Any]]  # what the card says of a download, by default with ``files`` as its MD5s
    folder: Callable[[Any], str] = lambda kind: ""  # where its files lie, relative to its root
    images: Callable[[Any], Any] = lambda data: data.data  # uint8 (N, C, H, W), an array or a tensor
    labels: str = "targets"  # the attribute that holds the labels
    split: Callable[[str], dict[str, Any]] = lambda split: {"train": split == "train"}  # the constructor's argument


def _padded(images: Tensor) -> Tensor:
    """Add a black border to images (N, 28, 28), since 28 cannot be halved three times: the result is (N, 1, 32, 32).

    The field adds as many zeros, but after normalising (the first convolution of the ConvNet in the released program of
    Dataset Condensation, Zhao et al. 2021); here the border is background, as almost all outer pixels of images are.
    """
    from torch.nn.functional import pad

    return pad(images.unsqueeze(1), (2, 2, 2, 2))


CIFAR = Family(
    folder=lambda kind: str(kind.base_folder),
    files=lambda kind: dict((*kind.train_list, *kind.test_list)),
    download=lambda kind: {"url": kind.url, "archive": kind.filename, "md5": kind.tgz_md5},
    images=lambda data: data.data.transpose(0, 3, 1, 2),
)
MNIST = Family(
    folder=lambda kind: f"{kind.__name__}/raw",
    files=lambda kind: dict(kind.resources),
    download=lambda kind: {"url": kind.mirrors[0]},
    images=lambda data: _padded(data.data),
)


def sources_of(name: str, family: Family) -> dict[str, Source]:
    """Return the sources of a data set that torchvision has as the class ``name``, which names things as ``family``."""
    return {"folder": partial(_folder, name, family), "torchvision": partial(_official, name, family)}


def _folder(name: str, family: Family, facts: DatasetFacts, root: Path) -> Loaded:
    """Read the folder that torchvision filled. It checks MD5s, except those of MNIST's files once they are unpacked."""
    kind = _class(name)
    place = root / family.folder(kind)
    if not place.is_dir():
        raise DataError(f"{place}: no such folder; put torchvision's files there or choose another prepare.source")
    try:
        return Loaded(_read(kind, family, root), {"folder": family.folder(kind), "md5": family.files(kind)})
    except _UNREADABLE as error:
        raise DataError(
            f"{place}: files missing or corrupted (torchvision checks their MD5); "
            f"move them away: {', '.join(family.files(kind))}"
        ) from error


def _official(name: str, family: Family, facts: DatasetFacts, root: Path) -> Loaded:
    """Let torchvision download the data set from its official server into ``root``, or reuse what it has put there."""
    kind = _class(name)
    origin, patience = {"md5": family.files(kind), **family.download(kind)}, socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        with storage_errors(root):
            root.mkdir(parents=True, exist_ok=True)
            return Loaded(_read(kind, family, root, download=True), origin)
    except (*_UNREADABLE, http.client.HTTPException, tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{origin['url']}: download failed ({one_line(error)})") from error
    finally:
        socket.setdefaulttimeout(patience)


def _class(name: str) -> Any:
    from ncfm.core.torchvision_shim import torchvision

    return getattr(torchvision.datasets, name)


def _read(kind: Any, family: Family, root: Path, download: bool = False) -> dict[str, tuple[Tensor, Tensor]]:
    import torch

    splits = {}
    for split in ("train", "test"):
        data = kind(root, **family.split(split), download=download)
        labels = torch.as_tensor(getattr(data, family.labels), dtype=torch.int64)
        splits[split] = (torch.as_tensor(family.images(data)).contiguous(), labels)
    return splits
