"""Turn a set in another program's form into one of ours: `distilled.safetensors`, checked against its data set."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from ncfm.core.errors import DataError, ParamsError
from ncfm.core.layout import SPLIT_FILES
from ncfm.core.params import Count, CountOrNone, StageParams
from ncfm.datasets.catalogue import facts_of
from ncfm.datasets.split import Normalisation, Split, load_split
from ncfm.method.distilled import write_set
from ncfm.outside.export import class_folders
from ncfm.outside.foreign import Foreign
from ncfm.run.record import Record

WHOLE_NUMBERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
ROUNDED = 0.05  # that probabilities of one image may miss 1 by, in sum
OUTSIDE = 1.0  # pixels further outside [0, 1] than that were normalised with something,
SHARE = 0.1  # and so was a set with a larger share of its pixels outside
TWICE = 1.5 / 255  # the brightest pixel of images that were divided by 255 twice
SHOWN = 3  # classes that a message names
MNIST = 28, 32  # pixels a side without and with the black border that our MNIST and Fashion-MNIST have


class ImportParams(StageParams):
    """What a set in another form does not say of itself."""

    stage = "import"
    factor: Count | None = Field(None, description="tiles per side of each stored image; None: as its form has it")
    normalised: bool = Field(False, description="pixels are normalised with the data set's statistics")
    run: CountOrNone = Field(0, description="of a file with several runs the one to take, counted from 0")


def target_of(dataset: str | None, data: Path | None, source: Path, said: str | None) -> Split:
    """Return the data set that a set stands for: a prepared folder's test split, or one without images, by its name.

    Of a folder ``dataset`` must be the name, where it is given. Without both it is what the file ``source`` ``said``.
    """
    if data is not None:
        if data.is_dir() and not (data / SPLIT_FILES["test"]).exists():
            raise DataError(f"{data}: {_prepare(data)}")
        split = load_split(data, "test")
        if dataset not in (None, split.dataset):
            raise DataError(f"{data}: holds {split.dataset}, but the set stands for {dataset}")
        return split
    if (name := dataset or said) is None:
        raise ParamsError(f"--dataset: is missing, but is needed without --data, since {source} does not say it")
    facts = facts_of(name, "--dataset" if dataset else str(source))
    # Where only the data set's own files name the classes (Tiny ImageNet) their labels do.
    digits = len(str(facts.classes - 1))
    names = facts.label_names or tuple(str(label).zfill(digits) for label in range(facts.classes))
    none = torch.empty(0, facts.channels, facts.resolution, facts.resolution)
    return Split(facts.name, none, torch.empty(0), facts.classes, names, Normalisation.of(vars(facts)))


def _prepare(folder: Path) -> str:
    """Say how a folder of one's own images is prepared: the commands as they are to be typed."""
    name = re.sub("[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "images"
    out = Path("results", "datasets", name)
    add = f"ncfm add {shlex.quote(str(folder))} --name {name}"
    prepare = f"""echo '{{"dataset": "{name}"}}' | ncfm prepare --params /dev/stdin --out {out}"""
    return f"is no prepared data set; prepare your own images ({add} && {prepare}), and say --data {out}"


def import_set(
    params: ImportParams,
    source: Path,
    found: Foreign,
    target: Split,
    names: Mapping[str, Any],
    out: Path,
    record: Record,
) -> None:
    """Write what was ``found`` in ``source`` as `distilled.safetensors` and `grid.png` in ``out``.

    Images are stored class by class, in the file's order within a class. Normalised pixels are turned back; pixels
    outside [0, 1] are kept, and a line on standard error says how many. ``names``: dataset, ipc (0: as many as the file
    has), method, seed. Raises ParamsError for a factor that does not divide the resolution, and DataError for a set
    that does not fit data set and IPC.
    """
    factor = found.factor if params.factor is None else params.factor
    if target.resolution % factor:
        must = f"must divide the resolution {target.resolution} of {target.dataset}"
        raise ParamsError(f"--factor: is {factor}, but {must}")
    found = replace(found, normalised=found.normalised or params.normalised)
    if found.images.dtype == torch.uint8:
        found = replace(found, images=found.images.float() / 255)
    for fault in _faults(found, target, int(names["ipc"])):
        raise DataError(f"{source}: holds {fault}")
    images, fits = found.images.float(), bool(((found.images >= 0) & (found.images <= 1)).all())
    turned_back = found.normalised and (params.normalised or not fits)
    if turned_back:
        images = target.normalisation.undo(images)
    if (images.shape[-1], target.resolution) == MNIST:
        images = pad(images, (2, 2, 2, 2))
    classes, soft = _labels(found, target.classes)
    order = classes.argsort(stable=True)
    if soft is not None:
        soft = soft[order].repeat(factor**2, 1)
    size = f"{len(images)} images, {len(images) // target.classes} for each of {target.classes} classes"
    notes = [f"{source}: {found.form}; {size}, {factor} x {factor} tiles, {'class' if soft is None else 'soft'} labels"]
    if turned_back:
        notes.append("normalised pixels are turned back by the data set's own statistics")
    elif found.normalised:
        notes.append("pixels lie in [0, 1], so they are taken as they are (--normalised: they are normalised)")
    if soft is not None and not _are_probabilities(found.labels):
        notes.append("the labels are no probabilities, so they are taken for logits")
    if params.factor is None and factor > 1:
        notes.append("if these images are whole, say so by --factor 1")
    if outside := int(((images < 0) | (images > 1)).sum()):
        notes.append(f"{outside} of {images.numel()} pixels lie outside [0, 1] and are kept as they are")
    if soft is not None and found.classes is None and not _even(soft, target.classes):
        notes.append("the soft labels favour some classes more often, so images are taken to lie class by class")
    print("".join(f"import: {note}\n" for note in notes), end="", file=sys.stderr)
    names = {**names, "dataset": target.dataset, "ipc": len(images) // target.classes}
    record.content["names"] = dict(names)
    by_class = images[order].unflatten(0, (target.classes, -1))
    record.finish(write_set(out, by_class, target, factor, names, soft), {"images": len(images)})


def _labels(found: Foreign, classes: int) -> tuple[Tensor, Tensor | None]:
    """Return each image's class and, of soft labels, the probabilities: logits are turned into such.

    Soft labels may favour another class than the one that an image was distilled for: where the file does not say
    which, and they do not give each class as many images, the images are taken to lie class by class, as every program
    that writes them has it.
    """
    if found.labels.dim() == 1:
        return found.labels.long(), None
    labels = found.labels.float()
    soft = labels / labels.sum(1, keepdim=True) if _are_probabilities(labels) else labels.softmax(1)
    if found.classes is not None:
        return found.classes.long(), soft
    by_place = torch.arange(classes).repeat_interleave(len(labels) // classes)
    return (soft.argmax(1) if _even(soft, classes) else by_place), soft


def _are_probabilities(labels: Tensor) -> bool:
    """Say whether rows are probabilities, perhaps rounded to two decimals or kept in bfloat16, rather than logits."""
    return bool((labels >= 0).all()) and bool(((labels.float().sum(1) - 1).abs() < ROUNDED).all())


def _even(soft: Tensor, classes: int) -> bool:
    return soft.argmax(1).bincount(minlength=classes).unique().numel() == 1


def _faults(found: Foreign, target: Split, ipc: int) -> Iterator[str]:
    """Yield what the file holds and what is wanted instead; what follows a fault supposes that there is none."""
    images, count = found.images, len(found.images)
    named = found.facts.label_names or found.folders
    if named and list(named) not in (list(target.label_names), class_folders(target.label_names)):
        ours = ", ".join(target.label_names[:SHOWN])
        yield f"the classes {', '.join(map(str, named[:SHOWN]))} ..., but {target.dataset} has {ours} ..."
    channels, side = target.channels, target.resolution
    if images.dim() != 4 or images.shape[1] != channels or images.shape[2] != images.shape[3]:
        yield f"images of shape {tuple(images.shape)}, but {target.dataset} has {channels} channels of equal sides"
    if images.shape[-1] != side and (images.shape[-1], side) != MNIST:
        yield f"images of {images.shape[-1]} x {images.shape[-1]} pixels, but {target.dataset} has {side} x {side}"
    if not count or count % target.classes or (ipc and count != ipc * target.classes):
        wanted = f"{ipc} for each" if ipc else "equally many for each"
        yield f"{count} images, but {wanted} of {target.classes} classes are wanted"
    for labels in (found.labels, *([] if found.classes is None else [found.classes])):
        yield from _label_faults(labels, target, count)
    if not images.is_floating_point() or not bool(images.isfinite().all()):
        yield f"images of type {images.dtype} or not finite, but finite floats are wanted"
    span = f"pixels from {float(images.min()):.3g} to {float(images.max()):.3g}"
    if not found.normalised:
        yield from _pixel_faults(images, span)


def _pixel_faults(images: Tensor, span: str) -> Iterator[str]:
    if images.min() >= 0 and images.max() <= TWICE:
        yield f"{span}, as if they were divided by 255 twice"
    if images.min() >= 0 and 1 + OUTSIDE < images.max() <= 255:
        yield f"{span}, as if they were not divided by 255"
    outside = float(((images < 0) | (images > 1)).float().mean())
    if outside > SHARE or images.min() < -OUTSIDE or images.max() > 1 + OUTSIDE:
        span += f", {outside:.0%} of them outside [0, 1]"
        yield f"{span}: un-normalised ones are wanted (--normalised: by the data set's own statistics)"


def _label_faults(labels: Tensor, target: Split, count: int) -> Iterator[str]:
    hard = tuple(labels.shape) == (count,) and labels.dtype in WHOLE_NUMBERS
    soft = tuple(labels.shape) == (count, target.classes) and labels.is_floating_point()
    if not hard and not soft:
        shape = f"shape {tuple(labels.shape)} and type {labels.dtype}"
        yield f"labels of {shape}, but ({count},) whole numbers or ({count}, {target.classes}) floats are wanted"
    if soft and not bool(labels.isfinite().all()):
        yield "labels that are not finite"
    if not hard:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= target.classes:
        yield f"labels {low} to {high}, but {target.dataset} has 0 to {target.classes - 1}"
    for label, number in enumerate(labels.long().bincount(minlength=target.classes).tolist()):
        if number != count // target.classes:
            name = target.label_names[label]
            yield f"{number} images of class {label} ({name}), but {count // target.classes} of each are wanted"
