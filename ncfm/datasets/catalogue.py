"""Facts about every data set: counts, shapes, statistics, and where it may come from. One entry per data set."""

from __future__ import annotations

from dataclasses import dataclass

from ncfm.errors import ParamsError, one_of


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before it is prepared.

    Attributes:
        classes: number of classes.
        channels, resolution: shape of one image, (channels, resolution, resolution).
        smallest_class: training images of the smallest class: the largest possible IPC.
        train_images, test_images: sizes of the two splits.
        mean, std: per-channel statistics of the training split, for pixels in [0, 1].
        sources: allowed values of ``prepare.source`` besides ``auto``, in the order that ``auto`` tries them.
        label_names: class names in label order.
    """

    name: str
    classes: int
    channels: int
    resolution: int
    smallest_class: int
    train_images: int
    test_images: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sources: tuple[str, ...]
    label_names: tuple[str, ...]


_DIGITS = DatasetFacts(
    name="digits",
    classes=10,
    channels=1,
    resolution=16,
    # Set by the split in ncfm/datasets/digits.py: every fifth image of each class is a test image.
    smallest_class=139,
    train_images=1433,
    test_images=364,
    mean=(0.3052,),
    std=(0.3366,),
    sources=("embedded",),
    label_names=tuple("0123456789"),
)

_CIFAR10 = DatasetFacts(
    name="cifar10",
    classes=10,
    channels=3,
    resolution=32,
    smallest_class=5000,
    train_images=50000,
    test_images=10000,
    # The statistics that the released program normalises with (its std is the mean of per-image deviations, not the
    # deviation over all pixels, .2470/.2435/.2616); kept because every reported number rests on them.
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    sources=("folder", "torchvision", "npm"),
    label_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)

CATALOGUE: dict[str, DatasetFacts] = {facts.name: facts for facts in (_DIGITS, _CIFAR10)}


def facts_of(dataset: str, where: str = "") -> DatasetFacts:
    """Return the facts of a data set by name. Raises :class:`ParamsError` for a name that is not in the catalogue."""
    if dataset not in CATALOGUE:
        raise ParamsError(one_of("dataset", dataset, CATALOGUE, where))
    return CATALOGUE[dataset]
