"""Facts about every data set: counts, shapes, statistics, and where it may come from. One entry per data set."""

from __future__ import annotations

from collections.abc import Mapping
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
        content: :func:`~ncfm.artifacts.tensor_sha256` of each split's images and labels, whatever source gave them.
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
    content: Mapping[str, str]


_DIGITS = DatasetFacts(
    name="digits",
    classes=10,
    channels=1,
    resolution=16,
    # Set by the split in ncfm/datasets/digits.py: every fifth image of each class is a test image.
    smallest_class=139,
    train_images=1433,
    test_images=364,
    mean=(0.3054,),
    std=(0.3188,),
    sources=("embedded",),
    label_names=tuple("0123456789"),
    content={
        "train images": "1141664b06fe2fd60f1e38e988928f2c476a2060490b65eb3608f924d104e567",
        "train labels": "600fa26fdcad4b48f04e7584aa3960b6d069ddc6113ad67634062c24e1c656e6",
        "test images": "07c9afd9729d552fb909e6566dbd7ddfdd5add558c60a780e1cf74209d19457a",
        "test labels": "5fea45883593097780124053f6859f96021d7bca7ed0b2772924000cedaa5b55",
    },
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
    content={
        "train images": "b38a43eea7097ec43b2949d5d7704d0f32c3afa946cc1b0885624152f01c31fa",
        "train labels": "47558a5a35d42e21b81939d518f674b49bb9f9b469a4302bdc1bb9a7b84b6f0d",
        "test images": "5c54c5367f1b4af264fb12ea4d8ade067f447e406022dbc3485fe05097ed090a",
        "test labels": "ae81efe9c5f5e4ce7525dbbd90ca646fce698d60209de41e6ee029eaa78652ad",
    },
)

CATALOGUE: dict[str, DatasetFacts] = {facts.name: facts for facts in (_DIGITS, _CIFAR10)}


def facts_of(dataset: str, where: str = "") -> DatasetFacts:
    """Return the facts of a data set by name. Raises :class:`ParamsError` for a name that is not in the catalogue."""
    if dataset not in CATALOGUE:
        raise ParamsError(one_of("dataset", dataset, CATALOGUE, where))
    return CATALOGUE[dataset]
