"""Facts about every data set: counts, shapes, statistics, and where it may come from. One entry per data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ncfm.core.errors import ParamsError, one_of
from ncfm.datasets.imagenet_classes import IMAGENET_CLASSES


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before it is prepared.

    Attributes:
        classes: number of classes.
        channels, resolution: shape of one image, (channels, resolution, resolution).
        sizes: for ``train`` and ``test`` the allowed numbers of images of each class: one number where it is known.
        mean, std: per-channel statistics that images are normalised with, for pixels in [0, 1].
        sources: allowed values of ``prepare.source`` besides ``auto``, in the order that ``auto`` tries them.
        label_names: class names in label order; empty where only the source knows them.
        content: :func:`~ncfm.core.store.tensor_sha256` of each split's images and labels, whatever source gave them;
            empty where we could not obtain the data.
        reader: the module in ncfm/datasets/ whose ``SOURCES`` read it.
    """

    name: str
    classes: int
    channels: int
    resolution: int
    sizes: Mapping[str, tuple[range, ...]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sources: tuple[str, ...]
    label_names: tuple[str, ...]
    content: Mapping[str, str]
    reader: str

    @property
    def smallest_class(self) -> int:
        """Training images that the smallest class has at least: the largest possible IPC."""
        return min(allowed[0] for allowed in self.sizes["train"])

    def images(self, split: str) -> int:
        """Return the images of a split: the most it can hold, where copies of the data set differ."""
        return sum(allowed[-1] for allowed in self.sizes[split])


def _exactly(*counts: int) -> tuple[range, ...]:
    return tuple(range(count, count + 1) for count in counts)


def _each(classes: int, train: int, test: int) -> dict[str, tuple[range, ...]]:
    return {"train": _exactly(train) * classes, "test": _exactly(test) * classes}


_DIGITS = DatasetFacts(
    name="digits",
    classes=10,
    channels=1,
    resolution=16,
    # Set by the split in ncfm/datasets/digits.py: every fifth image of each class is a test image.
    sizes={
        "train": _exactly(142, 145, 141, 146, 144, 145, 144, 143, 139, 144),
        "test": _exactly(36, 37, 36, 37, 37, 37, 37, 36, 35, 36),
    },
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
    reader="digits",
)

_CIFAR10 = DatasetFacts(
    name="cifar10",
    classes=10,
    channels=3,
    resolution=32,
    sizes=_each(10, 5000, 1000),
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
    reader="cifar10",
)

_CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

# The statistics that the released program normalises with: CIFAR-10's, also here. CIFAR-100's own are .5071/.4866/.4409
# and .2673/.2564/.2762; kept because every reported number rests on these.
_CIFAR100 = DatasetFacts(
    name="cifar100",
    classes=100,
    channels=3,
    resolution=32,
    sizes=_each(100, 500, 100),
    mean=_CIFAR10.mean,
    std=_CIFAR10.std,
    sources=("folder", "torchvision"),
    label_names=tuple(_CIFAR100_NAMES.split()),
    content={},
    reader="torchvision_sets",
)

# The field's statistics of both are of the 28 x 28 images, before the border (`_padded` in torchvision_sets.py).
_MNIST = DatasetFacts(
    name="mnist",
    classes=10,
    channels=1,
    resolution=32,
    sizes={
        "train": _exactly(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        "test": _exactly(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    },
    mean=(0.1307,),
    std=(0.3081,),
    sources=("folder", "torchvision"),
    label_names=tuple("0123456789"),
    content={
        "train images": "ab16d31f948ea979f9956c81cc272c4d4310d71dc3a8f88ed6dcc58facb7ccad",
        "train labels": "7933ffcb1c816972772157b882db6bd5c2dd75fb14571e7758d6eb46b46c969e",
        "test images": "c1ff7c5038bdfbc141a285ac19a3eb359fcfb18bec480b6c6f04ee17c0285afa",
        "test labels": "b07c6e53c0b79973a4929c97007c40037802430f124f7a774c5e16a381be988e",
    },
    reader="torchvision_sets",
)

_FASHION_MNIST = DatasetFacts(
    name="fashion-mnist",
    classes=10,
    channels=1,
    resolution=32,
    sizes=_each(10, 6000, 1000),
    mean=(0.2861,),
    std=(0.3530,),
    sources=("folder", "torchvision"),
    label_names=(
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    content={},
    reader="torchvision_sets",
)

_SVHN = DatasetFacts(
    name="svhn",
    classes=10,
    channels=3,
    resolution=32,
    sizes={
        "train": _exactly(4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
        "test": _exactly(1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
    },
    mean=(0.4377, 0.4438, 0.4728),
    std=(0.1980, 0.2010, 0.1970),
    sources=("folder", "torchvision"),
    label_names=tuple("0123456789"),
    content={},
    reader="torchvision_sets",
)

# The released program normalises Tiny ImageNet and the ImageNet subsets with ImageNet's statistics.
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_TINY_IMAGENET = DatasetFacts(
    name="tinyimagenet",
    classes=200,
    channels=3,
    resolution=64,
    sizes=_each(200, 500, 50),
    mean=_IMAGENET_MEAN,
    std=_IMAGENET_STD,
    sources=("folder", "archive"),
    label_names=(),
    content={},
    reader="tinyimagenet",
)

# Its first ten classes, a fifth of the training images: for trying things out, no number on it compares with a paper's.
_TINY_IMAGENET_SLICE = replace(
    _TINY_IMAGENET,
    name="tinyimagenet-slice",
    classes=10,
    sizes=_each(10, 100, 50),
    # As libjpeg-turbo decodes it, which Pillow's wheels contain.
    content={
        "train images": "a6f249eb7475ec914a3ac94e2f35c6751323b3afa39991d41e348d9f9c8cea37",
        "train labels": "b308eeb79a4ca7e552fbceb4b9404226f74019aca277cffd97f57b68db82c66b",
        "test images": "4449f244f84da240114572276534a0bd0b69c2829931bf0b96322e5406fd22f9",
        "test labels": "7231384f1e049b1ff5a03c62e051f2d5bc103e2d9713fe47f186b0a5d2b45d90",
    },
)


def _imagenet_subset(name: str) -> DatasetFacts:
    """Return the facts of a subset: ten classes of ImageNet, each with 732 to 1300 training and 50 test images.

    Imagenette and Imagewoof also exist as public archives, which hold all images of a class, 782 to 1350, divided anew:
    about 70 % for training, the rest for testing.
    """
    train, test = (range(500, 1301), range(50, 451)) if name in PUBLIC else (range(732, 1301), range(50, 51))
    return DatasetFacts(
        name=name,
        classes=10,
        channels=3,
        resolution=128,
        sizes={"train": (train,) * 10, "test": (test,) * 10},
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        sources=("folder",),
        label_names=tuple(label for _, label in IMAGENET_CLASSES[name]),
        content={},
        reader="imagenet_subsets",
    )


PUBLIC = ("imagenette", "imagewoof")

CATALOGUE: dict[str, DatasetFacts] = {
    facts.name: facts
    for facts in (
        _DIGITS,
        _CIFAR10,
        _CIFAR100,
        _MNIST,
        _FASHION_MNIST,
        _SVHN,
        _TINY_IMAGENET,
        _TINY_IMAGENET_SLICE,
        *map(_imagenet_subset, IMAGENET_CLASSES),
    )
}


def facts_of(dataset: str, where: str = "") -> DatasetFacts:
    """Return the facts of a data set by name. Raises :class:`ParamsError` for a name that is not in the catalogue."""
    if dataset not in CATALOGUE:
        raise ParamsError(one_of("dataset", dataset, CATALOGUE, where))
    return CATALOGUE[dataset]
