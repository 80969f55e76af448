"""A folder of images, one sub-folder per class: what is in it, and its images as tensors of one size.

Layouts: FOLDER/<class>/*, or FOLDER/train/<class>/* with FOLDER/test/<class>/* or FOLDER/val/<class>/* beside it.
Classes and files are taken in alphabetical order. Without test images every fifth image of a class becomes one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ncfm.core.errors import DataError
from ncfm.datasets.catalogue import DatasetFacts, Loaded, exactly, one_line
from ncfm.stages.prepare import statistics

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
TEST_EVERY = 5
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")  # Pillow's names
GREY = ("1", "L", *SIXTEEN_BITS)
SMALLEST_DEVIATION = 1e-3  # of a channel, where all pixels are the same


@dataclass(frozen=True)
class Listing:
    """What a folder holds."""

    name: str
    label_names: tuple[str, ...]
    files: dict[str, tuple[tuple[Path, ...], ...]]  # for ``train`` and ``test`` the files of each class, in order
    test_folder: Path | None  # None where every fifth image of a class is a test image

    def all_files(self, *splits: str) -> list[Path]:
        """Return the files of the splits, class by class."""
        return [file for split in splits for files in self.files[split] for file in files]


def list_folder(folder: Path) -> Listing:
    """List a folder's classes and image files; no image is opened.

    Raises :class:`DataError` for no such folder, fewer than two classes, or test classes other than the training's.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    divided = bool(_class_folders(folder / "train"))
    label_names, train = _classes(folder / "train" if divided else folder)
    tests = [folder / split for split in ("test", "val") if divided and _class_folders(folder / split)]
    if tests:
        test_names, test = _classes(tests[0])
        if differing := sorted(set(label_names) ^ set(test_names)):
            same = f"must hold the same classes as {folder / 'train'}"
            raise DataError(f"{tests[0]}: {same}, but only one has {differing[0]!r}")
    else:
        test = tuple(files[::TEST_EVERY] for files in train)
        train = tuple(tuple(sorted(set(files) - set(files[::TEST_EVERY]))) for files in train)
    return Listing(folder.resolve().name, label_names, {"train": train, "test": test}, tests[0] if tests else None)


def _class_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.is_dir())


def _classes(folder: Path) -> tuple[tuple[str, ...], tuple[tuple[Path, ...], ...]]:
    """Return the names of the classes below ``folder`` and the files of each."""
    folders = _class_folders(folder)
    if len(folders) < 2:
        wanted = f"at least two are wanted: {folder}/<class>/*.png"
        raise DataError(f"{folder}: holds {len(folders)} class folders, but {wanted}")
    return tuple(path.name for path in folders), tuple(_images(path) for path in folders)


def _images(folder: Path) -> tuple[Path, ...]:
    found = folder.rglob("[!.]*")
    files = tuple(sorted(path for path in found if path.suffix.lower() in EXTENSIONS and not path.is_dir()))
    if not files:
        raise DataError(f"{folder}: holds no images (looked for {', '.join(EXTENSIONS)})")
    return files


def median_side(files: Sequence[Path]) -> float:
    """Return the median of the images' shorter sides, in pixels; only their heads are read."""
    return median(_head(file)[0] for file in files)


def load_folder(listing: Listing, resolution: int) -> Loaded:
    """Read every image at ``resolution``, as :func:`read_image`: one channel where all images are grey, else RGB."""
    grey = all(_head(file)[1] in GREY for file in listing.all_files("train", "test"))
    splits = {}
    for split, classes in listing.files.items():
        images = [read_image(file, resolution, "L" if grey else "RGB") for files in classes for file in files]
        counts = torch.tensor([len(files) for files in classes])
        splits[split] = torch.stack(images), torch.arange(len(classes)).repeat_interleave(counts)
    return Loaded(splits, {"folder": listing.name})


def read_image(path: Path, resolution: int, mode: str) -> Tensor:
    """Read one image, upright, its middle square scaled to ``resolution``: uint8 (C, H, W) in ``L`` or ``RGB``.

    Of several frames the first is taken. Raises :class:`DataError` where the image is unreadable, truncated, or neither
    of 8 nor of 16 bits.
    """
    with _opened(path) as image:
        square: Image.Image = image
        if image.mode in SIXTEEN_BITS:  # Pillow would cut off what is above 255
            square = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
        # Turned as the camera was held; cropped before it is scaled, so that no side is stretched.
        square = ImageOps.exif_transpose(square).convert(mode)
        square = ImageOps.fit(square, (resolution, resolution), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(square))
    return pixels[None] if mode == "L" else pixels.permute(2, 0, 1).contiguous()


def _head(path: Path) -> tuple[int, str]:
    """Return an image's shorter side and its mode."""
    with _opened(path) as image:
        return min(image.size), image.mode


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            if image.mode in ("I", "F"):
                raise ValueError("its pixels have 32 bits, but 8 or 16 are wanted")
            yield image
    except Exception as error:  # each format's decoder has errors of its own
        said = getattr(error, "strerror", None) or one_line(error)
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else said
        raise DataError(f"{path}: is no readable, whole image ({reason}); replace it or move it away") from error


def facts_of_folder(listing: Listing, loaded: Loaded) -> DatasetFacts:
    """Return the facts of a data set that was read from a folder, measured on its training images."""
    images = loaded.splits["train"][0]
    sizes = {split: exactly(*map(len, classes)) for split, classes in listing.files.items()}
    mean, deviation = statistics(images)
    std = tuple(max(value, SMALLEST_DEVIATION) for value in deviation)
    return DatasetFacts(listing.name, images.shape[2], sizes, tuple(mean), std, {}, listing.label_names)
