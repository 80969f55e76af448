"""A folder of images, one sub-folder per class: what is in it, and its images as tensors of one size.

Layouts: FOLDER/<class>/*, or FOLDER/train/<class>/* with FOLDER/test/<class>/* beside it, under the usual names of
splits. Classes and files are taken in alphabetical order. Without test images every fifth image of a class becomes one.
Whatever had to be guessed, or was left out, is said in a note.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from ncfm.core.errors import DataError
from ncfm.datasets.catalogue import DatasetFacts, Loaded, counted, exactly, one_line
from ncfm.datasets.split import statistics

TRAIN = ("train", "training", "trainset", "trn")  # names of splits, in small letters
TEST = ("test", "testing", "testset", "val", "valid", "validation", "dev", "eval")  # the first that is there is taken
NOT_PICTURES = ("__macosx",)  # folders beside those whose names begin with a dot
# Formats that Pillow opens, but reads in part only.
UNREAD = {"EPS", "PSD", "HDF5", "GRIB", "BUFR", "MPEG", "FITS", "WMF"}
TEST_EVERY = 5
SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's names of grey images; "I" is that of PGM
UPPER_EIGHT = re.compile(";16[BLN]").search  # of 16-bit colours, in Pillow's names, which keeps the upper eight bits
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners write into 16-bit files
GREY = ("1", "L", "LA", *SIXTEEN_BITS)
DARK = 32  # of 255: where no pixel is as bright, a person sees nothing
SMALLEST_DEVIATION = 1e-3  # of a channel, where all pixels are the same
SHOWN = 10  # names in a note, at most


@dataclass(frozen=True)
class Listing:
    """What a folder holds; ``notes`` are the lines about what was guessed or left out."""

    name: str
    label_names: tuple[str, ...]
    files: dict[str, tuple[tuple[Path, ...], ...]]  # for ``train`` and ``test`` the files of each class, in order
    test_folder: Path | None  # None where every fifth image of a class is a test image
    notes: tuple[str, ...] = ()

    def all_files(self, *splits: str) -> list[Path]:
        """Return the files of the splits, class by class."""
        return [file for split in splits for files in self.files[split] for file in files]

    @property
    def summary(self) -> str:
        """Say in a line which classes there are, how many images of each, and which of them test."""
        sizes = [len(files) for files in self.files["train"]]
        counts = ", ".join(f"{name} {size}" for name, size in zip(self.label_names, sizes, strict=True))
        if len(sizes) > SHOWN:
            counts = f"{min(sizes)} to {max(sizes)} in each class"
        tests = len(self.all_files("test"))
        where = f"the {tests} of {self.test_folder}" if self.test_folder else f"every {TEST_EVERY}th image ({tests})"
        return f"{len(self.label_names)} classes, images to train on: {counts}; tested on {where}"


def list_folder(folder: Path) -> Listing:
    """List a folder's classes and image files; no image is opened.

    Raises :class:`DataError` for no such folder, fewer than two classes, test classes other than the training's, splits
    of which none is for training, and classes that all have the same sub-folders, which may be the classes.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    inside = _folders(folder)
    splits = {path.name.lower(): path for path in inside if _folders(path)}
    train = next((splits[name] for name in TRAIN if name in splits), None)
    tests = [splits[name] for name in TEST if name in splits]
    if train is None and tests and len(tests) == len(inside):
        raise DataError(f"{folder}: holds {_some(path.name for path in tests)}, but no folder train with classes")
    left_out = Counter[str]()
    label_names, images = _classes(train or folder, left_out)
    notes = []
    test_folder = tests[0] if train and tests else None
    if test_folder:
        test_names, test = _classes(test_folder, left_out)
        if differing := sorted(set(label_names) ^ set(test_names)):
            raise DataError(f"{test_folder}: must hold the same classes as {train}, but only one has {differing[0]!r}")
    else:
        test = tuple(files[::TEST_EVERY] for files in images)
        images = tuple(tuple(sorted(set(files) - set(files[::TEST_EVERY]))) for files in images)
    if train:
        others = [path.name for path in inside if path not in (train, test_folder)]
        notes += [f"not read, beside {train.name}: {_some(others)}"] if others else []
    if left_out:
        notes.append(f"left out, no images: {_some(f'{count} {kind}' for kind, count in sorted(left_out.items()))}")
    if hidden := _hidden_folders(folder):
        notes.append(f"left out, hidden folders: {_some(hidden)}")
    return Listing(folder.resolve().name, label_names, {"train": images, "test": test}, test_folder, tuple(notes))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path.name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in NOT_PICTURES


def _hidden_folders(folder: Path) -> list[str]:
    """Return the names of the hidden folders below a folder, at any depth, each once."""
    found = set[str]()
    for _, folders, _ in os.walk(folder):
        found |= set(filter(_is_hidden, folders))
        folders[:] = [name for name in folders if not _is_hidden(name)]
    return sorted(found)


def _some(texts: Iterable[str]) -> str:
    found = list(texts)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more


def _classes(folder: Path, left_out: Counter[str]) -> tuple[tuple[str, ...], tuple[tuple[Path, ...], ...]]:
    """Return the names of the classes below ``folder`` and the files of each; count what is left out by its suffix."""
    folders = _folders(folder)
    if len(folders) < 2:
        wanted = f"at least two are wanted: {folder}/<class>/*.png"
        meant = f"; did you mean {folders[0]}?" if folders and _folders(folders[0]) else ""
        raise DataError(f"{folder}: holds {counted(len(folders), 'class folder')}, but {wanted}{meant}")
    below = {tuple(one.name for one in _folders(path)) for path in folders}
    if len(below) == 1 and len(same := below.pop()) > 1 and not any(map(_own_images, folders)):
        raise DataError(f"{folder}: every folder in it holds {_some(same)}; wanted is {folder}/<class>/*.png")
    return tuple(path.name for path in folders), tuple(_images(path, left_out) for path in folders)


def _own_images(folder: Path) -> bool:
    return any(path.suffix.lower() in extensions() for path in folder.iterdir())


@cache
def extensions() -> frozenset[str]:
    """Return the endings of the files that Pillow reads, in small letters."""
    Image.init()
    known = Image.registered_extensions().items()
    return frozenset(end for end, kind in known if kind in Image.OPEN and kind not in UNREAD)


def _images(folder: Path, left_out: Counter[str]) -> tuple[Path, ...]:
    """Return the image files below a folder, also behind links, but in no hidden folder."""
    files, seen = [], set[str]()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not _is_hidden(name))
        for name in names if real not in seen else ():
            path = Path(place, name)
            if path.suffix.lower() in extensions() and not _is_hidden(name):
                files.append(path)
            elif not _is_hidden(name):
                left_out[path.suffix.lower() or "without an ending"] += 1
        seen.add(real)  # a link may lead back to a folder above it
    if not files:
        raise DataError(f"{folder}: holds no images (looked for .png, .jpg and {len(extensions()) - 2} other endings)")
    return tuple(sorted(files))


def pixel_sizes(files: Sequence[Path]) -> list[tuple[int, int]]:
    """Return the width and height of each image in pixels; only their heads are read. Raises :class:`DataError`."""
    sizes = []
    for file in files:
        with _opened(file) as image:
            sizes.append(image.size)
    return sizes


@dataclass(frozen=True)
class Reading:
    """How images of a folder are read: the mode ``L`` or ``RGB``, the largest value of 16-bit files, and the grey level
    behind transparent pixels.
    """

    mode: str
    largest: int = 2**16 - 1
    ground: int = 255


def load_folder(listing: Listing, resolution: int) -> Loaded:
    """Read every image at ``resolution``: one channel where all images are grey, else RGB; notes are in the origin.

    Raises :class:`DataError` for an unreadable image, for 16-bit colours of which only few levels could be read, and
    where no image shows anything.
    """
    reading, notes = _reading(listing)
    splits = {}
    for split, classes in listing.files.items():
        images = torch.stack([read_image(file, resolution, reading) for part in classes for file in part])
        counts = torch.tensor([len(part) for part in classes])
        splits[split] = images, torch.arange(len(classes)).repeat_interleave(counts)
    train = splits["train"][0]
    if (train == train[:, :, :1, :1]).all():
        raise DataError(f"{listing.name}: every image is of one colour, so there is nothing to learn")
    if (brightest := int(train.max())) < DARK:
        notes.append(f"no pixel is brighter than {brightest} of 255: scale the values up if these are masks of classes")
    seen = {image.numpy().tobytes() for image in train}
    if twice := sum(image.numpy().tobytes() in seen for image in splits["test"][0]):
        notes.append(f"test images that are among the training images as well: {twice}; the test flatters")
    notes = [*listing.notes, *notes]
    return Loaded(splits, {"folder": listing.name, **({"notes": notes} if notes else {})})


@dataclass(frozen=True)
class _Seen:
    """What one file shows of how it is to be read."""

    mode: str
    frames: int
    transparent: bool
    brightness: float | None  # mean grey level where a transparent image is not transparent
    largest: int  # value of a 16-bit grey image; 0 in others
    largest_upper: int  # value of the upper eight bits of a 16-bit colour image; 0 in others


def _look(path: Path) -> _Seen:
    with _opened(path) as image:
        upper = UPPER_EIGHT(str(image.tile)) and image.mode not in SIXTEEN_BITS  # the tile is gone once it is decoded
        transparent, brightness = False, None
        if image.mode not in SIXTEEN_BITS and image.has_transparency_data:
            grey, alpha = np.asarray(image.convert("RGBA").convert("LA"), dtype=float).transpose(2, 0, 1)
            transparent = bool(alpha.min() < 255)
            brightness = float((grey * alpha).sum() / alpha.sum()) if alpha.any() else None
        largest = int(np.asarray(image).max()) if image.mode in SIXTEEN_BITS else 0
        largest_upper = int(np.asarray(image.convert("RGB")).max()) if upper else 0
        return _Seen(image.mode, getattr(image, "n_frames", 1), transparent, brightness, largest, largest_upper)


def _reading(listing: Listing) -> tuple[Reading, list[str]]:
    """Return how to read the files, and notes on what had to be guessed or is not read."""
    seen = [_look(file) for file in listing.all_files("train", "test")]
    notes, largest = [], max(one.largest for one in seen)
    if upper := max(one.largest_upper for one in seen):
        bits = _bits(256 * upper + 255)
        if bits < DEPTHS[-1]:
            text = f"16-bit colour images hold values of {bits} bits, of which only the upper {bits - 8} would be read"
            convert = f"magick mogrify -evaluate multiply {2 ** (16 - bits)} -depth 8 FILES"
            raise DataError(f"{listing.name}: its {text}; make them 8-bit images: {convert}")
    if largest and _bits(largest) < DEPTHS[-1]:
        notes.append(f"values of 16-bit images go up to {largest}: they are read as {_bits(largest)} bits")
    brightness = [one.brightness for one in seen if one.brightness is not None]
    dark = not brightness or sum(brightness) / len(brightness) < 128
    if transparent := sum(one.transparent for one in seen):
        notes.append(f"{transparent} images are transparent: they are laid on {'white' if dark else 'black'}")
    if several := sum(one.frames > 1 for one in seen):
        notes.append(f"{several} images have several frames: the first of each is read")
    mode = "L" if {one.mode for one in seen} <= set(GREY) else "RGB"
    return Reading(mode, 2 ** _bits(largest) - 1 if largest else 2**16 - 1, 255 if dark else 0), notes


def _bits(largest: int) -> int:
    return next(bits for bits in DEPTHS if largest < 2**bits)


def read_image(path: Path, resolution: int, reading: Reading) -> Tensor:
    """Read one image, upright, its middle square scaled to ``resolution``: uint8 (C, H, W).

    Of several frames the first is taken. Raises :class:`DataError` where the image is unreadable, truncated, or neither
    of 8 nor of 16 bits.
    """
    with _opened(path) as image:
        square: Image.Image = image
        if image.mode in SIXTEEN_BITS:  # Pillow would cut off what is above 255
            square = Image.fromarray((np.asarray(image) * (255 / reading.largest)).round().astype(np.uint8))
        elif image.has_transparency_data:
            opaque = Image.new("RGBA", image.size, (reading.ground,) * 3 + (255,))
            square = Image.alpha_composite(opaque, image.convert("RGBA"))
            square.info = image.info  # with its orientation
        # Turned as the camera was held; cropped before it is scaled, so that no side is stretched.
        square = ImageOps.exif_transpose(square).convert(reading.mode)
        square = ImageOps.fit(square, (resolution, resolution), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(square))
    return pixels[None] if reading.mode == "L" else pixels.permute(2, 0, 1).contiguous()


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    try:
        with Image.open(path) as image:
            if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
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
