"""Sets in other people's formats: read the files that NCFM's authors released, write theirs, PNG folders or npz."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from ncfm.core.errors import DataError, ParamsError, StorageError
from ncfm.core.params import Count, StageParams
from ncfm.core.store import storage_errors, write_with
from ncfm.datasets.catalogue import DatasetFacts, facts_of
from ncfm.datasets.split import Normalisation, Split
from ncfm.method.distilled import in_bytes, load, write_set
from ncfm.run.record import Record

# The released program clamps before each iteration, not after the last step: pixels may stand a few steps outside.
OVERSHOOT = 0.1
WHOLE_NUMBERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class ImportParams(StageParams):
    """What must be told of a released file, which holds images and labels only."""

    stage = "import"
    factor: Count = Field(2, description="multi-formation: factor x factor tiles per stored image")


def import_set(params: ImportParams, source: Path, names: Mapping[str, Any], out: Path, record: Record) -> None:
    """Turn a file `[images, labels]` of NCFM's authors into a set: `distilled.safetensors` and `grid.png` in ``out``.

    Images are stored class by class, in the file's order within a class. Pixels up to :data:`OVERSHOOT` outside [0, 1]
    are clamped, and a line on standard error says how many. ``names``: dataset, ipc, method, seed. Raises ParamsError
    for an unknown data set or a factor that does not divide its resolution, and DataError for a file that is no such
    pair, or does not fit data set and IPC.
    """
    facts = facts_of(str(names["dataset"]), "--dataset")
    if facts.resolution % params.factor:
        must = f"must divide the resolution {facts.resolution} of {facts.name}"
        raise ParamsError(f"--factor: is {params.factor}, but {must}")
    images, labels = read_released(source)
    # Where only the data set's own files name the classes (Tiny ImageNet) their labels do.
    digits = len(str(facts.classes - 1))
    label_names = facts.label_names or tuple(str(label).zfill(digits) for label in range(facts.classes))
    for fault in _faults(images, labels, facts, int(names["ipc"]), label_names):
        raise DataError(f"{source}: holds {fault}")
    if outside := int(((images < 0) | (images > 1)).sum()):
        print(f"import: {outside} of {images.numel()} pixels lay outside [0, 1] and are clamped", file=sys.stderr)
    by_class = images.float().clamp(0, 1)[labels.argsort(stable=True)].unflatten(0, (facts.classes, -1))
    none = torch.empty(0)  # of the split only the facts are read
    normalisation = Normalisation(*torch.tensor([facts.mean, facts.std]).view(2, 1, -1, 1, 1))
    split = Split(facts.name, none, none, facts.classes, label_names, normalisation)
    record.finish(write_set(out, by_class, split, params.factor, names), {"images": len(labels)})


def read_released(source: Path) -> tuple[Tensor, Tensor]:
    """Read the pair of tensors of a released file and run no code in it. Raises :class:`DataError` for another."""
    try:
        with warnings.catch_warnings():  # torch warns of what is refused anyway; the message is one line
            warnings.simplefilter("ignore")
            content = torch.load(source, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from error
    except Exception as error:  # torch names its errors differently for each way in which a file can be wrong
        raise DataError(
            f"{source}: is not a whole torch file of tensors alone (wanted: a list [images, labels]; files with other "
            "objects are not read, because that could run their code)"
        ) from error
    pair = content if isinstance(content, list | tuple) else ()
    # A tensor with a value for every entry: torch also stores sparse ones, and shapes alone.
    plain = [isinstance(one, Tensor) and one.layout == torch.strided and one.device.type == "cpu" for one in pair]
    if len(plain) != 2 or not all(plain):
        raise DataError(f"{source}: does not hold a list of two tensors [images, labels]")
    return pair[0].detach(), pair[1].detach()


def _faults(images: Tensor, labels: Tensor, facts: DatasetFacts, ipc: int, names: Sequence[str]) -> Iterator[str]:
    """Yield what the file holds and what is wanted instead; what follows a fault supposes that there is none."""
    wanted = (facts.classes * ipc, facts.channels, facts.resolution, facts.resolution)
    if tuple(images.shape) != wanted:
        yield f"images of shape {tuple(images.shape)}, but {facts.name} at IPC {ipc} has {wanted}"
    if tuple(labels.shape) != wanted[:1] or labels.dtype not in WHOLE_NUMBERS:
        found = f"shape {tuple(labels.shape)} and type {labels.dtype}"
        yield f"labels of {found}, but {wanted[:1]} whole numbers are wanted"
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= facts.classes:
        yield f"labels {low} to {high}, but {facts.name} has 0 to {facts.classes - 1}"
    for label, count in enumerate(labels.long().bincount(minlength=facts.classes).tolist()):
        if count != ipc:
            yield f"{count} images of class {label} ({names[label]}), but --ipc says {ipc} of each"
    if not images.is_floating_point() or not bool(images.isfinite().all()):
        yield f"images of type {images.dtype} or not finite, but finite floats are wanted"
    darkest, brightest = float(images.min()), float(images.max())
    if darkest < -OVERSHOOT or brightest > 1 + OVERSHOOT:
        yield f"pixels from {darkest:.3g} to {brightest:.3g}, but un-normalised ones in [0, 1] are wanted"


def export_set(path: Path, form: str, decoded: bool, out: Path) -> None:
    """Write a set as `pt`, `png` or `npz`: its stored images, or the training images that they decode to.

    ``out`` is the file, or for ``png`` the folder, which must be new or empty. Raises :class:`DataError` for a set that
    is missing or torn, and :class:`StorageError` where ``out`` cannot be written.
    """
    data = load(path)
    images = data.pixels if decoded else data.stored
    labels = data.labels[: len(images)]
    if data.soft_labels is not None:  # the forms have one class per image
        print(f"export: {path} has soft labels, which are left out; {out} holds each image's class", file=sys.stderr)
    if form == "png":
        _write_png(images, labels, data.label_names, out)
    elif form == "npz":
        write_with(out, lambda stream: np.savez(stream, images=images.numpy(), labels=labels.numpy()))
    else:  # copied, because torch.save keeps the whole storage behind a view
        write_with(out, lambda stream: torch.save([images.contiguous().clone(), labels.clone()], stream))


def _write_png(images: Tensor, labels: Tensor, label_names: Sequence[str], out: Path) -> None:
    with storage_errors(out):
        if out.is_dir() and any(out.iterdir()):
            raise StorageError(f"{out}: is not empty; name a new folder, so that other images do not mix in")
    pixels = in_bytes(images.clamp(0, 1)).permute(0, 2, 3, 1).numpy()
    for label, name in enumerate(class_folders(label_names)):
        rows = (labels == label).nonzero().flatten().tolist()
        digits = len(str(len(rows) - 1))
        for number, row in enumerate(rows):
            picture = Image.fromarray(pixels[row].squeeze(2) if pixels.shape[3] == 1 else pixels[row])
            write_with(out / name / f"{number:0{digits}d}.png", partial(picture.save, format="PNG"))


def class_folders(label_names: Sequence[str]) -> list[str]:
    """Return a folder name per class, whose alphabetical order is that of the labels: other programs number them so.

    Where the names alone would give another order, or the same folder twice, each is preceded by its label.
    """
    names = [name.replace("/", "_") for name in label_names]
    if names == sorted(set(names)) and not any(name.startswith(".") for name in names):
        return names
    digits = len(str(len(names) - 1))
    return [f"{label:0{digits}d}-{name}" for label, name in enumerate(names)]
