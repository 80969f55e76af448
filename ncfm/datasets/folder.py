"""A folder of images, one sub-folder per class: what is in it, and its images as tensors of one size.

Layouts: FOLDER/<class>/*, or FOLDER/train/<class>/* with FOLDER/test/<class>/* beside it, under the usual names of
splits. Classes and files are taken in alphabetical order. Without test images every fifth image of a class becomes one.
Whatever had to be guessed, or was left out, is said in a note.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from PIL import Image

from ncfm.core.errors import DataError
from ncfm.datasets.catalogue import DatasetFacts, Loaded, counted, exactly, some
from ncfm.datasets.pictures import read_image, reading_of
from ncfm.datasets.split import statistics

TRAIN = ("train", "training", "trn")  # names of splits, as `_split_of` returns them
TEST = ("test", "testing", "val", "valid", "validation", "dev", "eval")  # the first that is there is taken
NOT_PICTURES = ("__macosx",)  # folders beside those whose names begin with a dot
# Formats that Pillow opens, but reads in part only.
UNREAD = {"EPS", "PSD", "HDF5", "GRIB", "BUFR", "MPEG", "FITS", "WMF"}
TEST_EVERY = 5
DARK = 32  # of 255: where no pixel is as bright, a person sees nothing
SMALLEST_DEVIATION = 1e-3  # of a channel, where all pixels are the same
SHOWN = 10  # classes whose counts are listed, at most


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
    splits = {_split_of(path.name): path for path in reversed(inside) if _folders(path)}
    train = next((splits[name] for name in TRAIN if name in splits), None)
    tests = [splits[name] for name in TEST if name in splits]
    if train is None and tests and len(tests) == len(inside):
        raise DataError(f"{folder}: holds {some(path.name for path in tests)}, but no folder train with classes")
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
        notes += [f"not read, beside {train.name}: {some(others)}"] if others else []
    if loose := sum(map(_own_images, {folder, train or folder, test_folder or folder})):
        notes.append(f"left out, outside the folders of classes: {counted(loose, 'image')}")
    if left_out:
        notes.append(f"left out, of other kinds: {some(f'{count} {kind}' for kind, count in sorted(left_out.items()))}")
    if hidden := _hidden_folders(folder):
        notes.append(f"left out, hidden folders: {some(hidden)}")
    return Listing(folder.resolve().name, label_names, {"train": images, "test": test}, test_folder, tuple(notes))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path.name))


def _split_of(name: str) -> str:
    """Return what a folder's name says of a split: of `Training_set` or `train-images` the first word, small."""
    return re.sub("[-_ ]|(set|data|images)$", "", name.lower())


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in NOT_PICTURES


def _hidden_folders(folder: Path) -> list[str]:
    """Return the names of the hidden folders below a folder, at any depth, each once."""
    found = set[str]()
    for _, folders, _ in os.walk(folder):
        found |= set(filter(_is_hidden, folders))
        folders[:] = [name for name in folders if not _is_hidden(name)]
    return sorted(found)


def _classes(folder: Path, left_out: Counter[str]) -> tuple[tuple[str, ...], tuple[tuple[Path, ...], ...]]:
    """Return the names of the classes below ``folder`` and the files of each; count what is left out by its suffix."""
    folders = _folders(folder)
    if len(folders) < 2:
        wanted = f"at least two are wanted: {folder}/<class>/*.png"
        meant = f"; did you mean {folders[0]}?" if folders and _folders(folders[0]) else ""
        raise DataError(f"{folder}: holds {counted(len(folders), 'class folder')}, but {wanted}{meant}")
    below = {tuple(one.name for one in _folders(path)) for path in folders}
    if len(below) == 1 and len(same := below.pop()) > 1 and not any(map(_own_images, folders)):
        raise DataError(f"{folder}: every folder in it holds {some(same)}; wanted is {folder}/<class>/*.png")
    return tuple(path.name for path in folders), tuple(_images(path, left_out) for path in folders)


def _own_images(folder: Path) -> int:
    return sum(path.suffix.lower() in extensions() and not _is_hidden(path.name) for path in folder.iterdir())


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


def load_folder(listing: Listing, resolution: int) -> Loaded:
    """Read every image at ``resolution``: one channel where all images are grey, else RGB; notes are in the origin.

    Raises :class:`DataError` for an unreadable image, for 16-bit colours of which only few levels could be read, and
    where no image shows anything, and a class without training images.
    """
    for label, files in zip(listing.label_names, listing.files["train"], strict=True):
        if not files:
            fault = f"class {label!r} has one image, which is to test on, and none to train on (add images)"
            raise DataError(f"{listing.name}: {fault}")
    reading, notes = reading_of(listing.name, listing.all_files("train", "test"))
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


def facts_of_folder(listing: Listing, loaded: Loaded) -> DatasetFacts:
    """Return the facts of a data set that was read from a folder, measured on its training images."""
    images = loaded.splits["train"][0]
    sizes = {split: exactly(*map(len, classes)) for split, classes in listing.files.items()}
    mean, deviation = statistics(images)
    std = tuple(max(value, SMALLEST_DEVIATION) for value in deviation)
    return DatasetFacts(listing.name, images.shape[2], sizes, tuple(mean), std, {}, listing.label_names)
