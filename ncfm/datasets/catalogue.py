"""Facts about every data set: counts, shapes, statistics, and where it may come from. One file each in `sets/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ncfm.core.registry import Registry

if TYPE_CHECKING:
    from ncfm.datasets.sources import Source


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before it is prepared.

    Attributes:
        classes: number of classes.
        channels, resolution: shape of one image, (channels, resolution, resolution).
        sizes: for ``train`` and ``test`` the allowed numbers of images of each class: one number where it is known.
        mean, std: per-channel statistics that images are normalised with, for pixels in [0, 1].
        sources: the functions that read it, by the values of ``prepare.source`` besides ``auto``, in the order that
            ``auto`` tries them.
        label_names: class names in label order; empty where only the source knows them.
        content: :func:`~ncfm.core.store.tensor_sha256` of each split's images and labels, whatever source gave them;
            empty where we could not obtain the data.
        order: place in lists.
    """

    name: str
    classes: int
    channels: int
    resolution: int
    sizes: Mapping[str, tuple[range, ...]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sources: Mapping[str, Source]
    label_names: tuple[str, ...] = ()
    content: Mapping[str, str] = field(default_factory=dict)
    order: int = 100

    @property
    def smallest_class(self) -> int:
        """Training images that the smallest class has at least: the largest possible IPC."""
        return min(allowed[0] for allowed in self.sizes["train"])

    def images(self, split: str) -> int:
        """Return the images of a split: the most it can hold, where copies of the data set differ."""
        return sum(allowed[-1] for allowed in self.sizes[split])


CATALOGUE: Registry[DatasetFacts] = Registry("dataset", "ncfm.datasets.sets")


def exactly(*counts: int) -> tuple[range, ...]:
    """Return the sizes of classes that are known one by one."""
    return tuple(range(count, count + 1) for count in counts)


def each(classes: int, train: int, test: int) -> dict[str, tuple[range, ...]]:
    """Return the sizes of ``classes`` classes that all have as many images."""
    return {"train": exactly(train) * classes, "test": exactly(test) * classes}


def facts_of(dataset: str, where: str = "") -> DatasetFacts:
    """Return the facts of a data set by name. Raises :class:`ParamsError` for a name that is not in the catalogue."""
    return CATALOGUE.find(dataset, where)
