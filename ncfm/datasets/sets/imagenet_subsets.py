"""The ImageNet subsets at 128 x 128, from the user's ImageNet folder or the folder of a public archive of a subset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ncfm.datasets.catalogue import DatasetFacts, Loaded
from ncfm.datasets.image_files import class_images, find_folder, load_classes
from ncfm.datasets.imagenet_classes import IMAGENET_CLASSES, IMAGENET_MEAN, IMAGENET_STD, PUBLIC_SPLIT

if TYPE_CHECKING:
    from PIL import Image

PUBLIC = ("imagenette", "imagewoof")
SIDE = 128


def _folder(facts: DatasetFacts, root: Path) -> Loaded:
    """Read ``train/<class>`` and ``val/<class>`` of ``root``, ``root/imagenet`` or, where public, its own folder."""
    public = [f"{facts.name}2"] if facts.name in PUBLIC else []
    files = find_folder(facts, root, ["imagenet", *public])
    folders, names = zip(*IMAGENET_CLASSES[facts.name], strict=True)
    splits = {"train": class_images(files, "train", folders), "test": class_images(files, "val", folders)}
    split = "ImageNet's" if all(len(images) == 50 for images in splits["test"]) else PUBLIC_SPLIT
    origin = {"folder": files.root.name, "class_folders": folders, "split": split}
    return load_classes(facts, files, splits, names, origin, shrink_and_crop)


def shrink_and_crop(image: Image.Image) -> Image.Image:
    """Resize the shorter side to 128 pixels (bilinear, antialiased) and cut out the middle, as MTT (2022) does."""
    from ncfm.core.torchvision_shim import torchvision

    functional = torchvision.transforms.functional
    return functional.center_crop(functional.resize(image, SIDE), SIDE)


def _facts(name: str) -> DatasetFacts:
    """Return the facts of a subset: ten classes of ImageNet, each with 732 to 1300 training and 50 test images.

    The public archives of two hold all images of a class, 782 to 1350, divided anew: about 70 % are for training.
    """
    train, test = (range(500, 1301), range(50, 451)) if name in PUBLIC else (range(732, 1301), range(50, 51))
    return DatasetFacts(
        name=name,
        resolution=SIDE,
        sizes={"train": (train,) * 10, "test": (test,) * 10},
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        sources={"folder": _folder},
        label_names=tuple(label for _, label in IMAGENET_CLASSES[name]),
        order=8,
    )


ENTRIES = tuple(map(_facts, IMAGENET_CLASSES))
