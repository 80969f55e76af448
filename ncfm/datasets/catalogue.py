"""What is known of every data set, and what its sources give. The data sets are in the files of `sets/`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncfm.core.errors import DataError
from ncfm.core.registry import Registry
from ncfm.core.store import tensor_sha256

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Loaded:
    """A data set as a source gave it."""

    splits: dict[str, tuple[Tensor, Tensor]]  # train and test: images, uint8 (N, C, H, W), and labels, int64 (N,)
    origin: dict[str, Any]  # for the card: what the bytes were, by package, file names, checksums
    label_names: tuple[str, ...] = ()  # in label order, where the facts leave them to the source

    def content(self) -> dict[str, str]:
        """Return the SHA-256 of the images and of the labels of each split."""
        hashes: dict[str, str] = {}
        for split, (images, labels) in self.splits.items():
            hashes |= {f"{split} images": tensor_sha256(images), f"{split} labels": tensor_sha256(labels)}
        return hashes


# A source takes the facts and the folder ``prepare.root``, and raises DataError, in one line, where it has no data.
Source = Callable[["DatasetFacts", Path], Loaded]


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before it is prepared; its images are (channels, resolution, resolution)."""

    name: str
    resolution: int
    sizes: Mapping[str, tuple[range, ...]]  # of ``train`` and ``test``: for each class the allowed numbers of images
    mean: tuple[float, ...]  # of each channel, for pixels in [0, 1]; images are normalised with it and ``std``
    std: tuple[float, ...]
    sources: Mapping[str, Source]  # by the values of ``prepare.source``, of which ``auto`` tries all in this order
    label_names: tuple[str, ...] = ()  # in label order; empty where only the source knows them
    content: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of each split's tensors; empty: never obtained
    order: int = 100  # place in lists

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.sizes["train"])

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.mean)

    @property
    def smallest_class(self) -> int:
        """Training images that the smallest class has at least: the largest possible IPC."""
        return min(allowed[0] for allowed in self.sizes["train"])

    def images(self, split: str) -> int:
        """Return the images of a split: the most it can hold, where copies of the data set differ."""
        return self._images[split]

    @cached_property
    def _images(self) -> dict[str, int]:
        return {split: sum(allowed[-1] for allowed in classes) for split, classes in self.sizes.items()}


CATALOGUE: Registry[DatasetFacts] = Registry("dataset", "ncfm.datasets.sets")
facts_of = CATALOGUE.find  # raises ParamsError for a name that is not in the catalogue


def exactly(*counts: int) -> tuple[range, ...]:
    """Return the sizes of classes that are known one by one."""
    return tuple(range(count, count + 1) for count in counts)


def each(classes: int, train: int, test: int) -> dict[str, tuple[range, ...]]:
    """Return the sizes of ``classes`` classes that all have as many images."""
    return {"train": exactly(train) * classes, "test": exactly(test) * classes}


def check_sizes(facts: DatasetFacts, split: str, sizes: Sequence[int], names: Sequence[str], place: str) -> None:
    """Raise :class:`DataError`, beginning with ``place``, if a class's size, with its name, is not an allowed one."""
    for size, name, allowed in zip(sizes, names, facts.sizes[split], strict=True):
        if size not in allowed:
            text = str(allowed[0]) if len(allowed) == 1 else f"{allowed[0]} to {allowed[-1]}"
            raise DataError(
                f"{place}: class {name} has {counted(size, f'{split} image')}, "
                f"but in {facts.name} must have {text}; see docs/datasets.md"
            )


def some(names: Iterable[str], most: int = 10) -> str:
    """Return the first names, and how many more there are."""
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return (", ".join(found[:most]) or "nothing") + more


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, e.g. ``1 image`` or ``2 images``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
