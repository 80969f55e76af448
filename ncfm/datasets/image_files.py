"""Image files by class, in a folder or a zip archive: found in a fixed order, decoded one at a time into one tensor."""

from __future__ import annotations

import bisect
import io
import itertools
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ncfm.core.errors import DataError
from ncfm.datasets.catalogue import DatasetFacts, check_sizes, one_line

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

SUFFIXES = (".jpeg", ".jpg", ".png")
# What Pillow raises on a file that is no image, or not a whole one, besides its DecompressionBombError.
BROKEN_IMAGE = (OSError, SyntaxError, EOFError, ValueError, zlib.error)
Form = Callable[["Image.Image", str], "Image.Image"]  # an RGB image and where it stands -> the image of the data set


class Files:
    """Files below a folder on disk; all names are relative to it, with slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def where(self, name: str) -> str:
        """Return how messages call a file or folder."""
        return str(self.root / name)

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders directly in ``folder``, sorted; none where there is no such folder."""
        place = self.root / folder
        return sorted(path.name for path in place.iterdir() if path.is_dir()) if place.is_dir() else []

    def images(self, folder: str) -> list[str]:
        """Return the images at any depth below ``folder``, sorted by name; none where there is no such folder."""
        found = (path.relative_to(self.root).as_posix() for path in (self.root / folder).rglob("*"))
        return sorted(filter(_is_image, found))

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or None where there is no such file. Raises :class:`DataError` if unreadable."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DataError(f"{self.where(name)}: cannot be read ({error.strerror})") from error


class Archive(Files):
    """Files in a zip archive, below the folder in it that holds ``train``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not a whole zip archive ({one_line(error)}); fetch it again") from error
        names = self._zip.namelist()
        tops = [f"/{name}".partition("/train/")[0] for name in names if "/train/" in f"/{name}"]
        self._top = f"{min(tops, key=len, default='')}/".removeprefix("/")
        self._names = sorted(name.removeprefix(self._top) for name in names if name.startswith(self._top))

    def where(self, name: str) -> str:
        """See :class:`Files`."""
        return f"{self.root}: {self._top}{name}"

    def _below(self, folder: str) -> list[str]:
        start = bisect.bisect_left(self._names, f"{folder}/")
        return self._names[start : bisect.bisect_left(self._names, f"{folder}0")]  # "0" follows "/"

    def folders(self, folder: str) -> list[str]:
        """See :class:`Files`."""
        inside = (name.removeprefix(f"{folder}/") for name in self._below(folder))
        return sorted({name.partition("/")[0] for name in inside if "/" in name})

    def images(self, folder: str) -> list[str]:
        """See :class:`Files`."""
        return list(filter(_is_image, self._below(folder)))

    def read(self, name: str) -> bytes | None:
        """See :class:`Files`."""
        try:
            return self._zip.read(self._top + name)
        except KeyError:
            return None
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise DataError(f"{self.where(name)}: cannot be read ({one_line(error)}); fetch it again") from error


def _is_image(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.lower().endswith(SUFFIXES) and not last.startswith(".")  # "._x.JPEG": what macOS puts into archives


def find_folder(facts: DatasetFacts, root: Path, names: Iterable[str]) -> Files:
    """Return the first of ``root`` and its folders ``names`` that holds ``train``, or raise :class:`DataError`."""
    for place in (root, *(root / name for name in names)):
        if (place / "train").is_dir():
            return Files(place)
    raise DataError(
        f"{root}: no folder train/ in it, nor in its {' or '.join(f'{name}/' for name in names)}; "
        f"prepare.root must be the folder that holds the files of {facts.name} (docs/datasets.md)"
    )


def class_images(files: Files, folder: str, classes: Iterable[str]) -> list[list[str]]:
    """Return the images of each class folder in ``folder``. Raises :class:`DataError` where one has none."""
    found = []
    for name in classes:
        found.append(files.images(f"{folder}/{name}"))
        if not found[-1]:
            said = "holds no images" if name in files.folders(folder) else "no such folder"
            raise DataError(f"{files.where(f'{folder}/{name}')}: {said}; each class needs its own (docs/datasets.md)")
    return found


def load_classes(
    facts: DatasetFacts, files: Files, splits: dict[str, list[list[str]]], names: Sequence[str], form: Form
) -> dict[str, tuple[Tensor, Tensor]]:
    """Decode the images of both splits, class by class in the order given, into what :class:`Loaded` calls splits.

    ``splits`` holds for each split and class the images' names, ``names`` the classes' names for messages; ``form``
    makes a decoded image one of the data set. Raises :class:`DataError` where a class has too few or too many images,
    before any is decoded, or an image is not whole.
    """
    import numpy as np
    import torch

    from ncfm.core.progress import Progress

    for split, classes in splits.items():
        check_sizes(facts, split, [len(images) for images in classes], names, files.where(""))
    loaded = {}
    for split, classes in splits.items():
        sizes = torch.tensor([len(images) for images in classes])
        tensor = torch.empty(int(sizes.sum()), 3, facts.resolution, facts.resolution, dtype=torch.uint8)
        with Progress(len(tensor), f"prepare {facts.name} {split}", unit="images") as progress:
            for target, name in zip(tensor, itertools.chain.from_iterable(classes), strict=True):
                where = files.where(name)
                image = form(decode(files.read(name) or b"", where), where)
                target.copy_(torch.from_numpy(np.array(image)).permute(2, 0, 1))
                progress.step()
        loaded[split] = (tensor, torch.arange(len(classes)).repeat_interleave(sizes))
    return loaded


def decode(data: bytes, where: str) -> Image.Image:
    """Return an image as RGB, whatever its mode (greyscale, palette, CMYK). Raises :class:`DataError` if not whole."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as image:
            return image.convert("RGB")
    except (*BROKEN_IMAGE, Image.DecompressionBombError) as error:
        # Pillow's message may hold the address of the buffer.
        reason = "no JPEG or PNG" if isinstance(error, UnidentifiedImageError) else one_line(error)
        raise DataError(f"{where}: not a whole image ({reason}); fetch it again") from error


def decoder() -> str:
    """Return what decodes JPEGs here, for the card: two decoders may differ by rounding."""
    import PIL
    from PIL import features

    turbo = features.version("libjpeg_turbo")
    library = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"
    return f"Pillow {PIL.__version__}, {library}"
