"""Read sets as others keep them: torch files, pairs of files, npz, Parquet, PNG folders. No code in them is run."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, Field
from torch import Tensor

from ncfm.core.errors import DataError
from ncfm.core.params import Count, CountOrNone, parse
from ncfm.core.store import read_json
from ncfm.datasets.catalogue import some
from ncfm.outside.refused import SHOWN, form_of, other_keys
from ncfm.outside.torch_files import load_plain

FACTS = "set.json"  # what `ncfm export` writes beside PNG files


class Origin(BaseModel, frozen=True):
    """Who made a set, where an export of ours says so."""

    method: str | None = None
    seed: CountOrNone = 0


class Facts(BaseModel, frozen=True):
    """What an export of ours says of itself besides images and labels; of other files nothing is known."""

    dataset: str | None = None
    label_names: tuple[str, ...] = ()
    factor: Count = 1
    origin: Origin = Field(default_factory=Origin)


@dataclass(frozen=True)
class Foreign:
    """A set as a file holds it.

    ``images`` (N, C, H, W), floats; ``labels`` (N,) whole numbers, or (N, classes) probabilities or logits.
    ``normalised``: whether pixels were normalised with the data set's mean and standard deviation. ``factor``: tiles
    per side of each image. ``classes`` (N,): what each image was made for, where soft labels do not say it;
    ``folders``: of PNG files, by name.
    """

    form: str
    images: Tensor
    labels: Tensor
    normalised: bool
    factor: int
    facts: Facts = field(default_factory=Facts)
    classes: Tensor | None = None
    folders: tuple[str, ...] = ()


def read_foreign(source: Path, run: int = 0) -> Foreign:
    """Read a file, or a folder, of any form that this module knows; of one with several ``run`` s the one counted so.

    Raises :class:`DataError` where it is missing, torn, of another form, or holds other objects.
    """
    if source.is_dir():
        pair = _pair_in(source)
        return _read_folder(source) if pair is None else read_foreign(pair, run)
    if not source.is_file():
        raise DataError(f"{source}: no such file")
    readers = {"npz": _read_npz, "parquet": _read_parquet}
    form = form_of(source)
    return readers[form](source) if form in readers else _read_torch(source, run)


def _read_torch(source: Path, run: int) -> Foreign:
    content = load_plain(source)
    if isinstance(content, Tensor):
        return _read_pair(source)
    if isinstance(content, Mapping) and isinstance(content.get("data"), list):
        return _one_run(source, content["data"], run)
    if isinstance(content, Mapping) and not {"images", "labels"} <= content.keys():
        raise DataError(other_keys(source, content, "torch"))
    if isinstance(content, Mapping):
        return _of_parts("a dictionary of images and labels", source, content, content)
    images, labels = _tensors(source, content)
    return Foreign("the form of NCFM's authors", images, labels, False, 2 if labels.dim() == 1 else 1)


def files_of(source: Path) -> list[str | Path]:
    """Return the files that :func:`read_foreign` reads: of a folder without a pair of files all."""
    if source.is_dir():
        pair = _pair_in(source)
        return sorted(path for path in source.rglob("*") if path.is_file()) if pair is None else files_of(pair)
    images, labels = _pair_of(source)
    return [images, labels] if images != labels and images.is_file() and labels.is_file() else [source]


def _pair_of(source: Path) -> tuple[Path, Path]:
    """Return the names of images and labels in the pair that a file is of by its name; else the same name twice."""
    images = source.with_name(source.name.replace("labels", "images", 1))
    return images, images.with_name(images.name.replace("images", "labels", 1))


def _pair_in(folder: Path) -> Path | None:
    """Return the images of the pair in a folder, or None; of several the one called best is meant."""
    found = [images for images in sorted(folder.glob("images*.pt")) if _pair_of(images)[1].is_file()]
    best = folder / "images_best.pt"
    if len(found) > 1 and best not in found:
        raise DataError(f"{folder}: holds several pairs of images and labels; name one: {some(map(str, found), SHOWN)}")
    return best if best in found else next(iter(found), None)


def _tensors(source: Path, content: Any) -> tuple[Tensor, Tensor]:
    """Return the images and labels of a pair, both with a value for every entry: torch also stores sparse ones."""
    pair = content if isinstance(content, list | tuple) else ()
    plain = [isinstance(one, Tensor) and one.layout == torch.strided and one.device.type == "cpu" for one in pair]
    if len(plain) != 2 or not all(plain):
        raise DataError(f"{source}: does not hold a list of two tensors [images, labels]")
    return pair[0].detach(), pair[1].detach()


def _of_parts(form: str, source: Path, parts: Mapping[str, Any], facts: Any) -> Foreign:
    """Return a set of its named parts, and of what it says of itself."""
    known = parse(Facts, facts, str(source))
    images, labels = _tensors(source, [parts["images"], parts["labels"]])
    classes = parts.get("classes")  # or the names of classes, in a file of another program
    return Foreign(form, images, labels, False, known.factor, known, classes if isinstance(classes, Tensor) else None)


def _read_pair(source: Path) -> Foreign:
    """Read MTT's, TESLA's and DATM's pair of files, ``images_best.pt`` and ``labels_best.pt``, by either's name."""
    pair = _pair_of(source)
    if pair[0] == pair[1]:
        wanted = "a list [images, labels], or two files, images_NAME.pt and labels_NAME.pt, in one folder"
        raise DataError(f"{source}: holds one tensor alone; wanted is {wanted}")
    for file in pair:
        if not file.is_file():
            raise DataError(f"{source}: holds one tensor of a pair, and the other, {file.name}, is not beside it")
    images, labels = _tensors(source, [load_plain(file) for file in pair if form_of(file)])
    return Foreign(f"a pair of files, {pair[0].name} and {pair[1].name}", images, labels, True, 1)


def _one_run(source: Path, runs: Sequence[Any], run: int) -> Foreign:
    """Read one of the runs of a file of DC, DSA or DM: ``{"data": [[images, labels], ...], ...}``."""
    if not 0 <= run < len(runs):
        raise DataError(f"{source}: has {len(runs)} runs, so --run can be 0 to {len(runs) - 1}, but is {run}")
    images, labels = _tensors(source, runs[run])
    return Foreign(f"the form of DC, DSA and DM, run {run} of {len(runs)}", images, labels, True, 1)


def _read_npz(source: Path) -> Foreign:
    try:
        with np.load(source, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        facts = json.loads(str(arrays.pop("facts"))) if "facts" in arrays else {}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{source}: is not a whole npz file of numbers ({reason})") from error
    if not {"images", "labels"} <= arrays.keys():
        raise DataError(other_keys(source, tensors, "npz"))
    return _of_parts("npz", source, tensors, facts)


def parquet_library(what: str) -> tuple[ModuleType, ModuleType]:
    """Return the modules pyarrow and pyarrow.parquet. Raises :class:`DataError`, which says ``what`` needs them."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:  # MLflow brings it
        raise DataError(f"{what}: needs the package pyarrow; `pip install pyarrow`") from error
    return pyarrow, parquet


def _read_parquet(source: Path) -> Foreign:
    """Read the columns ``image`` and ``label`` that `ncfm export` writes, as the library `datasets` does."""
    pyarrow, parquet = parquet_library(str(source))
    try:
        table = parquet.read_table(source)
        facts = json.loads((table.schema.metadata or {}).get(b"ncfm", "{}"))
        rows = table.select(["image", "label"]).to_pylist()
        pictures = [io.BytesIO(row["image"]["bytes"]) for row in rows]
        labels = torch.tensor([row["label"] for row in rows])
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        wanted = "the columns image (encoded, under bytes) and label (a whole number)"
        raise DataError(f"{source}: is not a whole Parquet file with {wanted}") from error
    parts = {"images": _stack(source, [_pixels(picture, source) for picture in pictures]), "labels": labels}
    return _of_parts("Parquet", source, parts, facts)


def _read_folder(source: Path) -> Foreign:
    """Read a folder of PNG files for each class, in alphabetical order."""
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    files = [(label, file) for label, folder in enumerate(folders) for file in sorted(folder.glob("*.png"))]
    if not files:
        raise DataError(f"{source}: holds neither images_NAME.pt with labels_NAME.pt nor <class>/<number>.png")
    facts = parse(Facts, read_json(source / FACTS) if (source / FACTS).is_file() else {}, str(source / FACTS))
    images = _stack(source, [_pixels(file, file) for _, file in files])
    labels, names = torch.tensor([label for label, _ in files]), tuple(folder.name for folder in folders)
    return Foreign("folders of PNG files", images, labels, False, facts.factor, facts, folders=names)


def _stack(source: Path, arrays: Sequence[np.ndarray]) -> Tensor:
    if len({array.shape for array in arrays}) != 1:
        raise DataError(f"{source}: holds images of several sizes, or none")
    return torch.from_numpy(np.stack(arrays)).movedim(3, 1).float() / 255


def _pixels(file: Path | io.BytesIO, place: Path) -> np.ndarray:
    try:
        with Image.open(file) as opened:
            if opened.mode.startswith("I"):  # 16 bits, which Pillow's conversion would cut off at 255
                return np.atleast_3d((np.asarray(opened).astype(np.uint32) // 257).astype(np.uint8))
            return np.atleast_3d(np.asarray(opened.convert("L" if opened.mode in ("1", "L") else "RGB")))
    except (OSError, ValueError) as error:
        raise DataError(f"{place}: is not a whole image, or holds one that is not") from error
