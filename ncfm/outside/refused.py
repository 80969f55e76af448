"""What a file is by its first bytes, and for what is not read a line that says what to do, which harms no file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile, ZipFile

from torch import Tensor

from ncfm.core.errors import DataError
from ncfm.datasets.catalogue import some

AGAIN = "so the download went wrong; fetch the file itself"
TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch's files began before they were zip archives
TORCH_LOAD = 'torch.load({file}, "cpu", weights_only=False)'
PICKLE_LOAD = 'pickle.load(open({file}, "rb"))'
# Keeps a pair, or the runs of DC, DSA and DM, or what else in a dictionary is an array: the form stays what it was.
CONVERT = (
    "import pickle, torch; one = lambda value: torch.as_tensor(value).detach().as_subclass(torch.Tensor); "
    "pair = lambda values: [one(value) for value in values[:2]]; content = {load}; "
    "torch.save({{key: [pair(run) for run in value] if isinstance(value, list) else value "
    'for key, value in content.items() if key == "data" or getattr(value, "dtype", object) != object}} '
    "if isinstance(content, dict) else one(content) if torch.is_tensor(content) else pair(content), "
    'open({new}, "xb"))'
)

SHOWN = 5  # names in a message


def form_of(source: Path) -> Literal["torch", "npz", "parquet"]:
    """Return which of the forms that are read a file has. Raises :class:`DataError`, which says what it is instead."""
    try:
        with source.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from error
    if head.startswith(b"PK"):
        return _form_of_archive(source)
    if head.startswith(TORCH_MAGIC):
        return "torch"
    if head.startswith(b"PAR1"):
        return "parquet"
    raise DataError(f"{source}: {_what(source, head)}")


def _what(source: Path, head: bytes) -> str:
    """Say what a file is that begins so and is not read, and what to do."""
    text = head.lstrip().lower()
    if not text:
        what = "is empty, so the download went wrong; fetch the file again"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml")):
        what = f"is a web page, {AGAIN}"
    elif text.startswith((b"{", b"[")):
        what = f"is JSON text, as servers send in place of a file, {AGAIN}"
    elif text.startswith(b"version https://git-lfs"):
        what = "is a pointer of Git LFS; run `git lfs pull` where it came from"
    elif head.startswith(b"\x1f\x8b"):
        new = str(source.with_name(f"plain-{source.name.removesuffix('.gz')}"))
        code = f'import gzip, shutil; shutil.copyfileobj(gzip.open({str(source)!r}), open({new!r}, "xb"))'
        what = f"is packed by gzip; unpack it: {_command(code)}"
    elif head.startswith(b"\x93NUMPY"):
        arrays = 'images=numpy.load("IMAGES.npy"), labels=numpy.load("LABELS.npy")'
        code = f'import numpy; numpy.savez(open({_new(source, ".npz")!r}, "xb"), {arrays})'
        what = f"holds one array, but images and labels are wanted; with the names of your two files: {_command(code)}"
    elif head.startswith(b"\x80"):
        what = f"is a pickle, which is not read because that could run its code; {_trusted(source, PICKLE_LOAD)}"
    elif head[8:9] == b"{":
        what = "is a safetensors file; a set of ours needs no import: `ncfm evaluate` and `ncfm export` read it"
    else:
        what = "is of no known form; a torch file, .npz, .parquet or a folder is wanted (docs/evaluation.md)"
    return what


def _form_of_archive(source: Path) -> Literal["torch", "npz"]:
    try:
        with ZipFile(source) as archive:
            names = archive.namelist()
    except (BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{source}: was cut short, {AGAIN} again") from error
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    if any(name.endswith(".npy") for name in names):
        return "npz"
    raise DataError(
        f"{source}: is a zip archive of {some(names, SHOWN)}; unpack it, and name the file or folder of the set"
    )


def other_objects(source: Path) -> str:
    """Return the message for a torch file that holds more than tensors, arrays and plain values."""
    why = "holds other objects than tensors and arrays, which are not read because that could run their code"
    return f"{source}: {why}; {_trusted(source, TORCH_LOAD)}"


def other_keys(source: Path, content: Mapping[Any, Any], form: Literal["torch", "npz"]) -> str:
    """Return the message for a file without the names images and labels, with a command that renames what it holds.

    Where one entry alone has the shape of images, and one that of their labels, the command names these two.
    """
    shapes = {key: tuple(value.shape) for key, value in content.items() if isinstance(value, Tensor)}
    images = [key for key, shape in shapes.items() if len(shape) == 4]
    counts = {shapes[key][0] for key in images}
    labels = [key for key, shape in shapes.items() if len(shape) in (1, 2) and shape[0] in counts]
    clear = len(images) == len(labels) == 1
    keys = {"images": images[0], "labels": labels[0]} if clear else {"images": "IMAGES", "labels": "LABELS"}
    if form == "npz":
        arrays = ", ".join(f"{name}=content[{key!r}]" for name, key in keys.items())
        new = f'open({_new(source, ".npz")!r}, "xb")'
        code = f"import numpy; content = numpy.load({str(source)!r}); numpy.savez({new}, {arrays})"
    else:
        pair = ", ".join(f'"{name}": torch.as_tensor(content[{key!r}])' for name, key in keys.items())
        load = TORCH_LOAD.format(file=repr(str(source)))  # safe: what it holds was read here, and was plain
        code = f'import torch; content = {load}; torch.save({{{pair}}}, open({_new(source)!r}, "xb"))'
    how = "convert it" if clear else "convert it, if it is a set, with your names as IMAGES and LABELS"
    found = some(map(str, content), SHOWN)
    return f"{source}: holds {found}, but the names images and labels are wanted; {how}: {_command(code)}"


def _trusted(source: Path, load: str) -> str:
    code = CONVERT.format(load=load.format(file=repr(str(source))), new=repr(_new(source)))
    return f"where you trust it, convert it: {_command(code)}"


def _new(source: Path, ending: str = ".pt") -> str:
    return str(source.with_name(f"plain-{source.stem}{ending}"))


def _command(code: str) -> str:
    """Return a shell command that runs ``code``; what it opens with "xb" must be a new file."""
    return f"python -c {shlex.quote(code)}"
