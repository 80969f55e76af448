"""Tiny ImageNet: its original zip archive, the same unpacked, or folders of classes (torchvision's ImageFolder)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ncfm.core.errors import DataError
from ncfm.core.store import sha256
from ncfm.datasets.catalogue import DatasetFacts, Loaded, each
from ncfm.datasets.image_files import Archive, Files, class_images, find_folder, load_classes
from ncfm.datasets.imagenet_classes import IMAGENET_MEAN, IMAGENET_STD

FOLDER = "tiny-imagenet-200"
ANNOTATIONS = "val/val_annotations.txt"


def _folder(facts: DatasetFacts, root: Path) -> Loaded:
    """Read ``root`` itself or ``root/tiny-imagenet-200``."""
    files = find_folder(facts, root, [FOLDER])
    return _load(facts, files, {"folder": files.root.name})


def _archive(facts: DatasetFacts, root: Path) -> Loaded:
    """Read the zip archive in ``root`` without unpacking it."""
    path = root / f"{facts.name.replace('tinyimagenet', FOLDER)}.zip"
    if not path.is_file():
        raise DataError(f"{path}: no such file; put the archive there or choose another prepare.source")
    return _load(facts, Archive(path), {"archive": path.name, "sha256": sha256(path)})


def _load(facts: DatasetFacts, files: Files, origin: dict[str, str]) -> Loaded:
    """Read both splits; labels follow the sorted folder names, so every layout gives the same tensors."""
    classes = sorted(set(_lines(files, "wnids.txt") or files.folders("train")))
    if len(classes) != facts.classes:
        raise DataError(f"{files.place('')}: has {len(classes)} classes, but {facts.name} has {facts.classes}")
    names = _names(files, classes)
    in_folders = set(classes) & set(files.folders("val"))
    test = class_images(files, "val", classes) if in_folders else _annotated(files, classes)
    splits = {"train": class_images(files, "train", classes), "test": test}
    return load_classes(facts, files, splits, names, origin)


def _lines(files: Files, name: str) -> list[str]:
    """Return a text file's lines that are not blank; none where there is no such file."""
    text = files.read(name).decode("utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _names(files: Files, classes: list[str]) -> tuple[str, ...]:
    """Return each class's first name in ``words.txt``, or its folder where there is none or two classes share it."""
    words = dict(line.split("\t", 1) for line in _lines(files, "words.txt") if "\t" in line)
    first = [words.get(name, name).split(",")[0].strip() for name in classes]
    pairs = zip(first, classes, strict=True)
    return tuple(word if first.count(word) == 1 else f"{word} ({name})" for word, name in pairs)


def _annotated(files: Files, classes: list[str]) -> list[list[str]]:
    """Return the validation images of each class as ``val/val_annotations.txt`` tells: file, class, box."""
    place, lines = files.place(ANNOTATIONS), _lines(files, ANNOTATIONS)
    if not lines:
        raise DataError(f"{place}: no such file, or it is empty; it tells the classes of val/images/")
    images = set(files.images("val/images"))
    by_class: dict[str, list[str]] = {name: [] for name in classes}
    for number, line in enumerate(lines, 1):
        file, label, *_ = (*line.split("\t"), "")
        if label not in by_class:
            raise DataError(f"{place}: line {number}: has the class {label!r}, but the classes are {FOLDER}'s wnids")
        if f"val/images/{file}" not in images:
            raise DataError(f"{files.place(f'val/images/{file}')}: no such image, or told twice in {ANNOTATIONS}")
        images.remove(f"val/images/{file}")
        by_class[label].append(f"val/images/{file}")
    if images:
        raise DataError(f"{files.place(min(images))}: has no class in {ANNOTATIONS}")
    return [sorted(by_class[name]) for name in classes]


WHOLE = DatasetFacts(
    name="tinyimagenet",
    resolution=64,
    sizes=each(200, 500, 50),
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    sources={"folder": _folder, "archive": _archive},
    order=7,
)
# Its first ten classes, a fifth of the training images: for trying things out, no number on it compares with a paper's.
SLICE = replace(
    WHOLE,
    name="tinyimagenet-slice",
    sizes=each(10, 100, 50),
    # As libjpeg-turbo decodes it, which Pillow's wheels contain.
    content={
        "train images": "a6f249eb7475ec914a3ac94e2f35c6751323b3afa39991d41e348d9f9c8cea37",
        "train labels": "b308eeb79a4ca7e552fbceb4b9404226f74019aca277cffd97f57b68db82c66b",
        "test images": "4449f244f84da240114572276534a0bd0b69c2829931bf0b96322e5406fd22f9",
        "test labels": "7231384f1e049b1ff5a03c62e051f2d5bc103e2d9713fe47f186b0a5d2b45d90",
    },
)
ENTRIES = (WHOLE, SLICE)
