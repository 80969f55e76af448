"""Distilled sets on disk and in use: write one, read one, and train on it as on any torch data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ncfm.core.errors import DataError
from ncfm.core.layout import SET_FILE, title
from ncfm.core.pictures import write_grid
from ncfm.core.store import load_tensors, save_tensors
from ncfm.datasets.split import Normalisation, Split, load_split
from ncfm.method.multiformation import decode
from ncfm.method.shipped import find_set

GRID_ROWS = 50  # images per class in the picture, at most
# Stored images, (k, C, H, W) for each class: float32 pixels in [0, 1], or uint8 as in the data set.
Images = Tensor | Sequence[Tensor]


def write_set(
    folder: Path,
    images: Images,
    split: Split,
    factor: int,
    names: Mapping[str, Any],
    soft_labels: Tensor | None = None,
    snapshots: Mapping[int, Images] | None = None,
) -> list[str | Path]:
    """Write a set that stands for the training split ``split``, with ``factor`` tiles per side of each stored image.

    ``soft_labels`` are class probabilities (factor^2 * classes * k, classes), a row per decoded image. ``snapshots``
    are the same images after earlier iterations of their making. Returns the files: `distilled.safetensors` and a
    picture of the set, `grid.png`.
    """
    labels = torch.arange(split.classes).repeat_interleave(torch.tensor([len(one) for one in images]))
    tensors = {"images": torch.cat(list(images)), "labels": labels}
    facts = {"names": dict(names), "dataset": split.dataset, "factor": factor, "classes": split.classes}
    facts |= {"label_names": list(split.label_names), **split.normalisation.facts}
    if soft_labels is not None:
        tensors["soft_labels"] = soft_labels
    if snapshots:
        tensors["snapshots"] = torch.stack([torch.cat(list(one)) for one in snapshots.values()])
        facts["snapshots"] = list(snapshots)
    stored, grid = folder / SET_FILE, folder / "grid.png"
    save_tensors(stored, tensors, facts)
    rows = min(GRID_ROWS, *map(len, images))
    write_grid(torch.cat([one[:rows] for one in images]), split.classes, grid)
    return [stored, grid]


def in_bytes(pixels: Tensor) -> Tensor:
    """Return pixels in [0, 1] as the nearest of 256 values, uint8: a quarter of the storage."""
    return pixels.mul(255).round().to(torch.uint8)


class DistilledSet(Dataset[tuple[Tensor, int]]):
    """Decoded training images with their labels, M = factor^2 N: a network trains on ``images`` and ``targets``."""

    def __init__(self, stored: Tensor, labels: Tensor, facts: Mapping[str, Any], soft_labels: Tensor | None) -> None:
        # (N, C, H, W), float32 pixels in [0, 1], class by class
        self.stored = stored.float().div_(255) if stored.dtype == torch.uint8 else stored
        self.factor, self.classes = int(facts["factor"]), int(facts["classes"])
        self.names: dict[str, Any] = facts["names"]
        self.label_names: list[str] = facts["label_names"]
        self.dataset: str = facts["dataset"]
        self.labels = labels.repeat(self.factor**2)  # (M,), int64
        self.soft_labels = soft_labels  # class probabilities (M, classes) of a curated set, else None
        self.targets = self.labels if soft_labels is None else soft_labels
        self.normalisation = Normalisation.of(facts, stored.device)
        self.snapshots: dict[int, DistilledSet] = {}  # the set after earlier iterations, where they were kept

    @cached_property
    def pixels(self) -> Tensor:
        """The decoded images, (M, C, H, W), pixels in [0, 1]."""
        return decode(self.stored, self.factor)

    @cached_property
    def images(self) -> Tensor:
        """The decoded images, normalised with the data set's statistics."""
        return self.normalisation(self.pixels)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.stored.shape[1:]))
        made = f"{len(self.stored)} stored images" if self.factor > 1 else "as stored"
        labels = "" if self.soft_labels is None else ", soft labels"
        return f"<{title(self.names)}: {len(self)} training images, {shape}, {self.classes} classes, {made}{labels}>"

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])


def load(path: str | Path, device: str | torch.device = "cpu") -> DistilledSet:
    """Read a `distilled.safetensors`, or a set that ships with the repository, by its name: ``cifar10-ipc1-fast``.

    Raises :class:`DataError` where it is missing, torn, or no distilled set.
    """
    if isinstance(path, str) and "/" not in path and not path.endswith(".safetensors"):
        path = find_set(path)
    tensors, facts = load_tensors(path, device)
    known = {"names", "dataset", "factor", "classes", "label_names", "mean", "std"}
    missing = {"images", "labels"} - tensors.keys() | known - facts.keys()
    if missing:
        raise DataError(f"{path}: is not a distilled set ({', '.join(sorted(missing))} missing)")
    found = DistilledSet(tensors["images"], tensors["labels"], facts, tensors.get("soft_labels"))
    wanted = (len(found), found.classes)
    if found.soft_labels is not None and found.soft_labels.shape != wanted:
        raise DataError(f"{path}: holds soft labels {tuple(found.soft_labels.shape)}, but {wanted} are wanted")
    for iteration, images in zip(facts.get("snapshots", ()), tensors.get("snapshots", ()), strict=True):
        found.snapshots[iteration] = DistilledSet(images, tensors["labels"], facts, None)
    return found


def load_with_test(path: Path, data: Path, device: str | torch.device) -> tuple[Split, DistilledSet]:
    """Read the test split of a data set, and a set to be tested on it. Raises :class:`DataError` for another's."""
    test, images = load_split(data, "test", device), load(path, device)
    check_fits(images, path, test, data)
    return test, images


def check_fits(images: DistilledSet, path: Path, split: Split, data: Path) -> None:
    """Raise :class:`DataError` where the set, read from ``path``, is not of the data set whose ``split`` is given."""
    if images.dataset != split.dataset:
        raise DataError(f"{path}: was made from {images.dataset}, but {data} holds {split.dataset}")
    ours, theirs = ((one.classes, *of.shape[1:]) for one, of in ((images, images.stored), (split, split.images)))
    if ours != theirs:  # a folder of images that was prepared anew has the same name
        made = f"{ours[0]} classes of images {ours[1:]}"
        raise DataError(f"{path}: was made from {made}, but {data} holds {theirs[0]} of {theirs[1:]}")
