"""Read sets as other people keep them: torch files, pairs of files, npz, PNG folders. No code in them is run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ncfm.core.errors import DataError
from ncfm.core.store import read_json

FACTS = "set.json"  # what `ncfm export` writes beside PNG files
CONVERT = 'torch.save([images, labels], "set.pt")'
# What the files of DC, DSA and DM hold besides tensors: numpy's scalars, under the module's names of before numpy 2.
_SCALAR = np._core.multiarray.scalar  # type: ignore[attr-defined]
_TYPES = [type(np.dtype(kind)) for kind in ("float64", "float32", "float16", "int64", "int32", "bool")]
PLAIN = [(_SCALAR, "numpy.core.multiarray.scalar"), (_SCALAR, "numpy._core.multiarray.scalar"), np.dtype, *_TYPES]


@dataclass(frozen=True)
class Foreign:
    """A set as a file holds it.

    ``images`` (N, C, H, W), floats; ``labels`` (N,) whole numbers, or (N, classes) probabilities or logits.
    ``normalised``: whether pixels were normalised with the data set's mean and standard deviation. ``factor``: tiles
    per side of each image. ``facts``: what an export of ours says besides.
    ``classes`` (N,): what each image was made for, where soft labels do not say it; ``folders``: of PNG files, by name.
    """

    form: str
    images: Tensor
    labels: Tensor
    normalised: bool
    factor: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    classes: Tensor | None = None
    folders: tuple[str, ...] = ()


def read_foreign(source: Path, run: int = 0) -> Foreign:
    """Read a file, or a folder, of any form that this module knows; of one with several ``run`` s the one counted so.

    Raises :class:`DataError` where it is missing, torn, of another form, or holds other objects.
    """
    if source.is_dir():
        return _read_folder(source, run)
    if not source.is_file():
        raise DataError(f"{source}: no such file")
    try:
        with source.open("rb") as stream:
            head = stream.read(512).lstrip().lower()
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from error
    if not head:
        raise DataError(f"{source}: is empty, so the download went wrong; fetch the file again")
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError(f"{source}: is a web page, so the download went wrong; fetch the file itself")
    if head.startswith(b"version https://git-lfs"):
        raise DataError(f"{source}: is a pointer of Git LFS; run `git lfs pull` where it came from")
    if source.suffix == ".npz":
        return _read_npz(source)
    content = _torch_load(source)
    if isinstance(content, Tensor):
        return _with_labels_beside(source, content)
    if isinstance(content, Mapping) and "data" in content:
        return _one_run(source, content["data"], run)
    if isinstance(content, Mapping) and {"images", "labels"} <= content.keys():
        facts = {key: value for key, value in content.items() if key not in ("images", "labels", "classes")}
        images, labels = _tensors(source, [content["images"], content["labels"]])
        form, factor = "an export of ours", int(facts.get("factor", 1))
        return Foreign(form, images, labels, False, factor, facts, content.get("classes"))
    images, labels = _tensors(source, content)
    return Foreign("the form of NCFM's authors", images, labels, False, 2 if labels.dim() == 1 else 1)


def files_of(source: Path) -> list[str | Path]:
    """Return the files that :func:`read_foreign` reads: of a folder all."""
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.is_file())
    beside = _labels_of(source)
    return [source, *([beside] if beside != source and beside.is_file() else [])]


def _labels_of(images: Path) -> Path:
    return images.with_name(images.name.replace("images", "labels", 1))


def _torch_load(source: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(PLAIN):  # type: ignore[arg-type]
            warnings.simplefilter("ignore")  # torch warns of what is refused anyway; the message is one line
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names its errors differently for each way in which a file can be wrong
        raise DataError(
            f"{source}: is not a whole torch file of tensors alone; it was cut short, or has other objects, which are "
            "not read because that could run their code (where you trust it: content = torch.load(FILE, "
            f"weights_only=False); images, labels = content[0], content[1]; {CONVERT})"
        ) from error


def _tensors(source: Path, content: Any) -> tuple[Tensor, Tensor]:
    """Return the images and labels of a pair, both with a value for every entry: torch also stores sparse ones."""
    pair = content if isinstance(content, list | tuple) else ()
    plain = [isinstance(one, Tensor) and one.layout == torch.strided and one.device.type == "cpu" for one in pair]
    if len(plain) != 2 or not all(plain):
        raise DataError(f"{source}: does not hold a list of two tensors [images, labels]")
    return pair[0].detach(), pair[1].detach()


def _with_labels_beside(source: Path, images: Tensor) -> Foreign:
    """Read the labels of MTT's, TESLA's and DATM's pair of files: ``images_best.pt`` and ``labels_best.pt``."""
    beside = _labels_of(source)
    if beside == source or not beside.is_file():
        raise DataError(f"{source}: holds images alone, and {beside.name.replace('images', 'labels')} is not beside it")
    images, labels = _tensors(source, [images, _torch_load(beside)])
    return Foreign(f"a pair of files, with {beside.name}", images, labels, True, 1)


def _one_run(source: Path, runs: Any, run: int) -> Foreign:
    """Read one of the runs of a file of DC, DSA or DM: ``{"data": [[images, labels], ...], ...}``."""
    if not isinstance(runs, list | tuple) or not 0 <= run < len(runs):
        count = len(runs) if isinstance(runs, list | tuple) else 0
        raise DataError(f"{source}: has {count} runs, so --run can be 0 to {count - 1}, but is {run}")
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
        raise DataError(
            f"{source}: holds {', '.join(arrays) or 'nothing'}, but the arrays images and labels are wanted"
        )
    images, labels, classes = tensors["images"], tensors["labels"], tensors.get("classes")
    return Foreign("npz", images, labels, False, int(facts.get("factor", 1)), facts, classes)


def _read_folder(source: Path, run: int) -> Foreign:
    """Read the pair of files in a folder, or a folder of PNG files for each class, in alphabetical order."""
    if (pair := source / "images_best.pt").is_file():
        return read_foreign(pair, run)
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    files = [(label, file) for label, folder in enumerate(folders) for file in sorted(folder.glob("*.png"))]
    if not files:
        raise DataError(f"{source}: holds neither images_best.pt nor <class>/<number>.png")
    facts = read_json(source / FACTS) if (source / FACTS).is_file() else {}
    arrays = [_pixels(file) for _, file in files]
    if len({array.shape for array in arrays}) > 1:
        raise DataError(f"{source}: holds images of several sizes")
    images = torch.from_numpy(np.stack(arrays)).movedim(3, 1).float() / 255
    labels = torch.tensor([label for label, _ in files])
    factor, names = int(facts.get("factor", 1)), tuple(folder.name for folder in folders)
    return Foreign("folders of PNG files", images, labels, False, factor, facts, folders=names)


def _pixels(file: Path) -> np.ndarray:
    try:
        with Image.open(file) as opened:
            return np.atleast_3d(np.asarray(opened.convert("L" if opened.mode in ("1", "L") else "RGB")))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: is not a whole image") from error
